"""Messages are stored as data and read in the language of their reader."""

import pytest
from django.utils.translation import override

from core.exceptions import DomainError
from core.messages import Message, as_sentence, dumps, in_english, loads, words_of
from runs.models import Run
from tests.factories import RunFactory

DIED = Message("Its worker %(name)s died.", name="gpu-1")


@pytest.mark.parametrize(
    ("language", "text"),
    [("en", "Its worker gpu-1 died."), ("zh-hans", "所属的工作进程 gpu-1 已终止。")],
)
def test_message_speaks_the_readers_language(language, text):
    with override(language):
        assert str(DIED) == text


def test_message_within_a_message_speaks_the_same_language():
    missing = Message("%(file)s is missing", file="a.bin")
    message = Message(
        "The checkpoint %(id)s is damaged: %(problem)s.", id="ckpt_1", problem=missing
    )

    with override("en"):
        assert str(message) == "The checkpoint ckpt_1 is damaged: a.bin is missing."
    with override("zh-hans"):
        assert "missing" not in str(message)


def test_message_is_the_same_after_storing():
    message = Message("Rewound from step %(before)d to %(step)d; deleted %(points)d points.",
                      before=9, step=5, points=2**60)  # fmt: skip
    nested = Message("%(what)s: %(error)s", what=message, error="内存不足")

    assert loads(dumps(nested)) == nested


def test_order_of_parameters_does_not_change_what_is_stored():
    assert dumps(Message("%(a)s%(b)s", a=1, b=2)) == dumps(Message("%(a)s%(b)s", b=2, a=1))


@pytest.mark.parametrize(
    "text", ["", "训练失败。", '{"a": 1}', '{"message":"x"', '{"message":"x","params":{}}']
)
def test_plain_text_stays_as_it_is(text):
    assert str(loads(dumps(text))) == text


@pytest.mark.parametrize(
    "stored",
    [
        '{"message":1}',
        '{"message":1,"params":{}}',
        '{"message":null,"params":{}}',
        '{"message":"%(a)s","params":[]}',
        '{"message":"%(a)0999999999d","params":{"a":1}}',
        '{"message":"%(a)s","params":{"a":' * 600 + "1" + "}}" * 600,
    ],
    ids=["incomplete", "number", "null", "list", "width", "depth"],
)
def test_text_of_an_earlier_version_that_looks_like_a_message_is_shown(stored):
    assert loads(stored) == stored


def test_exception_as_a_parameter_says_what_it_was_raised_with():
    message = Message("%(path)s is not kept: %(why)s", path="a", why=DomainError(DIED))

    assert message.params["why"] == DIED
    assert words_of(OSError(28, "No space left on device")) == "[Errno 28] No space left on device"


def test_parameter_that_cannot_be_stored_is_replaced():
    assert Message("%(text)s", text="a\x00b\ud800").params == {"text": "a\ufffdb\ufffd"}


def test_programs_logs_are_in_english():
    with override("zh-hans"):
        assert in_english(DIED) == "Its worker gpu-1 died."
        assert in_english("训练失败。") == "训练失败。"


def test_sentence_ends_in_the_readers_way():
    sentence = as_sentence(Message("%(what)s: %(error)s", what="loss", error="NaN"))

    with override("zh-hans"):
        assert str(sentence) == "loss：NaN。"
    with override("en"):
        assert str(sentence) == "loss: NaN."
        assert as_sentence(DIED) == DIED


@pytest.mark.django_db
def test_column_holds_messages_and_finds_them():
    run = RunFactory(status_reason=DIED)

    assert Run.objects.get(status_reason=DIED).status_reason == DIED
    assert list(Run.objects.filter(pk=run.pk).values_list("status_reason", flat=True)) == [DIED]
