"""`manage.py up`: first start, kill -9 of its parts, stop and restart.

The tests share one instance and leave it running; each causes its own failure.
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

pytestmark = [pytest.mark.processes, pytest.mark.xdist_group("up")]  # one instance for all

# Orphans check for their parent every half second, and the worker takes up to four to exit.
ORPHAN_SECONDS = 12


@pytest.fixture(scope="module")
def instance() -> Iterator[UpProcess]:
    with up_process(TRAINHUB_SIMULATION_STEPS_PER_SECOND="500") as up:
        up.start()
        yield up


@pytest.fixture
def up(instance: UpProcess) -> UpProcess:
    """The running instance, even after a failed test."""
    if instance.process is None or instance.process.poll() is not None:
        instance.kill_everything()
        instance.start()
    return instance


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[UpProcess]:
    """Not started, with an empty data directory."""
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
    """Ignores files of runs that finish and delete them in the meantime."""
    paths = [Path(folder, name) for folder, _, names in os.walk(directory) for name in names]
    matches = []
    for path in paths:
        with suppress(FileNotFoundError):
            if path.is_file() and text.encode() in path.read_bytes():
                matches.append(path)
    return matches


# --- The first start -------------------------------------------------------------------------
# Keep these first: the tests below restart the instance.


def test_first_start_serves(up: UpProcess):
    assert up.get("/healthz") == (200, '{"status":"ok"}')
    assert up.get("/readyz")[0] == 200


def test_first_start_prints_the_urls(up: UpProcess):
    assert f"Dashboard: {up.base_url}/dashboard\n" in up.output
    assert f"API documentation: {up.base_url}/docs\n" in up.output
    assert f"Admin: {up.base_url}/admin/\n" in up.output


def test_first_start_prints_a_password_stored_only_as_a_hash(up: UpProcess):
    password = up.password
    assert password is not None

    assert check_password(password, stored_password(up))
    assert files_with(password, up.data_dir) == []


def test_first_start_loads_the_demo_project(up: UpProcess):
    status, projects = up.get("/projects")

    assert status == 200
    assert projects.count("中文摘要系统") == 1


def test_static_files_of_pages_are_served(up: UpProcess):
    match = re.search(r'href="(/static/[^"]+\.css)"', up.get("/admin/login/")[1])

    assert match is not None
    assert up.get(match[1])[0] == 200


def test_second_up_on_the_same_data_directory_is_refused(up: UpProcess):
    second = UpProcess(up.data_dir)
    second.log_path = up.data_dir.with_name("second.log")

    code = second.run_to_end()

    assert code == 1
    assert "TrainHub is already running on this data directory" in second.output
    assert "Traceback" not in second.output
    assert up.get("/healthz")[0] == 200


# --- Killed parts ----------------------------------------------------------------------------


def test_killed_worker_is_restarted(up: UpProcess):
    [worker] = up.find("run_worker")

    worker.kill()

    wait_until(lambda: set(up.find("run_worker")) - {worker}, 15, "another worker")
    assert "The worker was killed by SIGKILL; restarting in 0.5 s." in up.output


def test_killed_web_server_is_restarted_without_its_old_processes(up: UpProcess):
    old = up.find("serve")

    old[0].kill()

    wait_until(lambda: set(up.find("serve")) - set(old), 15, "another web server")
    up.wait_until_ok("/healthz")
    assert [process for process in old if lives(process)] == []


def web_processes(master: psutil.Process) -> list[psutil.Process]:
    """Those that run the application, without nginx."""
    return [child for child in master.children() if child.name() != "nginx"]


def test_killed_process_of_the_web_server_is_replaced(up: UpProcess):
    master, *forks = up.find("serve")

    for process in forks:
        process.kill()

    wait_until(lambda: len(web_processes(master)) == len(forks), 15, "other processes")
    up.wait_until_ok("/version")


def test_killed_database_is_restarted(up: UpProcess):
    pid = up.database.pid
    assert pid is not None

    psutil.Process(pid).kill()

    wait_until(lambda: up.database.pid not in (None, pid), 15, "another server")
    up.wait_until_ok("/readyz")
    up.wait_until_ok("/projects")


# --- Killing or stopping all of it, and restarting --------------------------------------------


def test_killing_up_stops_everything_and_it_can_restart(up: UpProcess):
    up.find("up")[0].kill()

    wait_until(lambda: not up.processes(), ORPHAN_SECONDS, "all have left")
    up.start()
    assert up.get("/readyz")[0] == 200
    assert up.get("/projects")[1].count("中文摘要系统") == 1
    assert up.password is None


def test_killing_up_and_worker_stops_the_database(up: UpProcess):
    for process in (*up.find("up"), *up.find("run_worker")):
        process.kill()

    wait_until(lambda: not up.processes(), ORPHAN_SECONDS, "all have left")


def test_start_right_after_killing_up_waits_for_its_processes(up: UpProcess):
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
def test_stop_signal_stops_everything_in_time(up: UpProcess, number: signal.Signals):
    seconds = up.stop(number)

    assert seconds < STOP_SECONDS
    assert up.processes() == []
    assert "TrainHub has stopped." in up.output
    assert "Traceback" not in up.output


def test_stop_signal_during_startup_leaves_no_processes(up: UpProcess):
    up.stop()
    up.start(wait=False)
    wait_until(lambda: up.database.is_running, 30, "the database runs")

    seconds = up.stop()

    assert seconds < STOP_SECONDS
    assert up.processes() == []
    assert "Traceback" not in up.output


def test_second_stop_signal_kills_slow_processes(up: UpProcess):
    up.find("run_worker")[0].suspend()  # cannot react
    assert up.process is not None

    up.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "is stopping" in up.output, 5, "it handles the signal")
    up.process.send_signal(signal.SIGTERM)

    assert up.process.wait(timeout=4) == 128 + signal.SIGTERM
    assert up.processes() == []


def test_killing_make_stops_up(up: UpProcess):
    up.stop()
    up.start(through_shell=True)
    assert up.process is not None

    up.process.kill()

    wait_until(lambda: not up.processes(), ORPHAN_SECONDS, "all have left")
    assert re.search(r"The parent process \d+ has exited\.", up.output)
    assert "TrainHub has stopped." in up.output


# --- Refused starts --------------------------------------------------------------------------


def assert_refused(up: UpProcess, message: str, **environment: str) -> None:
    """It must print one line matching ``message``, exit with 1 and leave no processes."""
    up.environment.update(environment)

    code = up.run_to_end()

    assert code == 1, up.output
    output = up.output.replace("TrainHub is starting …\n", "").strip()
    assert re.fullmatch(message, output), output
    assert up.processes() == []


def test_data_directory_with_too_long_a_path_is_refused(fresh: UpProcess):
    assert_refused(
        fresh,
        r"The socket path \S+ has \d+ bytes and this system allows 10\d: set TRAINHUB_DATA_DIR .+",
        TRAINHUB_DATA_DIR=str(fresh.data_dir / ("x" * 100)),
    )


def test_data_directory_that_is_a_file_is_refused(fresh: UpProcess):
    fresh.data_dir.touch()

    assert_refused(fresh, r"The data directory \S+ cannot be used \(Not a directory\): .+")


def test_data_directory_that_cannot_be_created_is_refused(fresh: UpProcess):
    assert_refused(
        fresh,
        r"The data directory /proc/trainhub cannot be used \(No such file or directory\): .+",
        TRAINHUB_DATA_DIR="/proc/trainhub",
    )


def test_port_in_use_is_refused(fresh: UpProcess):
    with socket.socket() as other:
        other.bind(("127.0.0.1", fresh.port))
        other.listen()

        assert_refused(
            fresh, rf"Port {fresh.port} on 127\.0\.0\.1 is in use by another program: .+"
        )


def test_unreachable_database_is_refused_without_its_password(fresh: UpProcess):
    assert_refused(
        fresh,
        r"The database in DATABASE_URL cannot be used: (?!.*s3cret).+refused.+",
        DATABASE_URL=f"postgresql://me:s3cret@127.0.0.1:{free_port()}/trainhub",
    )


def test_database_that_does_not_exist_is_refused(fresh: UpProcess):
    assert_refused(
        fresh,
        r'The database in DATABASE_URL cannot be used: .+ database "nowhere" does not exist\. .+',
        DATABASE_URL=re.sub(r"/[^/?]*(\?|\Z)", r"/nowhere\1", os.environ["DATABASE_URL"]),
    )


def test_missing_bucket_is_refused(fresh: UpProcess):
    server = ThreadedMotoServer("127.0.0.1", port=free_port(), verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        assert_refused(
            fresh,
            r"The S3 bucket nowhere in TRAINHUB_ARTIFACTS_URL cannot be used: "
            r"it does not exist\. .+",
            TRAINHUB_ARTIFACTS_URL=f"s3://nowhere?endpoint_url=http://{host}:{port}",
            AWS_ACCESS_KEY_ID="key",
            AWS_SECRET_ACCESS_KEY="secret",
        )
    finally:
        server.stop()


def test_open_mode_off_loopback_is_refused(fresh: UpProcess):
    assert_refused(
        fresh,
        r"Open mode \(no sign-in\) is refused on 0\.0\.0\.0, which is not loopback: .+",
        TRAINHUB_HOST="0.0.0.0",
    )


def test_invalid_setting_is_refused(fresh: UpProcess):
    assert_refused(
        fresh, r"TRAINHUB_PORT must be a whole number, not 'many'\.", TRAINHUB_PORT="many"
    )
