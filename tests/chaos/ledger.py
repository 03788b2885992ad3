"""What the trainings themselves have noted, by run."""

import json
from collections import defaultdict

from tests.chaos.witnessed_training import next_sum


class Ledgers:
    def __init__(self, folder):
        self._folder = folder

    def of(self, run):
        path = self._folder / f"{run.pk}.jsonl"
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_text().splitlines()]

    def conflicts(self):
        """GPUs and runs that two trainings had at once."""
        found = []
        for path in sorted(self._folder.glob("*.jsonl")):
            entries = map(json.loads, path.read_text().splitlines())
            found += [f"{path.stem}: {item}" for item in entries if item["kind"] == "conflict"]
        return found


def of_kind(entries, kind):
    return [entry for entry in entries if entry["kind"] == kind]


def steps_by_attempt(entries):
    steps = defaultdict(list)
    for entry in of_kind(entries, "step"):
        steps[entry["attempt"]].append(entry["step"])
    return steps


def expected_sum(step):
    total = 0
    for number in range(1, step + 1):
        total = next_sum(total, number)
    return total
