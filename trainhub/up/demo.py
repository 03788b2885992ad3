"""A demo project with queued runs, so that the first visit shows live runs.

Its texts are those of a user who works in the server's language.
"""

from typing import Any, Final

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction

from core.ids import derived_id
from projects.models import Project
from runs import actions
from runs.models import GpuPool, Recipe

FIRST_PROJECT_ID: Final = derived_id("proj", "first start")

# Language -> its texts.
TEXTS: Final[dict[str, dict[str, Any]]] = {
    "zh-hans": {
        "name": "中文摘要系统",
        "description": "对科研文章进行自动摘要",
        "objective": "降低阅读时间",
        "task_type": "文本摘要",
        "owner": "小李",
        "tags": ["科研", "第一阶段"],
    },
    "en": {
        "name": "Paper summaries",
        "description": "Automatic summaries of scientific papers",
        "objective": "Less time for reading",
        "task_type": "Text summarization",
        "owner": "Lee",
        "tags": ["research", "phase 1"],
    },
}
DATASETS: Final = {"zh-hans": "中文科技论文语料", "en": "scientific-papers"}
CONFIGURATION: Final[dict[str, Any]] = {
    "base_model": "llama-2-13b",
    "default_hyperparameters": {"learning_rate": 3e-5, "batch_size": 16},
}

# The second waits for the GPUs of the first, to demonstrate the queue.
SIMULATED_RUNS: Final[list[dict[str, Any]]] = [
    {
        "hyperparameters": {"learning_rate": 2e-5, "batch_size": 32, "num_epochs": 3},
        "resources": {"gpu_type": "A100", "gpu_count": 4},
    },
    {
        "hyperparameters": {"num_epochs": 3},
        "resources": {"gpu_type": "A100", "gpu_count": 8},
    },
]

# A real training run: it trains on the texts in this repository and needs no GPU.
CHAR_LM_RUN: Final[dict[str, Any]] = {
    "name": "char-lm",
    "model": "char-lm",
    "hyperparameters": {"learning_rate": 3e-3, "batch_size": 512, "max_steps": 400},
}


def load_demo(by: User) -> Project | None:
    """Create the demo project, unless any project exists or ever existed. Atomic."""
    with transaction.atomic():
        if Project.history.exists():
            return None
        GpuPool.objects.get_or_create(name="A100", defaults={"gpu_type": "A100", "capacity": 8})
        language = settings.LANGUAGE_CODE
        configuration = {"id": FIRST_PROJECT_ID, **TEXTS[language], **CONFIGURATION}
        project = Project.create(configuration, by=by)
        for run in SIMULATED_RUNS:
            actions.create_run(project, by=by, dataset=DATASETS[language], **run)
        char_lm = Recipe.objects.filter(name="char-lm", enabled=True).first()
        if char_lm is not None:
            actions.create_run(project, by=by, recipe=char_lm, **CHAR_LM_RUN)
    return project
