"""Packs the launcher into one file that Python runs, for machines without TrainHub."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent
PLACE: Final = "execution/launcher"  # in the file, so that its modules find each other
START: Final = """import os
import sys

if modules := os.environ.get("TRAINHUB_MODULES"):  # psutil, where -I leaves out what has it
    sys.path.append(modules)

from execution.launcher.program import main

main()
"""


def version() -> str:
    """Another one for each state of its modules."""
    digest = hashlib.sha256()
    for module in sorted(FOLDER.glob("*.py")):
        digest.update(module.read_bytes())
    return digest.hexdigest()[:16]


def pack(path: Path) -> None:
    """Write the launcher to ``path``: ``python -I path ATTEMPT_DIRECTORY`` runs it. Raises
    OSError."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for module in sorted(FOLDER.glob("*.py")):
            archive.write(module, f"{PLACE}/{module.name}")
        archive.writestr("execution/__init__.py", "")
        archive.writestr("__main__.py", START)
