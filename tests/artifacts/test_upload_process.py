"""Uploads to a real server process: memory use and disconnecting clients."""

import http.client
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.http import Api
from tests.storage import everything_in
from tests.up_process import UpProcess, up_process

MEGABYTE = 1024 * 1024
SMALL, LARGE = 2 * MEGABYTE, 200 * MEGABYTE
SECONDS = 30  # generous, as other tests may keep the machine busy

pytestmark = [pytest.mark.processes, pytest.mark.xdist_group("uploads")]


@pytest.fixture(scope="module")
def up() -> Iterator[UpProcess]:
    with up_process(TRAINHUB_WEB_PROCESSES="1") as up:
        up.start()
        yield up


@pytest.fixture(scope="module")
def folder(up: UpProcess) -> str:
    """The URL under which a run's files are uploaded."""
    api = Api(up.base_url)
    project = api.post("/projects", {"name": "p", "base_model": "m"}).json["id"]
    run = api.post(f"/projects/{project}/runs", {"dataset": "d"}).json["id"]
    return f"/projects/{project}/runs/{run}/artifacts/files"


def zeros(size: int) -> Iterator[bytes]:
    chunk = bytes(MEGABYTE)
    for _ in range(size // MEGABYTE):
        yield chunk


def request(up: UpProcess, method: str, path: str, size: int | None = None) -> tuple[int, int]:
    """Returns the status and the number of bytes in the response."""
    connection = http.client.HTTPConnection("127.0.0.1", up.port, timeout=SECONDS)
    try:
        if size is None:
            connection.request(method, path)
        else:
            headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
            connection.request(method, path, body=zeros(size), headers=headers)
        response = connection.getresponse()
        return response.status, sum(map(len, iter(lambda: response.read(MEGABYTE), b"")))
    finally:
        connection.close()


def peak_kilobytes(up: UpProcess) -> int:
    """The peak memory of the server's largest process since it started."""
    peaks = []
    for process in up.find("serve"):
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                peaks.append(int(line.split()[1]))
    return max(peaks)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_memory_does_not_grow_with_file_size(up, folder):
    assert request(up, "PUT", f"{folder}/small", SMALL)[0] == 201
    assert request(up, "GET", f"{folder}/small") == (200, SMALL)
    small = peak_kilobytes(up)

    assert request(up, "PUT", f"{folder}/large", LARGE)[0] == 201
    assert request(up, "GET", f"{folder}/large") == (200, LARGE)

    assert peak_kilobytes(up) <= 1.2 * small


def test_disconnecting_client_leaves_nothing(up, folder):
    root = up.data_dir / "artifacts"
    assert request(up, "PUT", f"{folder}/existing", SMALL)[0] in {200, 201}
    [files] = root.glob("*/*/.files")
    before = everything_in(files)
    head = f"PUT {folder}/interrupted HTTP/1.1\r\nHost: 127.0.0.1:{up.port}\r\n"
    with socket.create_connection(("127.0.0.1", up.port), timeout=SECONDS) as connection:
        connection.sendall(f"{head}Content-Length: {LARGE}\r\n\r\n".encode() + bytes(SMALL))
        # The next one is stored meanwhile: half a body keeps no thread.
        assert request(up, "PUT", f"{folder}/existing", SMALL)[0] == 200

    assert request(up, "GET", f"{folder}/interrupted")[0] == 404
    assert len(everything_in(files)) == len(before)
    assert [path for path in up.data_dir.glob("web/*/bodies/*") if path.is_file()] == []


def test_rejected_upload_gets_response_after_body_is_sent(up, folder):
    assert request(up, "PUT", f"{folder}/existing", SMALL)[0] in {200, 201}

    assert request(up, "PUT", f"{folder}/existing/below", LARGE)[0] == 409
