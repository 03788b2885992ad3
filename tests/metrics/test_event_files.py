"""Reading TensorBoard's event files: by the real writers, growing, damaged."""

import math
import struct
from pathlib import Path

import pytest
from tensorboardX.proto import types_pb2 as types
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboardX.proto.tensor_pb2 import TensorProto
from tensorboardX.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboardX.record_writer import RecordWriter

from metrics import event_files
from metrics.event_files import EventLog, event_files_in, read_records
from tests.recorded import TENSORBOARD, TRAINER, event_file

TORCH = event_file(TENSORBOARD / "torch_writer")


def read(*paths: Path, reads_params: bool = True) -> EventLog:
    log = EventLog(reads_params=reads_params)
    for path in paths:
        offset, at_end = 0, False
        while not at_end:
            reading = read_records(path, offset)
            for record in reading.records:
                log.take(record, now_ms=0)
            offset, at_end = reading.offset, reading.at_end
    return log


def points_of(log, key):
    return [
        (step, value)
        for name, step, value in zip(log.keys, log.steps, log.values, strict=True)
        if name == key
    ]


def written(path: Path, *events: Event) -> Path:
    writer = RecordWriter(str(path))
    for event in events:
        writer.write(event.SerializeToString())
    writer.close()
    return path


def tensor_event(tensor: TensorProto, plugin: str = "scalars") -> Event:
    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name=plugin))
    value = Summary.Value(tag="x", tensor=tensor, metadata=metadata)
    return Event(wall_time=1.0, step=1, summary=Summary(value=[value]))


# --- real writers ----------------------------------------------------------------------------


def test_scalars_of_torch_are_read_and_all_else_is_passed_over():
    log = read(TORCH)

    assert points_of(log, "loss") == [(step, pytest.approx(2 / (step + 1))) for step in range(5)]
    assert set(log.keys) == {"loss", "odd", "new_style", "double"}
    assert log.damaged == 0


def test_values_that_are_not_finite_are_kept():
    values = [value for _step, value in points_of(read(TORCH), "odd")]

    assert math.isnan(values[0])
    assert values[1:4] == [math.inf, -math.inf, 0.0]


def test_scalars_that_are_tensors_are_read():
    log = read(event_file(TENSORBOARD / "tensors"))

    assert points_of(log, "epoch_loss") == [
        (step, pytest.approx(1 / (step + 1))) for step in range(4)
    ]
    assert log.timestamps_ms == [1_700_000_000_000 + 1000 * step for step in range(4)]


def test_tensor_in_double_precision_keeps_it():
    assert points_of(read(TORCH), "double") == [(7, 0.1)]


def test_logs_of_the_trainer_and_its_arguments_are_read():
    log = read(*event_files_in(TRAINER / "tensorboard"))

    assert points_of(log, "train/loss")[0] == (2, pytest.approx(110.319))
    assert len(points_of(log, "eval/loss")) == 3
    assert log.params["learning_rate"] == 0.001


def test_hyperparameters_of_the_plugin_are_read():
    log = read(event_file(TENSORBOARD / "torch_writer" / "trial"))

    assert log.params == {"lr": 0.1, "optimizer": "adam", "nesterov": 1}


def test_points_that_a_second_writer_reports_again_replace_the_first_ones():
    log = read(*event_files_in(TENSORBOARD / "purged"))

    assert points_of(log, "loss") == [(0, 0), (1, 1), (2, 2), (3, 13), (4, 14), (5, 15)]


# --- tensors ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tensor", "value"),
    [
        (TensorProto(dtype=types.DT_FLOAT, tensor_content=struct.pack("<f", 0.5)), 0.5),
        (TensorProto(dtype=types.DT_DOUBLE, double_val=[0.1]), 0.1),
        (TensorProto(dtype=types.DT_INT64, int64_val=[2**40]), 2.0**40),
        (TensorProto(dtype=types.DT_BOOL, bool_val=[True]), 1.0),
        (TensorProto(dtype=types.DT_HALF, half_val=[0x3800]), 0.5),
        (TensorProto(dtype=types.DT_BFLOAT16, half_val=[0x3F00]), 0.5),
        (TensorProto(dtype=types.DT_BFLOAT16, tensor_content=b"\x00\x3f"), 0.5),
    ],
)
def test_tensor_without_dimensions_is_a_scalar(tensor, value, tmp_path):
    log = read(written(tmp_path / "tfevents", tensor_event(tensor)))

    assert log.values == [value]


