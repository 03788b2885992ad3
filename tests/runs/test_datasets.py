"""What a run's dataset may name."""

import pytest

from core.exceptions import InvalidInput
from runs.actions import create_run, resume_run
from runs.checkpoint import Checkpoint
from runs.datasets import check_dataset
from tests.factories import ProjectFactory, RecipeFactory, checkpoint, unmanaged_run


@pytest.fixture
def folder(tmp_path, settings):
    folder = tmp_path / "datasets"
    (folder / "papers").mkdir(parents=True)
    (folder / "papers" / "text.txt").write_text("text")
    (tmp_path / "secret_key").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "secret_key")
    (folder / "loop").symlink_to("loop")
    settings.DATASET_DIRS = [str(tmp_path / "none"), str(folder)]
    return folder


@pytest.mark.parametrize(
    "dataset",
    [
        *("", "中文科技论文语料", "org/name", "s3://bucket/papers", "hf://datasets/a", "v1..v2"),
        *("filecache", "localization", "std::vector", "hf://a::b", "C:data"),
        *("papers/text.txt", "papers", "no/such/file", "中文科技论文语料" * 100),
        *("中文 / 英文", "问答/对话", "0.7 papers 0.3 wiki", "~100 h", "5$ a day"),
        "https://a/b?c=/d",
    ],
)
def test_text_and_file_below_a_directory_for_datasets_are_taken(folder, dataset):
    check_dataset(dataset)


def test_absolute_path_below_a_directory_for_datasets_is_taken(folder):
    check_dataset(str(folder / "papers" / "text.txt"))


@pytest.mark.parametrize(
    "dataset",
    [
        *("/proc/self/environ", "/etc/passwd", "/dev/mem", "~/.ssh/id_rsa", "file:///etc/passwd"),
        *("/" + "x" * 900, f"../{'x' * 900}"),
        *("FILE:/etc/passwd", "file:etc/passwd", "local:///etc/passwd", " /etc/passwd"),
        *("simplecache::file:///etc/passwd", "zip://*::/etc/x.zip", "https://a/b::~/.ssh/id_rsa"),
        *("/proc/self/root/etc/passwd", "/proc/self/fd/3", "//etc/passwd", "s3://b/../../x::/etc"),
        *("0.5 /etc/passwd 0.5 papers", "papers,/etc/passwd", "{papers,/etc/passwd}", "a ~/.ssh"),
        *("papers;file:///etc/passwd", "[/etc/passwd]", "$HOME/.ssh", "${HOME}/.ssh", "a\n/etc"),
        *("pipe:cat /etc/passwd", "url:file:///etc/passwd", "<file:///etc/passwd>"),
        *("fi\tle:///etc/passwd", "'/etc/passwd'", "papers\x1f/etc"),
        *("../secret_key", "papers/../../secret_key", "..\\secret_key", "link", "loop", "a\x00b"),
    ],
)
def test_path_elsewhere_is_refused_with_a_sentence(folder, dataset):
    with pytest.raises(InvalidInput) as refused:
        check_dataset(dataset)

    assert refused.value.attr == "dataset"
    assert "TRAINHUB_DATASET_DIRS" in str(refused.value.message)


def test_list_of_paths_below_the_directories_is_taken(folder):
    check_dataset(f"0.5 {folder}/papers/text.txt, 0.5 {folder}/papers")


def test_link_in_a_list_is_refused(folder):
    with pytest.raises(InvalidInput):
        check_dataset(f"0.5 {folder}/papers 0.5 {folder}/link")


def test_absolute_path_through_a_parent_is_refused(folder):
    with pytest.raises(InvalidInput):
        check_dataset(f"{folder}/../secret_key")


@pytest.mark.django_db
def test_run_is_not_created_with_a_path_elsewhere(folder):
    project = ProjectFactory()

    with pytest.raises(InvalidInput):
        create_run(project, by=None, recipe=RecipeFactory(), dataset="/etc/passwd")

    assert not project.runs.exists()


@pytest.mark.django_db
def test_path_that_a_script_elsewhere_has_reported_is_not_continued_with(folder):
    source = unmanaged_run(dataset="/etc/passwd")
    saved = checkpoint(source, step=5)

    with pytest.raises(InvalidInput):
        resume_run(source, Checkpoint(saved.pk, 5), by=None, recipe=RecipeFactory())
