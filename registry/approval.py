"""How a checkpoint is released in a project that demands something: asked, approved, refused.

Nothing else sets the tag there: Artifact.tag sends checkpoint_tagging, and ``demand_approval``
refuses whatever has not passed here. See docs/adr/0039-release-with-four-eyes.md.
"""

from __future__ import annotations

from typing import Any, NoReturn

from django.contrib.auth.models import User
from django.db import transaction

from accounts.grants import grant_of
from accounts.models import ServiceAccount, Token
from accounts.roles import Role
from artifacts.kinds import TagValue
from artifacts.models import Artifact, ArtifactTag, DamagedCheckpoint, NotACheckpoint
from artifacts.queries import lock_promotions
from artifacts.uploaded_files import lock_run
from core.exceptions import DomainError
from core.messages import Message
from projects.access import require_of
from registry.release_gates import GateResult, check, read_bytes_if_due
from registry.release_policy import ReleasePolicy
from registry.release_requests import ReleaseRequest, RequestState, digest_of
from registry.releases import release
from runs.checkpoint import CheckpointGone


class ApprovalNeeded(DomainError):
    """The project demands approval of releases, and this was none."""

    code = "approval_needed"
    status_code = 403


class ApprovalAsked(DomainError):
    """Instead of a release, a request for it was recorded. ``request``: which."""

    code = "approval_asked"
    status_code = 403

    def __init__(self, request: ReleaseRequest) -> None:
        super().__init__(
            Message(
                "The project demands that releases be approved: the request %(id)s was recorded, "
                "and waits for a maintainer other than %(name)s.",
                id=request.pk,
                name=request.asked_by_name,
            )
        )
        self.request = request


class GatesNotPassed(DomainError):
    code = "gates_not_passed"


class NoApprovalNeeded(DomainError):
    code = "no_approval_needed"


class AlreadyDecided(DomainError):
    code = "already_decided"


class RequestExpired(DomainError):
    code = "request_expired"


class NotIndependent(DomainError):
    """Who decides is who has asked, or no person."""

    code = "not_independent"
    status_code = 403


class NotYours(DomainError):
    code = "not_yours"


def demand_approval(
    *, artifact: Artifact, value: TagValue, approval: object, **_signal: Any
) -> None:
    """Receiver of checkpoint_tagging. Raises ApprovalNeeded, GatesNotPassed."""
    if value != TagValue.RELEASED:
        return
    policy = ReleasePolicy.of(artifact.run.project_id)
    is_approved = isinstance(approval, ReleaseRequest) and approval.checkpoint_id == artifact.pk
    if policy.needs_approval and not is_approved:
        raise ApprovalNeeded(Message("The project demands that releases be approved: ask for it."))
    if not is_approved:  # an approval has checked them
        check_gates(artifact, policy)


def check_gates(checkpoint: Artifact, policy: ReleasePolicy) -> list[GateResult]:
    """Their results. Raises GatesNotPassed."""
    results = check(checkpoint, policy.gates)
    failed = [result for result in results if not result.passed]
    if failed:
        first = failed[0]
        raise GatesNotPassed(
            Message(
                "%(count)d gates of the project are not passed. %(gate)s: %(why)s",
                count=len(failed),
                gate=first.gate.title,
                why=first.why,
            )
        )
    return results


def prepare_tag(
    checkpoint: Artifact | None,
    value: TagValue | None,
    *,
    notes: str,
    by: User,
    replaces_others: bool = False,
) -> None:
    """Call before what tags ``checkpoint``, outside of transactions: where the project demands
    approval of a release, it records a request, also of members, and raises ApprovalAsked, with the
    errors of ``ask``. Otherwise it reads the bytes if a gate demands that."""
    if checkpoint is None or value != TagValue.RELEASED:
        return
    policy = ReleasePolicy.of(checkpoint.run.project_id)
    if policy.needs_approval:
        asked = ask(checkpoint, notes=notes, by=by, replaces_others=replaces_others)
        raise ApprovalAsked(asked)
    require_of(by, checkpoint.run.project_id, Role.MAINTAINER)  # before gigabytes are read
    read_bytes_if_due(checkpoint, policy)


