"""Archives and repositories for tests."""

import io
import os
import stat
import subprocess
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from code_bundles import archives, storing
from code_bundles.manifest import FILE
from runs.models import CodeBundle
from tests.up_process import free_port
from tests.waiting import wait_until

COMMITTER = {
    **dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"), "小李"),
    **dict.fromkeys(("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"), "li@example.com"),
}


def packed(files: Mapping[str, str | bytes]) -> bytes:
    """A good archive."""
    file = io.BytesIO()
    contents = {
        path: text.encode() if isinstance(text, str) else text for path, text in files.items()
    }
    archives.pack(((path, FILE, partial(contents.get, path)) for path in contents), file)
    return file.getvalue()


def bundle(files: Mapping[str, str | bytes]) -> CodeBundle:
    return storing.receive(io.BytesIO(packed(files)), by=None)[0]


def zip_of(*members: tuple[str, bytes, int]) -> bytes:
    """An archive of members as they are: name, content, mode of the file (0: none)."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, mode in members:
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return file.getvalue()


def link(name: str, target: str) -> tuple[str, bytes, int]:
    return name, target.encode(), stat.S_IFLNK | 0o777


def git(directory: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-c", "init.defaultBranch=main", "-c", "commit.gpgsign=false", *arguments],
        cwd=directory,
        env={**os.environ, **COMMITTER, "GIT_CONFIG_GLOBAL": os.devnull},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def commit(directory: Path, files: Mapping[str, str], message: str = "change") -> str:
    """Write and commit files in a repository, which is made if there is none; the commit."""
    directory.mkdir(parents=True, exist_ok=True)
    if not (directory / ".git").exists():
        git(directory, "init", "--quiet")
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(directory, "add", "--all")
    git(directory, "commit", "--quiet", "--message", message)
    return git(directory, "rev-parse", "HEAD")


@contextmanager
def git_server(base: Path) -> Iterator[str]:
    """Serves the repositories below ``base``; the address of the folder."""
    port = free_port()
    log = base / "daemon.log"
    with log.open("wb") as output:
        daemon = subprocess.Popen(
            [
                *("git", "-c", "safe.directory=*", "daemon", "--reuseaddr", "--export-all"),
                *("--verbose", f"--base-path={base}", "--listen=127.0.0.1", f"--port={port}"),
                str(base),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        wait_until(lambda: b"Ready to rumble" in log.read_bytes())
        yield f"git://127.0.0.1:{port}"
    finally:
        os.killpg(daemon.pid, 15)
        daemon.wait(timeout=60)
