"""`manage.py up` from its first start through kill -9 of its parts to its end.

The tests share one started instance and leave it running; each brings about its own mishap.
"""

import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
import pytest
from django.contrib.auth.hashers import check_password
from moto.server import ThreadedMotoServer

from tests.processes import lives
from tests.up_process import STOP_SECONDS, UpProcess, free_port, up_process, wait_until

pytestmark = pytest.mark.xdist_group("up")  # one instance for all

# Processes that have lost their parent look every half second, and the worker has four to leave.
ORPHAN_SECONDS = 12


@pytest.fixture(scope="module")
def instance() -> Iterator[UpProcess]:
    with up_process(TRAINHUB_SIMULATION_STEPS_PER_SECOND="500") as up:
        up.start()
        yield up


@pytest.fixture
def up(instance: UpProcess) -> UpProcess:
    """Running, also after a test that has failed."""
    if instance.process is None or instance.process.poll() is not None:
        instance.kill_everything()
        instance.start()
    return instance


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[UpProcess]:
    """Not started, on an empty data directory."""
    with up_process() as up:
        yield up


def stored_password(up: UpProcess) -> str:
    with psycopg.connect(**up.database.connection_parameters) as connection:
        row = connection.execute(
            "SELECT password FROM auth_user WHERE username = 'admin'"
        ).fetchone()
    assert row is not None
    return row[0]


def files_with(text: str, directory: Path) -> list[Path]:
    """Files and directories of a run that ends meanwhile may vanish."""
    paths = [Path(folder, name) for folder, _, names in os.walk(directory) for name in names]
    found = []
    for path in paths:
        with suppress(FileNotFoundError):
            if path.is_file() and text.encode() in path.read_bytes():
                found.append(path)
    return found


# --- The first start -------------------------------------------------------------------------
# In this order: the tests below start it again.


def test_first_start_serves(up: UpProcess):
    assert up.get("/healthz") == (200, '{"status": "ok"}')
    assert up.get("/readyz")[0] == 200


def test_first_start_says_where_everything_is(up: UpProcess):
    assert f"Dashboard: {up.base_url}/dashboard\n" in up.output
    assert f"API documentation: {up.base_url}/docs\n" in up.output
    assert f"Admin: {up.base_url}/admin/\n" in up.output


def test_first_start_prints_a_password_that_is_stored_as_a_hash_only(up: UpProcess):
    password = up.password
    assert password is not None

    assert check_password(password, stored_password(up))
    assert files_with(password, up.data_dir) == []


def test_first_start_loads_the_demo_project(up: UpProcess):
    status, projects = up.get("/projects")

    assert status == 200
    assert projects.count("中文摘要系统") == 1


def test_static_files_of_pages_are_served(up: UpProcess):
    found = re.search(r'href="(/static/[^"]+\.css)"', up.get("/admin/login/")[1])

    assert found is not None
    assert up.get(found[1])[0] == 200


def test_second_up_on_the_same_data_directory_is_refused(up: UpProcess):
    second = UpProcess(up.data_dir)
    second.log_path = up.data_dir.with_name("second.log")

    code = second.run_to_end()

    assert code == 1
    assert "TrainHub already runs on this data directory" in second.output
    assert "Traceback" not in second.output
    assert up.get("/healthz")[0] == 200


# --- Ends of its parts -----------------------------------------------------------------------


def test_killed_worker_is_started_again(up: UpProcess):
    [worker] = up.find("run_worker")

    worker.kill()

    wait_until(lambda: set(up.find("run_worker")) - {worker}, 15, "another worker")
    assert "The worker was killed by SIGKILL; starting it again in 0.5 s." in up.output


def test_killed_web_server_is_started_again_without_its_old_processes(up: UpProcess):
    old = up.find("serve")

    old[0].kill()

    wait_until(lambda: set(up.find("serve")) - set(old), 15, "another web server")
    up.wait_until_ok("/healthz")
    assert [process for process in old if lives(process)] == []


def test_killed_process_of_the_web_server_is_replaced(up: UpProcess):
    master, *forks = up.find("serve")

    for process in forks:
        process.kill()

    wait_until(lambda: len(master.children()) == len(forks), 15, "other processes")
    up.wait_until_ok("/healthz")


def test_killed_database_is_started_again(up: UpProcess):
    pid = up.database.pid
    assert pid is not None

    psutil.Process(pid).kill()

    wait_until(lambda: up.database.pid not in (None, pid), 15, "another server")
    up.wait_until_ok("/readyz")
    up.wait_until_ok("/projects")


# --- Its own end, and the start after it ------------------------------------------------------


def test_killed_up_takes_everything_along_and_starts_again(up: UpProcess):
    up.find("up")[0].kill()

    wait_until(lambda: not up.processes(), ORPHAN_SECONDS, "all have left")
    up.start()
    assert up.get("/readyz")[0] == 200
    assert up.get("/projects")[1].count("中文摘要系统") == 1
    assert up.password is None


def test_killed_up_and_worker_do_not_leave_the_database_behind(up: UpProcess):
    for process in (*up.find("up"), *up.find("run_worker")):
        process.kill()

    wait_until(lambda: not up.processes(), ORPHAN_SECONDS, "all have left")


