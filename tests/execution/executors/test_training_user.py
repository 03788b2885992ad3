"""Trainings that run as another user than their worker: they do all their work, and reach nothing
of TrainHub's or of other runs'."""

import json
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest
from django.conf import settings as django_settings

from artifacts.models import Artifact
from execution.executors import attempt as executor_attempts
from execution.executors import training_user
from execution.executors.attempt import Attempt
from execution.executors.process import ProcessExecutor
from execution.executors.stacks import stacks_of
from execution.executors.training_user import NoUserFree
from runs import attempts
from runs.executors import CannotStart, WorkState
from runs.models import RunCode
from tests.code_bundles.bundles import bundle
from tests.execution.executors.contract import fresh, poll, poll_until
from tests.factories import RecipeFactory, running
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.usefixtures("short_settle_time"),
    pytest.mark.skipif(
        bool(training_user.missing_capabilities()), reason="may not become another user"
    ),
]

FIRST = 300_000 + 20 * os.getpid()  # tests that run at the same time share the host
# The tests' own interpreter may be in a home directory.
SOMEBODY = training_user.TrainingUser(FIRST, FIRST, ())
PYTHON = sys.executable
if training_user._closed_on_the_way(Path(PYTHON), SOMEBODY) is not None:
    PYTHON = "/usr/bin/python3"
PREAMBLE = f"""
import contextlib, json, os, pathlib, signal, sys, time
sys.path.insert(0, {str(django_settings.BASE_DIR)!r})
from tests.saved_files import write, zipped
folder = pathlib.Path(os.environ["TRAINHUB_CHECKPOINT_DIR"])
output = pathlib.Path(os.environ["TRAINHUB_OUTPUT_DIR"])
metrics = pathlib.Path(os.environ["TRAINHUB_METRICS_FILE"])
"""
SECRET = "a-key-that-nobody-else-may-read"


@pytest.fixture
def executor():
    return ProcessExecutor()


@pytest.fixture
def data():
    """A data directory that others can reach; pytest's own folders are closed."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def separate_users(settings, data, own_files):
    settings.TRAINING_USER = f"{FIRST}-{FIRST + 9}"
    settings.DATA_DIR, settings.WORK_DIR = data, data / "runs"
    yield
    for run_id in executor_attempts.local_runs():
        executor_attempts.forget(run_id)


@pytest.fixture
def secret(data):
    """A file in the data directory that its owner alone may read."""
    path = data / "secret_key"
    path.write_text(SECRET)
    path.chmod(0o600)
    return path


def started(executor, script, *arguments, **fields):
    recipe = RecipeFactory(command=[PYTHON, "-c", PREAMBLE + script, *map(str, arguments)])
    run = running(recipe=recipe, total_steps=None, **fields)
    executor.start(run, run.worker)
    return run


def ended(executor, script, *arguments, state=WorkState.FINISHED, **fields):
    run = started(executor, script, *arguments, **fields)
    poll_until(executor, run, state)
    return fresh(run)


def printed(run):
    """What the script has printed as JSON."""
    return json.loads(run.log_lines.get(source="stdout").message)


# --- it works --------------------------------------------------------------------------------


def test_what_it_saves_and_reports_is_taken(executor):
    run = ended(
        executor,
        """
write(folder / "step_3.pt", zipped(b"weights"))
(folder / "README.md").write_text("hello")
with metrics.open("a") as file:
    file.write('{"step": 3, "loss": 0.5}\\n')
(output / "evaluation.json").write_text('{"accuracy": 0.9}')
with open("/dev/stdout", "a") as again:
    again.write("said")
""",
    )

    files = set(run.artifacts.values_list("file", flat=True))
    assert run.series.get(key="loss").last_value == 0.5
    assert {"checkpoints/README.md", "evaluation.json"} <= files
    assert run.artifacts.checkpoints().get().step == 3
    assert run.log_lines.get(source="stdout").message == "said"


def test_it_is_a_user_of_its_own_for_good(executor):
    run = ended(
        executor,
        """
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({
    "uids": os.getresuid(), "gids": os.getresgid(), "groups": os.getgroups(),
    "capabilities": [status[name].strip() for name in ("CapEff", "CapPrm", "CapAmb")],
    "no_new_privs": status["NoNewPrivs"].strip(), "home": os.environ["HOME"],
    "user": os.environ["USER"], "directory": os.getcwd(), "output": str(output),
}))
""",
    )

    found = printed(run)
    uid = Attempt.of(run).owner
    assert FIRST <= uid <= FIRST + 9
    assert (found["uids"], found["gids"]) == ([uid] * 3, [uid] * 3)
    assert set(found["groups"]) <= set(training_user._gpu_groups())
    assert {int(bits, 16) for bits in found["capabilities"]} == {0}
    assert found["no_new_privs"] == "1"
    assert found["home"] == found["directory"] == found["output"] == str(Attempt.of(run).folder)
    assert found["user"] == "training"


def test_user_of_a_name_has_its_groups_and_its_home(executor, settings):
    settings.TRAINING_USER = "nobody"
    run = ended(executor, "print(json.dumps([os.getuid(), os.environ['HOME']]))")

    account = pwd.getpwnam("nobody")
    assert printed(run) == [account.pw_uid, account.pw_dir]


def test_it_is_asked_to_stop_and_saves(executor):
    run = started(
        executor,
        """
