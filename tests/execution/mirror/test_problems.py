"""What the server does not take of a node is not sent for ever, and the rest arrives."""

import os

import pytest

from execution.launcher import tree, unsent
from execution.launcher.hub import OutOfStep
from execution.mirror.materializing import materialize, restore
from execution.mirror.problems import tell_problems
from execution.mirror.receiving import GB
from execution.models import MirroredAttempt, MirroredFile, MirroredNode
from runs.models import EventKind, Run
from tests.execution.mirror.nodes import ImitatedNode, mirrored_attempt
from tests.execution.worker_loops import kinds
from tests.factories import running

pytestmark = pytest.mark.django_db

BAD, GOOD = "checkpoints/step-1.bin", "checkpoints/step-2.bin"


@pytest.fixture
def run():
    return running()


@pytest.fixture
def mirrored(run):
    row, attempt = mirrored_attempt(run)
    restore(row, attempt)
    return row


@pytest.fixture
def node(tmp_path, mirrored):
    """One with two checkpoints."""
    node = ImitatedNode(tmp_path / "node", mirrored)
    node.append("stdout.log", "one\n")
    node.save("step-1.bin", b"bad")
    node.save("step-2.bin", b"good")
    return node


def arrived():
    return {file.path for file in MirroredFile.objects.all() if file.is_whole and file.received}


def problem():
    return MirroredNode.objects.get().problem


def tell(run, mirrored):
    run = Run.objects.get(pk=run.pk)
    tell_problems(run, run.worker, mirrored)
    return Run.objects.get(pk=run.pk)


# --- files -----------------------------------------------------------------------------------


def test_file_that_the_server_rejects_is_sent_once_and_the_others_arrive(node):
    node.hub.rejected = {BAD}

    for _pass in range(3):
        node.send()

    assert node.hub.put_paths.count(BAD) == 1
    assert arrived() == {"stdout.log", GOOD}
    assert problem() == f"{BAD}: 400 not this one"


def test_rejected_file_that_has_changed_is_tried_again(node):
    node.hub.rejected = {BAD}
    node.send()
    node.hub.rejected = set()
    node.save("step-1.bin", b"better")

    node.send()
    node.send()

    assert arrived() == {"stdout.log", BAD, GOOD}
    assert problem() == ""


def test_end_arrives_with_the_problem_before_it(node):
    node.hub.rejected = {BAD}
    node.end()

    assert node.mirror.run_once(ended=True)

    assert "exit.json" in arrived()
    assert BAD in problem()
    assert not node.mirror.unsent.is_empty


def test_end_waits_for_what_has_not_arrived(node):
    node.end()
    put = node.hub.put

    def out_of_step(rank, content, **about):
        if about["path"] == GOOD:
            raise OutOfStep
        return put(rank, content, **about)

    node.hub.put = out_of_step
    assert not node.mirror.run_once(ended=True)
    assert "exit.json" not in arrived()

    node.hub.put = put
    assert node.mirror.run_once(ended=True)
    assert {GOOD, "exit.json"} <= arrived()


def test_time_before_1970_is_sent_as_1970(node):
    node.save("step-3.bin", b"old", age_seconds=4e9)

    node.send()

    assert MirroredFile.objects.get(path="checkpoints/step-3.bin").modified_ns == 0


# --- listings --------------------------------------------------------------------------------


def test_listing_that_the_server_rejects_keeps_the_launchers_own_files_coming(node):
    node.hub.unlisted = {BAD}
    node.send()
    node.append("stdout.log", "two\n")

    node.send()

    assert arrived() == {"stdout.log"}
    assert MirroredFile.objects.get().received == len("one\ntwo\n")
    assert BAD in problem()


def test_checkpoints_that_the_server_has_stay_listed(node):
    node.send()
    node.hub.unlisted = {"checkpoints/step-3.bin"}
    node.save("step-3.bin", b"new")

    node.send()

    assert arrived() == {"stdout.log", BAD, GOOD}


def test_folder_that_the_server_knows_in_part_is_not_listed(node):
    node.save("step-3/a.bin", b"a")
    node.send()
    node.hub.unlisted = {"checkpoints/step-3/b.bin"}
    node.save("step-3/b.bin", b"b")

    node.send()

    assert arrived() == {"stdout.log", BAD, GOOD}


