"""The text: read it, encode its characters, and hold out a part for validation."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from configuration import ConfigurationError

IntArray = npt.NDArray[np.int64]

REPOSITORY = Path(__file__).resolve().parents[2]
README_NAMES = ("README.md", "README.zh.md")

UNKNOWN = "\ufffd"
UNKNOWN_ID = 0

# One of every ten blocks of the text is held out. It is not the last one, so that the end of a
# short text is also used for training.
BLOCKS_PER_HELD_OUT = 10
HELD_OUT_BLOCK = 5
LARGEST_BLOCK = 512  # characters


def read_text(dataset: str) -> str:
    """Return the text of ``dataset``, with ``\\n`` as line endings.

    ``""`` and ``"readme"`` stand for the README files of this repository; anything else is the
    path of a UTF-8 file: as TrainHub starts it, below one of TRAINHUB_DATASET_DIRS; by hand,
    relative to the repository or else to the current folder.

    Raises:
        ConfigurationError: The file does not exist or is not UTF-8 text.
    """
    if dataset in ("", "readme"):
        paths = [path for name in README_NAMES if (path := REPOSITORY / name).is_file()]
        if not paths:
            raise ConfigurationError(f"no {' or '.join(README_NAMES)} in {REPOSITORY}")
    else:
        paths = [_find(dataset)]
    return "\n\n".join(_read(path) for path in paths)


def _find(dataset: str) -> Path:
    folders = os.environ.get("TRAINHUB_DATASET_DIRS")
    if folders is not None:
        return _find_below([Path(folder) for folder in folders.split(os.pathsep)], dataset)
    # Joining an absolute path gives that path itself.
    for path in (REPOSITORY / dataset, Path(dataset)):
        try:
            if path.is_file():
                return path
        except ValueError:  # a NUL character in the name
            break
    raise ConfigurationError(f"dataset {dataset!r} is not a file")


def _find_below(folders: list[Path], dataset: str) -> Path:
    for folder in folders:
        try:
            path = (folder / dataset).resolve()
            if path.is_relative_to(folder.resolve()) and path.is_file():
                return path
        except (ValueError, OSError, RuntimeError):  # a NUL character, a loop of links
            continue
    raise ConfigurationError(f"dataset {dataset!r} is not a file below TRAINHUB_DATASET_DIRS")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"dataset {path} is not UTF-8: {error}") from error
    except OSError as error:
        raise ConfigurationError(f"cannot read dataset {path}: {error.strerror}") from error


@dataclass(frozen=True)
class Vocabulary:
    """The characters a model knows, sorted by code point; ids start at 1, and 0 is any other."""

    characters: str

    def __len__(self) -> int:
        """Count the ids, including that of the unknown character."""
        return len(self.characters) + 1

    @classmethod
    def from_code_points(cls, codes: npt.NDArray[np.uint32]) -> Vocabulary:
        """Build the vocabulary from the characters that occur at least twice.

        Characters that occur once train the unknown character instead. Otherwise its probability
        would be learned as zero, and the first new character in the validation text would cost
        more than all others together. Chinese text has many such characters.
        """
        characters, counts = np.unique(codes, return_counts=True)
        repeated = (chr(code) for code in characters[counts >= 2])
        return cls("".join(character for character in repeated if character != UNKNOWN))

    def encode(self, text: str) -> IntArray:
        """Return the id of each character of ``text``: (characters,)."""
        known = code_points(self.characters)
        codes = code_points(text)
        index = np.searchsorted(known, codes)
        index[index == len(known)] = 0  # any valid index: the comparison below decides
        return np.where(known[index] == codes, index + 1, UNKNOWN_ID).astype(np.int64)

    def decode(self, ids: IntArray) -> str:
        """Return the characters of ``ids``, U+FFFD for the unknown one."""
        return "".join((UNKNOWN + self.characters)[i] for i in ids)


def code_points(text: str) -> npt.NDArray[np.uint32]:
    """Return the Unicode code point of each character: (characters,)."""
    return np.frombuffer(text.encode("utf-32-le"), dtype="<u4").astype(np.uint32)


@dataclass(frozen=True)
class Split:
    """Positions of the text to predict: (training,) and (validation,).

    The ``context_length`` characters before a position always belong to the same part as the
    position itself, so the two parts never share a character.
    """

    training: IntArray
    validation: IntArray
    is_held_out: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, length: int, context_length: int) -> Split:
        """Hold out every tenth block of a text of ``length`` characters.

        The blocks come from the whole text rather than its last tenth, because texts are not
        uniform: the last tenth of a bilingual README is in one language, and its last section
        differs from the others. The cost is that the first ``context_length`` characters after
        each boundary serve only as context.

        Raises:
            ConfigurationError: The text is too short for ten blocks of a useful size.
        """
        shortest_block = 4 * context_length
        shortest = BLOCKS_PER_HELD_OUT * shortest_block
        if length < shortest:
            raise ConfigurationError(
                f"the text is too short: {length} characters, but context_length "
                f"{context_length} needs at least {shortest}"
            )
        block = max(shortest_block, min(LARGEST_BLOCK, length // (4 * BLOCKS_PER_HELD_OUT)))
        is_held_out = (np.arange(length) // block) % BLOCKS_PER_HELD_OUT == HELD_OUT_BLOCK
        # A context is shorter than a block: if both its ends are in the same part, so is the rest.
        position = np.arange(context_length, length)
        position = position[is_held_out[position] == is_held_out[position - context_length]]
        return cls(
            training=position[~is_held_out[position]],
            validation=position[is_held_out[position]],
            is_held_out=is_held_out,
        )


@dataclass(frozen=True)
class Corpus:
    """An encoded text: its ids (characters,), their vocabulary, and the split."""

    ids: IntArray
    vocabulary: Vocabulary
    split: Split
    context_length: int

    @classmethod
    def build(cls, text: str, context_length: int, vocabulary: Vocabulary | None) -> Corpus:
        """Encode and split ``text``; by default, build the vocabulary from its training part.

        Raises:
            ConfigurationError: The text is too short, or too few characters occur twice.
        """
        split = Split.of(len(text), context_length)
        if vocabulary is None:
            vocabulary = Vocabulary.from_code_points(code_points(text)[~split.is_held_out])
        if len(vocabulary) < 3:
            raise ConfigurationError("the text has fewer than two characters that occur twice")
        return cls(vocabulary.encode(text), vocabulary, split, context_length)

    @property
    def unknown_share(self) -> float:
        """The fraction of the text that is outside the vocabulary."""
        return float((self.ids == UNKNOWN_ID).mean())

    def windows(self, positions: IntArray) -> tuple[IntArray, IntArray]:
        """Return contexts (positions, context_length) and the targets after them (positions,)."""
        offsets = np.arange(-self.context_length, 0)
        return self.ids[positions[:, None] + offsets], self.ids[positions]

    def training_batch(self, rng: np.random.Generator, size: int) -> tuple[IntArray, IntArray]:
        """Draw ``size`` windows of the training part, with replacement."""
        drawn = rng.integers(0, len(self.split.training), size=size)
        return self.windows(self.split.training[drawn])
