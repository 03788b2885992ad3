"""The pages of webhooks."""

import pytest
from django.test import Client

from accounts.roles import Role
from notices.actions import send_test
from notices.models import Delivery, DeliveryStatus, Webhook
from tests.factories import ProjectFactory, WebhookFactory, member_of

pytestmark = pytest.mark.django_db

FORM = {
    "name": "chat",
    "shape": "json",
    "address": "https://example.org/hook",
    "events": ["run.failed"],
    "comparison": "above",
}


@pytest.fixture
def project():
    return ProjectFactory()


@pytest.fixture
def client(settings, project):
    settings.OPEN_MODE = False
    settings.LANGUAGE_CODE = "en"
    client = Client()
    client.force_login(member_of(project, Role.MAINTAINER))
    return client


def address(project, *parts: str) -> str:
    return "/".join([f"/dashboard/projects/{project.pk}/webhooks", *parts])


def test_secret_is_made_up_and_shown_once(client, project):
    page = client.post(address(project), FORM).content.decode()

    hook = Webhook.objects.get()
    [secret] = hook.secrets
    assert secret in page
    assert secret not in client.get(address(project, hook.pk)).content.decode()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"address": "file:///etc/passwd"}, "address"),
        ({"shape": "email"}, "address"),
        ({"events": ["metric.beyond"]}, "metric"),
        ({"events": ["metric.beyond"], "metric": "loss", "threshold": "x"}, "threshold"),
        ({"events": ["test"]}, "events"),
        ({"name": "\x00"}, "name"),
    ],
)
def test_bad_input_is_shown_at_its_field(client, project, change, field):
    response = client.post(address(project), FORM | change)

    assert response.status_code == 422
    assert field in response.context["form"].errors
    assert not Webhook.objects.exists()


def test_test_is_sent_and_shown(client, project):
    hook = WebhookFactory(project=project)

    client.post(address(project, hook.pk, "do", "test"))

    assert Delivery.objects.get().event == "test"
    assert "A test" in client.get(address(project, hook.pk)).content.decode()


def test_webhook_is_switched_rotated_and_deleted(client, project):
    hook = WebhookFactory(project=project)
    hook.set_secret("whsec_YQ==")
    hook.save()

    client.post(address(project, hook.pk, "do", "switch"))
    page = client.post(address(project, hook.pk, "do", "rotate")).content.decode()
    hook.refresh_from_db()
    assert not hook.enabled
    assert hook.secrets[0] in page
    client.post(address(project, hook.pk, "do", "delete"))
    assert not Webhook.objects.exists()


def test_unknown_deed_is_404(client, project):
    hook = WebhookFactory(project=project)

    assert client.post(address(project, hook.pk, "do", "explode")).status_code == 404


def test_delivery_is_sent_again(client, project):
    delivery = send_test(WebhookFactory(project=project))
    Delivery.objects.update(status=DeliveryStatus.DEAD)

    client.post(address(project, delivery.webhook_id, "deliveries", delivery.pk, "again"))

    assert Delivery.objects.get().status == DeliveryStatus.WAITING


def test_webhook_of_another_project_is_not_found(client, project):
    hook = WebhookFactory()

    assert client.get(address(project, hook.pk)).status_code == 404


def test_member_is_refused(settings, project):
    settings.OPEN_MODE = False
    client = Client()
    client.force_login(member_of(project, Role.MEMBER))

    assert client.get(address(project)).status_code == 403
