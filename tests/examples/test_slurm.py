"""The Slurm to try: docker-compose.yml, examples/slurm and the image agree."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "slurm"
START = FOLDER / "start.sh"
DOCKERFILE = (ROOT / "Dockerfile").read_text()
SERVICES: dict[str, dict[str, Any]] = {
    name: service
    for name, service in yaml.safe_load((ROOT / "docker-compose.yml").read_text())[
        "services"
    ].items()
    if service.get("profiles") == ["slurm"]
}


def configured() -> dict[str, str]:
    """Of slurm.conf, what stands before the nodes and the partitions."""
    lines = (FOLDER / "slurm.conf").read_text().splitlines()
    return dict(re.findall(r"^(?!NodeName|PartitionName)(\w+)=(.*)$", "\n".join(lines), re.M))


def nodes(keyword: str) -> set[str]:
    """The nodes after ``keyword`` in slurm.conf: all of one prefix and a range."""
    text = (FOLDER / "slurm.conf").read_text()
    [(prefix, first, last)] = re.findall(rf"{keyword}=(\S+)\[(\d+)-(\d+)\]", text)
    return {f"{prefix}{number}" for number in range(int(first), int(last) + 1)}


def running(daemon: str) -> dict[str, dict[str, Any]]:
    return {name: service for name, service in SERVICES.items() if daemon in service["command"]}


def mounts(service: dict[str, Any]) -> dict[str, str]:
    """Volume -> where it is."""
    return dict(volume.split(":") for volume in service["volumes"])


def test_nodes_are_services_under_their_own_names():
    names = set(running("slurmd"))

    assert nodes("NodeName") == nodes("PartitionName=main Nodes") == names
    assert {service["hostname"] for service in running("slurmd").values()} == names


def test_controller_is_a_service_under_its_own_name():
    [(name, service)] = running("slurmctld").items()

    assert configured()["SlurmctldHost"] == name == service["hostname"]


def test_all_are_of_one_image_and_its_user_without_rights():
    options = configured()

    assert {service["image"] for service in SERVICES.values()} == {"trainhub-slurm"}
    assert len({str(service["build"]) for service in SERVICES.values()}) == 1
    assert {options["SlurmUser"], options["SlurmdUser"]} == set(
        re.findall(r"^USER (\w+)", DOCKERFILE, re.M)
    )
    assert [service for service in SERVICES.values() if "user" in service] == []
    assert [service for service in SERVICES.values() if service["cap_drop"] != ["ALL"]] == []


def test_all_read_the_configuration_where_the_image_has_it():
    folder = re.findall(r"^WORKDIR (\S+)", DOCKERFILE, re.M)[-1]
    configuration = f"{folder}/{(FOLDER / 'slurm.conf').relative_to(ROOT)}"
    ignored = (ROOT / ".dockerignore").read_text().splitlines()

    assert {service["environment"]["SLURM_CONF"] for service in SERVICES.values()} == {
        configuration
    }
    assert "examples" not in ignored


def test_all_share_the_data_directory_and_the_key():
    shared = [mounts(service) for service in SERVICES.values()]
    [key] = re.findall(r"^key=(\S+)", START.read_text(), re.M)

    assert all(mounted == shared[0] for mounted in shared)
    assert {
        service["environment"].get("TRAINHUB_DATA_DIR", shared[0]["data"])
        for service in SERVICES.values()
    } == {shared[0]["data"]}
    assert str(Path(key).parent) == shared[0]["slurm"]
    assert f"trainhub {shared[0]['slurm']}" in DOCKERFILE  # a new volume is its user's


def test_queue_outlives_its_controller():
    [controller] = running("slurmctld").values()

    assert str(Path(configured()["StateSaveLocation"]).parent) == mounts(controller)["slurm"]


def test_image_brings_no_key():
    assert "/etc/munge/munge.key" in re.findall(r"rm -rf (.*) \\", DOCKERFILE)[-1].split()


def test_slurm_asks_the_munge_that_is_started():
    [own] = re.findall(r"^own=(\S+)", START.read_text(), re.M)

    assert '--socket="$own/socket"' in START.read_text()
    assert configured()["AuthInfo"] == f"socket={own}/socket"


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_begins_with_the_script(name: str):
    script = ROOT / SERVICES[name]["command"][0]

    assert script == START
    assert os.access(script, os.X_OK)
    assert subprocess.run(["sh", "-n", script]).returncode == 0
