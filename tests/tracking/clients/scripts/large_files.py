"""Sends and fetches large files, which go to S3 directly; tells whom the client has asked."""

import hashlib
import json
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

import mlflow
import requests

UPLOADS = "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD"

asked = []
send = requests.Session.send


def recorded(session, request, **options):
    asked.append(f"{request.method} {urlsplit(request.url).netloc}")
    return send(session, request, **options)


requests.Session.send = recorded


def transfers(of):
    asked.clear()
    of()
    return sorted(asked)


content = os.urandom(12 * 1024 * 1024)
Path("model.bin").write_bytes(content)
results = {"sha256": hashlib.sha256(content).hexdigest()}
fetched = Path("fetched")


def fetch(path):
    mlflow.artifacts.download_artifacts(f"{uri}/{path}", dst_path=str(fetched))


mlflow.set_experiment("直传")
with mlflow.start_run(run_name="large") as run:
    uri = run.info.artifact_uri
    os.environ[UPLOADS] = "true"
    results["forced"] = transfers(lambda: mlflow.log_artifact("model.bin", "forced"))
    del os.environ[UPLOADS]
    results["found"] = transfers(lambda: mlflow.log_artifact("model.bin", "found"))
    results["fetched"] = transfers(lambda: fetch("forced/model.bin"))
    results["whole"] = next(fetched.rglob("model.bin")).read_bytes() == content

Path(sys.argv[1]).write_text(json.dumps(results))
