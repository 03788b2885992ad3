"""What counts as a checkpoint in a training's folder, of which step, and when it is complete."""

import os
import pickle
import time

import pytest
from django.utils import translation

from artifacts.tar_stream import Changed
from core.text import readable
from execution.executors import found_checkpoint
from execution.executors.attempt import Ending
from execution.executors.checkpoint_scan import scan
from execution.executors.found_checkpoint import FOLDER_SUFFIX, Unfinished, by_step
from tests.saved_files import (
    dcp_metadata,
    hugging_face,
    index,
    safetensors,
    trainer_state,
    write,
    write_all,
    write_recorded,
    zipped,
)

ENDED = Ending(0, at=0.0)


@pytest.fixture(autouse=True)
def english():
    with translation.override("en"):
        yield


def found(folder, declared=None):
    """Path → (layout, step)."""
    checkpoints = scan(folder, declared).checkpoints
    return {item.saved_as: (item.layout, item.step) for item in checkpoints}


def others(folder):
    return sorted(scan(folder).others)


def only(folder):
    [checkpoint] = scan(folder).checkpoints
    return checkpoint


# --- layouts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["checkpoint-200/model.safetensors"], {"checkpoint-200": ("huggingface", 200)}),
        (
            ["run/checkpoint-10/adapter_model.safetensors", "run/checkpoint-20/pytorch_model.bin"],
            {"run/checkpoint-10": ("huggingface", 10), "run/checkpoint-20": ("huggingface", 20)},
        ),
        (
            [
                "checkpoint-5/global_step5/mp_rank_00_model_states.pt",
                "checkpoint-5/latest",
                "checkpoint-5/zero_to_fp32.py",
            ],
            {"checkpoint-5": ("huggingface", 5)},
        ),
        (["epoch=1-step=200.ckpt"], {"epoch=1-step=200.ckpt": ("file", 200)}),
        (
            ["epoch=1-step=200.ckpt/.metadata", "epoch=1-step=200.ckpt/meta.pt"],
            {"epoch=1-step=200.ckpt": ("lightning", 200)},
        ),
        (
            [
                "global_step100/mp_rank_00_model_states.pt",
                "global_step100/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt",
            ],
            {"global_step100": ("deepspeed", 100)},
        ),
        (
            ["iter_0000300/mp_rank_00/model_optim_rng.pt"],
            {"iter_0000300": ("megatron", 300)},
        ),
        (
            ["step-400/.metadata", "step-400/__0_0.distcp", "step-400/__1_0.distcp"],
            {"step-400": ("dcp", 400)},
        ),
        (
            ["state/random_states_0.pkl", "state/model.safetensors", "state/optimizer.bin"],
            {"state": ("accelerate", None)},
        ),
        (["step-00000200.npz"], {"step-00000200.npz": ("file", 200)}),
        (["best/model.pt", "best/optimizer.pt"], {"best": ("folder", None)}),
        (
            ["saved/step_5.pt", "saved/step_9.pt"],
            {"saved/step_5.pt": ("file", 5), "saved/step_9.pt": ("file", 9)},
        ),
        (
            ["model--step=70-last/weights/x.pt", "model--step=70-last/context/io.json"],
            {"model--step=70-last": ("folder", 70)},
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_layout_and_step(tmp_path, files, expected):
    write_all(tmp_path, *files)

    assert found(tmp_path) == expected


HUGGING_FACE = {
    "checkpoint-2": ("huggingface", 2),
    "checkpoint-4": ("huggingface", 4),
    ".": ("model", None),
}
DCP = {"step-2": ("dcp", 2), "step-4": ("dcp", 4)}
DEFAULT_FOLDER = "lightning_logs/version_0"


@pytest.mark.parametrize(
    ("name", "expected", "kept"),
    [
        ("hugging-face", HUGGING_FACE, []),
        (
            "lightning",
            {
                "epoch=0-step=2.ckpt": ("file", 2),
                "epoch=0-step=4.ckpt": ("file", 4),
                "last.ckpt": ("file", 4),
            },
            [],
        ),
        (
            "lightning-default",  # last.ckpt is a link
            {f"{DEFAULT_FOLDER}/checkpoints/epoch=0-step=4.ckpt": ("file", 4)},
            [f"{DEFAULT_FOLDER}/metrics.csv"],
        ),
        ("torchrun-ddp", DCP, []),
        ("torchrun-fsdp", DCP, []),
        ("accelerate", {"step_2": ("accelerate", 2), "step_4": ("accelerate", 4)}, []),
        (
            "accelerate-automatic",  # these numbers are no steps
            {
                "checkpoints/checkpoint_0": ("accelerate", None),
                "checkpoints/checkpoint_1": ("accelerate", None),
            },
            [],
        ),
        (
            "deepspeed",
            {"global_step2": ("deepspeed", 2), "global_step4": ("deepspeed", 4)},
            ["latest", "zero_to_fp32.py", "zero_to_torch.py"],
        ),
        ("sharded-model", {"final": ("model", None)}, []),
        ("orbax", {"2": ("orbax", 2), "4": ("orbax", 4)}, ["metadata/_ROOT_METADATA"]),
        (
            "orbax-alone",
            {
                "final": ("orbax", None),
                "named/state_000001": ("orbax", None),
                "step_1": ("orbax", 1),
            },
            [],
        ),
        (
            "composer",  # latest-rank0.pt is a link
            {"ep0-ba2-rank0.pt": ("file", 2), "ep0-ba4-rank0.pt": ("file", 4)},
            [],
        ),
        ("composer-sharded", {"ep0-ba2": ("dcp", 2), "ep0-ba4": ("dcp", 4)}, []),
        (
            "megatron",
            {"iter_0000002": ("megatron", 2), "iter_0000004": ("megatron", 4)},
            ["latest_checkpointed_iteration.txt"],
        ),
    ],
)
def test_what_the_frameworks_themselves_have_written(tmp_path, name, expected, kept):
    write_recorded(tmp_path, name)

    checkpoints = scan(tmp_path).checkpoints

    assert found(tmp_path) == expected
    assert others(tmp_path) == kept
    assert [item.problem(ENDED, time.time()) for item in checkpoints] == [None] * len(expected)


@pytest.mark.parametrize(
    ("name", "missing", "problem"),
    [
        ("hugging-face", "checkpoint-4/trainer_state.json", "trainer_state.json is missing"),
        ("torchrun-fsdp", "step-4/.metadata", ".metadata is missing"),
        ("torchrun-fsdp", "step-4/__1_0.distcp", "__1_0.distcp is missing"),
        ("sharded-model", "final/model-00002-of-00003.safetensors", "is missing"),
    ],
)
def test_recorded_checkpoint_without_one_of_its_files_is_incomplete(
    tmp_path, name, missing, problem
):
    write_recorded(tmp_path, name)
    (tmp_path / missing).unlink()

    checkpoints = {
        item.saved_as: item.problem(ENDED, time.time()) for item in scan(tmp_path).checkpoints
    }

    assert problem in str(checkpoints[missing.partition("/")[0]])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("orbax-killed", {"2": None}),  # what it was writing has a temporary name
        ("composer-killed", {"ep0-ba2-rank0.pt": None, "ep0-ba4-rank0.pt": "ZIP"}),
        (
            "composer-sharded-killed",
            {"ep0-ba2": None, "ep0-ba4": ".metadata is missing"},
        ),
        (
            "megatron-killed",
            {"iter_0000002": None, "iter_0000004": "metadata is missing"},
        ),
        (
            "megatron-killed-last",
            {"iter_0000002": None, "iter_0000004": "metadata.json is missing"},
        ),
    ],
)
def test_what_a_training_leaves_that_is_killed_while_it_saves(tmp_path, name, expected):
    write_recorded(tmp_path, name)

    problems = {
        item.saved_as: item.problem(ENDED, time.time()) for item in scan(tmp_path).checkpoints
    }

    assert problems.keys() == expected.keys()
    for path, problem in expected.items():
        assert problems[path] is None if problem is None else problem in str(problems[path])


