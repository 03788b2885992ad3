"""Whether a checkpoint passes the gates of its project, and why not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.utils import timezone

from artifacts.models import Artifact
from artifacts.verification import verify
from core.messages import Message, Text, dumps
from registry.checkpoints import rows_of
from registry.model_card_facts import facts_of
from registry.model_card_metadata import metadata
from registry.release_policy import Comparison, Gate, GateKind, ReleasePolicy

JUST_NOW: Final = timedelta(hours=1)  # bytes that were read since then need not be read again


@dataclass(frozen=True, slots=True)
class GateResult:
    """``passed``: None of bytes that are read at the decision."""

    gate: Gate
    passed: bool | None
    why: Text

    def as_json(self) -> dict[str, Any]:
        """As it is kept with a decision."""
        return {"gate": dumps(self.gate.title), "passed": self.passed, "why": dumps(self.why)}


def check(checkpoint: Artifact, gates: Sequence[Gate]) -> list[GateResult]:
    """In the order of ``gates``. Reads no bytes."""
    results = _results(checkpoint) if any(gate.kind is GateKind.METRIC for gate in gates) else {}
    card = _card(checkpoint) if any(gate.kind is GateKind.CARD for gate in gates) else {}
    found = []
    for gate in gates:
        if gate.kind is GateKind.METRIC:
            found.append(_of_metric(gate, results.get(gate.key)))
        elif gate.kind is GateKind.CARD:
            found.append(_of_card(gate, card))
        else:
            found.append(_of_bytes(gate, checkpoint))
    return found


def read_bytes_if_due(checkpoint: Artifact, policy: ReleasePolicy) -> None:
    """Read the checkpoint's bytes again if a gate demands it. Call outside of transactions."""
    gates = [gate for gate in policy.gates if gate.kind is GateKind.BYTES]
    if any(_of_bytes(gate, checkpoint).passed is None for gate in gates):
        for part in checkpoint.parts():
            verify(part)
        checkpoint.refresh_from_db(fields=["metadata", "verified_at"])


def _results(checkpoint: Artifact) -> dict[str, float]:
    return rows_of([checkpoint], [])[0].results


def _card(checkpoint: Artifact) -> dict[str, Any]:
    facts = facts_of(checkpoint, [])
    return {**metadata(facts), "description": facts.project.description.strip()}


def _of_metric(gate: Gate, value: float | None) -> GateResult:
    if value is None:
        return GateResult(gate, False, Message("It has not been measured."))
    is_high = gate.comparison is Comparison.AT_LEAST
    passed = value >= gate.threshold if is_high else value <= gate.threshold
    return GateResult(gate, passed, Message("It is %(value)s.", value=f"{value:.6g}"))


def _of_card(gate: Gate, card: dict[str, Any]) -> GateResult:
    missing = [name for name in gate.fields if not card.get(name)]
    if not missing:
        return GateResult(gate, True, "")
    return GateResult(gate, False, Message("It lacks %(fields)s.", fields=", ".join(missing)))


def _of_bytes(gate: Gate, checkpoint: Artifact) -> GateResult:
    if checkpoint.damage:
        why = Message("The checkpoint is damaged: %(damage)s.", damage=checkpoint.damage)
        return GateResult(gate, False, why)
    at = _verified_at(checkpoint)
    since = timezone.now() - max(timedelta(days=gate.within_days), JUST_NOW)
    if at is None:
        why = Message("They have not been verified: they are read at the decision.")
        return GateResult(gate, None, why)
    if at < since:
        why = Message(
            "They were last verified at %(time)s: they are read again at the decision.",
            time=_time(at),
        )
        return GateResult(gate, None, why)
    return GateResult(gate, True, Message("They were verified at %(time)s.", time=_time(at)))


def _time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _verified_at(checkpoint: Artifact) -> datetime | None:
    """When the part that was verified first was; None if one never was."""
    times = [part.verified_at for part in checkpoint.parts()]
    return None if None in times else min(filter(None, times), default=None)
