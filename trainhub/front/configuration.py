"""nginx's configuration, from nginx.conf.template and the settings."""

import grp
import os
import pwd
import resource
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Final

from django.conf import settings

from core import security_headers
from trainhub.front.answers import TOO_MANY_WRITES, write_answers

TEMPLATE: Final = Path(__file__).with_name("nginx.conf.template")
# How long a body may pause. A body as a whole may take as long as its bytes keep coming: it
# occupies a connection of nginx, and no thread.
BODY_PAUSE_SECONDS: Final = 30
RETRY_SECONDS: Final = 3
# A caller may save up the writes of so many seconds.
BURST_SECONDS: Final = 10
DISK_RETRY_SECONDS: Final = 30
MAX_CONNECTIONS: Final = 8192  # of clients and to the web server, per nginx process


class _ConfigurationTemplate(Template):
    delimiter = "@"  # nginx's own variables begin with $


@dataclass(frozen=True)
class Places:
    """Where nginx listens, and its files."""

    directory: Path  # of nginx alone: configuration, pid file, temporary files
    socket: Path  # where the web server listens
    listen: str  # address:port, or [address]:port

    @property
    def configuration(self) -> Path:
        return self.directory / "nginx.conf"


def write_configuration(places: Places) -> None:
    """Write the configuration and the answers that it refers to. Raises OSError."""
    places.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_answers(places.directory / "answers")
    open_files = _open_files()
    text = _ConfigurationTemplate(TEMPLATE.read_text(encoding="utf-8")).substitute(
        user=_user(),
        directory=_in_quotes(places.directory),
        root=_in_quotes(places.directory).replace("$", "${dollar}"),
        bodies=_in_quotes(places.directory / "bodies"),
        socket=_in_quotes(places.socket),
        listen=places.listen,
        open_files=open_files,
        connections=min(MAX_CONNECTIONS, open_files // 2),
        max_body_bytes=settings.MAX_JSON_BYTES,
        body_timeout=BODY_PAUSE_SECONDS,
        searches_each=_share(4),
        searches_all=_share(2),
        api_policy=security_headers.API_POLICY,
        page_policy=security_headers.page_policy(),
        access_log=_access_log(),
        write_limit=_write_limit(),
        session_cookie=settings.SESSION_COOKIE_NAME,
        language=settings.LANGUAGE_CODE,
        retry_seconds=RETRY_SECONDS,
        disk_retry_seconds=DISK_RETRY_SECONDS,
        real_ip=_real_ip(settings.TRUSTED_PROXIES),
    )
    places.configuration.write_text(text, encoding="utf-8")


def _real_ip(proxies: list[str]) -> str:
    """Have $remote_addr be the last address in X-Forwarded-For that is not a trusted proxy's: what
    a client writes there itself stands before it."""
    if not proxies:
        return ""
    trusted = [f"set_real_ip_from {proxy};" for proxy in proxies]
    return "\n  ".join([*trusted, "real_ip_header X-Forwarded-For;", "real_ip_recursive on;"])


def _write_limit() -> str:
    """Counted in memory that all of nginx's processes share: one limit for each web server."""
    rate = settings.WRITES_PER_SECOND
    if not rate:
        return ""
    return f"""  limit_req_zone $writer zone=writers:4m rate={rate}r/s;
  limit_req zone=writers burst={rate * BURST_SECONDS} nodelay;
  limit_req_status {TOO_MANY_WRITES};
  limit_req_log_level info;"""


def _access_log() -> str:
    """Written in batches, at the latest after a second."""
    if not settings.ACCESS_LOG:
        return "access_log off;"
    path = _in_quotes(Path(settings.ACCESS_LOG))
    return f'access_log "{path}" {settings.LOG_FORMAT} buffer=64k flush=1s;'


def _in_quotes(path: Path) -> str:
    return str(path).replace("\\", r"\\").replace('"', r"\"")


def _share(parts: int) -> int:
    """One of so many ``parts`` of all request threads."""
    threads: int = settings.WEB_PROCESSES * settings.WEB_THREADS
    return max(1, threads // parts)


def _open_files() -> int:
    """How many files and connections a process may have."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2 * MAX_CONNECTIONS if hard == resource.RLIM_INFINITY else min(hard, 2 * MAX_CONNECTIONS)


def _user() -> str:
    """The same user as ours, who owns the socket: as root, nginx would switch to ``nobody``."""
    if os.geteuid() != 0:
        return ""
    user = pwd.getpwuid(0).pw_name
    try:
        return f"user {user} {grp.getgrgid(os.getegid()).gr_name};"
    except KeyError:  # a container's group without a name
        return f"user {user};"
