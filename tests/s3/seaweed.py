"""A SeaweedFS on this machine, in a directory of its own: one process with all its servers.

https://github.com/seaweedfs/seaweedfs/wiki/Amazon-S3-API
"""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from django.conf import settings

from tests.up_process import free_port
from tests.waiting import wait_until

BINARY = Path(settings.BASE_DIR) / ".venv-s3/bin/weed"
PORTS = (
    *("master.port", "master.port.grpc", "volume.port", "volume.port.grpc"),
    *("filer.port", "filer.port.grpc", "s3.port.grpc"),
)
ACCESS_KEY = SECRET_KEY = "test"


def missing() -> str:
    """Why there can be no S3 server here; "" if there can."""
    if not BINARY.exists():
        return "SeaweedFS is not installed: make test-s3 has it"
    return "" if os.environ.get("TEST_S3") else "run by make test-s3"


class Seaweed:
    """Started on free ports; it knows one user."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="weed-"))
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        user = {
            "name": "trainhub",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "List", "Tagging", "Write"],
        }
        users = self.folder / "s3.json"
        users.write_text(json.dumps({"identities": [user]}))
        here = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={self.folder}"]
        s3 = ["-filer", "-s3", f"-s3.port={self.port}", f"-s3.config={users}"]
        # Each test has a bucket, which has a volume of its own; it grows as it is filled.
        (self.folder / "master.toml").write_text("[master.volume_growth]\ncopy_1 = 1\n")
        room = ["-master.volumeSizeLimitMB=64", "-volume.max=5000"]
        ports = [f"-{name}={free_port()}" for name in PORTS]
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [BINARY, "server", *here, *s3, *room, *ports],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(self._answers, seconds=60)

    def _answers(self) -> bool:
        assert self.process.poll() is None, (self.folder / "log").read_text()
        client = boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            config=Config(proxies={}, retries={"max_attempts": 0}),
        )
        try:
            client.create_bucket(Bucket="first")
        except (BotoCoreError, ClientError):
            return False
        finally:
            client.close()
        return True

    def stop(self) -> None:
        self.process.kill()  # what it has is of no use
        self.process.wait()
        shutil.rmtree(self.folder)
