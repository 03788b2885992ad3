"""Webhooks for all projects: who sets them up, and what they are told."""

import json

import pytest
from django.contrib.auth.models import Permission

from accounts.models import Token
from accounts.roles import Role, Scope
from artifacts.kinds import TagValue
from audit.models import Entry
from notices.actions import OFFERED, create_webhook
from notices.models import Delivery, Event, Webhook
from notices.rules import check_rules
from notices.sending import send_due
from runs.models import FailureKind, StopKind
from runs.status import RunStatus
from tests.clients import ApiClient
from tests.factories import (
    ProjectFactory,
    RunFactory,
    UserFactory,
    WebhookFactory,
    checkpoint,
    member_of,
    running,
)
from tests.notices.receiver import receiver

pytestmark = pytest.mark.django_db

GIVEN = {"name": "operators", "address": "https://example.org/hook", "events": ["run.failed"]}


@pytest.fixture(autouse=True)
def require_sign_in(settings):
    settings.OPEN_MODE = False


@pytest.fixture
def operator():
    return UserFactory(is_staff=True, is_superuser=True)


def by_token(user, **fields) -> ApiClient:
    return ApiClient(headers={"authorization": f"Bearer {Token.issue(user, **fields)[1]}"})


def admin_token(user) -> ApiClient:
    return by_token(user, scope=Scope.ADMIN)


# --- Who -------------------------------------------------------------------------------------


def test_superuser_sets_one_up(operator):
    made = admin_token(operator).post_json("/webhooks", GIVEN)

    assert made.status_code == 201
    assert made.json()["project_id"] is None
    assert [hook["id"] for hook in admin_token(operator).get("/webhooks").json()] == [
        made.json()["id"]
    ]


def test_staff_who_may_change_webhooks_set_one_up():
    user = UserFactory(is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="change_webhook"))
    client = admin_token(user)
    WebhookFactory(name="of a project")

    made = client.post_json("/webhooks", GIVEN).json()
    answer = client.patch_json(f"/webhooks/{made['id']}", {"enabled": False})

    assert answer.json()["enabled"] is False
    assert [hook["name"] for hook in client.get("/webhooks").json()] == ["operators"]


@pytest.mark.parametrize("kind", ["owner", "staff", "read", "write", "of a project"])
def test_others_learn_nothing_of_it(kind, operator):
    project = ProjectFactory()
    hook = WebhookFactory(project=None)
    client = {
        "owner": lambda: admin_token(member_of(project, Role.OWNER)),
        "staff": lambda: admin_token(UserFactory(is_staff=True)),
        "read": lambda: by_token(operator, scope=Scope.READ),
        "write": lambda: by_token(operator, scope=Scope.WRITE),
        "of a project": lambda: by_token(operator, scope=Scope.ADMIN, project_id=project.pk),
    }[kind]()

    answers = [
        client.get("/webhooks"),
        client.post_json("/webhooks", GIVEN),
        *(client.get(f"/webhooks/{pk}") for pk in (hook.pk, "hook_000000000000")),
        client.patch_json(f"/webhooks/{hook.pk}", {"enabled": False}),
        client.post_json(f"/webhooks/{hook.pk}/rotate-secret"),
        client.delete(f"/webhooks/{hook.pk}"),
    ]

    assert {answer.status_code for answer in answers} == {403}
    assert len({answer.content for answer in answers}) == 1 or kind == "read"
    assert client.get(f"/projects/{project.pk}/webhooks/{hook.pk}").status_code in {403, 404}
    assert list(Webhook.objects.values_list("pk", "enabled")) == [(hook.pk, True)]


def test_maintainers_read_nothing_of_it_in_the_audit():
    project = ProjectFactory()
    create_webhook(None, by=None, **GIVEN)
    [entry] = Entry.objects.filter(kind="webhook")

    assert entry.project_id is None
    assert entry not in Entry.objects.visible_to(member_of(project, Role.OWNER))


# --- What ------------------------------------------------------------------------------------


def ends(status: RunStatus, **fields) -> None:
    running().transition(status, **fields)


def tagged(value: TagValue) -> None:
    artifact = checkpoint(RunFactory())
    artifact.tag(value, notes="", by=None)


HAPPENINGS = {
    Event.RUN_FAILED: lambda: ends(RunStatus.FAILED, reason="Killed."),
    Event.RUN_COMPLETED: lambda: ends(RunStatus.COMPLETED),
    Event.RUN_STALLED: lambda: running().request_stop(StopKind.STALLED, by=None, reason="Silent."),
    Event.RUN_DIVERGED: lambda: running(metrics={"train_loss": "NaN"}),
    Event.CHECKPOINT_CANDIDATE: lambda: tagged(TagValue.CANDIDATE),
    Event.CHECKPOINT_RELEASED: lambda: tagged(TagValue.RELEASED),
    Event.METRIC_BEYOND: lambda: running(metrics={"eval_loss": 4.0}),
}


def test_each_event_of_any_project_arrives_once(settings):
    settings.WEBHOOK_PRIVATE_ADDRESSES = True
    with receiver() as (it, url):
        hook, _secret = create_webhook(
            None,
            by=None,
            name="operators",
            address=url,
            events=OFFERED,
            metric="eval_loss",
            threshold=3.0,
        )
        for happen in HAPPENINGS.values():  # each in a project of its own
            happen()
        for _pass in range(3):
            check_rules()
        while send_due():
            pass

    bodies = [json.loads(received.body) for received in it.received]
    assert sorted(body["type"] for body in bodies) == sorted(OFFERED)
    assert len({body["data"]["project"]["id"] for body in bodies}) == len(OFFERED)
    ids = {received.headers["webhook-id"] for received in it.received}
    assert ids == set(hook.deliveries.values_list("pk", flat=True))
    assert set(OFFERED) == set(HAPPENINGS)


def test_run_that_diverges_and_then_fails_for_it_is_told_as_diverged_once():
    hook = WebhookFactory(project=None, events=[Event.RUN_DIVERGED, Event.RUN_FAILED])
    run = running(metrics={"train_loss": "NaN"})

    check_rules()
    run.transition(RunStatus.FAILED, failure_kind=FailureKind.DIVERGED)
    check_rules()

    events = Delivery.objects.filter(webhook=hook).values_list("event", flat=True)
    assert sorted(events) == [Event.RUN_DIVERGED, Event.RUN_FAILED]