def tag_or_ask(checkpoint: Artifact, value: TagValue, *, notes: str, by: User) -> ArtifactTag:
    """Tag ``checkpoint``. Raises ApprovalAsked, and what Artifact.tag and ``ask`` raise."""
    prepare_tag(checkpoint, value, notes=notes, by=by)
    return checkpoint.tag(value, notes=notes, by=by)


def release_or_ask(checkpoint: Artifact, *, notes: str, replaces_others: bool, by: User) -> None:
    """See releases.release. Raises ApprovalAsked, and what Artifact.tag and ``ask`` raise."""
    prepare_tag(checkpoint, TagValue.RELEASED, notes=notes, by=by, replaces_others=replaces_others)
    release(checkpoint, notes=notes, replaces_others=replaces_others, by=by)


# --- requests --------------------------------------------------------------------------------


def ask(
    checkpoint: Artifact, *, notes: str, by: User, replaces_others: bool = False
) -> ReleaseRequest:
    """Record that ``by`` asks for the release; or return the request that is open already.

    Members may ask. ``replaces_others``: see releases.release. Raises NotACheckpoint,
    DamagedCheckpoint, NoApprovalNeeded, CheckpointGone, RoleNeeded.
    """
    run = checkpoint.run
    require_of(by, run.project_id, Role.MEMBER)
    if not checkpoint.is_checkpoint:
        raise NotACheckpoint(Message("Only checkpoints can be tagged."))
    if not ReleasePolicy.of(run.project_id).needs_approval:
        raise NoApprovalNeeded(
            Message("The project demands no approval: a maintainer can tag the checkpoint.")
        )
    with transaction.atomic():
        checkpoint.lock()
        checkpoint.refresh_from_db()
        if checkpoint.damage:
            raise DamagedCheckpoint(
                Message(
                    "Checkpoint %(id)s is damaged and cannot be tagged: %(damage)s.",
                    id=checkpoint.pk,
                    damage=checkpoint.damage,
                )
            )
        digest = digest_of(checkpoint)
        expire(artifact=checkpoint, digest=digest)
        known = ReleaseRequest.objects.open().filter(checkpoint=checkpoint).first()
        return known or ReleaseRequest.objects.create(
            project_id=run.project_id,
            run=run,
            checkpoint=checkpoint,
            checkpoint_key=checkpoint.pk,
            name=checkpoint.name,
            step=checkpoint.step,
            digest=digest,
            notes=notes,
            replaces_others=replaces_others,
            asked_by=by,
            asked_by_name=by.get_username(),
            asked_through_id=_issuer_of_token(by),
        )


def _issuer_of_token(by: User) -> int | None:
    """Who else has ``by``'s token in hand; None if nobody, or that is not known."""
    tokens = Token.objects.filter(pk=grant_of(by).token_id).exclude(issued_by=by)
    return tokens.values_list("issued_by", flat=True).first()


def expire(*, artifact: Artifact, digest: str = "", **_signal: Any) -> None:
    """Receiver of checkpoint_changed: end the open request if the bytes are others than it is
    about. Call in a transaction with the artifact's row locked."""
    requests = ReleaseRequest.objects.filter(checkpoint=artifact, state=RequestState.ASKED)
    for request in requests.select_for_update(no_key=True):
        if request.digest != (digest or digest_of(artifact)):
            request.end(RequestState.EXPIRED, by=None)


