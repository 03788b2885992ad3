"""The curves of a simulated training."""

import math

import pytest

from execution.executors.simulation import GOOD_LEARNING_RATE, Training, planned_steps


def configured(**hyperparameters):
    return Training.configured(hyperparameters, task_type="文本摘要")


def losses(training, steps=range(1, 601)):
    return [training.loss_at(step) for step in steps]


def noise(training):
    """The root mean square distance of the losses from the smooth curve."""
    steps = range(1, 401)
    squares = [(training.loss_at(n) - training.smooth_loss_at(n)) ** 2 for n in steps]
    return math.sqrt(sum(squares) / len(squares))


def test_same_seed_gives_the_same_curve():
    assert losses(configured(seed=7)) == losses(configured(seed=7))


def test_another_seed_gives_another_curve():
    assert losses(configured(seed=7)) != losses(configured(seed=8))


def test_loss_falls():
    curve = losses(configured())

    assert sum(curve[-50:]) < sum(curve[:50]) * 0.8


def test_small_learning_rate_learns_slower():
    slow = configured(learning_rate=GOOD_LEARNING_RATE / 20)

    assert slow.smooth_loss_at(600) > configured().smooth_loss_at(600) + 0.3


def test_learning_rate_of_zero_learns_nothing():
    training = configured(learning_rate=0)

    assert training.smooth_loss_at(600) == training.smooth_loss_at(1)


def test_larger_batches_are_less_noisy():
    assert noise(configured(batch_size=256)) < noise(configured(batch_size=4)) / 4


def test_absurd_learning_rate_diverges():
    curve = losses(configured(learning_rate=1.0))

    assert math.isnan(curve[-1])
    assert not math.isnan(curve[0])


@pytest.mark.parametrize("rate", [1e-6, 2e-5, 5e-5, 1e-4, 3e-4])
def test_usual_learning_rates_do_not_diverge(rate):
    assert all(math.isfinite(loss) for loss in losses(configured(learning_rate=rate)))


def test_learning_rate_warms_up_and_decays():
    training = configured(max_steps=1000)

    assert training.rate_at(1) < training.rate_at(50) == training.learning_rate
    assert training.rate_at(1000) == pytest.approx(training.learning_rate / 10)


@pytest.mark.parametrize("start", [1, 137, 300])
def test_resumed_training_continues_the_same_curve(start):
    whole = configured(learning_rate=3e-5)

    resumed = Training.configured(
        {"learning_rate": 3e-5},
        task_type="文本摘要",
        start_step=start,
        start_effort=whole.effort_at(start),
    )

    rest = range(start + 1, 601)
    assert losses(resumed, rest) == pytest.approx(losses(whole, rest), abs=1e-9)
    assert resumed.evaluation_at(600) == whole.evaluation_at(600)


def test_resumed_training_with_a_smaller_rate_starts_at_the_same_loss_and_learns_slower():
    whole = configured()

    resumed = Training.configured(
        {"learning_rate": GOOD_LEARNING_RATE / 100},
        start_step=300,
        start_effort=whole.effort_at(300),
    )

    assert resumed.smooth_loss_at(300) == whole.smooth_loss_at(300)
    assert resumed.smooth_loss_at(600) > whole.smooth_loss_at(600)


@pytest.mark.parametrize(
    ("task_type", "metric"),
    [
        ("文本摘要", "eval_rouge_l"),
        ("Summarization", "eval_rouge_l"),
        ("机器翻译", "eval_bleu"),
        ("文本分类", "eval_accuracy"),
        ("问答", "eval_f1"),
        ("代码生成", "eval_pass_at_1"),
        ("对话", "eval_win_rate"),
        ("预训练", "eval_perplexity"),
        ("", "eval_perplexity"),
    ],
)
def test_evaluation_metric_depends_on_the_task(task_type, metric):
    scores = Training.configured({}, task_type=task_type).evaluation_at(100)

    assert set(scores) == {"eval_loss", metric}


def test_evaluation_improves():
    training = configured()

    first, last = training.evaluation_at(50), training.evaluation_at(600)
    assert last["eval_loss"] < first["eval_loss"]
    assert last["eval_rouge_l"] > first["eval_rouge_l"]


def test_gpu_utilization_is_between_0_and_1():
    training = configured(batch_size=1)

    assert all(0 < training.gpu_utilization_at(step) <= 1 for step in range(1, 600))


@pytest.mark.parametrize(
    ("hyperparameters", "steps"),
    [
        ({}, 600),
        ({"max_steps": 7}, 7),
        ({"max_steps": 7, "num_epochs": 3}, 7),
        ({"num_epochs": 1}, 200),
        ({"num_epochs": 0.5, "batch_size": 32}, 50),
        ({"num_epochs": 1e-6}, 1),
    ],
    ids=str,
)
def test_planned_steps_come_from_max_steps_or_epochs(hyperparameters, steps):
    assert planned_steps(hyperparameters) == steps


def test_default_run_takes_about_a_minute_at_the_default_speed(settings):
    assert 45 <= planned_steps({}) / settings.SIMULATION_STEPS_PER_SECOND <= 90
