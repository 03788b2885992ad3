"""Whether a program is on a worker's host: asked by a page, answered by the worker."""

import sys

import pytest

from execution.program_checks import answer_checks, find
from runs.models import ProgramCheck
from tests.factories import WorkerFactory

pytestmark = pytest.mark.django_db


def program(folder, name="train", mode=0o755):
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


def answers(text, search_path=""):
    return list(ProgramCheck.objects.of(text, search_path).values_list("worker__name", "path"))


def test_worker_answers_in_its_pass(loop, tmp_path):
    path = str(program(tmp_path))
    ProgramCheck.objects.ask(path, "")
    assert ProgramCheck.objects.get().answered_at is None

    loop.tick()

    assert ProgramCheck.objects.get().answered_at is not None
    assert answers(path) == [("one", path)]


def test_program_that_is_not_there_is_answered_so(loop):
    ProgramCheck.objects.ask("no-such-program", "")

    loop.tick()

    check = ProgramCheck.objects.get()
    assert check.answered_at is not None
    assert check.path == ""


def test_only_live_workers_that_start_processes_are_asked():
    WorkerFactory(name="simulates", executors=["simulated"])
    WorkerFactory(name="stopped", stopped_at="2026-01-01T00:00Z")
    WorkerFactory(name="asked")

    ProgramCheck.objects.ask("train", "")

    assert [check.worker.name for check in ProgramCheck.objects.all()] == ["asked"]


def test_answer_is_of_the_worker_that_gives_it(tmp_path):
    first, _second = WorkerFactory(name="first"), WorkerFactory(name="second")
    path = str(program(tmp_path))
    ProgramCheck.objects.ask(path, "")

    answer_checks(first)

    assert sorted(answers(path)) == [("first", path), ("second", "")]
    assert ProgramCheck.objects.filter(answered_at=None).get().worker.name == "second"


def test_worker_that_is_asked_again_answers_again(loop, tmp_path):
    path = tmp_path / "train"
    ProgramCheck.objects.ask(str(path), "")
    loop.tick()
    program(tmp_path)

    ProgramCheck.objects.ask(str(path), "")
    assert ProgramCheck.objects.get().answered_at is None
    loop.tick()

    assert answers(str(path)) == [("one", str(path))]


def test_question_is_kept_for_a_day(loop):
    ProgramCheck.objects.ask("old", "")
    ProgramCheck.objects.update(requested_at="2026-01-01T00:00Z")

    ProgramCheck.objects.ask("new", "")

    assert ProgramCheck.objects.get().program == "new"


def test_program_is_looked_for_in_the_path_of_the_recipe(tmp_path):
    path = program(tmp_path)

    assert find("train", str(tmp_path)) == str(path)
    assert find("train", "/nowhere") == ""


def test_placeholders_are_those_of_the_worker():
    assert find("{python}", "") == sys.executable


def test_file_that_cannot_be_executed_is_not_found(tmp_path):
    assert find(str(program(tmp_path, mode=0o644)), "") == ""


def test_relative_path_is_nowhere(tmp_path, monkeypatch):
    program(tmp_path)
    monkeypatch.chdir(tmp_path)

    assert find("./train", "") == ""