def test_megatron_checkpoint_of_which_only_the_first_file_is_written_is_incomplete(tmp_path):
    write(tmp_path / "iter_0000300" / "common.pt")

    assert "metadata.json is missing" in str(only(tmp_path).problem(ENDED, time.time()))


def test_checkpoint_that_says_it_is_incomplete_is(tmp_path):
    hugging_face(tmp_path / "checkpoint-5", 5)
    write(tmp_path / "checkpoint-5" / "checkpoint-is-incomplete.txt")

    assert "checkpoint-is-incomplete.txt" in str(only(tmp_path).problem(ENDED, time.time()))


@pytest.mark.parametrize(
    "name",
    [
        "model_epoch_3.pt",
        "epoch_12.pt",
        "checkpoint3.pt",
        "checkpoint_1_500.pt",
        "loss0.35.pt",
        "2024-01-02.pt",
        "model_7b.pt",
        "timestep5.pt",
        "latest.pt",
        "step-99999999999999999999.pt",
    ],
)
def test_number_that_is_no_step(tmp_path, name):
    write(tmp_path / name)

    assert only(tmp_path).step is None


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("epoch=3-step=1200.ckpt", 1200),
        ("model_v2_step100_loss0.35.safetensors", 100),
        ("STEP_7.pt", 7),
        ("iter_500.pth", 500),
        ("global_step9.pt", 9),
    ],
)
def test_step_in_a_name(tmp_path, name, step):
    write(tmp_path / name)

    assert only(tmp_path).step == step