def approve(request: ReleaseRequest, *, notes: str, by: User) -> ReleaseRequest:
    """Check the gates and release the checkpoint, in one transaction; of two who decide at once,
    one does.

    Raises RoleNeeded, NotIndependent, AlreadyDecided, RequestExpired, GatesNotPassed,
    CheckpointGone, and what Artifact.tag raises.
    """
    _check_decider(request, by)
    checkpoint = _checkpoint_of(request)
    read_bytes_if_due(checkpoint, ReleasePolicy.of(request.project_id))
    with transaction.atomic():
        lock_promotions()
        lock_run(checkpoint.run)  # nothing is uploaded into its folder between digest and tag
        checkpoint.lock()
        locked = _locked(request)
        checkpoint = _checkpoint_of(locked)
        expire(artifact=checkpoint)
        locked.refresh_from_db()
        if locked.is_open:
            # Read again: while gigabytes were hashed, an owner may have demanded more.
            results = check_gates(checkpoint, ReleasePolicy.of(locked.project_id))
            release(
                checkpoint,
                notes=locked.notes,
                replaces_others=locked.replaces_others,
                by=by,
                approval=locked,
            )
            gates = [result.as_json() for result in results]
            locked.end(RequestState.APPROVED, by=by, notes=notes, gates=gates)
    if locked.state != RequestState.APPROVED:
        _raise_expired(locked)
    return locked


def refuse(request: ReleaseRequest, *, notes: str, by: User) -> ReleaseRequest:
    """Raises RoleNeeded, NotIndependent, AlreadyDecided."""
    _check_decider(request, by)
    with transaction.atomic():
        locked = _locked(request)
        checkpoint = locked.checkpoint
        gates = [] if checkpoint is None else check(checkpoint, _gates_of(locked))
        results = [result.as_json() for result in gates]
        locked.end(RequestState.REFUSED, by=by, notes=notes, gates=results)
    return locked


def withdraw(request: ReleaseRequest, *, notes: str, by: User) -> ReleaseRequest:
    """Only by who has asked. Raises NotYours, AlreadyDecided."""
    require_of(by, request.project_id, Role.MEMBER)
    if by.pk != request.asked_by_id:
        raise NotYours(Message("Only %(name)s can withdraw it.", name=request.asked_by_name))
    with transaction.atomic():
        locked = _locked(request)
        locked.end(RequestState.WITHDRAWN, by=by, notes=notes)
    return locked


def _check_decider(request: ReleaseRequest, by: User) -> None:
    require_of(by, request.project_id, Role.MAINTAINER)
    if by.pk == request.asked_by_id:
        raise NotIndependent(Message("You have asked for it: somebody else has to decide."))
    if by.pk == request.asked_through_id:
        message = Message("A token that you have issued has asked: somebody else has to decide.")
        raise NotIndependent(message)
    if ServiceAccount.objects.filter(user=by).exists():
        raise NotIndependent(Message("A service account cannot decide: a person has to."))


def _gates_of(request: ReleaseRequest) -> list[Any]:
    return ReleasePolicy.of(request.project_id).gates


def _locked(request: ReleaseRequest) -> ReleaseRequest:
    """Raises AlreadyDecided. Call in a transaction."""
    locked = ReleaseRequest.objects.select_for_update(no_key=True).get(pk=request.pk)
    if locked.state != RequestState.ASKED:
        raise AlreadyDecided(
            Message("It has been decided already: %(state)s.", state=locked.get_state_display())
        )
    return locked


def _checkpoint_of(request: ReleaseRequest) -> Artifact:
    """Raises AlreadyDecided, CheckpointGone."""
    checkpoints = Artifact.objects.select_related("run__project", "run__created_by")
    found = checkpoints.filter(pk=request.checkpoint_id).first()
    if found is None:
        raise CheckpointGone(Message("%(id)s has been deleted.", id=request.checkpoint_key))
    return found


def _raise_expired(request: ReleaseRequest) -> NoReturn:
    raise RequestExpired(
        Message(
            "The bytes of the checkpoint %(id)s have changed since %(name)s asked: ask again.",
            id=request.checkpoint_key,
            name=request.asked_by_name,
        )
    )
