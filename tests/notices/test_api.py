"""The API of webhooks."""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import Token
from accounts.roles import Role, Scope
from audit.models import Entry
from notices.actions import MAX_WEBHOOKS, send_test
from notices.models import Delivery, DeliveryStatus, Event, Fired, Shape, Webhook
from notices.rules import check_rules
from notices.sending import send_due
from tests.clients import ApiClient
from tests.factories import ProjectFactory, UserFactory, WebhookFactory, member_of, running
from tests.notices.receiver import receiver

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("english")]

GIVEN = {
    "name": "on call",
    "shape": "json",
    "address": "https://hooks.example.org/T0/secret",
    "events": ["run.failed"],
}


@pytest.fixture(autouse=True)
def require_sign_in(settings):
    settings.OPEN_MODE = False


@pytest.fixture
def project():
    return ProjectFactory()


@pytest.fixture
def maintainer(project):
    return member_of(project, Role.MAINTAINER)


@pytest.fixture
def client(maintainer):
    return by_token(maintainer, scope=Scope.WRITE)


def by_token(user, **fields) -> ApiClient:
    return ApiClient(headers={"authorization": f"Bearer {Token.issue(user, **fields)[1]}"})


def path(project, *parts: str) -> str:
    return "/".join([f"/projects/{project.pk}/webhooks", *parts])


def errors(response) -> list[str]:
    assert response.status_code == 400, response.content
    return [error["attr"].split(".")[0] for error in response.json()["errors"]]


# --- Creating and reading --------------------------------------------------------------------


def test_secret_is_in_the_response_to_the_creation_alone(client, project, maintainer):
    response = client.post_json(path(project), GIVEN)

    assert response.status_code == 201
    assert response["Cache-Control"] == "no-store"
    made = response.json()
    hook = Webhook.objects.get()
    assert [made["secret"]] == hook.secrets
    assert (hook.address, hook.created_by) == (GIVEN["address"], maintainer)
    found = client.get(path(project, hook.pk))
    assert "secret" not in found.json()
    assert made["secret"] not in found.content.decode()
    assert "/T0/" not in found.content.decode() + response.content.decode()
    assert found.json()["receiver"] == "hooks.example.org"


def test_robot_has_the_secret_that_is_entered(client, project):
    given = {**GIVEN, "shape": "feishu", "secret": "of-the-robot"}

    made = client.post_json(path(project), given).json()

    assert (made["secret"], made["is_signed"]) == (None, True)
    assert Webhook.objects.get().secrets == ["of-the-robot"]


def test_webhooks_are_listed_by_name_in_pages(client, project):
    for name in ("b", "a", "c"):
        WebhookFactory(project=project, name=name)
    WebhookFactory()
    WebhookFactory(project=None)

    found = client.get(path(project), {"page": 1, "page_size": 2})

    assert [hook["name"] for hook in found.json()] == ["a", "b"]
    assert found["X-Total-Count"] == "3"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "a\x00"}, "name"),
        ({"name": 1}, "name"),
        ({"name": "a" * 101}, "name"),
        ({"shape": "fax"}, "shape"),
        ({"address": "file:///etc/passwd"}, "address"),
        ({"address": "https://user:password@example.org"}, "address"),
        ({"address": "https://a..b/"}, "address"),
        ({"address": f"https://{'a' * 64}.org/"}, "address"),
        ({"address": f"https://example.org/{'a' * 2000}"}, "address"),
        ({"address": "http://127.0.0.1:8000/"}, "address"),
        ({"address": "http://0x7f.1/"}, "address"),
        ({"address": "http://[::ffff:10.0.0.1]/"}, "address"),
        ({"address": "http://[fe80::1%25eth0]/"}, "address"),
        ({"address": "http://[fe80::1%eth0]/"}, "address"),
        ({"address": "http://169.254.169.254/latest"}, "address"),
        ({"address": "http://localhost:6379/"}, "address"),
        ({"address": "http://LOCALHOST./"}, "address"),
        ({"address": None}, "address"),
        ({"shape": "email"}, "address"),
        ({"shape": "email", "address": ", ".join(["a@example.org"] * 21)}, "address"),
        ({"shape": "email", "address": "a@example.org\nBcc: b@example.org"}, "address"),
        ({"secret": "mine"}, "secret"),
        ({"shape": "slack", "secret": "mine"}, "secret"),
        ({"events": []}, "events"),
        ({"events": "run.failed"}, "events"),
        ({"events": ["test"]}, "events"),
        ({"events": ["run.failed"] * 9}, "events"),
        ({"events": ["metric.beyond"]}, "metric"),
        ({"events": ["metric.beyond"], "metric": "loss"}, "threshold"),
        ({"threshold": "3"}, "threshold"),
        ({"threshold": True}, "threshold"),
        ({"comparison": "near"}, "comparison"),
        ({"enabled": "yes"}, "enabled"),
        ({"url": "https://example.org"}, "url"),
    ],
)
@pytest.mark.parametrize("method", ["post", "patch"])
def test_bad_input_names_its_field_and_stores_nothing(client, project, method, change, field):
    if method == "post":
        response = client.post_json(path(project), GIVEN | change)
    else:
        hook = WebhookFactory(project=project)
        response = client.patch_json(path(project, hook.pk), change)

    assert errors(response) == [field]
    before = [] if method == "post" else ["hook"]
    assert list(Webhook.objects.values_list("name", flat=True)) == before


