"""From a folder on this machine to a checkpoint in it, through a real server and worker."""

import json
from pathlib import Path

import pytest

from runs.models import Run, RunCode
from tests.code_bundles.bundles import commit, git

pytestmark = [
    pytest.mark.processes,
    pytest.mark.django_db(transaction=True, serialized_rollback=True),
    pytest.mark.xdist_group("client"),
]
STEPPER = Path(__file__).parents[1] / "execution" / "executors" / "stepper.py"


@pytest.fixture
def folder(tmp_path):
    """A repository whose working tree is ahead of its commit."""
    folder = tmp_path / "model"
    commit(folder, {"train.py": STEPPER.read_text(), "lib/net.py": "LAYERS = 2\n"})
    git(folder, "remote", "add", "origin", "https://me:secret@example.com/model.git")
    (folder / "lib/net.py").write_text("LAYERS = 4\n")
    (folder / "notes.txt").write_text("new")
    return folder


@pytest.mark.usefixtures("worker", "code_recipe")
def test_code_goes_out_and_a_checkpoint_comes_back(trainhub, folder, project):
    submitted = trainhub("submit", "-r", "code", "-p", "max_steps=30", "--code", ".", cwd=folder)
    assert submitted.code == 0, submitted.err
    run = submitted.out.strip()

    watched = trainhub("watch", run)
    assert (watched.code, watched.out.splitlines()[-1].split()[1]) == (0, "completed"), watched

    got = trainhub("get", f"{run}@30", "--json", "-o", str(folder / "out"))
    assert json.loads(Path(got.json["files"][0]).read_text()) == {"step": 30}

    log = trainhub("logs", "-f", run)
    assert log.out.splitlines()[0].endswith("attempt 1 from step 0")
    assert "step 30" in log.out

    resumed = trainhub("resume", f"{run}@20", "-p", "max_steps=40", "--watch", "--json")
    last = json.loads(resumed.out.splitlines()[-1])
    assert (resumed.code, last["status"], last["step"]) == (0, "已完成", 40)
    assert last["start_step"] == 20
    assert last["code"]["sha256"] == Run.objects.get(pk=run).code.bundle_id

    changed = folder / "train.py"
    changed.write_text(changed.read_text() + "# more\n")
    other = trainhub("submit", "-r", "code", "--code", ".", "--json", cwd=folder).json["id"]
    difference = trainhub("diff", run, other)
    assert "+# more" in difference.out.splitlines()
    assert "b/train.py" in difference.out

    against_commit = trainhub("diff", run)
    assert "+LAYERS = 4" in against_commit.out
    assert "# A notes.txt (untracked)" in against_commit.out
    code = RunCode.of(Run.objects.get(pk=run))
    assert code.origin["remote"] == "https://example.com/model.git"
    assert code.origin["dirty"] is True


@pytest.mark.usefixtures("worker", "code_recipe")
def test_run_is_cancelled_with_its_checkpoint(trainhub, folder):
    slow = ["-p", "max_steps=100000", "-p", "pause_seconds=0.05"]
    run = trainhub("submit", "-r", "code", *slow, "--code", ".", cwd=folder).out.strip()
    with trainhub.start("logs", "-f", run) as following:
        while "step 3" not in following.stdout.readline():
            pass
        cancelled = trainhub("cancel", run, "--json")
        following.communicate(timeout=60)  # ends with the run

    assert cancelled.json["status"] == "已取消"
    assert [item["type"] for item in cancelled.json["artifacts"]] == ["checkpoint"]
    assert following.returncode == 0
    assert trainhub("watch", run).code == 6


@pytest.mark.usefixtures("worker", "code_recipe")
def test_failed_run_is_an_exit_code(trainhub, tmp_path):
    (tmp_path / "train.py").write_text("raise SystemExit(3)")
    (tmp_path / ".gitignore").write_text("home\n")

    done = trainhub("submit", "-r", "code", "--code", ".", "--watch", cwd=tmp_path)

    assert done.code == 1
    assert "failed" in done.err