def save(number, frame):
    write(folder / "step_9.pt", zipped(b"weights"))
    sys.exit()
signal.signal(signal.SIGTERM, save)
print("ready")
while True:
    time.sleep(0.05)
""",
    )
    wait_until(lambda: poll(executor, run) and run.log_lines.exists())
    executor.stop(fresh(run), run.worker)

    poll_until(executor, run, WorkState.STOPPED)
    assert run.artifacts.checkpoints().get().step == 9


def test_it_is_killed_with_what_it_has_started_and_leaves_nothing(executor, data):
    victim = data / "victim"
    victim.mkdir()
    (victim / "kept").touch()
    run = started(
        executor,
        """
import subprocess
subprocess.Popen(["sleep", "1000"], start_new_session=True)
(output / "link").symlink_to(sys.argv[1])
for name in ("closed", "closed/deeper"):
    (output / name).mkdir()
(output / "closed").chmod(0)
print("ready")
time.sleep(1000)
""",
        victim,
    )
    wait_until(lambda: poll(executor, run) and run.log_lines.exists())
    tree = Attempt.of(run).tree()

    executor_attempts.forget(run.pk)

    assert len(tree) == 2
    assert not any(psutil.pid_exists(process.pid) for process in tree)
    assert not Attempt.of(run).directory.parent.exists()
    assert (victim / "kept").exists()
    assert victim.stat().st_uid == os.getuid()


def test_its_stacks_can_be_read(executor):
    run = started(executor, "def wait_for_nothing(): time.sleep(1000)\nwait_for_nothing()")
    processes = wait_until(Attempt.of(run).tree)

    assert wait_until(lambda: "wait_for_nothing" in stacks_of(processes))


def test_next_attempt_goes_on_from_its_checkpoint(executor):
    run = started(
        executor,
        """
if "TRAINHUB_RESUME_FROM" in os.environ:
    path = pathlib.Path(os.environ["TRAINHUB_RESUME_FROM"])
    print(json.dumps([path.name, path.stat().st_uid == os.getuid(), len(path.read_bytes())]))
else:
    write(folder / "step_7.pt", zipped(b"weights"))
    os.kill(os.getpid(), signal.SIGKILL)
""",
    )
    poll_until(executor, run, WorkState.DIED)
    attempts.recover(fresh(run), "died")
    again = fresh(run)
    again.claim(run.worker)
    executor.start(fresh(run), run.worker)
    poll_until(executor, run, WorkState.FINISHED)

    size_bytes = run.artifacts.checkpoints().get().size_bytes
    assert printed(run)[1:] == [True, size_bytes]


# --- what it finds ---------------------------------------------------------------------------

THIEF = """
worker, data_dir, database, secret, other = sys.argv[1:]
found = []
def take(name, look):
    with contextlib.suppress(OSError):
        found.append([name, str(look())])
for pid in (worker, str(os.getppid())):
    for name in ("environ", "mem", "maps", "fd/0", "cwd/."):
        take(f"{pid}/{name}", lambda: open(f"/proc/{pid}/{name}", "rb").read(1))
    for name in ("fd", "cwd", "root/root"):
        take(f"{pid}/{name}", lambda: os.listdir(f"/proc/{pid}/{name}"))
attempt = output.parent
for folder in (attempt, attempt.parent, attempt.parent.parent, data_dir, database, other):
    take(str(folder), lambda: os.listdir(folder))
for name in ("launch.json", "launcher.json", "process.json", "exit.json.spare", "launcher.log"):
    take(name, lambda: open(attempt / name, "rb").read())
    take(f"write {name}", lambda: open(attempt / name, "ab"))
    take(f"delete {name}", lambda: os.unlink(attempt / name))
