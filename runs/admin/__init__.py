"""The admin of runs, one module per subject; Django discovers this package."""

from runs.admin import pools, quotas, recipes, runs, workers

__all__ = ["pools", "quotas", "recipes", "runs", "workers"]
