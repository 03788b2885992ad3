"""What the documents for developers name is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "docs" / "architecture.md", ROOT / "CONTRIBUTING.md"]
ANSWERS = re.findall(
    r"^\| (Wh.*\?|How.*\?) \| (.*) \|$", (ROOT / "docs" / "architecture.md").read_text(), re.M
)
FILE = r"`([\w./-]+/[\w.-]+\.(?:py|toml|html|js|sql|yml))`"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_it_names_exist(document: Path):
    named = set(re.findall(FILE, document.read_text()))

    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_there_are_answers_to_what_newcomers_ask():
    assert len(ANSWERS) >= 12


@pytest.mark.parametrize(("question", "answer"), ANSWERS, ids=[question for question, _ in ANSWERS])
def test_names_in_an_answer_stand_in_the_files_beside_them(question: str, answer: str):
    files = re.findall(FILE, answer)
    text = "".join((ROOT / name).read_text() for name in files)
    names = re.findall(r"`([A-Za-z_][\w.]*)`(?!\w)", answer)

    assert files
    missing = [name for name in names if not re.search(rf"\b{name.split('.')[-1]}\b", text)]
    assert missing == []
