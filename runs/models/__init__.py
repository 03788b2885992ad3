"""The nouns of a run's life, one module each."""

from runs.models.data import DatasetInput, ModelLink
from runs.models.event import EventKind, RunEvent
from runs.models.log import LogBatch, LogBlock, LogLevel, LogLine
from runs.models.metric import MetricBucket, MetricPoint, MetricSeries
from runs.models.pool import GpuPool
from runs.models.recipe import ExecutorName, Recipe
from runs.models.run import Run, RunQuerySet, StopKind
from runs.models.worker import Worker

__all__ = [
    "DatasetInput",
    "EventKind",
    "ExecutorName",
    "GpuPool",
    "LogBatch",
    "LogBlock",
    "LogLevel",
    "LogLine",
    "MetricBucket",
    "MetricPoint",
    "MetricSeries",
    "ModelLink",
    "Recipe",
    "Run",
    "RunEvent",
    "RunQuerySet",
    "StopKind",
    "Worker",
]
