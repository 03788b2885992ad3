"""A database as the release before has left it: its migrations, and rows of most tables.

Run with DATABASE_URL and an argument: ``fill`` an empty database, or, once it is migrated, ``read``
what the API tells of it (JSON on stdout). With a new release, set STATE to the migrations that it
has, and add what its tables have.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

# The newest migration of each app of that release. Its tokens were rows of django-rest-knox.
STATE = {
    "artifacts": "0004_times_of_evaluations",
    "auth": "0012_alter_user_first_name_max_length",
    "dashboard": "0001_saved_views",
    "execution": "0003_node_problems",
    "goodput": "0001_initial",
    "logs": "0001_initial",
    "metrics": "0004_metric_values",
    "projects": "0002_key_metrics",
    "registry": "0002_runs_elsewhere",
    "runs": "0001_squashed_0029_files_not_sent",
    "sessions": "0001_initial",
    "sweeps": "0001_initial",
}
KNOX = """
CREATE TABLE knox_authtoken (
    digest varchar(128) PRIMARY KEY, token_key varchar(25) NOT NULL, created timestamptz NOT NULL,
    expiry timestamptz, user_id integer NOT NULL REFERENCES auth_user
)
"""
TOKENS = {
    "anna": "th_" + "a1" * 32,
    "ben": "th_" + "b2" * 32,
    "run": "th_" + "c3" * 32 + ".run_before00002",
}
PROJECT, OTHER, RUN, SAVED = (
    "proj_before00001",
    "proj_before00002",
    "run_before00001",
    "ckpt_before001",
)
QUEUED = "run_before00002"
STEPS = 5
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LINES = ["starting", "训练 begins", "done"]


def digest_of(token: str) -> str:
    return hashlib.sha512(token.encode()).hexdigest()


def fill() -> None:
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    targets = list(STATE.items())
    executor.migrate(targets)
    old = executor.loader.project_state(targets).apps

    def model(label: str) -> Any:
        return old.get_model(label).objects

    users = {
        name: model("auth.User").create(username=name, password="!", is_active=active)
        for name, active in (("anna", True), ("ben", True), ("gone", False))
    }
    with connection.cursor() as cursor:
        cursor.execute(KNOX)
        for name, token in TOKENS.items():
            user = users.get(name, users["anna"]).pk
            row = (digest_of(token), token[:15], AT, AT + timedelta(days=36500), user)
            cursor.execute("INSERT INTO knox_authtoken VALUES (%s, %s, %s, %s, %s)", row)
    for key, name in ((PROJECT, "翻译"), (OTHER, "other")):
        model("projects.Project").create(id=key, name=name, version=1, tags=["sft"])
        model("projects.HistoricalProject").create(
            id=key,
            name=name,
            version=1,
            tags=["sft"],
            history_date=AT,
            history_type="+",
            history_user=users["anna"],
        )
    recipe = model("runs.Recipe").get(name="simulated")
    run = model("runs.Run").create(
        id=RUN, project_id=PROJECT, project_version=1, name="sft-001", recipe=recipe,
        status="已完成", created_by=users["anna"], hyperparameters={"lr": 3e-4}, tags={"note": "a"},
        step=STEPS, log_count=len(LINES), metrics={"loss": 1.0 / STEPS}, started_at=AT,
        finished_at=AT, attempt=1, script_tokens=[],
    )  # fmt: skip
    model("runs.Run").create(
        id=QUEUED, project_id=PROJECT, project_version=1, name="sft-002", recipe=recipe,
        status="排队中", created_by=users["ben"], script_tokens=[digest_of(TOKENS["run"])],
    )  # fmt: skip
    model("runs.RunEvent").create(run=run, kind="created", attempt=0, actor=users["anna"])
    series = model("metrics.MetricSeries").create(
        run=run, key="loss", count=STEPS, minimum=1.0 / STEPS, maximum=1.0, last_step=STEPS,
        last_timestamp_ms=STEPS, last_value=1.0 / STEPS,
    )  # fmt: skip
    with connection.cursor() as cursor:
        for step in range(1, STEPS + 1):
            cursor.execute(
                "INSERT INTO metrics_metricpoint (series_id, step, timestamp_ms, value)"
                " VALUES (%s, %s, %s, %s)",
                (series.pk, step, step, 1.0 / step),
            )
        for seq, line in enumerate(LINES, 1):
            cursor.execute(
                "INSERT INTO logs_logline (run_id, seq, timestamp, level, source, message)"
                " VALUES (%s, %s, %s, 'INFO', '', %s)",
                (RUN, seq, AT, line),
            )
    saved = model("artifacts.Artifact").create(
        id=SAVED, run=run, type="checkpoint", name="checkpoint-5", file="checkpoints/5", step=5,
        size_bytes=3, sha256=hashlib.sha256(b"abc").hexdigest(),
    )  # fmt: skip
    model("artifacts.ArtifactTag").create(
        artifact=saved, value="发布", notes="good", applied_by=users["ben"]
    )
    registered = model("registry.RegisteredModel").create(
        id="model_before0001", name="翻译-model", last_number=1, created_by=users["ben"]
    )
    version = model("registry.ModelVersion").create(
        model=registered, number=1, source=f"runs:/{RUN}/checkpoints/5", location="somewhere",
        run=run, checkpoint=saved, created_by=users["ben"],
    )  # fmt: skip
    model("registry.ModelAlias").create(model=registered, alias="champion", version=version)
    model("dashboard.SavedView").create(
        id="view_before0001", project_id=PROJECT, owner=users["ben"], name="mine", query="q=x"
    )


def read() -> None:
    from django.conf import settings
    from django.test import Client

    run = f"/projects/{PROJECT}/runs/{RUN}"
    mlflow = "/api/2.0/mlflow"
    asked = {
        "projects": "/projects",
        "run": run,
        "runs": f"/projects/{PROJECT}/runs",
        "points": f"{run}/metrics/series?keys=loss",
        "lines": f"{run}/logs",
        "artifacts": f"{run}/artifacts",
        "events": f"{run}/events",
        "access": f"/projects/{PROJECT}/access",
        "model": f"{mlflow}/registered-models/alias?name=翻译-model&alias=champion",
        "audit": "/audit",
        "teams": "/teams",
    }
    settings.ALLOWED_HOSTS = ["*"]
    answers: dict[str, Any] = {}
    for name, token in {**TOKENS, "nobody": "th_" + "d4" * 32}.items():
        client = Client(HTTP_AUTHORIZATION=f"Bearer {token}", REMOTE_ADDR="192.0.2.1")
        answers[name] = {
            what: {"status": answer.status_code, "body": answer.json()}
            for what, path in asked.items()
            for answer in [client.get(path)]
        }
    client = Client(HTTP_AUTHORIZATION=f"Bearer {TOKENS['run']}", REMOTE_ADDR="192.0.2.1")
    for what, path in (("its lines", f"/projects/{PROJECT}/runs/{QUEUED}"), ("other lines", run)):
        lines = {"lines": [{"message": "from its script"}]}
        answer = client.post(f"{path}/logs", lines, content_type="application/json")
        answers["run"][what] = {"status": answer.status_code, "body": answer.json()}
    sys.stdout.write(json.dumps(answers))


if __name__ == "__main__":
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trainhub.settings")
    sys.path.insert(0, os.getcwd())
    django.setup()
    {"fill": fill, "read": read}[sys.argv[1]]()