def test_recorded_step_takes_precedence_over_the_name(tmp_path):
    hugging_face(tmp_path / "checkpoint-best", 70)

    assert only(tmp_path).step == 70


@pytest.mark.parametrize(
    "content",
    [b"", b"\x80\x02legacy", zipped(), zipped()[:-30], zipped(pickle.dumps({"global_step": 9}))],
    ids=["empty", "pickle", "others", "cut-off", "elsewhere"],
)
def test_checkpoint_file_that_records_no_step_has_that_of_its_name(tmp_path, content):
    write(tmp_path / "step=5.ckpt", content)

    assert only(tmp_path).step == 5


def test_final_model_next_to_the_checkpoints_is_one_model(tmp_path):
    hugging_face(tmp_path / "checkpoint-20", 20)
    write_all(tmp_path, "model.safetensors", "config.json", "tokenizer.json", "README.md")
    write(tmp_path / "trainer_state.json", trainer_state(20))

    assert found(tmp_path) == {"checkpoint-20": ("huggingface", 20), ".": ("model", 20)}
    assert others(tmp_path) == ["README.md"]


def test_checkpoints_beside_a_model_are_not_part_of_it(tmp_path):
    write_all(tmp_path, "model.safetensors", "config.json", "training_state_step_20.pt")

    assert found(tmp_path) == {
        ".": ("model", None),
        "training_state_step_20.pt": ("file", 20),
    }


def test_log_that_grows_beside_a_model_does_not_renew_it(tmp_path):
    write_all(tmp_path, "model.safetensors", "config.json", "trainer_log.jsonl")
    before = only(tmp_path).stamp

    write(tmp_path / "trainer_log.jsonl", b"more", age_seconds=0)

    assert only(tmp_path).stamp == before


def test_renamed_checkpoint_of_a_trainer_is_still_one(tmp_path):
    write_all(tmp_path / "best", "model-00001-of-00001.safetensors", "optimizer.pt")
    write(tmp_path / "best" / "model.safetensors.index.json", index())
    write(tmp_path / "best" / "trainer_state.json", trainer_state(70))

    assert found(tmp_path) == {"best": ("huggingface", 70)}


@pytest.mark.parametrize(
    "name",
    ["latest", "latest_checkpointed_iteration.txt", "README.md", "tokenizer.json", "optimizer.pt",
     "runs/events.out.tfevents.1.host", "model-00001-of-00002.safetensors", "ep1-ba5-rank1.pt"],
)  # fmt: skip
def test_other_file_is_kept_as_it_is(tmp_path, name):
    write(tmp_path / "step-1.pt")
    write(tmp_path / name)

    assert list(found(tmp_path)) == ["step-1.pt"]
    assert others(tmp_path) == [name]


@pytest.mark.parametrize(
    "name",
    [
        ".step-1.pt",
        "step-1.pt.tmp",
        "step-1.pt.part",
        "step-1.pt.incomplete",
        "step-1.pt.tmp-4711",
        "tmp-checkpoint-100/model.safetensors",
        "100.orbax-checkpoint-tmp-17/_CHECKPOINT_METADATA",
    ],
)
def test_temporary_name_is_no_checkpoint(tmp_path, name):
    write(tmp_path / name)

    assert (found(tmp_path), others(tmp_path)) == ({}, [])