def test_one_more_webhook_than_allowed_is_refused(client, project):
    for _number in range(MAX_WEBHOOKS):
        WebhookFactory(project=project)

    assert client.post_json(path(project), GIVEN).status_code == 400


def test_private_address_is_taken_where_operators_allow_it(client, project, settings):
    settings.WEBHOOK_PRIVATE_ADDRESSES = True

    made = client.post_json(path(project), {**GIVEN, "address": "http://10.0.0.1/"})

    assert made.status_code == 201


# --- Changing --------------------------------------------------------------------------------


def test_change_leaves_the_rest_as_it_is(client, project):
    pk = client.post_json(path(project), GIVEN).json()["id"]
    before = Webhook.objects.get()

    answer = client.patch_json(path(project, pk), {"enabled": False, "events": ["run.stalled"]})

    hook = Webhook.objects.get()
    assert answer.json()["secret"] is None
    assert (hook.enabled, hook.events) == (False, ["run.stalled"])
    assert (hook.encrypted_address, hook.secrets) == (before.encrypted_address, before.secrets)


def test_response_may_be_sent_back(client, project):
    hook = WebhookFactory(project=project)
    found = client.get(path(project, hook.pk)).json()

    answer = client.patch_json(path(project, hook.pk), {**found, "name": "another"})

    assert answer.status_code == 200
    assert Webhook.objects.get().name == "another"


def test_other_shape_gets_a_secret_of_its_own(client, project):
    hook = WebhookFactory(project=project, shape=Shape.DINGTALK)
    hook.set_secret("SEC1")
    hook.save()

    answer = client.patch_json(path(project, hook.pk), {"shape": "json"})

    hook.refresh_from_db()
    assert hook.secrets == [answer.json()["secret"]]
    client.patch_json(path(project, hook.pk), {"shape": "slack"})
    hook.refresh_from_db()
    assert hook.secrets == []


def test_secret_of_a_robot_is_replaced_and_removed_without_an_overlap(client, project):
    hook = WebhookFactory(project=project, shape=Shape.DINGTALK)

    for secret in ("SEC1", "SEC2"):
        client.patch_json(path(project, hook.pk), {"secret": secret})
        hook.refresh_from_db()
        assert hook.secrets == [secret]
    client.patch_json(path(project, hook.pk), {"secret": ""})

    hook.refresh_from_db()
    assert hook.secrets == []


def test_shape_is_refused_for_an_address_that_does_not_fit_it(client, project):
    hook = WebhookFactory(project=project)

    assert errors(client.patch_json(path(project, hook.pk), {"shape": "email"})) == ["address"]


def test_address_that_cannot_be_read_any_more_is_listed_and_replaced(client, project, settings):
    made = client.post_json(path(project), GIVEN).json()
    settings.SECRET_KEY = "another key"

    [listed] = client.get(path(project)).json()
    changed = client.patch_json(path(project, made["id"]), {"address": "https://example.org/new"})

    assert (listed["id"], listed["receiver"]) == (made["id"], "")
    assert changed.json()["receiver"] == "example.org"


def test_other_rule_is_told_anew(client, project):
    run = running(project=project, metrics={"eval_loss": 4.0})
    rule = {"metric": "eval_loss", "threshold": 3.0, "events": [Event.METRIC_BEYOND]}
    hook = WebhookFactory(project=run.project, **rule)
    check_rules()

    client.patch_json(path(project, hook.pk), {"name": "same rule"})
    assert (check_rules(), Fired.objects.count()) == (0, 1)
    client.patch_json(path(project, hook.pk), {"threshold": 3.5})

    assert check_rules() == 1


def test_name_that_becomes_private_is_not_reached(client, project, monkeypatch):
    """DNS rebinding: what is refused at the change is refused at the delivery, too."""
    hook = WebhookFactory(project=project)
    changed = client.patch_json(
        path(project, hook.pk), {"address": "http://rebinding.example.org:1/"}
    )
    monkeypatch.setattr(
        "socket.getaddrinfo",
        lambda _host, port, **_options: [(2, 1, 6, "", ("127.0.0.1", port))],
    )
    client.post_json(path(project, hook.pk, "test"))

    send_due()

    assert changed.status_code == 200
    [delivery] = client.get(path(project, hook.pk, "deliveries")).json()
    assert "not allowed" in delivery["response"]
    assert delivery["response_code"] is None


