"""nginx's own answers as files."""

import json
import re
from pathlib import Path

import pytest
from django.conf import settings

from tracking.errors import STATUS
from trainhub.front.answers import ANSWERS, write_answers

HAN = re.compile(r"[\u4e00-\u9fff]")


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    write_answers(tmp_path)
    return tmp_path


def test_each_status_is_there_in_each_language_and_kind(answers: Path):
    for language, _name in settings.LANGUAGES:
        names = {path.name for path in (answers / language).iterdir()}

        kinds = ("api.json", "mlflow.json", "page.html")
        assert names == {f"{status}.{kind}" for status in ANSWERS for kind in kinds}


def test_english_answers_have_no_chinese(answers: Path):
    texts = [path.read_text() for path in (answers / "en").iterdir()]

    assert [text for text in texts if HAN.search(text)] == []


def test_chinese_answers_are_chinese(answers: Path):
    texts = [path.read_text() for path in (answers / "zh-hans").iterdir()]

    assert [text for text in texts if not HAN.search(text)] == []


def test_answers_of_the_api_have_its_error_shape(answers: Path):
    content = json.loads((answers / "en/413.api.json").read_text())

    assert content == {
        "type": "client_error",
        "errors": [
            {
                "code": "body_too_large",
                "detail": f"The body is larger than {settings.MAX_JSON_BYTES} bytes.",
                "attr": None,
            }
        ],
    }


def test_codes_for_mlflow_are_its_own():
    assert {mlflow_code for _code, mlflow_code, _detail in ANSWERS.values()} <= STATUS.keys()
