"""Ray's jobs, through Ray's own client, which is an optional extra: requirements-ray.txt."""

from __future__ import annotations

import importlib.util
import logging
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings

from core.exceptions import DomainError
from core.messages import Message
from core.text import storable
from execution.executors.ray.calls import Calls, limited

logger = logging.getLogger(__name__)

NODES_SECONDS: Final = 10.0
MAX_NODES: Final = 10_000  # that Ray lists
WAITING: Final = frozenset({"PENDING"})
WORKING: Final = frozenset({"RUNNING"})


class RayAway(DomainError):
    """Ray does not answer, or not this worker."""

    status_code = 503


class RayRefused(DomainError):
    """Ray has refused what it was asked. ``text``: all of its own words."""

    def __init__(self, text: str) -> None:
        super().__init__(Message("Ray says: %(text)s", text=_last_words(text) or "–"))
        self.text = text


@dataclass(frozen=True)
class Job:
    """``state``: PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED. ``message``: Ray's own words."""

    id: str
    state: str
    message: str = ""

    @property
    def has_ended(self) -> bool:
        return self.state not in WAITING | WORKING


def is_installed() -> bool:
    return importlib.util.find_spec("ray") is not None


class Jobs:
    """What Ray says of its jobs, at most RAY_POLL_SECONDS old. Shared by threads: those that want
    to know while it is asked wait for the same answer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # never held during a call
        self._calls = Calls()
        self._answer: Future[dict[str, Job]] = Future()  # the newest
        self._answered_at = float("-inf")  # monotonic seconds
        self._asking: Future[dict[str, Job]] | None = None
        self._nodes: tuple[float, list[dict[str, float]]] = (float("-inf"), [])

    def get(self, job_id: str) -> Job | None:
        """None if Ray does not know it (any more). Raises RayAway."""
        with self._lock:
            age = time.monotonic() - self._answered_at
            known = self._answer if age <= settings.RAY_POLL_SECONDS else self._asking
            question: Future[dict[str, Job]] = Future() if known is None else known
            if known is None:
                self._asking = question
        if known is None:
            self._ask(question)
        return question.result().get(job_id)

    def get_now(self, job_id: str) -> Job | None:
        self.ask_again()
        return self.get(job_id)

    def ask_again(self) -> None:
        """Let the next question be asked anew: something has been changed."""
        with self._lock:
            self._answered_at = float("-inf")
            self._asking = None  # what it is told may be older

    def _ask(self, question: Future[dict[str, Job]]) -> None:
        try:
            jobs = [_job(details) for details in self._call(lambda client: client.list_jobs())]
            question.set_result({job.id: job for job in jobs if job.id})
        except BaseException as problem:  # for all who wait
            question.set_exception(problem)
        with self._lock:
            if self._asking is question:
                self._asking = None
                self._answer, self._answered_at = question, time.monotonic()

    def nodes(self) -> list[dict[str, float]]:
        """The resources of each node that is alive, at most NODES_SECONDS old. Raises RayAway,
        RayRefused."""
        with self._lock:
            at, nodes = self._nodes
        if time.monotonic() - at > NODES_SECONDS:
            found = self._timed(_nodes)
            nodes = [dict(node.resources_total or {}) for node in found]
            with self._lock:
                self._nodes = time.monotonic(), nodes
        return nodes

    def submit(self, job_id: str, entrypoint: str, **options: Any) -> None:
        """Submit a job; one of this id that Ray has is left as it is. Raises RayAway,
        RayRefused."""
        try:
            self._call(
                lambda client: client.submit_job(
                    entrypoint=entrypoint, submission_id=job_id, **options
                )
            )
        except RayRefused as refusal:
            if "already exists" not in refusal.text:
                raise
        self.ask_again()

    def stop(self, job_id: str) -> None:
        """Let Ray end the job: SIGTERM to its driver, SIGKILL 3 s later. Raises RayAway."""
        try:
            self._call(lambda client: client.stop_job(job_id))
        except RayRefused:
            return  # it does not know it
        finally:
            self.ask_again()

    def _call(self, what: Callable[[Any], Any]) -> Any:
        return self._timed(lambda deadline: what(_client(deadline)))

    def _timed(self, what: Callable[[float], Any]) -> Any:
        """Raises RayAway, RayRefused."""
        try:
            return self._calls.call(what)
        except OSError as error:  # of sockets, requests, time limits
            raise RayAway(_no_answer(str(error))) from None
        except RuntimeError as error:
            if _is_away(str(error)):
                raise RayAway(_no_answer(_last_words(str(error)))) from None
            raise RayRefused(str(error)) from None
        except ValueError as error:
            raise RayRefused(str(error)) from None
        except Exception as error:
            if _is_unavailable(error):
                raise RayAway(_no_answer(_last_words(str(error)))) from None
            if not _is_denied(error):
                raise
            why = getattr(error, "message", str(error)).partition("\n")[0]
            raise RayAway(
                Message(
                    "Ray does not accept TRAINHUB_RAY_TOKEN (%(why)s).", why=storable(why)[:300]
                )
            ) from None


def _client(deadline: float) -> Any:
    from ray.job_submission import JobSubmissionClient

    return limited(JobSubmissionClient)(deadline, settings.RAY_ADDRESS, headers=headers())


def _nodes(deadline: float) -> list[Any]:
    """As ray.util.state.list_nodes does, which passes no headers on."""
    from ray.util.state.api import StateApiClient
    from ray.util.state.common import ListApiOptions, StateResource

    client = limited(StateApiClient)(deadline, settings.RAY_ADDRESS, headers=headers())
    # Not filtered by Ray, which takes the dead ones that it leaves out for an answer cut short.
    options = ListApiOptions(limit=MAX_NODES)
    found = client.list(StateResource.NODES, options, raise_on_missing_output=True)
    return [node for node in found if node.state == "ALIVE"]


def headers() -> dict[str, str] | None:
    """None: as Ray's own variables say, RAY_AUTH_MODE and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH."""
    token = settings.RAY_TOKEN
    return {"Authorization": f"Bearer {token}"} if token else None


def _is_denied(error: Exception) -> bool:
    """Whether Ray, or a proxy before it, wants another token (401, 403)."""
    denied = getattr(sys.modules.get("ray.exceptions"), "AuthenticationError", None)
    return denied is not None and isinstance(error, denied)


def _is_unavailable(error: Exception) -> bool:
    """Whether the part of Ray that lists its nodes cannot be asked."""
    unavailable = getattr(sys.modules.get("ray.util.state.exception"), "ServerUnavailable", None)
    return unavailable is not None and isinstance(error, unavailable)


def _job(details: Any) -> Job:
    state = getattr(details.status, "value", str(details.status))
    return Job(details.submission_id or "", str(state), _last_words(details.message or ""))


def _is_away(text: str) -> bool:
    """Whether an error is the head's own: a proxy's, or that of one that is starting."""
    marks = ("status code 50", "Failed to connect", "Connection refused", "timed out")
    return any(mark in text for mark in marks) and "already exists" not in text


def _no_answer(why: str) -> Message:
    return Message("Ray does not answer (%(why)s). Its jobs go on.", why=storable(why)[:300])


def _last_words(text: str) -> str:
    """The last line that says something: an answer may be a traceback with a full stop below."""
    lines = [line.strip() for line in text.splitlines() if len(line.strip()) > 1]
    return storable(lines[-1][:500]) if lines else ""