@pytest.mark.parametrize(
    "event",
    [
        tensor_event(TensorProto(dtype=types.DT_STRING, string_val=[b"text"])),
        tensor_event(TensorProto(dtype=types.DT_FLOAT, float_val=[0.5]), plugin="pr_curves"),
        tensor_event(TensorProto(dtype=types.DT_FLOAT, tensor_content=b"\x00")),
        tensor_event(
            TensorProto(
                dtype=types.DT_FLOAT,
                float_val=[1.0],
                tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)]),
            )
        ),
    ],
    ids=["text", "other plugin", "cut off", "vector"],
)
def test_other_tensors_are_no_scalars(event, tmp_path):
    assert read(written(tmp_path / "tfevents", event)).values == []


# --- growing files ---------------------------------------------------------------------------


def test_file_cut_off_at_any_byte_yields_its_whole_records_and_later_the_rest(tmp_path):
    whole = event_file(TENSORBOARD / "tensors").read_bytes()
    expected = read(event_file(TENSORBOARD / "tensors")).values
    path = tmp_path / "events.out.tfevents.1"
    for size in range(len(whole) + 1):
        log = EventLog()
        path.write_bytes(whole[:size])
        first = read_records(path, 0)
        path.write_bytes(whole)
        rest = read_records(path, first.offset)
        for record in [*first.records, *rest.records]:
            log.take(record, now_ms=0)

        assert first.at_end, size
        assert not first.damage, size
        assert log.values == expected, size
        assert log.damaged == 0, size


def test_file_larger_than_a_chunk_is_read_in_several(monkeypatch):
    expected = read(TORCH)
    monkeypatch.setattr(event_files, "CHUNK_BYTES", 100)  # images and histograms are larger

    log = read(TORCH)

    assert (log.keys, log.steps) == (expected.keys, expected.steps)


def test_record_that_is_too_large_is_passed_over(monkeypatch):
    expected = read(TORCH)
    monkeypatch.setattr(event_files, "CHUNK_BYTES", 100)
    monkeypatch.setattr(event_files, "MAX_RECORD_BYTES", 200)

    assert read(TORCH).keys == expected.keys


def test_replaced_file_that_is_shorter_is_read_from_its_start(tmp_path):
    path = written(tmp_path / "tfevents", Event(wall_time=1.0, file_version="brain.Event:2"))

    assert len(read_records(path, 10_000).records) == 1


# --- what a hostile writer may write ---------------------------------------------------------


def arguments_event(content: bytes) -> Event:
    tensor = TensorProto(dtype=types.DT_STRING, string_val=[content])
    value = Summary.Value(tag="args/text_summary", tensor=tensor)
    return Event(wall_time=1.0, step=1, summary=Summary(value=[value]))


@pytest.mark.parametrize("content", [b"[" * 5000, b"\xff\xfe", b"{", b"[]", b"9" * 5000], ids=len)
def test_arguments_that_are_no_object_are_none(content, tmp_path):
    log = read(written(tmp_path / "tfevents", arguments_event(content)))

    assert (log.params, log.damaged) == ({}, 0)


def test_arguments_are_not_decoded_where_only_metrics_are_read(tmp_path):
    log = read(written(tmp_path / "tfevents", arguments_event(b'{"lr": 1}')), reads_params=False)

    assert log.params == {}


@pytest.mark.parametrize("half", [-1, 70_000])
@pytest.mark.parametrize("dtype", [types.DT_HALF, types.DT_BFLOAT16])
def test_half_that_has_more_than_16_bits_is_some_number(dtype, half, tmp_path):
    tensor = TensorProto(dtype=dtype, half_val=[half])

    assert len(read(written(tmp_path / "tfevents", tensor_event(tensor)))) == 1


# --- damaged files ---------------------------------------------------------------------------


def test_damaged_data_costs_its_record_alone(tmp_path):
    path = tmp_path / "tfevents"
    whole = bytearray(event_file(TENSORBOARD / "tensors").read_bytes())
    place = whole.index(b"epoch_loss")
    whole[place] ^= 1
    path.write_bytes(whole)

    log = read(path)

    assert log.steps == [1, 2, 3]
    assert log.damaged == 1


def test_damaged_length_ends_the_reading(tmp_path):
    path = tmp_path / "tfevents"
    whole = event_file(TENSORBOARD / "tensors").read_bytes()
    first = read_records(event_file(TENSORBOARD / "tensors"), 0).records[0]
    path.write_bytes(whole[: len(first) + 12] + b"\x00" * 40)

    reading = read_records(path, 0)

    assert len(reading.records) == 1
    assert reading.damage
    assert reading.offset == len(first) + 12


@pytest.mark.parametrize("wall_time", [math.nan, math.inf, -1.0, 1e300])
def test_event_without_a_valid_time_is_now(wall_time, tmp_path):
    summary = Summary(value=[Summary.Value(tag="x", simple_value=1.0)])
    path = written(tmp_path / "tfevents", Event(wall_time=wall_time, step=1, summary=summary))
    log = EventLog()

    log.take(read_records(path, 0).records[0], now_ms=42)

    assert log.timestamps_ms == [42]
