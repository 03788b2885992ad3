"""Examples of the API's documentation."""

from typing import Any

SWEEP_CREATE: dict[str, Any] = {
    "name": "learning rate",
    "recipe": "char-lm",
    "hyperparameters": {"max_steps": 2000},
    "search_space": {
        "learning_rate": {"type": "float", "low": 1e-5, "high": 1e-2, "log": True},
        "batch_size": {"type": "int", "low": 8, "high": 64, "step": 8},
        "optimizer": {"type": "categorical", "choices": ["adamw", "sgd"]},
    },
    "objective": {"metric": "eval_loss", "direction": "minimize", "value": "last"},
    "method": "tpe",
    "pruning": {"method": "asha", "min_steps": 100, "reduction_factor": 3},
    "max_trials": 40,
    "max_parallel": 4,
    "seed": 7,
}
