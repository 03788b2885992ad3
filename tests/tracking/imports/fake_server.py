"""A server that answers as MLflow's does, from memory, with pages of two and troubles on demand."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

API = "/api/2.0/mlflow"
PROXY = "/api/2.0/mlflow-artifacts/artifacts"
PAGE = 2
START_MS = 1_700_000_000_000


def run_id(number: int) -> str:
    return f"{number:032x}"


class FakeServer:
    """``answer(path)`` may return a status to fail a request with, or raise ConnectionError to end
    it without an answer."""

    def __init__(self) -> None:
        self.experiments: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.points: dict[str, list[dict[str, Any]]] = {}  # of all runs, by run
        self.files: dict[str, bytes] = {}  # by path at the proxy
        self.models: dict[str, dict[str, Any]] = {}
        self.versions: list[dict[str, Any]] = []
        self.logged: list[dict[str, Any]] = []
        self.answer: Callable[[str], int | None] = lambda _path: None
        self.requests: list[str] = []
        self.authorization: set[str] = set()
        self._lock = Lock()

    def add_experiment(self, id: str, name: str, **fields: Any) -> None:
        created = START_MS + int(id)
        self.experiments[id] = {
            "experiment_id": id,
            "name": name,
            "creation_time": created,
            "lifecycle_stage": "active",
            **fields,
        }

    def add_run(self, number: int, experiment: str = "1", *, status="FINISHED", **info) -> str:
        """With a param, a tag, a curve of five points and a file."""
        id = run_id(number)
        fields = {
            "run_id": id,
            "experiment_id": experiment,
            "run_name": f"run {number}",
            "status": status,
            "start_time": str(START_MS + number),
            "lifecycle_stage": "active",
            "artifact_uri": f"mlflow-artifacts:/{experiment}/{id}/artifacts",
        }
        if status not in {"RUNNING", "SCHEDULED"}:
            fields["end_time"] = START_MS + number + 1000
        tags = {"team": "nlp", "mlflow.runName": f"run {number}"}
        self.runs[id] = {
            "info": fields | info,
            "data": {
                "params": [{"key": "lr", "value": "3e-5"}],
                "tags": [{"key": key, "value": text} for key, text in tags.items()],
            },
        }
        for step in range(5):
            self.log(id, "loss", step, 1 / (step + 1))
        self.files[f"{experiment}/{id}/artifacts/out/notes.txt"] = f"notes {number}".encode()
        return id

    def log(self, id: str, key: str, step: int, value: Any) -> None:
        point = {"key": key, "step": step, "value": value, "timestamp": START_MS + step}
        points = self.points.setdefault(id, [])
        points.append(point)
        latest = {it["key"]: it for it in points}
        self.runs[id]["data"]["metrics"] = list(latest.values())

    # --- answers ---------------------------------------------------------------------------------

    def respond(self, path: str, query: dict[str, Any]) -> Any:
        if path.startswith(f"{PROXY}/"):
            return self.files[unquote(path.removeprefix(f"{PROXY}/"))]
        if path == PROXY:
            return {"files": self._folder(query["path"] + "/")}
        return getattr(
            self, "_" + path.removeprefix(f"{API}/").replace("/", "_").replace("-", "_")
        )(query)

    def _experiments_search(self, query):
        return _page("experiments", list(self.experiments.values()), query)

    def _runs_search(self, query):
        [experiment] = query["experiment_ids"]
        found = [it for it in self.runs.values() if it["info"]["experiment_id"] == experiment]
        return _page("runs", found, query)

    def _runs_get(self, query):
        return {"run": self.runs[query["run_id"]]}

    def _metrics_get_history(self, query):
        points = self.points[query["run_id"]]
        return _page("metrics", [it for it in points if it["key"] == query["metric_key"]], query)

    def _artifacts_list(self, query):
        info = self.runs[query["run_id"]]["info"]
        root = f"{info['experiment_id']}/{info['run_id']}/artifacts/"
        folder = query.get("path", "")
        entries = self._folder(root + (f"{folder}/" if folder else ""))
        return {"files": [{**it, "path": f"{folder}/{it['path']}".lstrip("/")} for it in entries]}

    def _folder(self, prefix: str) -> list[dict[str, Any]]:
        entries = {}
        for path, content in self.files.items():
            if path.startswith(prefix):
                name, deeper, _rest = path.removeprefix(prefix).partition("/")
                entries[name] = (
                    {"path": name, "is_dir": True}
                    if deeper
                    else {"path": name, "is_dir": False, "file_size": str(len(content))}
                )
        return list(entries.values())

    def _logged_models_search(self, query):
        [experiment] = query["experiment_ids"]
        found = [it for it in self.logged if it["info"]["experiment_id"] == experiment]
        return _page("models", found, query)

    def _registered_models_search(self, query):
        found = [] if "filter" in query else list(self.models.values())
        return _page("registered_models", found, query)

    def _model_versions_search(self, query):
        name = query["filter"].split("'")[1]
        found = [it for it in self.versions if it["name"] == name]
        return _page("model_versions", found, query)

    def note(self, path: str, authorization: str) -> int | None:
        with self._lock:
            self.requests.append(path)
            self.authorization.add(authorization)
            return self.answer(path)


def _page(name: str, items: list[Any], query: dict[str, Any]) -> dict[str, Any]:
    start = int(query.get("page_token") or 0)
    page: dict[str, Any] = {name: items[start : start + PAGE]}
    if start + PAGE < len(items):
        page["next_page_token"] = str(start + PAGE)
    return page


@contextmanager
def serving(fake: FakeServer) -> Iterator[str]:
    """Its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            parts = urlsplit(self.path)
            self._answer(parts.path, {key: it[0] for key, it in parse_qs(parts.query).items()})

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(self.path, json.loads(body))

        def _answer(self, path, query):
            try:
                status = fake.note(path, self.headers.get("Authorization", ""))
            except ConnectionError:
                self.close_connection = True
                return
            try:
                content = {"message": "trouble"} if status else fake.respond(path, query)
            except (KeyError, AttributeError):
                status, content = 404, {"message": "not found"}
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status or 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