for path in (secret, f"/proc/self/root{secret}", f"{other}/launch.json", f"{other}/work",
             f"{other}/work/config.json", f"{other}/stdout.log", f"{database}/postgres.log"):
    take(path, lambda: open(path, "rb").read())
for name in ("stop-sent", "killed", "new"):
    take(f"create {name}", lambda: open(attempt / name, "w"))
take("signal", lambda: os.kill(os.getppid(), 0))
take("link", lambda: os.link(secret, output / "linked"))
import socket
take("database", lambda: socket.socket(socket.AF_UNIX).connect(f"{database}/.s.PGSQL.5432"))
found += [[name, value] for name, value in os.environ.items() if "password-of" in value]
print(json.dumps(found))
"""


@pytest.fixture
def loot(monkeypatch, settings, secret, executor, data):
    """What a training finds that looks for the server's secrets."""
    for name in ("POSTGRES_PASSWORD", "AWS_SECRET_ACCESS_KEY", "TRAINHUB_SECRET_KEY"):
        monkeypatch.setenv(name, "password-of-the-server")
    database = settings.DATABASES["default"]["HOST"]
    other = started(executor, "time.sleep(1000)")
    wait_until(Attempt.of(other).process)

    def loot():
        places = (os.getpid(), data, database, secret, Attempt.of(other).directory)
        return printed(ended(executor, THIEF, *places))

    return loot


def test_training_of_another_user_finds_no_secret(loot):
    found = dict(loot())

    # Where the kernel lets anyone link to any file, a link alone may be made. It reads nothing.
    assert found.keys() <= {"link"}


def test_training_of_the_workers_user_finds_none_in_its_environment(loot, settings):
    settings.TRAINING_USER = ""

    found = dict(loot())

    assert "password-of-the-server" not in found.values()
    assert any(SECRET in value for value in found.values())  # it looks in the right places


# --- what it leaves --------------------------------------------------------------------------


@pytest.fixture
def elsewhere(tmp_path):
    """A file of the worker's user, in a folder that nobody else can enter."""
    path = tmp_path / "closed" / "key.json"
    path.parent.mkdir(mode=0o700)
    path.write_text(json.dumps({"key": SECRET}))
    return path


def stored(run):
    """The bytes of everything that was kept of the run."""
    contents = []
    for artifact in Artifact.objects.filter(run=run):
        with artifact.open() as file:
            contents.append(file.read())
    lines = "\n".join(run.log_lines.values_list("message", flat=True))
    return b"\n".join(contents) + lines.encode() + str(list(run.series.values())).encode()


@pytest.mark.parametrize(
    "leave",
    [
        "(folder / 'README.md').symlink_to(secret)",
        "(folder / 'step_1.pt').symlink_to(secret)",
        "(folder / 'checkpoint-5').symlink_to(secret.parent)",
        "folder.rmdir(); folder.symlink_to(secret.parent)",
        "folder.rmdir(); folder.symlink_to('/proc')",
        "metrics.symlink_to(secret)",
        "(output / 'evaluation.json').symlink_to(secret)",
        "(output / 'a.tfevents.1').symlink_to(secret)",
        "os.mkfifo(metrics); os.mkfifo(output / 'evaluation.json')",
        "os.mkfifo(folder / 'step_1.pt'); os.mkfifo(output / 'a.tfevents.1')",
    ],
)
def test_no_link_leads_the_worker_out_of_its_folder(executor, elsewhere, leave):
    run = ended(executor, f"secret = pathlib.Path(sys.argv[1])\n{leave}", elsewhere)

    assert SECRET.encode() not in stored(run)
    assert SECRET in elsewhere.read_text()


def test_hard_link_to_anothers_file_is_not_taken(executor, secret):
    """As it could be made where fs.protected_hardlinks is 0."""
    run = started(executor, "(folder / 'mine').write_text('x')\nprint(1)\nsys.stdin.read()")
    poll_until(executor, run, WorkState.FINISHED)
    run = started(
        executor, "print('ready', flush=True)\nwhile not (folder / 'README.md').exists(): pass"
    )
    wait_until(lambda: poll(executor, run) and run.log_lines.exists())
    os.link(secret, Attempt.of(run).folder / "checkpoints" / "README.md")
    poll_until(executor, run, WorkState.FINISHED)

    assert SECRET.encode() not in stored(fresh(run))
    assert run.log_lines.filter(message__contains="README.md").exists()


# --- the users of a range --------------------------------------------------------------------


