"""Checkpoints: everything needed to resume as if there had been no interruption.

A checkpoint is a NumPy ``.npz`` file. The same state produces the same bytes, so two files can be
compared by their hash. It contains only what the next step depends on: no date, no run id, and no
total number of steps.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from adamw import AdamW
from atomic import write_atomically
from configuration import LARGEST_STEP, ConfigurationError
from corpus import Vocabulary
from model import FloatArray, ModelShape, Parameters

FORMAT = "char_lm/1"
METADATA = "metadata"
# Parts of the file with one array per parameter.
PARAMETER, MEAN, SQUARE = "parameter", "adamw_mean", "adamw_square"


class CheckpointError(ConfigurationError):
    """The file is not a complete checkpoint of this script."""


@dataclass
class Checkpoint:
    """The training state after ``step`` steps.

    ``text_sha256`` shows whether a resumed run reads the same text.
    """

    step: int
    shape: ModelShape
    vocabulary: Vocabulary
    parameters: Parameters
    optimizer: AdamW
    rng: np.random.Generator
    text_sha256: str

    def save(self, directory: Path) -> Path:
        """Write ``step-<8 digits>.npz`` atomically and return its path."""
        path = directory / f"step-{self.step:08}.npz"
        write_atomically(path, self.to_bytes())
        return path

    def to_bytes(self) -> bytes:
        """Return the content of the file."""
        metadata = {
            "format": FORMAT,
            "step": self.step,
            "shape": asdict(self.shape),
            "vocabulary": self.vocabulary.characters,
            "rng": self.rng.bit_generator.state,
            "text_sha256": self.text_sha256,
        }
        encoded = json.dumps(metadata, sort_keys=True).encode()
        arrays: dict[str, npt.NDArray[Any]] = {METADATA: np.frombuffer(encoded, dtype=np.uint8)}
        for part, values in self._parts().items():
            arrays.update({f"{part}.{name}": value for name, value in values.items()})
        return _pack(arrays)

    def _parts(self) -> dict[str, Parameters]:
        return {
            PARAMETER: self.parameters,
            MEAN: self.optimizer.mean,
            SQUARE: self.optimizer.square,
        }

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Read a checkpoint and check that it is complete.

        Raises:
            CheckpointError: The file is missing, damaged, or not a checkpoint.
        """
        try:
            return cls._from_arrays(_unpack(path))
        except OSError as error:
            reason = error.strerror or error
            raise CheckpointError(f"cannot read checkpoint {path}: {reason}") from error
        except (ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise CheckpointError(
                f"{path} is damaged or not a checkpoint of this script: {error}"
            ) from error

    @classmethod
    def _from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Checkpoint:
        metadata = json.loads(arrays[METADATA].tobytes())
        if metadata["format"] != FORMAT:
            raise ValueError(f"the format is {metadata['format']!r}, not {FORMAT!r}")
        step = metadata["step"]
        if not isinstance(step, int) or not 0 <= step <= LARGEST_STEP:
            raise ValueError(f"invalid step {step!r}")
        vocabulary = Vocabulary(metadata["vocabulary"])
        shape = ModelShape(**metadata["shape"])
        if shape.vocabulary_size != len(vocabulary):
            raise ValueError("the vocabulary size does not match the model")
        generator = np.random.PCG64()
        generator.state = metadata["rng"]
        return cls(
            step=step,
            shape=shape,
            vocabulary=vocabulary,
            parameters=_part(arrays, PARAMETER, shape),
            # There is one update per step.
            optimizer=AdamW(_part(arrays, MEAN, shape), _part(arrays, SQUARE, shape), step),
            rng=np.random.Generator(generator),
            text_sha256=metadata["text_sha256"],
        )


def _part(arrays: Mapping[str, npt.NDArray[Any]], part: str, shape: ModelShape) -> Parameters:
    result: Parameters = {}
    for name, size in shape.parameter_shapes().items():
        value: FloatArray = arrays[f"{part}.{name}"]
        if value.shape != size or value.dtype != np.float32:
            raise ValueError(f"{part}.{name} is {value.dtype} {value.shape}")
        result[name] = value
    return result


def _pack(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Return an ``.npz`` file that depends only on ``arrays``.

    ``np.savez`` happens to write the same bytes each time, but does not guarantee it; here the
    date, order, and system recorded in the zip file are fixed.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            member.create_system = 3  # Unix
            content = io.BytesIO()
            np.lib.format.write_array(
                content, np.ascontiguousarray(arrays[name]), allow_pickle=False
            )
            archive.writestr(member, content.getvalue())
    return buffer.getvalue()


def _unpack(path: Path) -> dict[str, npt.NDArray[Any]]:
    # np.load() also opens files that are not zip files, and reports their errors as if they were
    # pickles.
    with open(path, "rb") as stream:
        if not zipfile.is_zipfile(stream):
            raise zipfile.BadZipFile("not a complete .npz file")
        stream.seek(0)
        with np.load(stream, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
