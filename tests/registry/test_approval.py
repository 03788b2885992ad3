"""Releases that need approval: who asks, who decides, and what nobody gets around."""

import io
import threading
from functools import partial

import pytest
from django.db import connections

from accounts.grants import Grant, give
from accounts.issuing import issue_token, revoke
from accounts.models import ServiceAccount, Team
from accounts.roles import Role, Scope
from artifacts import storing
from artifacts.kinds import TagValue
from artifacts.models import DamagedCheckpoint
from projects.access import RoleNeeded
from registry import approval
from registry.approval import (
    AlreadyDecided,
    ApprovalAsked,
    ApprovalNeeded,
    GatesNotPassed,
    NoApprovalNeeded,
    NotIndependent,
    NotYours,
    RequestExpired,
    approve,
    ask,
    refuse,
    release_or_ask,
    tag_or_ask,
    withdraw,
)
from registry.models import RegisteredModel, RunFile, Source, Stage
from registry.release_policy import NoSingleCheckpoint, ReleasePolicy, change_policy
from registry.release_requests import ReleaseRequest, RequestState
from registry.releases import in_force
from tests.factories import (
    ProjectFactory,
    RunFactory,
    UserFactory,
    checkpoint,
    damage,
    member_of,
    stored_path,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("english")]


@pytest.fixture
def project():
    project = ProjectFactory()
    change_policy(project, by=None, needs_approval=True)
    return project


@pytest.fixture
def artifact(project):
    return checkpoint(RunFactory(project=project), step=10)


@pytest.fixture
def asker(project):
    return member_of(project, Role.MEMBER)


@pytest.fixture
def maintainer(project):
    return member_of(project, Role.MAINTAINER)


@pytest.fixture
def asked(artifact, asker):
    return ask(artifact, notes="BLEU 32.5", by=asker)


def tags(artifact):
    return set(artifact.tags.values_list("value", flat=True))


def state(request):
    request.refresh_from_db()
    return request.state


# --- what asks instead of tagging ----------------------------------------------------------------


def test_project_without_a_policy_releases_as_before():
    artifact = checkpoint(RunFactory())
    user = member_of(artifact.run.project, Role.MAINTAINER)

    tag_or_ask(artifact, TagValue.RELEASED, notes="fine", by=user)

    assert tags(artifact) == {TagValue.RELEASED}
    assert not ReleaseRequest.objects.exists()


def test_release_asks_for_approval_instead(artifact, asker):
    with pytest.raises(ApprovalAsked, match="waits for a maintainer other than"):
        tag_or_ask(artifact, TagValue.RELEASED, notes="fine", by=asker)

    request = ReleaseRequest.objects.get()
    assert (request.checkpoint, request.asked_by, request.notes) == (artifact, asker, "fine")
    assert tags(artifact) == set()


@pytest.mark.parametrize("value", [TagValue.CANDIDATE, TagValue.ARCHIVED])
def test_other_tags_need_no_approval(artifact, maintainer, value):
    tag_or_ask(artifact, value, notes="", by=maintainer)

    assert tags(artifact) == {value}


@pytest.mark.parametrize("by", ["maintainer", "superuser", "trainhub"])
def test_nobody_tags_past_the_approval(artifact, maintainer, by):
    superuser = UserFactory(is_superuser=True)
    user = {"maintainer": maintainer, "superuser": superuser, "trainhub": None}[by]

    with pytest.raises(ApprovalNeeded):
        artifact.tag(TagValue.RELEASED, notes="", by=user)

    assert tags(artifact) == set()


def test_approval_of_another_checkpoint_is_none(artifact, asked, maintainer):
    other = checkpoint(artifact.run, step=20)

    with pytest.raises(ApprovalNeeded):
        other.tag(TagValue.RELEASED, notes="", by=maintainer, approval=asked)


@pytest.mark.parametrize("by_alias", [True, False])
def test_registry_cannot_get_around_it(artifact, maintainer, by_alias):
    model = RegisteredModel.objects.register("m", description="", tags={}, by=maintainer)
    source = Source("", "", file=RunFile(artifact.run_id, artifact.file), run=artifact.run)
    version = model.add_version(source, run_link="", description="", tags={}, by=maintainer)
    release = partial(version.move_to, Stage.PRODUCTION, archive_others=False)
    if by_alias:
        release = partial(model.set_alias, "released", 1)

    with pytest.raises(ApprovalNeeded):
        release(by=maintainer)

    version.refresh_from_db()
    assert (version.stage, model.aliases.count()) == (Stage.NONE, 0)


