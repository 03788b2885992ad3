"""Which server, with which token, and the default project: variables, else the file that ``login``
writes (XDG Base Directory, mode 0600)."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from trainhub_client.errors import UsageError

LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Config:
    url: str = ""
    token: str = ""
    project: str = ""  # an id


def path() -> Path:
    folder = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(folder).expanduser() / "trainhub" / "config.json"


def stored() -> Config:
    """What the file says. Raises UsageError if it cannot be read."""
    try:
        content = json.loads(path().read_text(encoding="utf-8"))
        return Config(**{name: str(content.get(name) or "") for name in asdict(Config())})
    except FileNotFoundError:
        return Config()
    except (OSError, ValueError, AttributeError) as error:
        raise UsageError(
            f"{path()} cannot be read ({error}). Sign in again: trainhub login"
        ) from None


def load() -> Config:
    """What counts now. The token of the file is only for the server of the file."""
    file = stored()
    url = os.environ.get("TRAINHUB_URL") or file.url
    own = file.token if url.rstrip("/") == file.url.rstrip("/") else ""
    project = os.environ.get("TRAINHUB_PROJECT") or (file.project if url == file.url else "")
    return Config(url.rstrip("/"), os.environ.get("TRAINHUB_TOKEN") or own, project)


def save(config: Config) -> None:
    """Readable by its owner alone, and never half written. Raises UsageError."""
    target = path()
    draft = target.with_name(f".{target.name}-{secrets.token_hex(4)}")
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(config), file, indent=1)
        os.replace(draft, target)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise UsageError(f"{target} cannot be written: {error.strerror}.") from None


def set_project(project: str) -> None:
    save(replace(stored(), project=project))


def forget() -> None:
    path().unlink(missing_ok=True)


def checked_url(text: str) -> str:
    """An address of a server as it is stored. Raises UsageError."""
    url = text.strip().rstrip("/")
    if "://" not in url:
        host = url.partition(":")[0].partition("/")[0]
        url = f"{'http' if host in LOOPBACK else 'https'}://{url}"
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good or "@" in url:
        raise UsageError(
            f"{text!r} is not the address of a server, such as https://trainhub.example.com"
        )
    return url


def is_open_to_others(url: str) -> bool:
    """Whether a token sent there could be read on the way."""
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname not in LOOPBACK
