"""The contract as data: every endpoint's method, path and JSON examples, read from the document."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).parent.parent / "docs" / "requirements.zh.md"

# Ids, times and addresses differ from the example's; their form does not.
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
ADDRESS = re.compile(r"s3://artifacts/proj_\w+/run_\w+/[\w.\-]+")
NUMBER = re.compile(r"\d+(\.\d+)?(e-?\d+)?")
ID = re.compile(r"(proj|run|ckpt|log|eval|conf)_\w+")


@dataclass(frozen=True)
class Endpoint:
    title: str
    method: str
    path: str
    request: Any  # None where the document shows no body
    status: int
    response: Any


def endpoints() -> dict[str, Endpoint]:
    """Title -> endpoint, e.g. ``创建项目``."""
    text = DOCUMENT.read_text()
    found = {}
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
        found[title] = Endpoint(
            title=title,
            method=match[1],
            path=match[2],
            request=json.loads(requests[0]) if requests else None,
            status=int(status[1]),
            response=json.loads(response[1]),
        )
    return found


def differences(example: Any, actual: Any, where: str = "") -> list[str]:
    """How ``actual`` departs from the form of ``example``; fields beyond the example's are free."""
    if isinstance(example, dict):
        if not isinstance(actual, dict):
            return [f"{where}: {actual!r} is no object"]
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
            return [f"{where}: {actual!r} is no array"]
        if example and not actual:
            return [f"{where} is empty"]
        return [
            problem
            for item, value in zip(example, actual, strict=False)
            for problem in differences(item, value, f"{where}[]")
        ]
    return [] if _same_form(example, actual) else [f"{where}: {actual!r} is not like {example!r}"]


def _same_form(example: Any, actual: Any) -> bool:
    if isinstance(example, bool) or example is None:
        return actual is example
    if isinstance(example, (int, float)):
        return isinstance(actual, (int, float)) and not isinstance(actual, bool)
    for form in (TIME, ADDRESS, ID):
        if form.fullmatch(example):
            return isinstance(actual, str) and form.fullmatch(actual) is not None
    # Words are the contract's to the letter; the numbers in them are the run's own.
    return isinstance(actual, str) and NUMBER.sub("#", example) == NUMBER.sub("#", actual)
