"""A node with its mirror, whose requests may be lost, answered twice, or not at all."""

import json
import os
from pathlib import Path

from core.exceptions import InvalidInput
from execution.executors.attempt import Attempt
from execution.launcher.hub import Away, Full, OutOfStep, Refused, Rejected
from execution.launcher.mirror import Mirror
from execution.launcher.nodes import Node
from execution.mirror import listings, receiving
from execution.mirror.listings import Described
from execution.mirror.reporters import AttemptOver
from execution.models import MirroredAttempt

LOST_REQUEST, LOST_ANSWER, REPEATED, GOOD = "lost request", "lost answer", "repeated", "good"


class LossyHub:
    """Calls the server's functions. ``fate``: what happens to the next request. ``rejected``: paths
    that the server does not take; ``unlisted``: that it does not even take in a listing."""

    def __init__(self, attempt: MirroredAttempt):
        self.attempt = attempt
        self.fate = lambda: GOOD
        self.sent_bytes = 0
        self.rejected, self.unlisted = set(), set()
        self.put_paths = []

    def _through(self, call):
        fate = self.fate()
        if fate == LOST_REQUEST:
            raise Away(fate)
        try:
            if fate == REPEATED:
                call()
            answer = call()
        except AttemptOver as over:
            raise Refused(str(over)) from None
        except receiving.OutOfStep as error:
            raise OutOfStep(str(error)) from None
        except receiving.TooMuchWaits as error:
            raise Full(str(error)) from None
        except InvalidInput as error:
            raise Rejected(str(error)) from None
        if fate == LOST_ANSWER:
            raise Away(fate)
        return answer

    def sync(self, rank, report):
        files = report["files"]
        if unlisted := self.unlisted & {item["path"] for item in files or []}:
            raise Rejected(f"400 no such file: {min(unlisted)}")
        described = files and [
            Described(item["path"], item["version"], item.get("size"), item.get("modified_ns", 0))
            for item in files
        ]
        about = {key: report[key] for key in ("launcher", "now", "seen", "knows")}
        about["problem"] = report.get("problem", "")
        attempt = MirroredAttempt.objects.get(pk=self.attempt.pk)
        answer = self._through(
            lambda: listings.sync(
                attempt, rank, files=described if files is not None else None, **about
            )
        )
        return json.loads(json.dumps(answer))

    def put(self, rank, content, **about):
        self.sent_bytes += len(content)
        self.put_paths.append(about["path"])
        if about["path"] in self.rejected:
            raise Rejected("400 not this one")
        return self._through(lambda: receiving.receive(self.attempt, rank, content, **about))


class ImitatedNode:
    """A node's directory, and its mirror, which can be killed and begin again."""

    def __init__(self, folder: Path, mirrored: MirroredAttempt, rank: int = 0):
        self.folder = folder
        (folder / "checkpoints").mkdir(parents=True)
        self.node = Node(folder, rank, int(mirrored.launch.get("nodes", 1)))
        self.node.directory.mkdir(exist_ok=True)
        self.hub = LossyHub(mirrored)
        self.launcher = f"launcher-{rank}"
        self.restart()

    def restart(self):
        self.mirror = Mirror(self.node, self.hub, self.launcher)

    def append(self, name, text):
        with (self.node.directory / name).open("a") as file:
            file.write(text)

    def save(self, name, content, age_seconds=10):
        path = self.folder / "checkpoints" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.tmp")
        draft.write_bytes(content)
        at = draft.stat().st_mtime - age_seconds
        os.utime(draft, (at, at))
        draft.replace(path)

    def send(self, *, ended=False):
        """One pass; False if a request was lost."""
        try:
            return self.mirror.run_once(ended=ended) or not ended
        except (Away, OutOfStep):
            return False

    def end(self, returncode=0):
        note = {"returncode": returncode, "at": 0.0, "cut_off": False}
        (self.node.directory / "exit.json").write_text(json.dumps(note))


def mirrored_attempt(run, *, nodes=1):
    """A mirrored attempt of ``run`` with a directory on the worker's host."""
    launch = {"nodes": nodes, "engine": "ray", "command": ["x"], "environment": {}}
    mirrored = MirroredAttempt(
        run=run, number=run.attempt, start_key="", start_bytes=0, start_sha256=""
    )
    mirrored.set_launch(launch)
    mirrored.save()
    return mirrored, Attempt.of(run)
