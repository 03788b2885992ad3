"""The commands in the READMEs work, and both READMEs have the same commands."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.up_process import UpProcess

ROOT = Path(__file__).parent.parent
LANGUAGES = ("README.md", "README.zh.md")


def code_blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / name).read_text(), re.S)


def commands(block: str) -> str:
    """The block without comments, which are translated."""
    return re.sub(r" *#.*", "", block)


def test_both_languages_have_the_same_commands():
    english, chinese = (
        [commands(block) for block in code_blocks(name, "bash")] for name in LANGUAGES
    )

    assert english == chinese


def test_configuration_table_is_complete_in_both_languages():
    variables = set(re.findall(r"^#? ?((?:TRAINHUB|DATABASE)_\w+)=", _env_example(), re.M))

    for name in LANGUAGES:
        table = (ROOT / name).read_text()
        assert {variable for variable in variables if f"`{variable}`" not in table} == set()


def test_links_point_to_existing_files():
    for name in LANGUAGES:
        targets = re.findall(r"\]\(([^)#:]+)\)", (ROOT / name).read_text())
        assert targets
        assert [target for target in targets if not (ROOT / target).exists()] == []


@pytest.mark.processes
@pytest.mark.xdist_group("walking")
def test_api_examples_run_as_pasted(up_at_walking_speed: UpProcess):
    # Later blocks use shell variables of earlier ones.
    examples = "".join(block for block in code_blocks("README.md", "bash") if "$api" in block)
    script = "set -euo pipefail\n" + examples.replace(
        "api=http://127.0.0.1:8000", f"api={up_at_walking_speed.base_url}"
    )

    result = subprocess.run(
        ["bash", "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "no_proxy": "127.0.0.1"},
    )

    assert result.returncode == 0, result.stdout + result.stderr
    picture = ROOT / "curves.png"  # what an example draws
    assert picture.read_bytes().startswith(b"\x89PNG")
    picture.unlink()
    assert '"候选"' in result.stdout
    assert "train_loss,2,2026-01-05T08:00:01.000Z,NaN" in result.stdout


def _env_example() -> str:
    return (ROOT / ".env.example").read_text()
