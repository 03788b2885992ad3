"""The contract's endpoints (method, path and JSON examples), parsed from the document."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).parent.parent / "docs" / "requirements.zh.md"

# Ids, times and URLs differ from the examples, but must have the same format.
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
ADDRESS = re.compile(r"s3://artifacts/proj_\w+/run_\w+/[\w.\-]+")
NUMBER = re.compile(r"\d+(\.\d+)?(e-?\d+)?")
ID = re.compile(r"(proj|run|ckpt|log|eval|conf)_\w+")


@dataclass(frozen=True)
class Endpoint:
    title: str
    method: str
    path: str
    request: Any  # None if the document has no body
    status: int
    response: Any


def endpoints() -> dict[str, Endpoint]:
    """Title -> endpoint, e.g. ``创建项目``."""
    text = DOCUMENT.read_text()
    by_title = {}
    for title, section in re.findall(r"^### (.+?)\n(.*?)(?=^##)", text, re.M | re.S):
        match = re.search(r"`(GET|POST) (/\S+)`", section)
        if match is None:
            continue
        before, _, after = section.partition("**响应：**")
        requests = re.findall(r"```json\n(.*?)```", before, re.S)
        status = re.search(r"`(\d{3}) ", after)
        response = re.search(r"```json\n(.*?)```", after, re.S)
        assert status is not None, title
        assert response is not None, title
        by_title[title] = Endpoint(
            title=title,
            method=match[1],
            path=match[2],
            request=json.loads(requests[0]) if requests else None,
            status=int(status[1]),
            response=json.loads(response[1]),
        )
    return by_title


def differences(example: Any, actual: Any, where: str = "") -> list[str]:
    """Where ``actual`` differs in format from ``example``; extra fields are allowed."""
    if isinstance(example, dict):
        if not isinstance(actual, dict):
            return [f"{where}: {actual!r} is not an object"]
        return [
            problem
            for key, value in example.items()
            for problem in (
                differences(value, actual[key], f"{where}.{key}")
                if key in actual
                else [f"{where}.{key} is missing"]
            )
        ]
    if isinstance(example, list):
        if not isinstance(actual, list):
            return [f"{where}: {actual!r} is not an array"]
        if example and not actual:
            return [f"{where} is empty"]
        return [
            problem
            for item, value in zip(example, actual, strict=False)
            for problem in differences(item, value, f"{where}[]")
        ]
    return [] if _same_format(example, actual) else [f"{where}: {actual!r} is not like {example!r}"]


def _same_format(example: Any, actual: Any) -> bool:
    if isinstance(example, bool) or example is None:
        return actual is example
    if isinstance(example, (int, float)):
        return isinstance(actual, (int, float)) and not isinstance(actual, bool)
    for form in (TIME, ADDRESS, ID):
        if form.fullmatch(example):
            return isinstance(actual, str) and form.fullmatch(actual) is not None
    # Text must match exactly, except for the numbers in it.
    return isinstance(actual, str) and NUMBER.sub("#", example) == NUMBER.sub("#", actual)
