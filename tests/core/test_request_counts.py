"""Counts of several processes are added up."""

import pytest

from core import request_counts


@pytest.fixture
def directory(tmp_path, monkeypatch):
    monkeypatch.setattr(request_counts, "_directory", tmp_path)
    monkeypatch.setattr(request_counts, "_counts", [0, 0, 0, 0, 0])
    return tmp_path


def test_processes_are_added_up(directory):
    (directory / "17").write_text("0 5 1 2 0")
    (directory / "18").write_text("0 10 0 0 3")

    assert request_counts.totals() == {"1xx": 0, "2xx": 15, "3xx": 1, "4xx": 2, "5xx": 3}


def test_what_a_process_has_counted_is_in_its_file(directory):
    for status in (200, 204, 404, 503):
        request_counts.count(status)

    request_counts.write(directory / "1")

    assert request_counts.totals() == {"1xx": 0, "2xx": 2, "3xx": 0, "4xx": 1, "5xx": 1}


def test_counts_that_cannot_be_written_stand_still(directory):
    request_counts.write(directory / "1")
    request_counts.count(200)

    request_counts.write(directory / "away" / "1")

    assert request_counts.totals()["2xx"] == 0
