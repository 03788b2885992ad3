"""The modules of examples/char_lm, checked against the literature and arithmetic."""

from __future__ import annotations

import io
import json
import math
import signal
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples" / "char_lm"))

from adamw import AdamW, clip_gradients, learning_rate_at
from atomic import write_atomically
from checkpoint import Checkpoint, CheckpointError
from configuration import Configuration, ConfigurationError, Hyperparameters
from corpus import Corpus, Split, Vocabulary, code_points, read_text
from evaluation import generate, unigram_loss, validation_loss
from interruption import Interruption
from model import (
    ModelShape,
    Parameters,
    initial_parameters,
    log_probabilities,
    loss_and_gradients,
    losses,
)
from reporting import MetricsFile
from training import Training

ENGLISH = """\
A run waits in the queue until a worker with free slots claims it. The worker starts the training
script, reads what it prints, and follows the file of metrics. When someone asks for the run to be
stopped, the script finishes the step it is in, saves a checkpoint and leaves; from that checkpoint
another worker can go on as if nothing had happened.
"""
CHINESE = """\
一次训练先在队列中等待，直到有空位的工作进程把它领走。工作进程启动训练脚本，读取脚本的输出，
并跟踪指标文件。有人要求停止训练时，脚本做完当前这一步，保存检查点，然后退出；另一个工作进程
可以从这个检查点继续训练，就像什么也没有发生过一样。
"""
TEXT = ENGLISH * 5 + CHINESE * 5
SMALL: dict[str, Any] = {
    "batch_size": 8,
    "context_length": 4,
    "embedding_dim": 3,
    "hidden_dim": 5,
    "max_steps": 6,
}


def small_corpus() -> Corpus:
    return Corpus.build(TEXT, context_length=4, vocabulary=None)


def prepared(
    tmp_path: Path, hyperparameters: dict[str, Any], interruption: Interruption | None = None
) -> Training:
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    config = tmp_path / "config.json"
    settings = {"dataset": str(tmp_path / "text.txt"), "hyperparameters": hyperparameters}
    config.write_text(json.dumps(settings), encoding="utf-8")
    environment = {
        "TRAINHUB_METRICS_FILE": str(tmp_path / "metrics.jsonl"),
        "TRAINHUB_CHECKPOINT_DIR": str(tmp_path / "checkpoints"),
        "TRAINHUB_OUTPUT_DIR": str(tmp_path),
    }
    configuration = Configuration.load(["--config", str(config)], environment)
    return Training.prepare(configuration, interruption or Interruption())


def trained(tmp_path: Path, **hyperparameters: Any) -> Checkpoint:
    tmp_path.mkdir(exist_ok=True)
    training = prepared(tmp_path, SMALL | hyperparameters)
    training.run()
    return training.state


class TestModel:
    def double_parameters(self) -> Parameters:
        shape = ModelShape(vocabulary_size=7, context_length=3, embedding_dim=2, hidden_dim=5)
        rng = np.random.default_rng(1)
        # Biases too: at zero, a wrong sign or factor in their gradient would go unnoticed.
        return {name: rng.standard_normal(size) for name, size in shape.parameter_shapes().items()}

    def test_gradients_agree_with_finite_differences(self) -> None:
        parameters = self.double_parameters()
        rng = np.random.default_rng(2)
        contexts, targets = rng.integers(0, 7, (6, 3)), rng.integers(0, 7, 6)

        _, gradients = loss_and_gradients(parameters, contexts, targets)

        assert gradients.keys() == parameters.keys()
        for name, parameter in parameters.items():
            expected = np.empty_like(parameter)
            for index in np.ndindex(parameter.shape):
                around = []
                for change in (1e-5, -1e-5):
                    moved = parameters | {name: parameter.copy()}
                    moved[name][index] += change
                    around.append(float(losses(moved, contexts, targets).mean()))
                expected[index] = (around[0] - around[1]) / 2e-5
            np.testing.assert_allclose(gradients[name], expected, rtol=1e-6, atol=1e-9)

    def test_probabilities_add_up_to_one_even_for_huge_logits(self) -> None:
        parameters = self.double_parameters()
        parameters["output_weight"] *= 1e4

        result = log_probabilities(parameters, np.array([[0, 1, 2], [6, 6, 6]]))

        np.testing.assert_allclose(np.exp(result).sum(axis=1), 1)

    def test_training_stays_in_float32(self) -> None:
        shape = ModelShape(vocabulary_size=7, context_length=3, embedding_dim=2, hidden_dim=5)
        parameters = initial_parameters(shape, np.random.default_rng(0))
        optimizer = AdamW.start(parameters)

        _, gradients = loss_and_gradients(parameters, np.array([[0, 1, 2]]), np.array([3]))
        clip_gradients(gradients, 1.0)
        optimizer.update(parameters, gradients, 0.01, 0.1)

        for values in (parameters, gradients, optimizer.mean, optimizer.square):
            assert {value.dtype for value in values.values()} == {np.dtype(np.float32)}


