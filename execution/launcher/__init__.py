"""The launcher: a program that starts a training and outlives the worker.

It needs the standard library and psutil alone, so that it runs in any environment that has these,
also on a machine without TrainHub. Nothing here imports other packages of TrainHub.
"""

from pathlib import Path
from typing import Final

PROGRAM: Final = Path(__file__).with_name("__main__.py")
