"""What an MLflow server answers, as far as it is imported.

https://github.com/mlflow/mlflow/blob/master/mlflow/protos/service.proto
Times are Unix times in milliseconds. Numbers may be texts: protobuf writes 64 bits so, and NaN.
"""

from __future__ import annotations

import msgspec


class Text(msgspec.Struct):
    """A tag or param. Unlike what clients may send, of any length."""

    key: str
    value: str = ""


class Experiment(msgspec.Struct):
    experiment_id: str
    name: str
    lifecycle_stage: str = "active"
    creation_time: int | None = None
    last_update_time: int | None = None
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
    start_time: int | None = None
    end_time: int | None = None
    artifact_uri: str = ""
    lifecycle_stage: str = "active"

    @property
    def is_deleted(self) -> bool:
        return self.lifecycle_stage == "deleted"


class Metric(msgspec.Struct):
    key: str
    value: float
    timestamp: int = 0
    step: int = 0


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
    step: int = 0


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
    file_size: int = 0


class ModelMetric(msgspec.Struct):
    key: str
    value: float
    timestamp: int = 0
    step: int = 0
    run_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


class LoggedModelInfo(msgspec.Struct):
    model_id: str
    experiment_id: str
    name: str = ""
    creation_timestamp_ms: int = 0
    last_updated_timestamp_ms: int = 0
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
    version: int


class RegisteredModel(msgspec.Struct):
    name: str
    creation_timestamp: int = 0
    last_updated_timestamp: int = 0
    description: str = ""
    tags: list[Text] = []
    aliases: list[Alias] = []


class ModelVersion(msgspec.Struct):
    name: str
    version: int
    creation_timestamp: int = 0
    last_updated_timestamp: int = 0
    current_stage: str = "None"
    description: str = ""
    source: str = ""
    run_id: str = ""
    run_link: str = ""
    model_id: str = ""
    tags: list[Text] = []


def as_dict(texts: list[Text]) -> dict[str, str]:
    return {text.key: text.value for text in texts}