class TestAdamW:
    def test_two_updates_follow_the_formula(self) -> None:
        parameters = {"weight": np.array([[2.0]]), "bias": np.array([2.0])}
        optimizer = AdamW.start(parameters)

        for gradient in (0.5, -1.0):
            gradients = {"weight": np.array([[gradient]]), "bias": np.array([gradient])}
            optimizer.update(parameters, gradients, learning_rate=0.1, weight_decay=0.2)

        # First update: both corrected means are the gradient and its square.
        step_1 = 0.1 * 0.5 / (math.sqrt(0.25) + 1e-8)
        mean = (0.9 * 0.1 * 0.5 + 0.1 * -1.0) / (1 - 0.9**2)
        square = (0.999 * 0.001 * 0.25 + 0.001 * 1.0) / (1 - 0.999**2)
        step_2 = 0.1 * mean / (math.sqrt(square) + 1e-8)
        assert parameters["bias"].item() == pytest.approx(2 - step_1 - step_2, rel=1e-12)
        decay = 1 - 0.1 * 0.2
        expected = (2 * decay - step_1) * decay - step_2
        assert parameters["weight"].item() == pytest.approx(expected, rel=1e-12)

    def test_clipping_keeps_the_direction_and_returns_the_old_norm(self) -> None:
        gradients = {"a": np.array([3.0]), "b": np.array([[0.0, 4.0]])}

        norm = clip_gradients(gradients, 1.0)

        assert norm == 5
        np.testing.assert_allclose(gradients["a"], [0.6])
        np.testing.assert_allclose(gradients["b"], [[0, 0.8]])

    @pytest.mark.parametrize("largest_norm", [0, 5.5])
    def test_clipping_keeps_gradients_within_the_limit(self, largest_norm: float) -> None:
        gradients = {"a": np.array([3.0, 4.0])}

        clip_gradients(gradients, largest_norm)

        np.testing.assert_array_equal(gradients["a"], [3, 4])

    def test_learning_rate_warms_up_and_then_stays_constant(self) -> None:
        rates = [learning_rate_at(step, 0.8, warmup_steps=4) for step in (1, 2, 4, 5, 1_000)]

        assert rates == [0.2, 0.4, 0.8, 0.8, 0.8]
        assert learning_rate_at(1, 0.8, warmup_steps=0) == 0.8