def test_empty_and_missing_folders_have_no_checkpoints(tmp_path):
    (tmp_path / "checkpoint-5").mkdir()

    assert found(tmp_path) == found(tmp_path / "nothing") == {}


def test_checkpoints_are_ordered_by_step(tmp_path):
    write_all(tmp_path, "step-10.pt", "step-9.pt", "step-100.pt")

    in_order = by_step(scan(tmp_path).checkpoints)

    assert [item.saved_as for item in in_order] == ["step-9.pt", "step-10.pt", "step-100.pt"]


# --- declared checkpoints --------------------------------------------------------------------


def test_declared_path_and_step_take_precedence(tmp_path):
    write_all(tmp_path, "out/notes.txt", "out/step_3.pt", "out/.hidden", "step_1.pt")

    assert found(tmp_path, {"out": 300, "step_1.pt": None}) == {
        "step_1.pt": ("file", 1),
        "out": ("folder", 300),
    }


def test_declared_file_inside_a_folder_is_found(tmp_path):
    write_all(tmp_path, "a/b/weights.dat", "a/b/other.dat")

    assert found(tmp_path, {"a/b/weights.dat": 5}) == {"a/b/weights.dat": ("file", 5)}


def test_declared_checkpoint_is_complete_at_once(tmp_path):
    write(tmp_path / "weights.dat", age_seconds=0)

    [checkpoint] = scan(tmp_path, {"weights.dat": 5}).checkpoints

    assert checkpoint.problem(None, time.time()) is None


# --- links and names -------------------------------------------------------------------------


def test_link_to_a_sibling_is_no_checkpoint(tmp_path):
    write(tmp_path / "step-5.pt")
    hugging_face(tmp_path / "checkpoint-6", 6)
    (tmp_path / "last.pt").symlink_to("step-5.pt")
    (tmp_path / "best").symlink_to("checkpoint-6", target_is_directory=True)

    assert found(tmp_path).keys() == {"step-5.pt", "checkpoint-6"}


def test_link_inside_a_folder_is_packed_as_its_target(tmp_path):
    write(tmp_path / "base.bin", b"base")
    folder = tmp_path / "out" / "checkpoints"
    write(folder / "checkpoint-5" / "model.safetensors")
    (folder / "checkpoint-5" / "base.bin").symlink_to(tmp_path / "base.bin")

    [base] = [file for file in only(folder).files if file.inside == "base.bin"]
    assert base.path.read_bytes() == b"base"


def test_links_to_trainhubs_files_are_not_followed(tmp_path, settings):
    settings.DATA_DIR = tmp_path / "data"
    secret = write(settings.DATA_DIR / "secret_key")
    folder = settings.DATA_DIR / "runs" / "run_1" / "attempt-1" / "checkpoints"
    write(folder / "checkpoint-5" / "model.safetensors")
    (folder / "checkpoint-5" / "key").symlink_to(secret)
    (folder / "step-9.pt").symlink_to(secret)
    (folder / "dangling.pt").symlink_to(folder / "nothing")

    result = scan(folder)

    [checkpoint] = result.checkpoints
    assert names_in(checkpoint) == ["model.safetensors"]
    assert checkpoint.skipped_links == ("key",)
    assert result.skipped == ["dangling.pt", "step-9.pt"]


def test_files_of_the_attempt_are_not_followed(tmp_path):
    folder = tmp_path / "attempt-1" / "checkpoints"
    write(folder / "checkpoint-5" / "model.safetensors")
    write(tmp_path / "attempt-1" / "launch.json")
    for name, target in (("up", ".."), ("launch.pt", "../launch.json"), ("all", "/")):
        (folder / name).symlink_to(target)

    result = scan(folder)

    assert [item.saved_as for item in result.checkpoints] == ["checkpoint-5"]
    assert (result.skipped, result.others) == (["all", "launch.pt", "up"], {})


def names_in(checkpoint):
    return [file.inside for file in checkpoint.files]


@pytest.mark.parametrize("target", ["loop", ".", "../checkpoint-5"])
def test_circular_links_end(tmp_path, target):
    write(tmp_path / "checkpoint-5" / "model.safetensors")
    (tmp_path / "checkpoint-5" / "loop").symlink_to(target)

    assert names_in(only(tmp_path)) == ["model.safetensors"]


