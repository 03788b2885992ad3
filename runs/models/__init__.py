"""The models of the runs app, one module per subject."""

from runs.models.code import CodeBundle, CodeUpload, RunCode
from runs.models.column import ColumnKind, ParamValue, RunColumn
from runs.models.data import DatasetInput, ModelLink
from runs.models.event import EventKind, RunEvent
from runs.models.failure import FailureKind
from runs.models.gpu_usage import GpuUsage
from runs.models.pool import MAX_CAPACITY, GpuPool
from runs.models.program_check import ProgramCheck
from runs.models.quota import Quota
from runs.models.recipe import (
    CodeFrom,
    CodePolicy,
    ExecutorName,
    Recipe,
    RecipeKind,
    StallAction,
)
from runs.models.run import (
    MAX_ATTEMPT,
    MAX_DATASET_LENGTH,
    MAX_GPUS,
    MAX_PRIORITY,
    MIN_PRIORITY,
    Run,
    StopKind,
)
from runs.models.run_queryset import LeaseLost, RunQuerySet
from runs.models.submission import Submission
from runs.models.worker import Worker, WorkerInUse

__all__ = [
    "MAX_ATTEMPT",
    "MAX_CAPACITY",
    "MAX_DATASET_LENGTH",
    "MAX_GPUS",
    "MAX_PRIORITY",
    "MIN_PRIORITY",
    "CodeBundle",
    "CodeFrom",
    "CodePolicy",
    "CodeUpload",
    "ColumnKind",
    "DatasetInput",
    "EventKind",
    "ExecutorName",
    "FailureKind",
    "GpuPool",
    "GpuUsage",
    "LeaseLost",
    "ModelLink",
    "ParamValue",
    "ProgramCheck",
    "Quota",
    "Recipe",
    "RecipeKind",
    "Run",
    "RunCode",
    "RunColumn",
    "RunEvent",
    "RunQuerySet",
    "StallAction",
    "StopKind",
    "Submission",
    "Worker",
    "WorkerInUse",
]