def test_webhook_is_deleted_with_its_deliveries(client, project):
    hook = WebhookFactory(project=project)
    send_test(hook)

    assert client.delete(path(project, hook.pk)).status_code == 204
    assert not Webhook.objects.exists()
    assert client.delete(path(project, hook.pk)).status_code == 404


# --- Secrets and deliveries ------------------------------------------------------------------


def test_rotated_secret_is_told_once_and_the_one_before_signs_for_a_day(client, project):
    made = client.post_json(path(project), GIVEN).json()

    answer = client.post_json(path(project, made["id"], "rotate-secret"))

    hook = Webhook.objects.get()
    assert answer["Cache-Control"] == "no-store"
    assert hook.secrets == [answer.json()["secret"], made["secret"]]
    found = client.get(path(project, hook.pk)).json()
    assert found["overlap_ends_at"] == answer.json()["overlap_ends_at"]
    Webhook.objects.update(rotated_at=timezone.now() - timedelta(days=1))
    assert client.get(path(project, hook.pk)).json()["overlap_ends_at"] is None


def test_secret_that_a_robot_has_made_is_not_rotated(client, project):
    hook = WebhookFactory(project=project, shape=Shape.DINGTALK)

    answer = client.post_json(path(project, hook.pk, "rotate-secret"))

    assert answer.status_code == 409
    assert answer.json()["errors"][0]["code"] == "no_secret_to_rotate"


def test_test_is_delivered_and_listed(client, project, settings):
    settings.WEBHOOK_PRIVATE_ADDRESSES = True
    with receiver() as (it, url):
        pk = client.post_json(path(project), {**GIVEN, "address": url}).json()["id"]
        waiting = client.post_json(path(project, pk, "test"))
        send_due()

    assert waiting.status_code == 201
    assert waiting.json()["status"] == "waiting"
    [received] = it.received
    assert received.headers["webhook-id"] == waiting.json()["id"]
    [delivery] = client.get(path(project, pk, "deliveries")).json()
    assert delivery["id"] == waiting.json()["id"]
    assert (delivery["status"], delivery["next_attempt_at"]) == ("delivered", None)
    assert (delivery["response_code"], delivery["response"]) == (200, "ok")


def test_deliveries_come_newest_first_a_page_at_a_time(client, project):
    hook = WebhookFactory(project=project)
    sent = [send_test(hook).pk for _number in range(51)]
    send_test(WebhookFactory(project=project))

    first = client.get(path(project, hook.pk, "deliveries"))
    second = client.get(path(project, hook.pk, "deliveries"), {"page": 2})

    assert [row["id"] for row in first.json() + second.json()] == sent[::-1]
    assert (len(first.json()), first["X-Total-Count"]) == (50, "51")
    assert 'rel="next"' in first["Link"]


def test_delivery_is_sent_again(client, project):
    delivery = send_test(WebhookFactory(project=project))
    Delivery.objects.update(status=DeliveryStatus.DEAD, attempts=8)

    answer = client.post_json(
        path(project, delivery.webhook_id, "deliveries", delivery.pk, "redeliver")
    )

    assert (answer.json()["status"], answer.json()["attempts"]) == ("waiting", 0)
    assert Delivery.objects.get().status == DeliveryStatus.WAITING


def test_delivery_of_another_webhook_is_not_found(client, project):
    hook = WebhookFactory(project=project)
    other = send_test(WebhookFactory(project=project))

    answer = client.post_json(path(project, hook.pk, "deliveries", other.pk, "redeliver"))

    assert answer.status_code == 404


# --- Who -------------------------------------------------------------------------------------


def test_token_that_only_reads_does_not_read_webhooks(maintainer, project):
    assert by_token(maintainer, scope=Scope.READ).get(path(project)).status_code == 403


def test_webhook_of_another_project_is_not_found(client, project):
    for hook in (WebhookFactory(), WebhookFactory(project=None)):
        assert client.get(path(project, hook.pk)).status_code == 404
        assert client.post_json(path(project, hook.pk, "test")).status_code == 404


def test_stranger_does_not_learn_whether_there_is_a_webhook(project):
    client = by_token(UserFactory())
    hook = WebhookFactory(project=project)

    answers = [client.get(path(project, pk)) for pk in (hook.pk, "hook_000000000000")]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].json() == answers[1].json()


def test_audit_tells_by_whom_and_neither_address_nor_secret(client, project, maintainer):
    pk = client.post_json(path(project), GIVEN).json()["id"]
    client.patch_json(path(project, pk), {"enabled": False})
    client.post_json(path(project, pk, "rotate-secret"))
    client.patch_json(path(project, pk), {"address": "https://other.example.org/secret"})
    client.delete(path(project, pk))

    entries = Entry.objects.filter(kind="webhook", project_id=project.pk).order_by("id")
    assert [entry.verb for entry in entries] == [
        "created",
        "disabled",
        "secret_changed",
        "changed",
        "deleted",
    ]
    assert {entry.actor for entry in entries} == {maintainer.username}
    told = str(list(entries.values("before", "after")))
    assert "example.org" not in told
    assert "whsec" not in told