def test_link_to_itself_is_said(tmp_path):
    write(tmp_path / "step-5.pt")
    (tmp_path / "self").symlink_to("self")

    assert scan(tmp_path).skipped == ["self"]
    assert only(tmp_path).saved_as == "step-5.pt"


def test_folder_elsewhere_is_visited_once_however_many_links_lead_to_it(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    write(elsewhere / "step-5" / "model.pt")
    for name in ("a", "b"):
        (elsewhere / "step-5" / name).symlink_to(elsewhere)
    folder = tmp_path / "out" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "step-5").symlink_to(elsewhere / "step-5")

    assert names_in(only(folder)) == ["model.pt"]


@pytest.mark.parametrize("name", ["data", "base_model"])
def test_folder_elsewhere_that_is_no_checkpoint_is_not_walked(tmp_path, name):
    write_all(tmp_path / "elsewhere", "config.json", "model.safetensors", "train/0.png")
    folder = tmp_path / "out" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / name).symlink_to(tmp_path / "elsewhere")

    result = scan(folder)

    assert (result.checkpoints, result.others, result.skipped) == ([], {}, [name])


@pytest.mark.parametrize("link", ["checkpoint-5", "newest"])
def test_checkpoint_elsewhere_is_found_through_a_link(tmp_path, link):
    write_all(tmp_path / "elsewhere" / "checkpoint-5", "model.safetensors", "optimizer.pt")
    folder = tmp_path / "out" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / link).symlink_to(tmp_path / "elsewhere" / "checkpoint-5")

    assert only(folder).saved_as == link


def test_pipe_is_no_checkpoint(tmp_path):
    write(tmp_path / "step-5.pt")
    os.mkfifo(tmp_path / "step-6.pt")

    assert found(tmp_path, {"step-6.pt": 6}).keys() == {"step-5.pt"}


def test_file_of_the_kernel_is_not_packed(tmp_path):
    write(tmp_path / "checkpoint-5" / "model.safetensors")
    (tmp_path / "checkpoint-5" / "mounts").symlink_to("/proc/self/mounts")

    assert names_in(only(tmp_path)) == ["model.safetensors"]
    assert only(tmp_path).skipped_links == ("mounts",)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"step_7.pt", "step_7.pt"),
        ("检查点_step_7.pt".encode("gbk"), "检查点_step_7.pt"),
        (b"step_7_\xff.pt", r"step_7_\xff.pt"),
    ],
)
def test_name_that_is_not_utf8_has_a_readable_stand_in(tmp_path, raw, expected):
    write(tmp_path / os.fsdecode(raw))

    checkpoint = only(tmp_path)

    assert readable(os.fsdecode(raw)) == checkpoint.saved_as == expected
    assert checkpoint.step == 7


def test_two_names_with_one_stand_in_stay_apart(tmp_path):
    write(tmp_path / "检查点_step_7.pt")
    write(tmp_path / os.fsdecode("检查点_step_7.pt".encode("gbk")))

    first, second = found(tmp_path)

    assert first == "检查点_step_7.pt"
    assert second.startswith("检查点_step_7.pt (")


