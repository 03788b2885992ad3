"""An installation has one key, even if several processes start at the same time."""

import subprocess
import sys
from pathlib import Path

import pytest

from trainhub.secret_key import kept_secret_key

REPOSITORY = Path(__file__).resolve().parent.parent.parent
PRINT_KEY = """
import sys
from pathlib import Path
from trainhub.secret_key import kept_secret_key
print("ready", flush=True)
sys.stdin.readline()
print(kept_secret_key(Path(sys.argv[1])))
"""


def test_key_is_long_and_kept(tmp_path: Path):
    path = tmp_path / "var" / "secret_key"

    first = kept_secret_key(path)

    assert len(first) >= 64
    assert kept_secret_key(path) == first
    assert path.read_text() == first


def test_only_the_owner_can_read_the_key(tmp_path: Path):
    kept_secret_key(tmp_path / "secret_key")

    assert (tmp_path / "secret_key").stat().st_mode & 0o777 == 0o600


def test_no_other_files_are_left(tmp_path: Path):
    kept_secret_key(tmp_path / "secret_key")

    assert [path.name for path in tmp_path.iterdir()] == ["secret_key"]


def test_installations_have_different_keys(tmp_path: Path):
    assert kept_secret_key(tmp_path / "a") != kept_secret_key(tmp_path / "b")


def test_processes_that_start_at_once_share_one_key(tmp_path: Path):
    path = tmp_path / "secret_key"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PRINT_KEY, str(path)],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"

    for process in processes:  # release them all at once
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    keys = {process.communicate(timeout=30)[0] for process in processes}

    assert keys == {path.read_text() + "\n"}


def test_process_that_loses_the_race_uses_the_winners_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "secret_key"
    link = Path.hardlink_to

    def lose_race(self: Path, target: Path) -> None:
        self.write_text("the winner's")
        link(self, target)

    monkeypatch.setattr(Path, "hardlink_to", lose_race)

    assert kept_secret_key(path) == "the winner's"


def test_unusable_directory_is_an_os_error(tmp_path: Path):
    (tmp_path / "file").write_text("")

    with pytest.raises(OSError, match="Not a directory"):
        kept_secret_key(tmp_path / "file" / "secret_key")
