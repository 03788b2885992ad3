"""The training text: its documents, and the blocks of tokens that the model sees."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from options import OptionError, Options
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

REPOSITORY = Path(__file__).resolve().parents[2]
README_NAMES = ("README.md", "README.zh.md")
# One of every 20 blocks is held out: from the whole text, as its end may differ from the rest.
BLOCKS_PER_HELD_OUT = 20
HELD_OUT_BLOCK = 10


def documents_of(options: Options) -> Iterator[str]:
    """The texts of the dataset: a text file is one; of a ``.jsonl`` file, each line's ``text``.

    ``""`` and ``"readme"`` stand for the README files next to the examples.

    Raises:
        OptionError: There is no such file, or it is not what its name says.
    """
    if options.dataset in ("", "readme"):
        paths = [path for name in README_NAMES if (path := REPOSITORY / name).is_file()]
    else:
        path = options.path_of(options.dataset)
        paths = [path] if path is not None and path.is_file() else []
    if not paths:
        raise OptionError(f"the dataset {options.dataset!r} is not a file that this run can read")
    for path in paths:
        yield from _documents_in(path)


def _documents_in(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            if path.suffix != ".jsonl":
                yield file.read()
                return
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _text_in(line, path, number)
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"cannot read the dataset {path}: {error}") from error


def _text_in(line: str, path: Path, number: int) -> str:
    try:
        text = json.loads(line)["text"]
    except (ValueError, KeyError, TypeError):
        text = None
    if not isinstance(text, str):
        raise OptionError(f'line {number} of {path} is not a JSON object with a "text"')
    return text


class Blocks(Dataset[dict[str, torch.Tensor]]):
    """Blocks of tokens, each to be predicted from those before it: (blocks, context_length)."""

    def __init__(self, tokens: torch.Tensor) -> None:
        self._tokens = tokens

    def __len__(self) -> int:
        return len(self._tokens)

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self._tokens[number], "labels": self._tokens[number]}


@dataclass(frozen=True)
class Data:
    """``held_out`` is None if the text is too short to spare some of it."""

    training: Blocks
    held_out: Blocks | None

    @classmethod
    def of(cls, options: Options, tokenizer: PreTrainedTokenizerBase) -> Data:
        """Cut the documents, an end-of-text token after each, into blocks; the rest is left out.

        Raises:
            OptionError: The text is shorter than a block, or cannot be read.
        """
        ids: list[int] = []
        for document in documents_of(options):
            ids += tokenizer(document, add_special_tokens=False, verbose=False)["input_ids"]
            ids.append(tokenizer.eos_token_id)
        length = options.context_length
        count = len(ids) // length
        if count == 0:
            raise OptionError(f"the text has {len(ids)} tokens, context_length is {length}")
        blocks = torch.tensor(ids[: count * length]).view(count, length)
        if count < BLOCKS_PER_HELD_OUT:
            return cls(Blocks(blocks), None)
        is_held_out = torch.arange(count) % BLOCKS_PER_HELD_OUT == HELD_OUT_BLOCK
        return cls(Blocks(blocks[~is_held_out]), Blocks(blocks[is_held_out]))
