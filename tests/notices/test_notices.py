"""From what happens to what is delivered."""

import json
import threading
from datetime import timedelta

import pytest
from django.core import mail
from django.db import OperationalError, connection, transaction
from django.http import Http404
from django.utils import timezone

from artifacts.kinds import TagValue
from core.messages import Message
from notices import sending
from notices.actions import delete_webhook, send_test
from notices.happenings import tell_once
from notices.http import Answer
from notices.models import Delivery, DeliveryStatus, Event, Fired, Shape, Webhook
from notices.rules import check_rules
from notices.sending import send_due
from runs.models import EventKind, FailureKind, Run, StopKind
from runs.status import RunStatus
from tests.factories import ProjectFactory, RunFactory, WebhookFactory, checkpoint, running
from tests.notices.receiver import receiver

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def loopback_is_allowed(settings):
    settings.WEBHOOK_PRIVATE_ADDRESSES = True


def hook_of(run: Run, *events: Event, **fields) -> Webhook:
    return WebhookFactory(project=run.project, events=[event.value for event in events], **fields)


def told() -> list[str]:
    return list(Delivery.objects.order_by("created_at", "id").values_list("event", flat=True))


def due_now() -> None:
    Delivery.objects.update(next_attempt_at=timezone.now() - timedelta(seconds=1))


# --- What becomes a delivery -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "what", "why"),
    [
        ("zh-hans", "运行失败", "所属的工作进程 w1 已终止。"),
        ("en", "A run has failed", "Its worker w1 died."),
    ],
)
def test_text_is_in_the_language_of_the_server_and_data_in_english(settings, language, what, why):
    settings.LANGUAGE_CODE = language
    run = running()
    hook_of(run, Event.RUN_FAILED)

    run.transition(RunStatus.FAILED, reason=Message("Its worker %(name)s died.", name="w1"))

    payload = Delivery.objects.get().payload
    assert payload["text"].startswith(f"{what}: {run.name} ({run.project.name}). {why}\n")
    assert payload["data"]["reason"] == "Its worker w1 died."


def test_failed_run_is_told_with_its_reason():
    run = running()
    hook_of(run, Event.RUN_FAILED, Event.RUN_COMPLETED)

    run.transition(RunStatus.FAILED, reason=Message("Killed."))

    delivery = Delivery.objects.get()
    assert delivery.event == Event.RUN_FAILED
    assert delivery.payload["data"]["run"]["id"] == run.pk
    assert "Killed." in delivery.payload["text"]


def test_diverged_run_is_told_as_such():
    run = running()
    hook_of(run, Event.RUN_DIVERGED)

    run.transition(RunStatus.FAILED, reason="NaN", failure_kind=FailureKind.DIVERGED)

    assert told() == [Event.RUN_DIVERGED]


def test_completed_and_stalled_runs_are_told():
    run = running()
    hook_of(run, Event.RUN_COMPLETED, Event.RUN_STALLED)

    run.request_stop(StopKind.STALLED, by=None, reason="Silent.")
    run.transition(RunStatus.COMPLETED)

    assert told() == [Event.RUN_STALLED, Event.RUN_COMPLETED]


def test_released_checkpoint_is_told():
    artifact = checkpoint(RunFactory())
    hook_of(artifact.run, Event.CHECKPOINT_RELEASED, Event.CHECKPOINT_CANDIDATE)

    artifact.tag(TagValue.CANDIDATE, notes="", by=None)
    artifact.tag(TagValue.RELEASED, notes="", by=None)

    assert told() == [Event.CHECKPOINT_CANDIDATE, Event.CHECKPOINT_RELEASED]


def test_other_projects_and_webhooks_that_are_off_are_not_told():
    run = running()
    hook_of(run, Event.RUN_FAILED, enabled=False)
    WebhookFactory(project=ProjectFactory())
    everywhere = WebhookFactory(project=None)

    run.transition(RunStatus.FAILED)

    assert Delivery.objects.get().webhook == everywhere


def test_events_that_nobody_can_want_cost_no_statement(django_assert_num_queries):
    run = running()

    with django_assert_num_queries(1):
        run.note(EventKind.RENAMED)


# --- Rules -----------------------------------------------------------------------------------


