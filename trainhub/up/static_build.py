"""Builds static files with hashed names and compression when a source has changed."""

import hashlib
from importlib.metadata import version
from pathlib import Path

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command


def build_static_files() -> bool:
    """Run collectstatic if a source has changed; return whether it ran."""
    root = Path(settings.STATIC_ROOT)
    mark = settings.DATA_DIR / "static.sources"
    sources = fingerprint()
    if (root / "staticfiles.json").exists() and mark.exists() and mark.read_text() == sources:
        return False
    mark.unlink(missing_ok=True)
    # Rebuild everything if we may empty the directory: modification times do not show which files
    # are current (npm sets them all to 1985) or left half-written by a killed build.
    ours = root == settings.DATA_DIR / "static" and root.exists()
    call_command("collectstatic", interactive=False, clear=ours, verbosity=0)
    mark.write_text(sources)
    return True


def fingerprint() -> str:
    """A hash of every source's name, size and mtime, and of the build configuration."""
    digest = hashlib.sha256()
    digest.update(f"{settings.STATIC_ROOT} {settings.STORAGES['staticfiles']}".encode())
    digest.update(version("whitenoise").encode())
    for finder in get_finders():
        for name, storage in finder.list(ignore_patterns=None):
            status = Path(storage.path(name)).stat()
            entry = f"{storage.location}/{name} {status.st_size} {status.st_mtime_ns}\n"
            digest.update(entry.encode())
    return digest.hexdigest()
