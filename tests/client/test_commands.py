"""Each command against a real server, and what scripts see when something is wrong."""

import io
import json
import os
import signal
import stat
from datetime import timedelta

import pytest

from accounts.models import Token
from artifacts import uploads
from artifacts.models import Artifact
from logs import appending
from logs.lines import Line
from runs.models import Recipe, Run
from runs.status import RunStatus
from tests.client.program import Program
from tests.factories import (
    RunFactory,
    UserFactory,
    checkpoint,
    stored_path,
    unmanaged_run,
)
from tests.waiting import wait_until
from tests.web_server import web_server

pytestmark = [
    pytest.mark.processes,
    pytest.mark.django_db(transaction=True, serialized_rollback=True),
    pytest.mark.xdist_group("client"),
]


def error(done):
    return json.loads(done.err.splitlines()[-1])["error"]


# --- signing in ------------------------------------------------------------------------------


def test_login_stores_what_only_its_owner_reads(trainhub, server):
    program = Program(trainhub.home)

    done = program("login", server.url)

    stored = trainhub.home / "config/trainhub/config.json"
    assert done.code == 0, done.err
    assert stat.S_IMODE(stored.stat().st_mode) == 0o600
    assert json.loads(stored.read_text())["url"] == server.url
    assert program("projects").code == 0
    assert program("logout").code == 0
    assert not stored.exists()
    assert program("projects").code == 2


def test_default_project_is_remembered(trainhub, server, project):
    program = Program(trainhub.home)
    program("login", server.url)

    used = program("use", "model", "--json")
    listed = program("ps", "--json")

    assert used.json == {"id": project.pk, "name": "model"}
    assert (listed.code, listed.json) == (0, [])


def test_wrong_token_is_refused_and_not_stored(trainhub, tmp_path):
    with web_server(tmp_path, TRAINHUB_OPEN_MODE="false") as signed:
        user = UserFactory()
        _token, right = Token.issue(user, life=timedelta(hours=1))
        program = Program(trainhub.home)

        wrong = program("login", signed.url, given="th_wrong\n")
        is_stored = (trainhub.home / "config").exists()
        good = program("login", signed.url, given=f"{right}\n")
        later = Program(trainhub.home, TRAINHUB_TOKEN="th_wrong")("projects", "--json")

    assert (wrong.code, is_stored) == (4, False)
    assert good.code == 0
    assert (later.code, error(later)["exit_code"]) == (4, 4)


def test_stored_token_is_not_sent_to_another_server(trainhub, server):
    stored = trainhub.home / "config/trainhub/config.json"
    stored.parent.mkdir(parents=True)
    stored.write_text(json.dumps({"url": "https://elsewhere", "token": "th_1", "project": "p"}))
    code = "from trainhub_client import config; print(config.load())"

    shown = trainhub.python(code)

    assert "th_1" not in shown
    assert server.url in shown


# --- what is wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["submit", "--project", "nowhere"], 3),
        (["submit", "-r", "nothing"], 4),
        (["submit", "-p", "lr"], 2),
        (["submit", "--revision", "main"], 2),
        (["submit", "--code", "/nowhere"], 4),
        (["logs", "run_nothing"], 3),
        (["watch", "nothing"], 3),
        (["get", "nothing"], 3),
        (["resume", "nothing@5"], 3),
        (["tag", "x", "a=b", "candidate"], 2),
        (["no-such-command"], 2),
        (["submit", "--gpus", "many"], 2),
    ],
    ids=str,
)
def test_nonsense_has_an_exit_code(trainhub, arguments, code):
    done = trainhub(*arguments)

    assert done.code == code, done
    assert done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["ps", "--project", "nope"], "There is no project nope."),
        (["ps", "--project", "proj_nope"], "There is no project proj_nope."),
        (["use", "proj_nope"], "There is no project proj_nope."),
        (["submit", "--project", "proj_nope"], "There is no project proj_nope."),
        (["logs", "run-001", "--project", "proj_nope"], "There is no project proj_nope."),
        (["why", "run-999"], "There is no run run-999."),
        (["get", "run-999@5"], "There is no run run-999."),
    ],
    ids=str,
)
def test_what_is_not_found_is_named(trainhub, arguments, named):
    done = trainhub(*arguments)

    assert done.code == 3, done
    assert named in done.err


def test_one_file_is_told_in_the_singular(trainhub, tmp_path):
    (tmp_path / "train.py").write_text("1")

    done = trainhub("submit", "--code", str(tmp_path), "--dry-run")

    assert done.err.startswith("1 file, "), done


