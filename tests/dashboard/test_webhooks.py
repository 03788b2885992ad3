"""The pages of webhooks."""

import pytest
from django.test import Client

from accounts.roles import Role
from notices.actions import send_test
from notices.models import Delivery, DeliveryStatus, Webhook
from tests.factories import ProjectFactory, UserFactory, WebhookFactory, member_of

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


def test_list_names_events_as_the_form_does(client, project):
    WebhookFactory(project=project, events=["run.failed", "run.stalled"])

    page = client.get(address(project)).content.decode()

    assert "A run has failed, A run has stalled" in page
    assert "run.failed, run.stalled" not in page


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


# --- Editing ---------------------------------------------------------------------------------


def test_form_is_filled_in_without_what_is_secret(client, project):
    hook = WebhookFactory(project=project, name="old", address="https://example.org/T0/B0")

    page = client.get(address(project, hook.pk, "edit")).content.decode()

    assert 'value="old"' in page
    assert '<option value="run.failed" selected>' in page
    assert "T0" not in page


def test_empty_address_and_secret_leave_them_as_they_are(client, project):
    hook = WebhookFactory(project=project, shape="dingtalk")
    hook.set_secret("SEC1")
    hook.save()
    form = FORM | {"shape": "dingtalk", "address": "", "secret": "", "name": "new"}

    response = client.post(address(project, hook.pk, "edit"), form)

    assert response.status_code == 302
    changed = Webhook.objects.get()
    assert (changed.name, changed.enabled) == ("new", False)
    assert (changed.encrypted_address, changed.secrets) == (hook.encrypted_address, ["SEC1"])


@pytest.mark.parametrize("part", ["", "/{pk}", "/{pk}/edit"])
def test_page_opens_though_the_address_cannot_be_read(client, project, part):
    hook = WebhookFactory(project=project)
    Webhook.objects.update(encrypted_address="of another SECRET_KEY")

    response = client.get(f"/dashboard/projects/{project.pk}/webhooks{part.format(pk=hook.pk)}")

    assert response.status_code == 200
    assert "example.org" not in response.content.decode()


def test_other_address_and_events_are_stored(client, project):
    hook = WebhookFactory(project=project)
    form = FORM | {"address": "https://new.example.org", "events": "run.stalled", "enabled": "on"}

    client.post(address(project, hook.pk, "edit"), form)

    hook.refresh_from_db()
    assert (hook.address, hook.events) == ("https://new.example.org", ["run.stalled"])
    assert hook.enabled


def test_secret_of_another_shape_is_shown_once(client, project):
    hook = WebhookFactory(project=project, shape="slack")

    page = client.post(address(project, hook.pk, "edit"), FORM | {"address": ""})

    hook.refresh_from_db()
    [secret] = hook.secrets
    assert secret in page.content.decode()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"address": "http://127.0.0.1/"}, "address"),
        ({"address": "", "shape": "email"}, "address"),
        ({"secret": "mine"}, "secret"),
        ({"events": []}, "events"),
        ({"threshold": "nan"}, "threshold"),
    ],
)
def test_bad_change_is_shown_at_its_field_and_stores_nothing(client, project, change, field):
    hook = WebhookFactory(project=project)

    response = client.post(address(project, hook.pk, "edit"), FORM | {"name": "new"} | change)

    assert response.status_code == 422
    assert field in response.context["form"].errors
    assert Webhook.objects.get().name == hook.name


# --- For all projects ------------------------------------------------------------------------


def test_operator_sets_up_a_webhook_for_all_projects(settings):
    settings.OPEN_MODE = False
    settings.LANGUAGE_CODE = "en"
    client = Client()
    client.force_login(UserFactory(is_staff=True, is_superuser=True))

    client.post("/dashboard/webhooks", FORM)
    hook = Webhook.objects.get()
    client.post(f"/dashboard/webhooks/{hook.pk}/do/test")
    page = client.get(f"/dashboard/webhooks/{hook.pk}").content.decode()
    client.post(
        f"/dashboard/webhooks/{hook.pk}/edit", FORM | {"name": "everywhere", "enabled": "on"}
    )

    assert hook.project is None
    assert "A test" in page
    assert "everywhere" in client.get("/dashboard/webhooks").content.decode()
    client.post(f"/dashboard/webhooks/{hook.pk}/do/delete")
    assert not Webhook.objects.exists()


def test_menu_leads_operators_alone_to_them(client, settings):
    operator = Client()
    operator.force_login(UserFactory(is_staff=True, is_superuser=True))

    link = 'href="/dashboard/webhooks"'
    assert link in operator.get("/dashboard/projects").content.decode()
    assert link not in client.get("/dashboard/projects").content.decode()


def test_maintainer_finds_no_webhook_for_all_projects(client, project):
    hook = WebhookFactory(project=None, name="everywhere")

    assert client.get("/dashboard/webhooks").status_code == 403
    assert client.get(f"/dashboard/webhooks/{hook.pk}").status_code == 403
    assert client.get(address(project, hook.pk)).status_code == 404
    assert "everywhere" not in client.get(address(project)).content.decode()
