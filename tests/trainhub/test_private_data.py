"""The data directory is its owner's: created so, and closed if an earlier version left it open."""

import os
import stat

import pytest

from trainhub.checks import data_directory_is_usable, environment_file_is_private
from trainhub.private_data import close_data_directory


@pytest.fixture
def data(settings, tmp_path):
    data = tmp_path / "data"
    settings.DATA_DIR, settings.WORK_DIR = data, data / "runs"
    return data


def mode_of(path):
    return oct(stat.S_IMODE(path.stat().st_mode))


@pytest.fixture
def opened(data):
    """As earlier versions created it with a umask of 022."""
    (data / "runs/run_1/attempt-1").mkdir(parents=True)
    (data / "artifacts").mkdir()
    (data / "secret_key").write_text("x" * 64)
    for path in (data, *data.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return data


def test_new_directory_is_its_owners_whatever_the_umask(data):
    before = os.umask(0)
    try:
        assert data_directory_is_usable(None) == []
    finally:
        os.umask(before)

    assert mode_of(data) == oct(0o700)
    assert mode_of(data / "secret_key") == oct(0o600)


def test_open_directory_is_closed_with_one_line(opened, caplog):
    assert data_directory_is_usable(None) == []

    modes = {path.name: mode_of(path) for path in (opened, *opened.rglob("*"))}
    closed = oct(0o750)
    assert modes == {
        "data": oct(0o751),  # PostgreSQL's account may have to pass
        "runs": oct(0o751),
        "run_1": closed,
        "attempt-1": closed,
        "artifacts": closed,
        "secret_key": oct(0o640),  # the group keeps its rights
    }
    [line] = caplog.messages
    assert "6 in all" in line


def test_closed_directory_is_left_as_it_is_and_nothing_is_said(opened, caplog):
    close_data_directory()
    caplog.clear()

    close_data_directory()

    assert caplog.messages == []


def test_way_to_a_trainings_own_folder_stays_open_to_pass(data):
    attempt = data / "runs/run_1/attempt-1"
    attempt.mkdir(parents=True)
    for path in (attempt.parent, attempt):
        path.chmod(0o711)

    close_data_directory()

    assert (mode_of(attempt.parent), mode_of(attempt)) == (oct(0o711), oct(0o711))


def test_directory_of_another_owner_is_reported(opened, monkeypatch):
    def refuse(path, *, but):
        raise PermissionError(1, "Operation not permitted", str(path))

    monkeypatch.setattr("trainhub.private_data.close_to_others", refuse)

    [warning] = data_directory_is_usable(None)
    assert warning.id == "trainhub.W002"
    assert str(opened) in warning.msg


def test_environment_file_that_others_can_read_is_reported_in_production(settings, tmp_path):
    settings.BASE_DIR, settings.PRODUCTION = tmp_path, True
    (tmp_path / ".env").touch(0o644)
    assert [warning.id for warning in environment_file_is_private(None)] == ["trainhub.W003"]

    (tmp_path / ".env").chmod(0o600)

    assert environment_file_is_private(None) == []
