"""Examples of the API's documentation."""

from typing import Any, Final

WEBHOOK_CREATE: Final[dict[str, Any]] = {
    "name": "on call",
    "shape": "json",
    "address": "https://hooks.example.org/trainhub",
    "events": ["run.failed", "metric.beyond"],
    "metric": "eval_loss",
    "comparison": "above",
    "threshold": 3.0,
}

WEBHOOK: Final[dict[str, Any]] = {
    "id": "hook_4k0wz81mt2qd",
    "project_id": "proj_7zkq0t2m9x4b",
    "name": "on call",
    "shape": "json",
    "receiver": "hooks.example.org",
    "events": ["run.failed", "metric.beyond"],
    "metric": "eval_loss",
    "comparison": "above",
    "threshold": 3.0,
    "enabled": True,
    "is_signed": True,
    "overlap_ends_at": None,
    "created_by": "li",
    "created_at": "2026-11-30T12:00:00Z",
}

SECRET: Final = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"  # noqa: S105  # of nothing

WEBHOOK_CREATED: Final = {**WEBHOOK, "secret": SECRET}

WEBHOOK_CHANGE: Final = {"events": ["run.failed"], "enabled": False}

WEBHOOK_CHANGED: Final = {**WEBHOOK, **WEBHOOK_CHANGE, "secret": None}

ROTATED: Final = {"secret": SECRET, "overlap_ends_at": "2026-12-01T12:00:00Z"}

DELIVERY: Final[dict[str, Any]] = {
    "id": "msg_9d3c1k7w0vqe",
    "event": "run.failed",
    "payload": {
        "type": "run.failed",
        "timestamp": "2026-11-30T17:50:58.341Z",
        "text": "A run has failed: run-007 (Summaries). Out of memory.\nhttps://…",
        "data": {
            "project": {"id": "proj_7zkq0t2m9x4b", "name": "Summaries"},
            "run": {"id": "run_7zkq0t2m9x4b", "name": "run-007", "url": "https://…"},
            "reason": "Out of memory.",
        },
    },
    "status": "waiting",
    "attempts": 1,
    "next_attempt_at": "2026-11-30T17:51:09.512Z",
    "attempted_at": "2026-11-30T17:50:59.104Z",
    "response_code": 503,
    "response": "down",
    "created_at": "2026-11-30T17:50:58.341Z",
}