# --- complete or not -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "content", "problem"),
    [
        ("step-1.pt", zipped()[:-30], "ZIP"),
        ("step-1.pt", b"", "empty"),
        ("step-1.safetensors", safetensors()[:-3], "bytes"),
        ("step-1.safetensors", safetensors()[:6], "header"),
        ("step-1.npz", zipped()[:40], "ZIP"),
        ("checkpoint-1/model.safetensors.index.json", index("model-1.safetensors"), "missing"),
        ("checkpoint-1/pytorch_model.bin", zipped()[:-30], "pytorch_model.bin"),
        ("checkpoint-1/model.safetensors.index.json", b'{"weight_map": {"a"', "cut off"),
        ("step-1/.metadata", dcp_metadata("__0_0.distcp"), "__0_0.distcp is missing"),
        ("step-1/.metadata", dcp_metadata("__0_0.distcp")[:9], "cut off"),
        ("step-1/.metadata", b"", "empty"),
        ("step-1/__0_0.distcp", zipped(), ".metadata is missing"),
        ("step-1/m-00002-of-00002.bin", zipped(), "m-00001-of-00002.bin is missing"),
        ("checkpoint-1/training_args.bin", zipped(), "trainer_state.json is missing"),
        (
            "global_step1/zero_pp_rank_1_mp_rank_00_optim_states.pt",
            zipped(),
            "zero_pp_rank_0_mp_rank_00_optim_states.pt is missing",
        ),
        (
            "global_step1/bf16_zero_pp_rank_0_mp_rank_01_optim_states.pt",
            zipped(),
            "mp_rank_01_model_states.pt is missing",
        ),
        ("step-1.pt", zipped()[:3], "cut off"),
    ],
)
def test_incomplete_checkpoint_has_a_problem(tmp_path, path, content, problem):
    write(tmp_path / path, content)
    if path.startswith("checkpoint-1/"):
        write(tmp_path / "checkpoint-1" / "config.json")

    assert problem in str(only(tmp_path).problem(ENDED, time.time()))


def test_complete_checkpoints_have_no_problem(tmp_path):
    hugging_face(tmp_path / "checkpoint-1", 1)
    sharded = tmp_path / "checkpoint-2"
    write(sharded / "model.safetensors.index.json", index("a.safetensors", "b.safetensors"))
    write_all(sharded, "a.safetensors", "b.safetensors")
    write(tmp_path / "step-3" / ".metadata", dcp_metadata("__0_0.distcp"))
    write(tmp_path / "step-3" / "__0_0.distcp", zipped())
    write(tmp_path / "step-4.pt", b"\x80\x02legacy")

    assert [item.problem(None, time.time()) for item in scan(tmp_path).checkpoints] == [None] * 4


def test_incomplete_checkpoint_may_still_be_completed_while_the_training_works(tmp_path):
    write(tmp_path / "step-1.pt", zipped()[:-30], age_seconds=30)
    write(tmp_path / "step-2.pt", zipped()[:-30], age_seconds=found_checkpoint.DAMAGED_SECONDS + 5)
    first, second = scan(tmp_path).checkpoints

    with pytest.raises(Unfinished):
        first.problem(None, time.time())
    assert second.problem(None, time.time()) is not None


@pytest.mark.parametrize("name", ["step-1.bin", "checkpoint-5/model.bin"])
def test_new_file_may_still_be_written(tmp_path, name):
    write(tmp_path / name, b"\x80\x02legacy", age_seconds=0)

    with pytest.raises(Unfinished):
        only(tmp_path).problem(None, time.time())
    assert only(tmp_path).problem(ENDED, time.time()) is None


def test_file_written_until_the_kill_counts_only_with_a_proof(tmp_path):
    write(tmp_path / "step-1.pt", b"\x80\x02legacy", age_seconds=0)
    write(tmp_path / "step-2.pt", zipped(), age_seconds=0)
    write(tmp_path / "step-3.pt", b"\x80\x02legacy", age_seconds=30)
    write(tmp_path / "checkpoint-4" / "model.safetensors", age_seconds=0)

    killed = Ending(-9, at=time.time())

    in_order = by_step(scan(tmp_path).checkpoints)
    problems = [item.problem(killed, time.time()) is None for item in in_order]

    assert problems == [False, True, True, False]


# --- identity --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("step-1.npz", ".npz"),
        ("step-5", ""),
        ("step-5.a b", ""),
        ("step-5.权重", ""),
        ("checkpoint-5/model.bin", FOLDER_SUFFIX),
    ],
)
def test_suffix(tmp_path, name, suffix):
    write(tmp_path / name)

    assert only(tmp_path).suffix == suffix


def test_version_differs_with_attempt_name_and_content(tmp_path):
    path = write(tmp_path / "step-1.pt")
    first = only(tmp_path)
    again = only(tmp_path)
    write(path, zipped(b"other weights"))

    versions = {first.version(1), first.version(2), only(tmp_path).version(1)}

    assert len(versions) == 3
    assert first.version(1) == again.version(1)


# --- half-written folders --------------------------------------------------------------------