class TestCorpus:
    @pytest.mark.parametrize(("length", "context_length"), [(640, 16), (20_003, 6), (99_999, 1)])
    def test_parts_share_no_character(self, length: int, context_length: int) -> None:
        split = Split.of(length, context_length)

        window = np.arange(-context_length, 1)
        training = np.unique(split.training[:, None] + window)
        validation = np.unique(split.validation[:, None] + window)
        assert np.intersect1d(training, validation).size == 0
        assert min(training[0], validation[0]) >= 0
        assert not split.is_held_out[training].any()
        assert split.is_held_out[validation].all()
        assert 0.05 * length < len(validation) < 0.15 * length

    def test_both_languages_of_a_readme_are_in_both_parts(self) -> None:
        text = ENGLISH * 20 + CHINESE * 20

        split = Split.of(len(text), context_length=6)

        for positions in (split.training, split.validation):
            part = "".join(text[position] for position in positions)
            assert "worker" in part
            assert "检查点" in part

    def test_vocabulary_contains_only_repeated_characters(self) -> None:
        vocabulary = Vocabulary.from_code_points(code_points("猫aa猫b\ufffd\ufffd😀😀"))

        assert vocabulary.characters == "a猫😀"
        assert vocabulary.encode("a猫😀b\ufffd").tolist() == [1, 2, 3, 0, 0]
        assert vocabulary.decode(np.array([1, 2, 3, 0])) == "a猫😀\ufffd"

    def test_vocabulary_ignores_the_held_out_text(self) -> None:
        split = Split.of(len(TEXT), 4)
        text = "".join(
            "é" if held_out else character
            for character, held_out in zip(TEXT, split.is_held_out, strict=True)
        )

        corpus = Corpus.build(text, 4, None)

        assert "é" not in corpus.vocabulary.characters

    def test_windows_are_the_characters_before_each_position(self) -> None:
        corpus = small_corpus()

        contexts, targets = corpus.windows(np.array([4, 30]))

        assert contexts.tolist() == [corpus.ids[0:4].tolist(), corpus.ids[26:30].tolist()]
        assert targets.tolist() == corpus.ids[[4, 30]].tolist()

    @pytest.mark.parametrize("text", ["", "x" * 159])
    def test_short_text_is_rejected(self, text: str) -> None:
        with pytest.raises(ConfigurationError, match="too short"):
            Corpus.build(text, 4, None)

    def test_text_of_one_character_is_rejected(self) -> None:
        with pytest.raises(ConfigurationError, match="fewer than two characters"):
            Corpus.build("x" * 1_000, 4, None)

    @pytest.mark.parametrize("dataset", ["no/such/file", "examples", "nul\0l"])
    def test_dataset_that_is_not_a_file_is_rejected(self, dataset: str) -> None:
        with pytest.raises(ConfigurationError, match="is not a file"):
            read_text(dataset)

    @pytest.mark.parametrize("dataset", ["", "readme"])
    def test_readme_files_of_both_languages_are_read(
        self, dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("corpus.REPOSITORY", tmp_path)
        (tmp_path / "README.md").write_bytes(b"\xef\xbb\xbfHello\r\n")
        (tmp_path / "README.zh.md").write_text("你好\n", encoding="utf-8")

        assert read_text(dataset) == "Hello\n\n\n你好\n"

    def test_missing_readme_files_are_reported(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("corpus.REPOSITORY", tmp_path)

        with pytest.raises(ConfigurationError, match=r"no README\.md or README\.zh\.md in"):
            read_text("readme")

    def test_relative_dataset_is_resolved_in_the_repository_first(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "repository").mkdir()
        (tmp_path / "repository" / "a.txt").write_text("repository", encoding="utf-8")
        for name in ("a.txt", "b.txt"):
            (tmp_path / name).write_text("current folder", encoding="utf-8")
        monkeypatch.setattr("corpus.REPOSITORY", tmp_path / "repository")
        monkeypatch.chdir(tmp_path)

        assert read_text("a.txt") == "repository"
        assert read_text("b.txt") == "current folder"

    @pytest.mark.parametrize("dataset", ["../secret", "link", "/etc/passwd", "secret"])
    def test_only_the_directories_for_datasets_are_read(
        self, dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "datasets").mkdir()
        (tmp_path / "datasets" / "a.txt").write_text("text", encoding="utf-8")
        (tmp_path / "secret").write_text("secret", encoding="utf-8")
        (tmp_path / "datasets" / "link").symlink_to(tmp_path / "secret")
        monkeypatch.setenv("TRAINHUB_DATASET_DIRS", str(tmp_path / "datasets"))
        monkeypatch.chdir(tmp_path)

        assert read_text("a.txt") == "text"
        with pytest.raises(ConfigurationError, match="TRAINHUB_DATASET_DIRS"):
            read_text(dataset)


class TestEvaluation:
    def test_unigram_loss_follows_the_formula(self) -> None:
        corpus = small_corpus()

        loss = unigram_loss(corpus)

        training = corpus.ids[~corpus.split.is_held_out].tolist()
        total = len(training) + len(corpus.vocabulary)
        expected = [
            -math.log((training.count(target) + 1) / total)
            for target in corpus.ids[corpus.split.validation].tolist()
        ]
        assert loss == pytest.approx(sum(expected) / len(expected))

    def test_validation_loss_is_the_mean_over_all_held_out_positions(self) -> None:
        corpus = small_corpus()
        shape = ModelShape(len(corpus.vocabulary), 4, 3, 5)
        parameters = initial_parameters(shape, np.random.default_rng(0))

        loss = validation_loss(parameters, corpus)

        contexts, targets = corpus.windows(corpus.split.validation)
        assert loss == pytest.approx(float(losses(parameters, contexts, targets).mean()))

    def test_generated_text_is_reproducible_and_has_no_unknown_character(self) -> None:
        corpus = small_corpus()
        shape = ModelShape(len(corpus.vocabulary), 4, 3, 5)
        parameters = initial_parameters(shape, np.random.default_rng(0))

        sample = generate(parameters, corpus, seed=3)

        assert sample == generate(parameters, corpus, seed=3)
        assert sample != generate(parameters, corpus, seed=4)
        assert "\ufffd" not in sample


class TestCheckpoint:
    def test_same_state_produces_the_same_bytes_at_any_time(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        state = trained(tmp_path)
        before = state.to_bytes()

        # Zip files can record the time of writing, with a resolution of two seconds.
        monkeypatch.setattr(time, "time", lambda: 2_000_000_000.0)
        after = state.to_bytes()

        assert before == after
        with zipfile.ZipFile(io.BytesIO(after)) as archive:
            assert {m.date_time for m in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}

    def test_loaded_state_equals_the_saved_state(self, tmp_path: Path) -> None:
        state = trained(tmp_path)

        loaded = Checkpoint.load(state.save(tmp_path))

        assert loaded.to_bytes() == state.to_bytes()
        assert loaded.optimizer.updates == state.step == 6
        assert loaded.rng.random() == state.rng.random()

    def test_numpy_reads_the_file_without_pickle(self, tmp_path: Path) -> None:
        path = trained(tmp_path).save(tmp_path)

        with np.load(path, allow_pickle=False) as archive:
            assert archive["parameter.output_bias"].shape == archive["adamw_mean.output_bias"].shape

    def test_damage_is_detected_anywhere_in_the_arrays(self, tmp_path: Path) -> None:
        content = trained(tmp_path).to_bytes()
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            ends = [
                m.header_offset + 30 + len(m.filename) + m.file_size for m in archive.infolist()
            ]
        damaged = tmp_path / "damaged.npz"

        for end in ends:
            position = end - 1
            flipped = bytes([content[position] ^ 1])
            damaged.write_bytes(content[:position] + flipped + content[position + 1 :])
            with pytest.raises(CheckpointError, match="damaged"):
                Checkpoint.load(damaged)

    @pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
    def test_truncated_file_is_rejected(self, tmp_path: Path, share: float) -> None:
        content = trained(tmp_path).to_bytes()
        path = tmp_path / "truncated.npz"
        path.write_bytes(content[: int(share * len(content))])

        with pytest.raises(CheckpointError, match="damaged or not a checkpoint"):
            Checkpoint.load(path)

    def test_other_npz_file_is_rejected(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "other.npz", weights=np.zeros(3))

        with pytest.raises(CheckpointError, match="not a checkpoint"):
            Checkpoint.load(tmp_path / "other.npz")

    def test_pickled_objects_are_not_loaded(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "pickle.npz", metadata=np.array([{}], dtype=object))

        with pytest.raises(CheckpointError, match="allow_pickle=False"):
            Checkpoint.load(tmp_path / "pickle.npz")

    def test_missing_file_is_rejected(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="cannot read checkpoint"):
            Checkpoint.load(tmp_path / "missing.npz")

    def test_array_of_another_shape_is_rejected(self, tmp_path: Path) -> None:
        state = trained(tmp_path)
        state.parameters["hidden_bias"] = np.zeros(9, dtype=np.float32)

        with pytest.raises(CheckpointError, match=r"parameter\.hidden_bias is float32 \(9,\)"):
            Checkpoint.load(state.save(tmp_path))


class TestTraining:
    def test_weights_do_not_depend_on_evaluation_and_logging(self, tmp_path: Path) -> None:
        often = trained(tmp_path / "often", eval_every=1, log_every=1, checkpoint_every=1)
        rarely = trained(tmp_path / "rarely", eval_every=100, log_every=100)

        assert often.to_bytes() == rarely.to_bytes()

    def test_weights_depend_on_the_seed(self, tmp_path: Path) -> None:
        assert trained(tmp_path, seed=1).to_bytes() != trained(tmp_path, seed=2).to_bytes()

    def test_signal_before_the_first_step_saves_step_zero(self, tmp_path: Path) -> None:
        training = prepared(tmp_path, SMALL, Interruption(signal.SIGTERM))

        training.run()

        assert training.is_interrupted
        assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000000.npz"]

    def test_epochs_are_counted_in_predicted_characters(self, tmp_path: Path) -> None:
        hyperparameters = SMALL | {"max_steps": None, "num_epochs": 2}

        training = prepared(tmp_path, hyperparameters)

        characters = len(training.corpus.split.training)
        assert training.total_steps == math.ceil(2 * characters / 8)

    def test_resume_with_edited_text_keeps_the_vocabulary(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        saved = trained(tmp_path).save(tmp_path)
        edited = tmp_path / "edited.txt"
        edited.write_text("Žluťoučký kůň. " * 20 + TEXT, encoding="utf-8")
        config = tmp_path / "edited.json"
        settings = {"dataset": str(edited), "hyperparameters": SMALL | {"max_steps": 8}}
        config.write_text(json.dumps(settings), encoding="utf-8")
        monkeypatch.chdir(tmp_path)
        environment = {"TRAINHUB_CONFIG": str(config), "TRAINHUB_RESUME_FROM": str(saved)}

        training = Training.prepare(Configuration.load([], environment), Interruption())
        training.run()

        assert training.state.step == 8
        assert "the text differs from the one" in capsys.readouterr().out


class TestConfiguration:
    def load(self, tmp_path: Path, content: str) -> Configuration:
        path = tmp_path / "config.json"
        path.write_text(content, encoding="utf-8")
        return Configuration.load([], {"TRAINHUB_CONFIG": str(path), "TRAINHUB_RESUME_FROM": ""})

    def test_empty_configuration_uses_the_defaults(self) -> None:
        configuration = Configuration.load([], {})

        assert configuration.hyperparameters == Hyperparameters()
        assert configuration.dataset == ""
        assert configuration.metrics_file == Path("metrics.jsonl")
        assert configuration.resume_from is None

    def test_null_is_unset_and_whole_float_is_an_integer(self, tmp_path: Path) -> None:
        content = '{"dataset": null, "hyperparameters": {"batch_size": 8.0, "seed": null}}'

        configuration = self.load(tmp_path, content)

        assert configuration.hyperparameters == Hyperparameters(batch_size=8)
        assert type(configuration.hyperparameters.batch_size) is int

    def test_max_steps_takes_precedence_over_num_epochs(self, tmp_path: Path) -> None:
        content = '{"hyperparameters": {"max_steps": 5, "num_epochs": 2}}'

        configuration = self.load(tmp_path, content)

        assert configuration.warnings == ("num_epochs is ignored because max_steps is set",)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("{", "is not valid JSON"),
            ("[]", "must contain a JSON object"),
            ('{"dataset": 5}', "dataset must be a string, not 5"),
            ('{"hyperparameters": []}', "hyperparameters must be an object"),
            ('{"hyperparameters": {"learning_rate": NaN}}', "learning_rate must be a finite"),
            ('{"hyperparameters": {"batch_size": 1.5}}', "batch_size must be a whole number"),
            ('{"hyperparameters": {"batch_size": true}}', "batch_size must be a number"),
            ('{"hyperparameters": {"batch_size": 1e9}}', "batch_size must be at most 65536"),
            ('{"hyperparameters": {"max_steps": 0}}', "max_steps must be at least 1, not 0"),
            ('{"hyperparameters": {"progress_bar": 1}}', "progress_bar must be true or false"),
            ('{"hyperparameters": {"grad_clip": -1}}', "grad_clip must be at least 0, not -1"),
        ],
    )
    def test_invalid_settings_are_rejected(
        self, tmp_path: Path, content: str, message: str
    ) -> None:
        with pytest.raises(ConfigurationError, match=message):
            self.load(tmp_path, content)

    def test_missing_file_is_rejected(self) -> None:
        with pytest.raises(ConfigurationError, match="cannot read"):
            Configuration.load(["--config", "no-such.json"], {})

    def test_folder_that_cannot_be_created_is_rejected(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        environment = {"TRAINHUB_CHECKPOINT_DIR": str(tmp_path / "file" / "checkpoints")}

        with pytest.raises(ConfigurationError, match="cannot create"):
            Configuration.load([], environment).make_directories()


class TestFiles:
    def test_failed_write_keeps_only_the_old_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "file"
        write_atomically(path, b"old")

        def full_disk(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", full_disk)
        with pytest.raises(OSError, match="No space left"):
            write_atomically(path, b"new")

        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]

    def test_metrics_are_appended_to_those_of_an_earlier_attempt(self, tmp_path: Path) -> None:
        path = tmp_path / "metrics.jsonl"

        MetricsFile(path, total_steps=9).append(1, {"loss": 2.5})
        MetricsFile(path, total_steps=9).append(2, {"loss": 1.5})

        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        assert [(line["step"], line["loss"], line["total_steps"]) for line in lines] == [
            (1, 2.5, 9),
            (2, 1.5, 9),
        ]
