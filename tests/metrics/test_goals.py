"""Which metrics matter, and which direction of them is better."""

import pytest

from metrics.goals import (
    Direction,
    by_importance,
    direction_of,
    important_metrics,
    is_evaluation,
)


@pytest.mark.parametrize(
    "key",
    [
        *("loss", "eval_loss", "val/perplexity", "val.ppl", "word_error_rate", "step_time"),
        *("reward_loss", "loss2", "evalLoss", "bits_bpb", "eval/bits_per_byte", "rmse", "test_wer"),
        *("train/cross_entropy", "eval_runtime", "seconds_per_step", "latency_ms", "accuracy_loss"),
    ],
)
def test_less_of_losses_errors_and_times_is_better(key):
    assert direction_of(key) is Direction.LOWER


@pytest.mark.parametrize(
    "key",
    [
        *("accuracy", "eval_accuracy", "eval/acc", "rewards/margins", "train_reward", "bleu"),
        *("eval_rougeL", "rouge1", "F1", "macro_f1", "pass@1", "mean_token_accuracy", "recall@10"),
        *("mmlu", "gsm8k_em", "hellaswag", "arc_challenge", "HumanEval", "TruthfulQA", "mAP"),
        *("nDCG@10", "exactMatch", "bertscore", "win_rate", "gpu_utilization"),
        *("tokens_per_second", "train/tokens/s", "eval_samples_per_second"),
    ],
)
def test_more_of_scores_and_rates_is_better(key):
    assert direction_of(key) is Direction.HIGHER


@pytest.mark.parametrize(
    "key",
    [
        *(
            "learning_rate",
            "train/grad_norm",
            "epoch",
            "eval/epoch",
            "eval_logps/chosen",
            "entropy",
        ),
        *("system/gpu_0_utilization_percentage", "nonsense", "architecture", "步", ""),
    ],
)
def test_nothing_is_better_of_what_describes_the_training_or_is_unknown(key):
    assert direction_of(key) is None


@pytest.mark.parametrize("key", ["eval/nonsense", "val/nonsense", "test_nonsense", "a/eval/b"])
def test_more_of_an_unknown_result_of_an_evaluation_is_better(key):
    assert direction_of(key) is Direction.HIGHER
    assert direction_of("nonsense", of_evaluation=True) is Direction.HIGHER
    assert direction_of("loss", of_evaluation=True) is Direction.LOWER


@pytest.mark.parametrize("key", ["value_loss", "device_memory", "tester", "evaluate"])
def test_name_that_only_begins_like_an_evaluation_is_of_none(key):
    assert not is_evaluation(key)


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
    assert next(iter(by_importance(counts)), None) == main


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
