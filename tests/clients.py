"""JSON over Django's test client."""

import json
from typing import Any

from django.test import Client


class ApiClient(Client):
    """Sends JSON to an open-mode server on loopback."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(SERVER_NAME="localhost", **kwargs)

    def post_json(self, path: str, body: Any = None, **extra: Any) -> Any:
        return self.post(path, json.dumps(body or {}), content_type="application/json", **extra)

    def patch_json(self, path: str, body: Any) -> Any:
        return self.patch(path, json.dumps(body), content_type="application/json")