def test_server_that_is_away_is_an_exit_code(tmp_path):
    program = Program(tmp_path, TRAINHUB_URL="http://127.0.0.1:9", TRAINHUB_PROJECT="proj_1")

    done = program("ps", "--json")

    assert (done.code, error(done)["code"]) == (5, "unreachable")


def test_another_server_than_trainhub_is_told(trainhub, server):
    program = Program(trainhub.home, TRAINHUB_URL=f"{server.url}/static")

    assert program("projects").code in {3, 4}


def test_unreadable_file_is_told(trainhub, tmp_path, project, code_recipe):
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "train.py").touch(mode=0o000)

    done = trainhub("submit", "-r", "code", "--code", str(folder))

    assert (done.code, "train.py cannot be read" in done.err) == (4, True)


def test_pipe_that_closes_ends_it_quietly(trainhub, project):
    run = RunFactory(project=project)
    appending.append_log(run, [Line.new(f"line {n}" * 50, "INFO", "x") for n in range(5000)])

    with trainhub.start("logs", run.pk) as process:
        process.stdout.readline()
        process.stdout.close()
        process.wait(timeout=60)
        said = process.stderr.read()

    assert (process.returncode, said) == (141, "")


@pytest.mark.parametrize("command", [["watch"], ["logs", "-f"]], ids=" ".join)
def test_interrupt_ends_it_and_not_the_run(trainhub, project, command):
    run = unmanaged_run(project=project)
    appending.append_log(run, [Line.new("hello", "INFO", "x")])

    with trainhub.start(*command, run.pk) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _out, said = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "Traceback" not in said
    assert Run.objects.get(pk=run.pk).status == RunStatus.RUNNING


# --- commands --------------------------------------------------------------------------------


def test_submission_that_is_sent_twice_makes_one_run(trainhub, project):
    """As when the first answer is lost."""
    code = (
        "import httpx\n"
        "from trainhub_client import config\n"
        "from trainhub_client.api import Api\n"
        "api = Api(config.load())\n"
        "send, sent = api._http.request, []\n"
        "def losing(*args, **options):\n"
        "    answer = send(*args, **options)\n"
        "    sent.append(answer)\n"
        "    if len(sent) == 1:\n"
        "        raise httpx.ReadTimeout('lost')\n"
        "    return answer\n"
        "api._http.request = losing\n"
        f"print(api.create('/projects/{project.pk}/runs', {{}})['id'], len(sent))\n"
    )

    run, sent = trainhub.python(code).split()

    assert sent == "2"
    assert [run] == list(Run.objects.values_list("pk", flat=True))


def test_submitted_run_has_what_was_given(trainhub, project):
    done = trainhub(
        *("submit", "-p", "lr=3e-4", "-p", "name=a=b", "-p", "flag=true", "--gpus", "2"),
        *("--gpu-type", "A100", "--name", "first", "--priority", "5", "--json"),
    )

    run = Run.objects.get(pk=done.json["id"])
    given = {key: run.hyperparameters[key] for key in ("lr", "name", "flag")}
    assert given == {"lr": 3e-4, "name": "a=b", "flag": True}
    assert (run.gpu_count, run.gpu_type, run.name, run.priority) == (2, "A100", "first", 5)


def test_code_that_the_recipe_does_not_take_is_refused(trainhub, tmp_path, project):
    (tmp_path / "code").mkdir()
    (tmp_path / "code/train.py").touch()

    done = trainhub("submit", "--code", str(tmp_path / "code"), "--json")

    assert (done.code, error(done)["code"]) == (4, "code_not_allowed")


def test_secrets_are_warned_of(trainhub, tmp_path, code_recipe, project):
    for name in ("train.py", ".env"):
        (tmp_path / "code").mkdir(exist_ok=True)
        (tmp_path / "code" / name).touch()

    done = trainhub("submit", "-r", "code", "--code", str(tmp_path / "code"))

    assert done.code == 0
    assert ".env may hold secrets" in done.err


def test_runs_are_named_by_id_prefix_and_name(trainhub, project):
    runs = [RunFactory(project=project, name=name) for name in ("alpha", "beta", "beta")]

    found = [trainhub("why", name, "--json") for name in (runs[0].pk[:9], "alpha", "beta")]

    assert [done.code for done in found] == [0, 0, 2]
    assert {done.json["run"] for done in found[:2]} == {runs[0].pk}


def test_runs_are_listed(trainhub, project):
    RunFactory(project=project, name="waits")
    RunFactory(project=project, name="over", status=RunStatus.COMPLETED)

    active, every = trainhub("ps"), trainhub("ps", "-a")

    assert "waits" in active.out
    assert "over" not in active.out
    assert "completed" in every.out


