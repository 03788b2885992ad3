"""Which metrics matter, and which direction of them is better."""

import pytest

from metrics.goals import by_importance, important_metrics, less_is_better, main_metric


@pytest.mark.parametrize(
    "key",
    [
        *("loss", "eval_loss", "val/perplexity", "eval/ppl", "word_error_rate", "step_time"),
        *("reward_loss", "nonsense", "lr", "train/grad_norm"),
    ],
)
def test_less_is_better(key):
    assert less_is_better(key)


@pytest.mark.parametrize(
    "key",
    [
        *("accuracy", "eval_accuracy", "eval/acc", "rewards/margins", "train_reward", "bleu"),
        *("eval_rougeL", "rouge1", "F1", "macro_f1", "pass@1", "mean_token_accuracy", "recall@10"),
        *("eval/hellaswag", "mmlu", "arc_easy", "gsm8k"),
    ],
)
def test_more_is_better(key):
    assert not less_is_better(key)


@pytest.mark.parametrize(
    ("counts", "main"),
    [
        ({"loss": 9, "eval_loss": 1}, "eval_loss"),
        ({"val/loss": 1, "eval_loss": 2}, "eval_loss"),
        ({"validation_loss": 1, "accuracy": 5}, "validation_loss"),
        ({"train_loss": 1, "eval_accuracy": 5}, "train_loss"),
        ({"b": 1, "a": 2}, "a"),
        ({"system/gpu_0_utilization_percentage": 5}, None),
        ({"closs": 1, "gloss": 2, "eval_bleu": 1}, "eval_bleu"),
        ({}, None),
    ],
)
def test_main_metric_is_an_evaluation_loss_else_a_loss_else_the_most_common(counts, main):
    assert main_metric(counts) == main


def test_few_metrics_are_important():
    counts = {
        **{f"eval_{name}": 1 for name in ("loss", "accuracy", "bleu", "runtime")},
        "train_loss": 9,
        "learning_rate": 9,
        "epoch": 9,
        "grad_norm": 9,
        "system/x": 9,
    }

    assert important_metrics(counts)[:2] == ["eval_loss", "train_loss"]
    assert len(important_metrics(counts)) == 4
    assert not {"learning_rate", "epoch", "system/x"} & set(important_metrics(counts))


def test_metrics_of_the_host_are_never_important():
    assert by_importance({"system/x": 1}) == []