def test_metric_beyond_its_threshold_is_told_once():
    run = running(metrics={"eval_loss": 4.0})
    hook_of(run, Event.METRIC_BEYOND, metric="eval_loss", threshold=3.0)

    assert (check_rules(), check_rules()) == (1, 0)

    assert Delivery.objects.get().payload["data"]["value"] == "4.0"
    assert Fired.objects.count() == 1


def test_what_was_told_costs_nothing_at_the_next_check(django_assert_max_num_queries):
    for _number in range(5):
        run = running(metrics={"eval_loss": 4.0})
    hook_of(run, Event.METRIC_BEYOND, metric="eval_loss", threshold=3.0)
    Webhook.objects.update(project=None)
    assert check_rules() == 5

    with django_assert_max_num_queries(3):
        assert check_rules() == 0


def test_metric_on_the_right_side_is_not_told():
    run = running(metrics={"acc": 0.5, "eval_loss": 3.0})
    hook_of(run, Event.METRIC_BEYOND, metric="eval_loss", threshold=3.0)
    hook_of(run, Event.METRIC_BEYOND, metric="acc", threshold=0.4, comparison="below")

    assert check_rules() == 0


def test_loss_that_is_not_finite_is_told_while_the_run_goes_on():
    run = running(metrics={"train_loss": "NaN", "grad_norm": "Infinity"})
    hook_of(run, Event.RUN_DIVERGED)

    check_rules()
    run.transition(RunStatus.FAILED, failure_kind=FailureKind.DIVERGED)

    assert told() == [Event.RUN_DIVERGED]


# --- Sending ---------------------------------------------------------------------------------


def test_delivery_arrives_signed():
    with receiver() as (it, url):
        hook = WebhookFactory(address=f"{url}/hook")
        hook.set_secret("whsec_YQ==")
        hook.save()
        delivery = send_test(hook)

        assert send_due() == 1

    delivery.refresh_from_db()
    [received] = it.received
    assert (delivery.status, delivery.response_code) == (DeliveryStatus.DELIVERED, 200)
    assert received.headers["webhook-id"] == delivery.pk
    assert received.headers["webhook-signature"].startswith("v1,")
    assert json.loads(received.body)["type"] == "test"


def test_after_a_rotation_both_secrets_sign_for_a_day():
    hook = WebhookFactory()
    hook.set_secret("whsec_YQ==")
    hook.save()

    new = hook.rotate()

    assert hook.secrets == [new, "whsec_YQ=="]
    Webhook.objects.update(rotated_at=timezone.now() - timedelta(days=1, seconds=1))
    hook.refresh_from_db()
    assert hook.secrets == [new]


def test_refused_delivery_is_tried_eight_times_in_about_a_day_and_given_up():
    with receiver() as (it, url):
        it.answer = (500, {}, b"no")
        delivery = send_test(WebhookFactory(address=url))
        waits = []
        while True:
            send_due()
            delivery.refresh_from_db()
            if delivery.status == DeliveryStatus.DEAD:
                break
            waits.append((delivery.next_attempt_at - timezone.now()).total_seconds())
            due_now()

    assert len(it.received) == delivery.attempts == 8
    assert {received.headers["webhook-id"] for received in it.received} == {delivery.pk}
    assert waits == sorted(waits)
    assert 22 * 3600 < sum(waits) < 28 * 3600
    assert (delivery.response_code, delivery.response) == (500, "no")


def test_slow_receiver_delays_no_other(monkeypatch):
    slow, other = WebhookFactory(), WebhookFactory()
    first, second = send_test(slow), send_test(slow)
    elsewhere = send_test(other)
    sent = []

    def attempt(delivery):
        sent.append(delivery.pk)
        if delivery.webhook == slow and len(sent) == 1:
            send_due()  # another worker, while the receiver takes its time
        sending._note(delivery, Answer(200, ""), "")

    monkeypatch.setattr(sending, "attempt", attempt)

    send_due()

    assert sent == [first.pk, elsewhere.pk, second.pk]


def test_delivery_whose_last_attempt_ended_with_its_worker_is_given_up():
    delivery = send_test(WebhookFactory())
    Delivery.objects.update(attempts=8)

    assert send_due() == 0
    sending.prune()

    delivery.refresh_from_db()
    assert delivery.status == DeliveryStatus.DEAD


