"""The tests' own environment, set before Django reads its settings (pytest loads this by ``-p``).

A data directory of their own, and in it one PostgreSQL cluster: all xdist workers share it, each
with a database of its own. With DATABASE_URL set, that server is used instead.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from trainhub.up.embedded_postgres import EmbeddedPostgres

IS_CONTROLLER = "PYTEST_XDIST_WORKER" not in os.environ
if IS_CONTROLLER:
    for name in [name for name in os.environ if name.startswith("TRAINHUB_")]:
        del os.environ[name]
    # Short, because a UNIX socket's path is; pytest's own temporary folders may not be.
    os.environ["TRAINHUB_TEST_DIR"] = tempfile.mkdtemp(prefix="th-", dir="/tmp")
TEST_DIR = Path(os.environ["TRAINHUB_TEST_DIR"])
os.environ["TRAINHUB_DATA_DIR"] = str(TEST_DIR / os.environ.get("PYTEST_XDIST_WORKER", "main"))

# Tests may forget everything at a power cut.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
cluster = EmbeddedPostgres(TEST_DIR / "postgres", settings={**FAST, "max_connections": "200"})

if "DATABASE_URL" not in os.environ:
    cluster.start()
    os.environ["DATABASE_URL"] = cluster.url


def clean_up() -> None:
    cluster.stop()
    shutil.rmtree(TEST_DIR, ignore_errors=True)


if IS_CONTROLLER:
    atexit.register(clean_up)  # also when a conftest cannot be imported

# WhiteNoise wants its folder to be there; tests serve static files through Django's finders.
(Path(os.environ["TRAINHUB_DATA_DIR"]) / "static").mkdir(parents=True, exist_ok=True)