def test_recipes_are_listed(trainhub, project):
    Recipe.objects.filter(name="simulated").update(description="Pretends")

    assert "Pretends" in trainhub("recipes").out
    assert "simulated" in {item["name"] for item in trainhub("recipes", "--json").json}


def test_log_is_printed_in_local_time_and_filtered(trainhub, project):
    run = RunFactory(project=project)
    lines = [Line.new(f"line {number}", "INFO", "x") for number in range(1200)]
    appending.append_log(run, [*lines, Line.new("broken", "ERROR", "x")])

    every = trainhub("logs", run.pk).out.splitlines()
    last = trainhub("logs", run.pk, "-n", "2", "--json").out.splitlines()
    errors = trainhub("logs", run.pk, "--level", "ERROR").out

    assert len(every) == 1201
    assert [json.loads(line)["message"] for line in last] == ["line 1199", "broken"]
    assert errors.endswith("ERROR   broken\n")


def test_artifact_is_downloaded_and_goes_on_where_it_was_cut_off(trainhub, project, tmp_path):
    artifact = checkpoint(RunFactory(project=project), content=b"weights" * 100_000)
    part = tmp_path / f".{artifact.file_name}.{artifact.sha256[:12]}.part"
    part.write_bytes((b"weights" * 100_000)[:300_000])

    done = trainhub("get", artifact.pk, "-o", str(tmp_path))

    assert done.code == 0, done.err
    assert (tmp_path / artifact.file_name).read_bytes() == b"weights" * 100_000
    assert not part.exists()


def test_damaged_download_is_refused(trainhub, project, tmp_path):
    artifact = checkpoint(RunFactory(project=project), content=b"weights")
    stored_path(artifact).write_bytes(b"WEIGHTS")

    done = trainhub("get", artifact.pk, "-o", str(tmp_path), "--json")

    assert (done.code, error(done)["code"]) == (4, "damaged")
    assert not (tmp_path / artifact.file_name).exists()


def test_checkpoint_that_is_a_folder_is_downloaded_with_its_files(trainhub, project, tmp_path):
    run = unmanaged_run(project=project)
    for name in ("model.safetensors", "config.json", "tokenizer/vocab.txt"):
        uploads.store(run, f"out/checkpoint-5/{name}", io.BytesIO(name.encode()))
    artifact = Artifact.objects.checkpoints().get(run=run)

    done = trainhub("get", artifact.pk, "-o", str(tmp_path / "here"))

    assert done.code == 0, done.err
    assert (tmp_path / "here/checkpoint-5/tokenizer/vocab.txt").read_text() == "tokenizer/vocab.txt"
    assert len(done.out.splitlines()) == 3


def test_file_of_a_run_is_downloaded_by_its_path(trainhub, project, tmp_path):
    run = unmanaged_run(project=project)
    uploads.store(run, "plots/loss.txt", io.BytesIO(b"down"))

    done = trainhub("get", f"{run.pk}:plots/loss.txt", "-o", str(tmp_path))

    assert (tmp_path / "loss.txt").read_text() == "down", done


def test_run_and_checkpoint_are_tagged(trainhub, project):
    run = RunFactory(project=project)
    artifact = checkpoint(run)

    of_run = trainhub("tag", run.pk, "stage=sft")
    of_checkpoint = trainhub("tag", f"{run.pk}@100", "candidate", "--notes", "good")

    assert (of_run.code, of_checkpoint.code) == (0, 0), of_checkpoint.err
    assert Run.objects.get(pk=run.pk).tags == {"stage": "sft"}
    assert artifact.tags.get().value == "候选"


def test_why_a_run_waits_is_said_in_words(trainhub, project):
    run = RunFactory(project=project)

    done = trainhub("why", run.pk)

    assert (done.code, done.out.splitlines()[0]) == (0, f"{run.pk} is queued.")


def test_log_is_followed_while_the_server_restarts(trainhub, project, tmp_path):
    run = unmanaged_run(project=project)
    with web_server(tmp_path) as own:
        program = Program(trainhub.home, TRAINHUB_URL=own.url, TRAINHUB_PROJECT=project.pk)
        with program.start("logs", "-f", run.pk) as process:
            appending.append_log(run, [Line.new("before", "INFO", "x")])
            first = process.stdout.readline()
            own.kill()
            wait_until(lambda: "Trying again" in process.stderr.readline())
            own.start()
            appending.append_log(run, [Line.new("after", "INFO", "x")])
            second = process.stdout.readline()
            run.refresh_from_db()
            run.transition(RunStatus.COMPLETED)
            process.communicate(timeout=60)

    assert [line.split()[-1] for line in (first, second)] == ["before", "after"]
    assert process.returncode == 0
