"""What an MLflow server answers, as far as it is imported.

https://github.com/mlflow/mlflow/blob/master/mlflow/protos/service.proto
Times are Unix times in milliseconds. Numbers may be texts: protobuf writes 64 bits so, and NaN.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

import msgspec

from core.times import EPOCH, MILLISECOND, YEAR_9999_MS

MAX_BIGINT: Final = 2**63 - 1
# What a column holds: a number beyond it is no answer of MLflow's, whose are 64 bits, too.
Number = Annotated[int, msgspec.Meta(ge=-MAX_BIGINT, le=MAX_BIGINT)]
Size = Annotated[int, msgspec.Meta(ge=0, le=MAX_BIGINT)]
VersionNumber = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


class Text(msgspec.Struct):
    """A tag or param. Unlike what clients may send, of any length."""

    key: str
    value: str = ""


class Experiment(msgspec.Struct):
    experiment_id: str
    name: str
    lifecycle_stage: str = "active"
    creation_time: Number | None = None
    last_update_time: Number | None = None
    tags: list[Text] = []

    @property
    def is_deleted(self) -> bool:
        return self.lifecycle_stage == "deleted"


class RunInfo(msgspec.Struct):
    run_id: str
    experiment_id: str
    run_name: str = ""
    user_id: str = ""
    status: str = "RUNNING"
    start_time: Number | None = None
    end_time: Number | None = None
    artifact_uri: str = ""
    lifecycle_stage: str = "active"

    @property
    def is_deleted(self) -> bool:
        return self.lifecycle_stage == "deleted"


class Metric(msgspec.Struct):
    key: str
    value: float
    timestamp: Number = 0
    step: Number = 0


class RunData(msgspec.Struct):
    metrics: list[Metric] = []  # the latest value of each
    params: list[Text] = []
    tags: list[Text] = []


class Dataset(msgspec.Struct):
    name: str
    digest: str
    source_type: str = ""
    source: str = ""
    schema: str = ""
    profile: str = ""


class DatasetInput(msgspec.Struct):
    dataset: Dataset
    tags: list[Text] = []


class LinkedModel(msgspec.Struct):
    model_id: str
    step: Number = 0


class RunInputs(msgspec.Struct):
    dataset_inputs: list[DatasetInput] = []
    model_inputs: list[LinkedModel] = []


class RunOutputs(msgspec.Struct):
    model_outputs: list[LinkedModel] = []


class Run(msgspec.Struct):
    info: RunInfo
    data: RunData = msgspec.field(default_factory=RunData)
    inputs: RunInputs = msgspec.field(default_factory=RunInputs)
    outputs: RunOutputs = msgspec.field(default_factory=RunOutputs)


class ListedRun(msgspec.Struct):
    """A run in a list, which is read for its id."""

    info: RunInfo


class File(msgspec.Struct):
    """``path``: as the answer has it, to the run's root or to the folder that was asked for."""

    path: str
    is_dir: bool = False
    file_size: Size = 0


class ModelMetric(msgspec.Struct):
    key: str
    value: float
    timestamp: Number = 0
    step: Number = 0
    run_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


class LoggedModelInfo(msgspec.Struct):
    model_id: str
    experiment_id: str
    name: str = ""
    creation_timestamp_ms: Number = 0
    last_updated_timestamp_ms: Number = 0
    artifact_uri: str = ""
    status: str | int = 0
    model_type: str = ""
    source_run_id: str = ""
    tags: list[Text] = []


class LoggedModelData(msgspec.Struct):
    params: list[Text] = []
    metrics: list[ModelMetric] = []


class LoggedModel(msgspec.Struct):
    info: LoggedModelInfo
    data: LoggedModelData = msgspec.field(default_factory=LoggedModelData)


class Alias(msgspec.Struct):
    alias: str
    version: VersionNumber


class RegisteredModel(msgspec.Struct):
    name: str
    creation_timestamp: Number = 0
    last_updated_timestamp: Number = 0
    description: str = ""
    tags: list[Text] = []
    aliases: list[Alias] = []


class ModelVersion(msgspec.Struct):
    name: str
    version: VersionNumber
    creation_timestamp: Number = 0
    last_updated_timestamp: Number = 0
    current_stage: str = "None"
    description: str = ""
    source: str = ""
    run_id: str = ""
    run_link: str = ""
    model_id: str = ""
    tags: list[Text] = []


def as_dict(texts: list[Text]) -> dict[str, str]:
    return {text.key: text.value for text in texts}


def moment(timestamp_ms: int) -> datetime:
    """The next one that every client can read."""
    return EPOCH + MILLISECOND * min(max(timestamp_ms, 0), YEAR_9999_MS)
