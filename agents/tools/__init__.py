"""The tools, by subject. Importing this package registers all of them."""

from agents.tools import (
    changes,
    checkpoints,
    comparison,
    curves,
    logs,
    projects,
    queue,
    runs,
)

__all__ = ["changes", "checkpoints", "comparison", "curves", "logs", "projects", "queue", "runs"]