def test_start_right_after_up_was_killed_does_not_mind_what_still_runs(up: UpProcess):
    up.find("up")[0].kill()

    up.start()

    assert up.get("/readyz")[0] == 200
    assert len(up.find("run_worker")) == 1


def test_start_after_everything_was_killed_recovers(up: UpProcess):
    up.kill_everything()

    up.start()

    assert up.get("/readyz")[0] == 200
    assert up.get("/projects")[1].count("中文摘要系统") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_leaves_in_order_and_in_time(up: UpProcess, number: signal.Signals):
    seconds = up.stop(number)

    assert seconds < STOP_SECONDS
    assert up.processes() == []
    assert "TrainHub has stopped." in up.output
    assert "Traceback" not in up.output


def test_told_to_stop_while_it_starts_it_leaves_nothing(up: UpProcess):
    up.stop()
    up.start(wait=False)
    wait_until(lambda: up.database.is_running, 30, "the database runs")

    seconds = up.stop()

    assert seconds < STOP_SECONDS
    assert up.processes() == []
    assert "Traceback" not in up.output


def test_told_twice_it_kills_what_is_too_slow(up: UpProcess):
    up.find("run_worker")[0].suspend()  # as slow as can be
    assert up.process is not None

    up.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "is stopping" in up.output, 5, "it has heard")
    up.process.send_signal(signal.SIGTERM)

    assert up.process.wait(timeout=4) == 128 + signal.SIGTERM
    assert up.processes() == []


def test_killed_make_takes_up_along(up: UpProcess):
    up.stop()
    up.start(through_shell=True)
    assert up.process is not None

    up.process.kill()

    wait_until(lambda: not up.processes(), ORPHAN_SECONDS, "all have left")
    assert "which started this, has ended" in up.output
    assert "TrainHub has stopped." in up.output


# --- Starts that cannot be -------------------------------------------------------------------


def refuse(up: UpProcess, sentence: str, **environment: str) -> None:
    """It must say so in one line, exit with 1 and leave nothing."""
    up.environment.update(environment)

    code = up.run_to_end()

    assert code == 1, up.output
    said = up.output.replace("TrainHub is starting …\n", "").strip()
    assert re.fullmatch(sentence, said), said
    assert up.processes() == []


def test_data_directory_with_too_long_a_path_is_refused(fresh: UpProcess):
    refuse(
        fresh,
        r"The socket path \S+ has \d+ bytes and this system allows 10\d: set TRAINHUB_DATA_DIR .+",
        TRAINHUB_DATA_DIR=str(fresh.data_dir / ("x" * 100)),
    )


def test_data_directory_that_is_a_file_is_refused(fresh: UpProcess):
    fresh.data_dir.touch()

    refuse(fresh, r"The data directory \S+ cannot be used \(Not a directory\): .+")


def test_data_directory_that_cannot_be_made_is_refused(fresh: UpProcess):
    refuse(
        fresh,
        r"The data directory /proc/trainhub cannot be used \(No such file or directory\): .+",
        TRAINHUB_DATA_DIR="/proc/trainhub",
    )


def test_port_in_use_is_refused(fresh: UpProcess):
    with socket.socket() as other:
        other.bind(("127.0.0.1", fresh.port))
        other.listen()

        refuse(fresh, rf"Port {fresh.port} on 127\.0\.0\.1 is in use by another program: .+")


def test_database_that_is_away_is_refused_without_its_password(fresh: UpProcess):
    refuse(
        fresh,
        r"The database of DATABASE_URL cannot be used: (?!.*s3cret).+refused.+",
        DATABASE_URL=f"postgresql://me:s3cret@127.0.0.1:{free_port()}/trainhub",
    )


def test_database_that_does_not_exist_is_refused(fresh: UpProcess):
    refuse(
        fresh,
        r'The database of DATABASE_URL cannot be used: .+ database "nowhere" does not exist\. .+',
        DATABASE_URL=re.sub(r"/[^/?]*(\?|\Z)", r"/nowhere\1", os.environ["DATABASE_URL"]),
    )


def test_missing_bucket_is_refused(fresh: UpProcess):
    server = ThreadedMotoServer("127.0.0.1", port=free_port(), verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        refuse(
            fresh,
            r"The S3 bucket nowhere of TRAINHUB_ARTIFACTS_URL cannot be used: "
            r"it does not exist\. .+",
            TRAINHUB_ARTIFACTS_URL=f"s3://nowhere?endpoint_url=http://{host}:{port}",
            AWS_ACCESS_KEY_ID="key",
            AWS_SECRET_ACCESS_KEY="secret",
        )
    finally:
        server.stop()


def test_open_mode_off_loopback_is_refused(fresh: UpProcess):
    refuse(
        fresh,
        r"Open mode \(no sign-in\) is refused on 0\.0\.0\.0, which is not loopback: .+",
        TRAINHUB_HOST="0.0.0.0",
    )


def test_setting_that_cannot_be_is_refused(fresh: UpProcess):
    refuse(fresh, r"TRAINHUB_PORT must be a whole number, not 'many'\.", TRAINHUB_PORT="many")