@pytest.mark.parametrize("ending", [None, Ending(-9, at=time.time())])
def test_folder_that_is_being_copied_with_its_times_is_unfinished(tmp_path, ending):
    write(tmp_path / "step-5" / "model.pt", age_seconds=3600)
    os.utime(tmp_path / "step-5")  # its second file is still to come

    checkpoint = only(tmp_path)

    if ending is None:
        with pytest.raises(Unfinished):
            checkpoint.problem(None, time.time())
    else:
        assert "incomplete" in str(checkpoint.problem(ending, time.time()))


def deepspeed(folder, step):
    write_all(folder / f"global_step{step}", "mp_rank_00_model_states.pt")


def megatron(folder, step):
    write_all(folder / f"iter_{step:07d}", "mp_rank_00/model_optim_rng.pt")


@pytest.mark.parametrize(
    ("save", "pointer", "content"),
    [
        (deepspeed, "latest", b"global_step100"),
        (megatron, "latest_checkpointed_iteration.txt", b"100\n"),
    ],
)
class TestFolderBeyondTheOneThatIsNamedAsTheNewest:
    def test_is_unfinished_while_the_training_works(self, tmp_path, save, pointer, content):
        save(tmp_path, 200)
        write(tmp_path / pointer, content)

        with pytest.raises(Unfinished):
            only(tmp_path).problem(None, time.time())

    def test_may_be_incomplete_after_a_kill(self, tmp_path, save, pointer, content):
        save(tmp_path, 200)
        write(tmp_path / pointer, content)

        assert "incomplete" in str(only(tmp_path).problem(Ending(-9, at=time.time()), time.time()))

    def test_is_whole_after_a_normal_end(self, tmp_path, save, pointer, content):
        save(tmp_path, 200)
        write(tmp_path / pointer, content)

        assert only(tmp_path).problem(ENDED, time.time()) is None

    def test_is_whole_if_it_is_named(self, tmp_path, save, pointer, content):
        save(tmp_path, 100)
        write(tmp_path / pointer, content)

        assert only(tmp_path).problem(None, time.time()) is None


# --- rewritten while it is copied ------------------------------------------------------------


@pytest.mark.parametrize("path", ["last.pt", "step-5/model.pt"])
def test_reading_a_file_that_was_written_again_fails(tmp_path, path):
    write(tmp_path / path)
    checkpoint = only(tmp_path)

    with checkpoint.content() as content:
        start = content.read(4)
        write(tmp_path / path, b"other" * 100, age_seconds=0)

        with pytest.raises(Changed):
            content.read()
    assert start


def test_reading_a_folder_whose_files_are_of_two_saves_fails(tmp_path):
    write_all(tmp_path / "step-5", "a.pt", "b.pt")
    checkpoint = only(tmp_path)
    write(tmp_path / "new", zipped(), age_seconds=0).replace(tmp_path / "step-5" / "b.pt")

    with checkpoint.content() as content, pytest.raises(Changed):
        content.read()


def test_link_to_a_dataset_beside_a_checkpoint_is_not_followed(tmp_path):
    write(tmp_path / "dataset" / "0.jpg")
    folder = tmp_path / "attempt-1" / "checkpoints"
    write(folder / "exp1" / "best.pt")
    (folder / "exp1" / "data").symlink_to(tmp_path / "dataset")

    checkpoint = only(folder)

    assert (names_in(checkpoint), checkpoint.skipped_links) == (["best.pt"], ("data",))


def test_link_to_a_folder_in_a_checkpoint_is_packed_as_its_target(tmp_path):
    write(tmp_path / "tokenizer" / "vocab.json")
    folder = tmp_path / "attempt-1" / "checkpoints"
    write(folder / "checkpoint-5" / "model.safetensors")
    (folder / "checkpoint-5" / "tokenizer").symlink_to(tmp_path / "tokenizer")

    assert names_in(only(folder)) == ["model.safetensors", "tokenizer/vocab.json"]


def test_folder_of_megatron_with_its_last_file_is_whole_whatever_the_tracker_names(tmp_path):
    write_all(tmp_path / "iter_0000200", "__0_0.distcp", "common.pt", "metadata.json")
    write(tmp_path / "iter_0000200" / ".metadata", dcp_metadata("__0_0.distcp"))
    write(tmp_path / "latest_checkpointed_iteration.txt", b"100")

    assert only(tmp_path).problem(Ending(-9, at=time.time()), time.time()) is None