@pytest.mark.parametrize("by_alias", [True, False])
def test_version_without_a_checkpoint_is_not_released_either(artifact, maintainer, by_alias):
    model = RegisteredModel.objects.register("m", description="", tags={}, by=maintainer)
    governed = Source("", "", file=RunFile(artifact.run_id, artifact.file), run=artifact.run)
    elsewhere = Source("s3://bucket/model", "s3://bucket/model")
    for source in (governed, elsewhere):
        version = model.add_version(source, run_link="", description="", tags={}, by=maintainer)
    release = partial(version.move_to, Stage.PRODUCTION, archive_others=False)
    if by_alias:
        release = partial(model.set_alias, "released", version.number)

    with pytest.raises(NoSingleCheckpoint):
        release(by=maintainer)

    version.refresh_from_db()
    assert (version.stage, model.aliases.count()) == (Stage.NONE, 0)


# --- asking ----------------------------------------------------------------------------------


def test_open_request_is_returned_again(artifact, asked, maintainer):
    assert ask(artifact, notes="again", by=maintainer) == asked


def test_viewer_cannot_ask(project, artifact):
    with pytest.raises(RoleNeeded):
        ask(artifact, notes="", by=member_of(project, Role.VIEWER))


def test_damaged_checkpoint_is_not_asked_for(artifact, asker):
    artifact.set_damage("cut off")
    artifact.save()

    with pytest.raises(DamagedCheckpoint):
        ask(artifact, notes="", by=asker)


def test_project_that_demands_nothing_is_not_asked():
    artifact = checkpoint(RunFactory())

    with pytest.raises(NoApprovalNeeded):
        ask(artifact, notes="", by=member_of(artifact.run.project))


# --- deciding --------------------------------------------------------------------------------


def test_approval_tags_with_the_notes_of_the_asker(artifact, asked, maintainer):
    approve(asked, notes="checked", by=maintainer)

    tag = artifact.tags.get()
    assert (tag.value, tag.notes, tag.applied_by) == (TagValue.RELEASED, "BLEU 32.5", maintainer)
    assert state(asked) == RequestState.APPROVED
    assert (asked.decided_by, asked.decision_notes) == (maintainer, "checked")


def test_approval_archives_what_the_release_replaces(project, artifact, maintainer):
    change_policy(project, by=None, needs_approval=False)
    old = checkpoint(artifact.run, step=5)
    old.tag(TagValue.RELEASED, notes="", by=None)
    change_policy(project, by=None, needs_approval=True)
    with pytest.raises(ApprovalAsked) as error:
        release_or_ask(artifact, notes="new", replaces_others=True, by=member_of(project))

    approve(error.value.request, notes="", by=maintainer)

    assert in_force(project, TagValue.RELEASED) == [artifact]
    assert in_force(project, TagValue.ARCHIVED) == [old]


def test_refusal_is_on_record_and_tags_nothing(artifact, asked, maintainer):
    refuse(asked, notes="too early", by=maintainer)

    assert (state(asked), asked.decision_notes) == (RequestState.REFUSED, "too early")
    assert tags(artifact) == set()


@pytest.mark.parametrize("decide", [approve, refuse])
@pytest.mark.parametrize("is_superuser", [True, False])
def test_asker_cannot_decide(project, artifact, decide, is_superuser):
    user = member_of(project, Role.OWNER)
    user.is_superuser = is_superuser
    user.save()
    asked = ask(artifact, notes="", by=user)

    with pytest.raises(NotIndependent):
        decide(asked, notes="", by=user)

    assert state(asked) == RequestState.ASKED


def test_superuser_who_has_not_asked_can_approve(artifact, asked):
    approve(asked, notes="", by=UserFactory(is_superuser=True))

    assert tags(artifact) == {TagValue.RELEASED}


def test_member_cannot_approve(project, asked):
    with pytest.raises(RoleNeeded):
        approve(asked, notes="", by=member_of(project, Role.MEMBER))


def test_service_account_cannot_approve(asked, maintainer):
    ServiceAccount.objects.create(user=maintainer, team=Team.create("bots", by=UserFactory()))

    with pytest.raises(NotIndependent, match="person"):
        approve(asked, notes="", by=maintainer)


@pytest.mark.parametrize("decide", [approve, refuse])
def test_who_has_issued_the_askers_token_cannot_decide(project, artifact, decide):
    owner = member_of(project, Role.OWNER)
    bots = Team.create("bots", by=owner)
    robot = ServiceAccount.create("robot", team=bots, by=owner).user
    project.roles.create(user=robot, role=Role.MEMBER)
    token, _secret = issue_token(by=owner, name="", scope=Scope.WRITE, username="robot")
    asked = ask(artifact, notes="", by=give(robot, Grant(token_id=token.pk)))
    revoke(token)

    with pytest.raises(NotIndependent, match="token"):
        decide(asked, notes="", by=owner)

    assert not ReleaseRequest.objects.waiting_for(owner).exists()
    approve(asked, notes="", by=member_of(project, Role.MAINTAINER))


def test_only_the_asker_withdraws(asked, asker, maintainer):
    with pytest.raises(NotYours):
        withdraw(asked, notes="", by=maintainer)
    withdraw(asked, notes="found a bug", by=asker)

    assert (state(asked), asked.decision_notes) == (RequestState.WITHDRAWN, "found a bug")


