"""What a node writes arrives once, byte for byte, whatever happens to requests and processes."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artifacts.storage import artifact_storage
from core.exceptions import InvalidInput
from execution.launcher import mirror, unsent
from execution.launcher.hub import Refused
from execution.mirror.materializing import STATE, drop_ingested, materialize, restore
from execution.mirror.paths import check_path
from execution.mirror.receiving import GB
from execution.mirror.reporters import AttemptOver, attempt_of
from execution.models import MirroredAttempt, MirroredChunk, MirroredFile, MirroredNode
from tests.execution.mirror.nodes import (
    GOOD,
    LOST_ANSWER,
    LOST_REQUEST,
    REPEATED,
    ImitatedNode,
    mirrored_attempt,
)
from tests.factories import running

pytestmark = pytest.mark.django_db


@pytest.fixture
def small_chunks(monkeypatch):
    """A few lines are several chunks, of a few bytes."""
    monkeypatch.setattr(mirror, "CHUNK_BYTES", 5)


def contents(folder):
    """The files that are mirrored, by path."""
    names = ("stdout.log", "stderr.log", "metrics.jsonl")
    found = {name: (folder / name).read_bytes() for name in names if (folder / name).exists()}
    for path in sorted((folder / "checkpoints").rglob("*")):
        if path.is_file():
            found[str(path.relative_to(folder))] = path.read_bytes()
    return {name: content for name, content in found.items() if content}


def take(mirrored, attempt):
    materialize(MirroredAttempt.objects.get(pk=mirrored.pk), attempt)


# --- any interleaving ------------------------------------------------------------------------

FATES = st.sampled_from([GOOD, GOOD, LOST_REQUEST, LOST_ANSWER, REPEATED])
ACTIONS = st.sampled_from(["print", "report", "save", "rotate", "send", "send", "take", "restart"])


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(actions=st.lists(st.tuples(ACTIONS, st.integers(0, 3)), max_size=30), data=st.data())
def test_any_interleaving_of_lost_answers_gives_the_same_bytes(small_chunks, actions, data):
    mirrored, attempt = mirrored_attempt(running())
    restore(mirrored, attempt)
    folder = Path(tempfile.mkdtemp())
    try:
        node = ImitatedNode(folder / "node", mirrored)
        node.hub.fate = lambda: data.draw(FATES)
        for number, (action, which) in enumerate(actions):
            if action == "print":
                node.append("stdout.log", f"line {number}\n" * which)
            elif action == "report":
                node.append("metrics.jsonl", f'{{"step": {number}}}\n')
            elif action == "save":
                node.save(f"step-{which}.bin", f"state {number}".encode())
            elif action == "rotate":
                (node.folder / "checkpoints" / f"step-{which}.bin").unlink(missing_ok=True)
            elif action == "send":
                node.send()
            elif action == "take":
                take(mirrored, attempt)
            else:
                node.restart()
        node.hub.fate = lambda: GOOD
        node.end()
        while not node.send(ended=True):
            pass
        take(mirrored, attempt)

        assert contents(attempt.directory) == contents(node.folder)
        assert json.loads((attempt.directory / "exit.json").read_text())["returncode"] == 0
    finally:
        shutil.rmtree(folder)


def test_file_that_has_grown_since_a_lost_answer_arrives_whole(
    node, mirrored, attempt, small_chunks
):
    node.append("stdout.log", "ab")
    fates = iter([GOOD, GOOD, LOST_ANSWER])
    node.hub.fate = lambda: next(fates)
    assert node.send() is False
    node.append("stdout.log", "cdefghijklmnop")
    node.hub.fate = lambda: GOOD

    node.send()
    take(mirrored, attempt)

    assert (attempt.directory / "stdout.log").read_text() == "abcdefghijklmnop"


# --- files -----------------------------------------------------------------------------------


def test_bytes_are_sent_once(node, mirrored, attempt):
    node.append("stdout.log", "one\n")
    node.send()
    node.append("stdout.log", "two\n")
    node.send()
    node.send()

    assert node.hub.sent_bytes == len("one\ntwo\n")
    take(mirrored, attempt)
    assert (attempt.directory / "stdout.log").read_text() == "one\ntwo\n"


def test_times_are_those_of_the_node(node, mirrored, attempt):
    node.save("step-1.bin", b"x", age_seconds=5000)
    node.send()
    take(mirrored, attempt)

    path = "checkpoints/step-1.bin"
    there, here = (node.folder / path).stat(), (attempt.directory / path).stat()
    assert here.st_mtime_ns == there.st_mtime_ns


def test_large_file_is_kept_in_the_storage_until_it_is_dropped(node, mirrored, attempt):
    node.save("step-1.bin", os.urandom(200_000))
    node.send()

    chunk = MirroredChunk.objects.get()
    assert chunk.content is None
    assert artifact_storage().exists(chunk.key)
    take(mirrored, attempt)
    assert contents(attempt.directory) == contents(node.folder)


def test_checkpoint_that_is_still_written_is_not_sent(node):
    node.save("step-1.bin", b"half", age_seconds=0)

    node.send()

    assert not MirroredFile.objects.filter(path__startswith="checkpoints").exists()


def test_folder_appears_once_all_of_it_has_arrived(node, mirrored, attempt):
    node.save("checkpoint-1/a.bin", b"a" * 10)
    node.save("checkpoint-1/b.bin", b"b" * 10)
    node.send()
    file = MirroredFile.objects.get(path="checkpoints/checkpoint-1/b.bin")
    MirroredFile.objects.filter(pk=file.pk).update(received=5)
    take(mirrored, attempt)
    assert contents(attempt.directory) == {}

    MirroredFile.objects.filter(pk=file.pk).update(received=10)
    node.append("stdout.log", "more")
    node.send()
    take(mirrored, attempt)

    assert len(contents(attempt.directory)) == 3


def test_folder_of_two_nodes_waits_for_both(tmp_path):
    mirrored, attempt = mirrored_attempt(running(), nodes=2)
    restore(mirrored, attempt)
    first = ImitatedNode(tmp_path / "first", mirrored)
    second = ImitatedNode(tmp_path / "second", mirrored, rank=1)
    second.send()
    first.save("step-1/__0_0.distcp", b"zero")
    first.send()
    take(mirrored, attempt)
    assert contents(attempt.directory) == {}

    second.save("step-1/__1_0.distcp", b"one")
    for _report in range(3):
        second.send()
        first.send()
    take(mirrored, attempt)

    assert set(contents(attempt.directory)) == {
        "checkpoints/step-1/__0_0.distcp",
        "checkpoints/step-1/__1_0.distcp",
    }


def test_pruned_checkpoint_is_removed_and_never_comes_back(node, mirrored, attempt):
    node.save("step-1.bin", b"one")
    node.send()
    take(mirrored, attempt)
    (node.folder / "checkpoints" / "step-1.bin").unlink()
    node.send()

    take(mirrored, attempt)

    assert contents(attempt.directory) == {}


def test_file_that_became_shorter_begins_anew(node, mirrored, attempt):
    node.append("metrics.jsonl", '{"step": 1}\n{"step": 2}\n')
    node.send()
    take(mirrored, attempt)
    (node.folder / "metrics.jsonl").write_text('{"step": 7}\n')
    node.send()

    take(mirrored, attempt)

    assert (attempt.directory / "metrics.jsonl").read_text() == '{"step": 7}\n'


# --- what is asked ---------------------------------------------------------------------------


def test_requests_reach_the_launcher_as_files(node, mirrored):
    node.send()
    assert not (node.folder / "stop-sent").exists()
    MirroredAttempt.objects.update(stop=True, kill=True)

    node.send()

    assert (node.folder / "stop-sent").exists()
    assert (node.folder / "killed").exists()


def test_meeting_place_of_the_first_node_reaches_the_others(tmp_path):
    mirrored, _attempt = mirrored_attempt(running(), nodes=2)
    first = ImitatedNode(tmp_path / "first", mirrored)
    second = ImitatedNode(tmp_path / "second", mirrored, rank=1)
    (first.folder / "rendezvous.json").write_text('{"host": "n1", "port": 7}')
    first.send()

    second.send()

    assert json.loads((second.folder / "rendezvous.json").read_text()) == {"host": "n1", "port": 7}


def test_launcher_of_an_attempt_that_is_over_is_refused(node, mirrored):
    with pytest.raises(AttemptOver):
        attempt_of(mirrored.run, 2)


def test_second_launcher_of_a_node_is_refused(node, tmp_path, mirrored):
    node.send()
    other = ImitatedNode(tmp_path / "other", mirrored)
    other.launcher = "another"
    other.restart()

    with pytest.raises(Refused):
        other.mirror.run_once(ended=False)


PATHS = [
    "../x",
    "/etc/passwd",
    "killed",
    "stop-sent",
    "launch.json",
    "config.json",
    "a/../stdout.log",
    "checkpoints",
    "node-1/stdout.log",
    "resume/model.bin",
]


@pytest.mark.parametrize("path", [*PATHS, "checkpoints/\x00", "checkpoints/" + "x/" * 1000 + "x"])
def test_path_that_no_launcher_sends_is_refused(path):
    with pytest.raises(InvalidInput):
        check_path(path, 0)


@pytest.mark.parametrize("letter", ["x", "检"])
def test_name_that_no_file_can_have_is_refused(letter):
    longest = letter * (255 // len(letter.encode()))
    check_path(f"checkpoints/{longest}/{longest}", 0)

    with pytest.raises(InvalidInput):
        check_path(f"checkpoints/{longest}{letter}/x", 0)


# --- a file that becomes a folder, and a folder that becomes a file ----------------------------

AS_FILE, AS_FOLDER = "last", "last/sub/state.bin"


def become(node, before, after):
    """Save ``after`` in place of ``before``."""
    shutil.rmtree(node.folder / "checkpoints")
    (node.folder / "checkpoints").mkdir()
    node.save(after, f"as {after}".encode())
    node.send()


@pytest.mark.parametrize(("before", "after"), [(AS_FILE, AS_FOLDER), (AS_FOLDER, AS_FILE)])
def test_checkpoint_changes_between_file_and_folder(node, mirrored, attempt, before, after):
    node.save(before, b"before")
    node.send()
    take(mirrored, attempt)
    become(node, before, after)

    take(mirrored, attempt)

    assert contents(attempt.directory) == contents(node.folder)


@pytest.mark.parametrize(("before", "after"), [(AS_FILE, AS_FOLDER), (AS_FOLDER, AS_FILE)])
def test_worker_that_died_while_a_file_became_a_folder_goes_on(
    node, mirrored, attempt, before, after
):
    node.save(before, b"before")
    node.send()
    take(mirrored, attempt)
    state = (attempt.directory / STATE).read_bytes()
    become(node, before, after)
    take(mirrored, attempt)
    (attempt.directory / STATE).write_bytes(state)  # as if it had died before it noted that

    take(mirrored, attempt)

    assert contents(attempt.directory) == contents(node.folder)


def test_file_of_one_node_that_is_a_folder_on_another_stops_nothing(tmp_path):
    mirrored, attempt = mirrored_attempt(running(), nodes=2)
    restore(mirrored, attempt)
    nodes = [ImitatedNode(tmp_path / str(rank), mirrored, rank) for rank in range(2)]
    nodes[0].save(AS_FILE, b"file")
    nodes[1].save(AS_FOLDER, b"folder")
    for _report in range(3):
        for node in nodes:
            node.send()

    take(mirrored, attempt)
    nodes[1].append("stdout.log", "more\n")
    nodes[1].send()
    take(mirrored, attempt)

    assert contents(attempt.directory) == {"checkpoints/last": b"file"}
    assert (attempt.directory / "node-1" / "stdout.log").read_text() == "more\n"


def test_folder_that_changes_stays_as_it_is_until_all_of_it_is_here(node, mirrored, attempt):
    node.save("step-1/a.bin", b"a")
    node.send()
    take(mirrored, attempt)
    (node.folder / "checkpoints" / "step-1" / "a.bin").unlink()
    node.save("step-1/b.bin", b"b")
    node.send()
    MirroredFile.objects.filter(path="checkpoints/step-1/b.bin").update(received=0)

    take(mirrored, attempt)

    assert set(contents(attempt.directory)) == {"checkpoints/step-1/a.bin"}


# --- how much may wait -----------------------------------------------------------------------


def waiting_bytes():
    return MirroredNode.objects.get().waiting_bytes


def all_chunks():
    return sum(MirroredChunk.objects.values_list("size", flat=True))


def test_checkpoint_waits_on_its_node_while_too_much_is_not_stored(
    node, mirrored, attempt, settings
):
    settings.MIRROR_WAITING_GB = 1000 / GB
    node.save("step-1.bin", b"a" * 800)
    node.send()
    node.save("step-2.bin", b"b" * 800)
    assert node.send() is False
    take(mirrored, attempt)
    stamp = (attempt.directory / "checkpoints" / "step-1.bin").stat()

    drop_ingested(mirrored, {"checkpoints": {"step-1.bin": [800, stamp.st_mtime_ns, 1, 1, 0]}})
    node.send()

    take(mirrored, attempt)
    assert contents(attempt.directory)["checkpoints/step-2.bin"] == b"b" * 800


def test_what_is_printed_and_the_notes_arrive_beside_a_checkpoint_that_waits(
    node, mirrored, attempt, settings
):
    settings.MIRROR_WAITING_GB = 1000 / GB
    node.save("step-1.bin", b"a" * 890)
    node.save("step-2.bin", b"b" * 890)
    node.send()
    node.append("stdout.log", "x" * 100)
    (node.folder / "rendezvous.json").write_text(json.dumps({"host": "x" * 100, "port": 7}))

    node.send()

    take(mirrored, attempt)
    assert (attempt.directory / "stdout.log").stat().st_size == 100
    assert json.loads((attempt.directory / "rendezvous.json").read_text())["port"] == 7


def test_node_that_is_ahead_keeps_no_other_from_completing_a_checkpoint(
    tmp_path, settings, monkeypatch
):
    settings.MIRROR_WAITING_GB = 1000 / GB
    monkeypatch.setattr(unsent, "FULL_SECONDS", 0.0)
    mirrored, attempt = mirrored_attempt(running(), nodes=2)
    restore(mirrored, attempt)
    fast, slow = (ImitatedNode(tmp_path / str(rank), mirrored, rank) for rank in range(2))
    for step in (1, 2, 3):
        fast.save(f"step-{step}/__0_0.distcp", b"0" * 300)
    fast.send()
    for step in (1, 2, 3):
        slow.save(f"step-{step}/__1_0.distcp", b"1" * 300)
    fast.save("step-4/__0_0.distcp", b"0" * 300)

    for _pass in range(3):
        slow.send()
        fast.send()
    take(mirrored, attempt)

    assert set(contents(attempt.directory)) == {
        "checkpoints/step-1/__0_0.distcp",
        "checkpoints/step-1/__1_0.distcp",
    }
    assert MirroredNode.objects.exclude(problem="").exists()
    waits = sum(MirroredNode.objects.values_list("waiting_bytes", flat=True))
    assert waits == all_chunks() == 1200  # the oldest went on, and no other


def test_checkpoint_of_which_a_part_is_here_goes_on_beside_a_newer_one(
    node, mirrored, attempt, settings, monkeypatch
):
    settings.MIRROR_WAITING_GB = 1000 / GB
    monkeypatch.setattr(mirror, "CHUNK_BYTES", 100)
    monkeypatch.setattr(mirror, "PROBE_BYTES", 10)
    node.save("step-5.bin", b"5" * 500)
    node.save("step-9.bin", b"9" * 600)
    node.send()
    (node.folder / "checkpoints" / "step-5.bin").unlink()
    node.save("step-10.bin", b"0" * 600)  # before step-9 by its name

    node.send()

    take(mirrored, attempt)
    assert set(contents(attempt.directory)) == {"checkpoints/step-9.bin"}


def test_logs_have_room_beside_the_oldest_checkpoint(tmp_path, settings):
    settings.MIRROR_WAITING_GB = 1000 / GB
    mirrored, _attempt = mirrored_attempt(running(), nodes=2)
    fast, slow = (ImitatedNode(tmp_path / str(rank), mirrored, rank) for rank in range(2))
    fast.save("step-1/__0_0.distcp", b"0" * 400)
    fast.save("step-2/__0_0.distcp", b"0" * 400)
    fast.send()
    slow.save("step-1/__1_0.distcp", b"1" * 400)
    slow.send()
    slow.append("stdout.log", "x" * 100)

    assert slow.send()

    assert MirroredFile.objects.get(path="node-1/stdout.log").received == 100


def test_what_waits_is_what_is_here(node, mirrored, attempt):
    node.append("stdout.log", "one\n")
    node.save("step-1.bin", os.urandom(200_000))
    node.send()
    assert waiting_bytes() == all_chunks() == 200_004

    node.save("step-1.bin", b"another")
    node.send()
    assert waiting_bytes() == all_chunks() == 11

    (node.folder / "checkpoints" / "step-1.bin").unlink()
    node.send()
    assert waiting_bytes() == all_chunks() == 4


# --- what is not needed any more -------------------------------------------------------------


def test_ingested_bytes_are_dropped_and_another_host_leaves_holes(node, mirrored, attempt):
    node.append("stdout.log", "one\n")
    node.send()
    node.append("stdout.log", "two\n")
    node.send()
    node.save("step-1.bin", b"state")
    node.send()
    take(mirrored, attempt)
    stamp = (attempt.directory / "checkpoints" / "step-1.bin").stat()
    notes = {"stdout": 4, "checkpoints": {"step-1.bin": [5, stamp.st_mtime_ns, 1, 1, 0]}}

    drop_ingested(mirrored, notes)
    shutil.rmtree(attempt.directory)
    restore(mirrored, attempt)
    take(mirrored, attempt)

    assert (attempt.directory / "stdout.log").read_bytes() == b"\0\0\0\0two\n"
    again = (attempt.directory / "checkpoints" / "step-1.bin").stat()
    assert (again.st_size, again.st_mtime_ns) == (stamp.st_size, stamp.st_mtime_ns)


@pytest.mark.parametrize("what", ["attempt", "run"])
def test_forgotten_attempt_leaves_nothing_in_the_storage(
    node, mirrored, what, django_capture_on_commit_callbacks
):
    node.save("step-1.bin", os.urandom(200_000))
    node.send()
    key = MirroredChunk.objects.get().key

    with django_capture_on_commit_callbacks(execute=True):
        mirrored.forget() if what == "attempt" else mirrored.run.delete()

    assert not artifact_storage().exists(key)
    assert not MirroredFile.objects.exists()
