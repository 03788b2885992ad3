"""A small HTTP client for tests against a running server: JSON in, status and JSON out."""

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Api:
    base_url: str
    headers: dict[str, str] = field(default_factory=dict)

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """``body``: bytes are sent as is, anything else as JSON; None sends no body."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        all_headers = {
            **self.headers,
            **{name.replace("_", "-"): text for name, text in headers.items()},
        }
        if data is not None:
            all_headers.setdefault("Content-Type", "application/json")
        url = self.base_url + quote(path, safe="/?=&%:+-_.~")
        request = Request(url, data=data, method=method, headers=all_headers)
        try:
            with urlopen(request, timeout=60) as response:
                return Answer(response.status, dict(response.headers), response.read())
        except HTTPError as error:
            with error:
                return Answer(error.code, dict(error.headers), error.read())

    def get(self, path: str, **headers: str) -> Answer:
        return self.call("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        return self.call("POST", path, body, **headers)

    def patch(self, path: str, body: Any = None, **headers: str) -> Answer:
        return self.call("PATCH", path, body, **headers)