@pytest.mark.parametrize("decide", [approve, refuse])
def test_decided_request_is_not_decided_again(project, asked, maintainer, decide):
    refuse(asked, notes="", by=maintainer)

    with pytest.raises(AlreadyDecided):
        decide(asked, notes="", by=member_of(project, Role.MAINTAINER))


def test_other_bytes_end_the_request(artifact, asked):
    checkpoint(artifact.run, step=10, content=b"other bytes")

    assert state(asked) == RequestState.EXPIRED


def test_approval_of_bytes_that_changed_unseen_is_refused(asked, maintainer):
    ReleaseRequest.objects.filter(pk=asked.pk).update(digest="0" * 64)

    with pytest.raises(RequestExpired, match="ask again"):
        approve(asked, notes="", by=maintainer)

    assert state(asked) == RequestState.EXPIRED


def test_request_outlives_its_checkpoint(artifact, asked):
    key = artifact.pk

    artifact.delete()

    asked.refresh_from_db()
    assert (asked.current_state, asked.checkpoint_key) == (RequestState.EXPIRED, key)


# --- gates -----------------------------------------------------------------------------------


def test_gates_are_checked_at_the_approval(project, artifact, asked, maintainer):
    gate = {"kind": "metric", "key": "acc", "threshold": 0.5}
    change_policy(project, by=None, gates=[gate])

    with pytest.raises(GatesNotPassed, match=r"acc >= 0\.5"):
        approve(asked, notes="", by=maintainer)

    assert (state(asked), tags(artifact)) == (RequestState.ASKED, set())


def test_gate_that_is_demanded_while_bytes_are_read_counts(
    project, artifact, asked, maintainer, monkeypatch
):
    def read(checkpoint, policy):
        change_policy(project, by=None, gates=[{"kind": "metric", "key": "acc", "threshold": 0.5}])

    monkeypatch.setattr(approval, "read_bytes_if_due", read)

    with pytest.raises(GatesNotPassed):
        approve(asked, notes="", by=maintainer)

    assert tags(artifact) == set()


def test_results_of_the_gates_are_kept_with_the_decision(project, artifact, asked, maintainer):
    change_policy(project, by=None, gates=[{"kind": "metric", "key": "acc", "threshold": 0.5}])
    storing.store_evaluation(artifact.run, io.BytesIO(b'{"acc": 0.6}'), step=10)

    decided = approve(asked, notes="", by=maintainer)

    assert [(told["gate"], told["passed"]) for told in decided.gates] == [("acc >= 0.5", True)]


def test_bytes_are_read_again_at_the_approval(project, artifact, asked, maintainer):
    change_policy(project, by=None, gates=[{"kind": "bytes"}])
    type(artifact).objects.update(verified_at=None)
    damage(artifact)

    with pytest.raises(GatesNotPassed, match="damaged"):
        approve(asked, notes="", by=maintainer)


def test_gates_alone_refuse_a_tag(artifact, maintainer):
    policy = [{"kind": "card", "fields": ["license"]}]
    change_policy(artifact.run.project, by=None, needs_approval=False, gates=policy)

    with pytest.raises(GatesNotPassed, match="license"):
        tag_or_ask(artifact, TagValue.RELEASED, notes="", by=maintainer)


def test_gates_alone_read_the_bytes_before_a_tag(artifact, maintainer):
    change_policy(artifact.run.project, by=None, needs_approval=False, gates=[{"kind": "bytes"}])
    type(artifact).objects.update(verified_at=None)
    artifact.refresh_from_db()

    tag_or_ask(artifact, TagValue.RELEASED, notes="", by=maintainer)

    artifact.refresh_from_db()
    assert artifact.verified_at is not None
    assert stored_path(artifact).exists()
    assert tags(artifact) == {TagValue.RELEASED}


def test_only_owners_change_the_policy(project, maintainer):
    with pytest.raises(RoleNeeded):
        change_policy(project, by=maintainer, needs_approval=False)

    assert ReleasePolicy.of(project.pk).needs_approval


# --- two at once -----------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_of_two_who_approve_at_once_one_does():
    artifact = checkpoint(RunFactory())
    project = artifact.run.project
    change_policy(project, by=None, needs_approval=True)
    asked = ask(artifact, notes="", by=member_of(project))
    approvers = [member_of(project, Role.MAINTAINER) for _ in range(2)]
    outcomes, barrier = [], threading.Barrier(2)

    def decide(user):
        barrier.wait()
        try:
            outcomes.append(approve(asked, notes="", by=user).decided_by)
        except AlreadyDecided as error:
            outcomes.append(type(error))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=decide, args=(user,)) for user in approvers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert outcomes.count(AlreadyDecided) == 1
    assert artifact.tags.get().applied_by in approvers