def test_runs_at_a_time_have_different_users_and_cannot_list_each_other(executor):
    runs = [started(executor, "time.sleep(1000)") for _ in range(3)]

    owners = {Attempt.of(run).owner for run in runs}
    folders = [Attempt.of(run).folder.stat() for run in runs]
    assert len(owners) == 3
    assert {status.st_uid for status in folders} == owners
    assert {stat.S_IMODE(status.st_mode) for status in folders} == {0o700}


def test_user_is_free_again_when_its_run_is_gone(executor, settings):
    settings.TRAINING_USER = f"{FIRST}-{FIRST}"
    first = started(executor, "time.sleep(1000)")
    with pytest.raises(NoUserFree):
        started(executor, "time.sleep(1000)")

    executor_attempts.forget(first.pk)

    second = started(executor, "time.sleep(1000)")
    assert Attempt.of(second).owner == FIRST


def test_user_whose_process_lives_on_is_not_free(executor, settings):
    settings.TRAINING_USER = f"{FIRST}-{FIRST}"
    with subprocess.Popen(["sleep", "1000"], user=FIRST, group=FIRST, extra_groups=[]) as process:
        try:
            with pytest.raises(NoUserFree):
                started(executor, "pass")
        finally:
            process.kill()


def test_unknown_user_cannot_start(executor, settings):
    settings.TRAINING_USER = "no-such-user"

    with pytest.raises(CannotStart, match="there is no user no-such-user"):
        started(executor, "pass")


# --- what is written -------------------------------------------------------------------------


@pytest.mark.parametrize(("is_separate", "mode"), [(True, 0o711), (False, 0o700)])
def test_launch_files_are_their_owners_whatever_the_umask(executor, settings, is_separate, mode):
    settings.TRAINING_USER = settings.TRAINING_USER if is_separate else ""
    before = os.umask(0)
    try:
        run = started(executor, "time.sleep(1000)")
        wait_until(Attempt.of(run).process)
    finally:
        os.umask(before)

    directory = Attempt.of(run).directory
    files = [path for path in directory.iterdir() if path.is_file() and path.name != "config.json"]
    assert {"launch.json", "launcher.json", "process.json", "stdout.log"} <= {
        path.name for path in files
    }
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE(directory.stat().st_mode) == mode


def test_training_keeps_the_workers_umask(executor):
    before = os.umask(0o027)
    try:
        run = ended(executor, "print(json.dumps(os.umask(0)))")
    finally:
        os.umask(before)

    assert printed(run) == 0o027


# --- a worker that is not root ---------------------------------------------------------------


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")
def test_worker_with_capabilities_alone_can_start_it(data):
    """The container of docker-compose.yml; the training inherits none of its capabilities."""
    (data / "work").mkdir()
    command = ["sh", "-c", "id -u; grep CapEff /proc/self/status; grep CapAmb /proc/self/status"]
    user = {"uid": FIRST, "gid": FIRST, "groups": []}
    launch = {"command": command, "environment": dict(os.environ), "folder": "work", "user": user}
    (data / "launch.json").write_text(json.dumps(launch))
    for path in (data, data / "work", data / "launch.json"):
        os.chown(path, FIRST - 1, FIRST - 1)
    launcher = executor_attempts.launcher.PROGRAM

    subprocess.run(
        [*with_capabilities(), sys.executable, "-I", str(launcher), str(data)], check=True
    )

    output = (data / "stdout.log").read_text().split()
    assert output == [str(FIRST), "CapEff:", "0" * 16, "CapAmb:", "0" * 16]


def with_capabilities():
    names = (name.removeprefix("CAP_").lower() for name in training_user.CAPABILITIES)
    capabilities = ",".join(f"+{name}" for name in names)
    ids = [f"--reuid={FIRST - 1}", f"--regid={FIRST - 1}", "--clear-groups"]
    return [
        "setpriv",
        *ids,
        f"--inh-caps=-all,{capabilities}",
        f"--ambient-caps=-all,{capabilities}",
    ]


def test_code_of_its_run_is_its_own(executor):
    script = (
        "import os, pathlib\n"
        "is_own = os.stat('train.py').st_uid == os.getuid()\n"
        "print(is_own, os.path.samefile('.', os.environ['TRAINHUB_CODE_DIR']))\n"
        "pathlib.Path('made').write_text('x')\n"
    )
    recipe = RecipeFactory(
        command=[PYTHON, "{code}/train.py"], code="required", code_from="members"
    )
    run = running(recipe=recipe, total_steps=None)
    RunCode.objects.create(run=run, bundle=bundle({"train.py": script, "lib/a.py": ""}))

    executor.start(run, run.worker)
    poll_until(executor, run, WorkState.FINISHED)

    assert [line.message for line in run.log_lines.all()] == ["True True"]