def test_dead_delivery_is_sent_again_on_request():
    with receiver() as (it, url):
        delivery = send_test(WebhookFactory(address=url))
        Delivery.objects.update(status=DeliveryStatus.DEAD, attempts=8)
        assert send_due() == 0

        delivery.send_again()
        send_due()

    assert len(it.received) == 1


def test_chat_that_refuses_with_200_is_not_taken_at_its_word():
    with receiver() as (it, url):
        it.answer = (200, {}, b'{"errcode": 310000, "errmsg": "sign not match"}')
        delivery = send_test(WebhookFactory(address=url, shape=Shape.DINGTALK))

        send_due()

    delivery.refresh_from_db()
    assert delivery.status == DeliveryStatus.WAITING


def test_private_address_is_noted_as_the_reason(settings):
    settings.WEBHOOK_PRIVATE_ADDRESSES = False
    delivery = send_test(WebhookFactory(address="http://127.0.0.1:1/"))

    send_due()

    delivery.refresh_from_db()
    assert "not allowed" in delivery.response


def test_mail_goes_to_each_address(settings):
    settings.EMAIL_CONFIGURED = True
    send_test(WebhookFactory(shape=Shape.EMAIL, address="a@example.org, b@example.org"))

    send_due()

    assert mail.outbox[0].to == ["a@example.org", "b@example.org"]
    assert "\n" not in mail.outbox[0].subject


def test_webhook_may_be_deleted_while_its_delivery_is_sent(monkeypatch):
    hook = WebhookFactory()
    send_test(hook)

    def post(*_arguments):
        delete_webhook(hook)
        return Answer(200, "ok")

    monkeypatch.setattr(sending, "post", post)

    assert send_due() == 1
    assert not Delivery.objects.exists()


def test_webhook_that_was_deleted_in_the_meantime_is_told_nothing():
    run = running(metrics={"eval_loss": 4.0})
    hook = hook_of(run, Event.METRIC_BEYOND, metric="eval_loss", threshold=3.0)
    Webhook.objects.all().delete()

    assert not tell_once(hook, run, Event.METRIC_BEYOND)
    with pytest.raises(Http404):
        send_test(hook)


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_webhook_is_not_deleted_before_what_is_told_is_committed():
    run = running()
    hook = hook_of(run, Event.RUN_FAILED)
    refused = []

    def delete() -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = '200ms'")
            delete_webhook(hook)
        except OperationalError as error:
            refused.append(error)
        finally:
            connection.close()

    with transaction.atomic():
        run.transition(RunStatus.FAILED)
        thread = threading.Thread(target=delete)
        thread.start()
        thread.join()

    assert len(refused) == 1
    delete_webhook(hook)
    assert not Delivery.objects.exists()


def test_old_deliveries_are_deleted():
    send_test(WebhookFactory())
    Delivery.objects.update(
        status=DeliveryStatus.DEAD, created_at=timezone.now() - timedelta(days=31)
    )
    send_test(Webhook.objects.get())

    sending.prune()

    assert [delivery.status for delivery in Delivery.objects.all()] == [DeliveryStatus.WAITING]


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_workers_at_the_same_time_send_each_delivery_once():
    with receiver() as (it, url):
        hook = WebhookFactory(address=url)
        sent = {send_test(hook).pk for _number in range(12)}

        def work() -> None:
            try:
                send_due()
            finally:
                connection.close()

        threads = [threading.Thread(target=work) for _number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert sorted(received.headers["webhook-id"] for received in it.received) == sorted(sent)


def test_addresses_and_secrets_are_not_stored_as_they_are():
    hook = WebhookFactory(address="https://hooks.example.org/T0/B0/XXX")
    hook.set_secret("whsec_YQ==")
    hook.save()

    with connection.cursor() as cursor:
        cursor.execute("SELECT it::text FROM notices_webhook AS it")
        [[row]] = cursor.fetchall()
        cursor.execute("SELECT string_agg(it::text, ' ') FROM audit_entry AS it")
        [[entries]] = cursor.fetchall()
    assert "XXX" not in row + entries
    assert "whsec_" not in row + entries