def test_rejected_listing_is_tried_again_once_it_has_changed(node):
    node.hub.unlisted = {BAD}
    node.send()
    (node.folder / BAD).unlink()

    node.send()
    node.send()

    assert arrived() == {"stdout.log", GOOD}
    assert problem() == ""


def test_folder_of_two_nodes_waits_while_one_has_a_problem(tmp_path):
    mirrored, attempt = mirrored_attempt(running(), nodes=2)
    restore(mirrored, attempt)
    nodes = [ImitatedNode(tmp_path / str(rank), mirrored, rank) for rank in range(2)]
    nodes[0].save("step-1/__0_0.distcp", b"zero")
    nodes[1].save("step-1/__1_0.distcp", b"one")
    nodes[1].hub.unlisted = {"checkpoints/step-1/__1_0.distcp"}

    for _pass in range(3):
        for node in nodes:
            node.send()
    materialize(MirroredAttempt.objects.get(), attempt)

    assert list((attempt.directory / "checkpoints").iterdir()) == []


# --- too many files --------------------------------------------------------------------------


def test_checkpoint_that_is_left_out_is_a_problem_until_there_is_room(node, monkeypatch):
    monkeypatch.setattr(tree, "MAX_ENTRIES", 2)
    node.save("step-0/a.bin", b"old", age_seconds=5000)
    os.utime(node.folder / "checkpoints" / "step-0", (1, 1))
    node.send()
    node.send()

    assert "these are left out: step-0" in problem()
    assert not node.mirror.unsent.is_empty
    assert arrived() == {"stdout.log", BAD, GOOD}

    (node.folder / BAD).unlink()
    node.send()
    assert problem() == ""
    assert "checkpoints/step-0/a.bin" in arrived()


# --- a server that is full -------------------------------------------------------------------


def test_server_that_stays_full_is_a_problem(node, settings, monkeypatch):
    settings.MIRROR_WAITING_GB = 6 / GB
    node.send()
    node.send()
    assert problem() == ""

    monkeypatch.setattr(unsent, "FULL_SECONDS", 0.0)
    node.send()
    assert "TRAINHUB_MIRROR_WAITING_GB" in problem()

    settings.MIRROR_WAITING_GB = 1
    node.send()
    node.send()
    assert problem() == ""


def test_end_waits_for_checkpoints_while_the_server_is_full(node, settings):
    settings.MIRROR_WAITING_GB = 6 / GB
    node.end()

    assert node.send(ended=True) is False
    assert "exit.json" not in arrived()


def test_end_arrives_after_a_long_time_in_which_the_server_is_full(node, settings, monkeypatch):
    settings.MIRROR_WAITING_GB = 6 / GB
    monkeypatch.setattr(unsent, "FULL_SECONDS", 0.0)
    monkeypatch.setattr(unsent, "STUCK_SECONDS", 0.0)
    node.end()

    assert node.mirror.run_once(ended=True)

    assert "exit.json" in arrived()
    assert "TRAINHUB_MIRROR_WAITING_GB" in problem()
    assert not node.mirror.unsent.is_empty


def test_time_in_which_the_server_is_full_begins_anew_when_it_takes_something(monkeypatch):
    now = 0.0
    monkeypatch.setattr(unsent.time, "monotonic", lambda: now)
    noted = unsent.Unsent()
    noted.full("full")
    now = unsent.STUCK_SECONDS - 1
    noted.taken()
    noted.full("full")
    now += unsent.STUCK_SECONDS - 1
    assert not noted.is_stuck

    now += 1
    assert noted.is_stuck


# --- the readers of the run ------------------------------------------------------------------


def test_readers_are_told_of_a_problem_and_of_its_end(node, run, mirrored):
    node.hub.rejected = {BAD}
    node.send()
    node.send()

    told = tell(run, mirrored)
    assert kinds(told)[-1] == EventKind.NOT_SENT
    assert f"{BAD}: 400 not this one" in str(told.status_reason)

    (node.folder / BAD).unlink()
    node.send()
    node.send()
    told = tell(run, mirrored)
    assert kinds(told)[-1] == EventKind.SENT
    assert str(told.status_reason) == ""


def test_lasting_problem_is_told_once(node, run, mirrored):
    node.hub.rejected = {BAD}
    for _pass in range(3):
        node.send()
        tell(run, mirrored)

    assert kinds(run).count(EventKind.NOT_SENT) == 1
