"""Answers of a worker to what it is asked about the programs on its host."""

from __future__ import annotations

import os
import shutil

from execution.executors.environment import inherited
from execution.executors.process_inputs import filled_in
from runs.models import ProgramCheck, Worker


def answer_checks(worker: Worker) -> None:
    """Answer the questions to ``worker`` that are open."""
    for check in ProgramCheck.objects.unanswered(worker):
        check.answer(find(check.program, check.search_path))


def find(program: str, search_path: str) -> str:
    """Where a command's first argument is on this host; "" if nothing there can be started.

    ``search_path``: PATH of the recipe's environment; "" for the one that trainings inherit. A
    relative path is nowhere: a training works in a folder of its own.
    """
    program = filled_in(program)
    if os.sep in program and not os.path.isabs(program):
        return ""
    path = search_path or inherited().get("PATH", os.defpath)
    return shutil.which(program, path=path) or ""
