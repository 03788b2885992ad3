"""Bundles of revisions of a real Git server."""

import zipfile

import pytest

from artifacts.storage import artifact_storage
from code_bundles import repositories
from code_bundles.manifest import BadBundle
from core import git as core_git
from tests.code_bundles.bundles import bundle, commit, git, git_server

pytestmark = pytest.mark.django_db


@pytest.fixture
def base(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    return folder


@pytest.fixture
def server(base):
    with git_server(base) as url:
        yield url


def names_in(stored):
    with artifact_storage().open(stored.stored_as) as file, zipfile.ZipFile(file) as archive:
        return archive.namelist()


def test_revision_is_the_bundle_of_its_files(base, server):
    files = {"train.py": "print()", "lib/数据.py": "x = 1"}
    made = commit(base / "model", files)

    stored, found = repositories.bundle_of(f"{server}/model", "main")

    assert found == made
    assert stored == bundle(files)  # the same as of a folder


def test_commit_that_no_branch_names_is_fetched_by_its_id(base, server):
    made = commit(base / "model", {"train.py": "old"})
    commit(base / "model", {"train.py": "new"})

    stored, _commit = repositories.bundle_of(f"{server}/model", "main", made)

    assert stored == bundle({"train.py": "old"})


def test_no_attribute_or_filter_of_the_repository_counts(base, server, tmp_path):
    made = tmp_path / "was here"
    commit(
        base / "model",
        {
            ".gitattributes": "secret.py export-ignore\nid.py export-subst\n*.py filter=evil",
            "secret.py": "s",
            "id.py": "$Format:%H$",
            ".gitmodules": f'[submodule "x"]\n\tpath = x\n\turl = ext::touch {made}',
        },
    )

    stored, _commit = repositories.bundle_of(f"{server}/model", "HEAD")

    assert names_in(stored) == [".gitattributes", ".gitmodules", "id.py", "secret.py"]
    assert not made.exists()


def test_submodules_are_left_out(base, server):
    inner = commit(base / "inner", {"a": "a"})
    commit(base / "model", {"train.py": "x"})
    git(base / "model", "update-index", "--add", "--cacheinfo", f"160000,{inner},inner")
    git(base / "model", "commit", "--quiet", "--message", "submodule")

    stored, _commit = repositories.bundle_of(f"{server}/model", "HEAD")

    assert names_in(stored) == ["train.py"]


def test_link_that_leads_out_is_refused(base, server):
    folder = base / "model"
    folder.mkdir()
    (folder / "passwords").symlink_to("/etc/passwd")
    commit(folder, {"train.py": "x"})

    with pytest.raises(BadBundle, match="leads out"):
        repositories.bundle_of(f"{server}/model", "HEAD")


def test_revision_that_is_not_there_is_told(base, server):
    commit(base / "model", {"train.py": "x"})

    with pytest.raises(repositories.NoSuchRevision, match="nowhere"):
        repositories.bundle_of(f"{server}/model", "nowhere")


def test_server_that_is_away_is_told():
    with pytest.raises(core_git.GitFailed, match="git has failed"):
        repositories.bundle_of("git://127.0.0.1:9/model", "main")


def test_path_of_this_host_is_not_read(base):
    """Whatever address comes here: git itself is told which transports it may use."""
    commit(base / "model", {"train.py": "x"})

    with pytest.raises(core_git.GitFailed, match="not allowed"):
        repositories.bundle_of(str(base / "model"), "main")
    with pytest.raises(core_git.GitFailed, match="not allowed"):
        repositories.bundle_of(f"ext::sh -c touch% {base}/ran", "main")
    assert not (base / "ran").exists()
