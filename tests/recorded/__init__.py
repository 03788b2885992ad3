"""Files that the tools of the trade wrote, and the scripts that made them write these."""

from pathlib import Path

HERE = Path(__file__).parent
TENSORBOARD = HERE / "tensorboard"
TRAINER = HERE / "trainer"
WANDB = HERE / "wandb"


def event_file(folder: Path) -> Path:
    """The oldest event file in ``folder``."""
    return min(path for path in folder.iterdir() if "tfevents" in path.name)
