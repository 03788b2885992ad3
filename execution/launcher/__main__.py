"""The program: ``python -I …/execution/launcher/__main__.py ATTEMPT_DIRECTORY``.

Isolated (-I), so that nothing in the training's environment or folder takes the place of this code.
"""

import os
import sys
from pathlib import Path

# The folder, or zip file, that has the folder "execution": -I leaves it out.
sys.path.append(str(Path(__file__).resolve().parents[2]))
if modules := os.environ.get("TRAINHUB_MODULES"):  # psutil, where -I leaves out what has it
    sys.path.append(modules)

from execution.launcher.program import main

if __name__ == "__main__":
    main()
