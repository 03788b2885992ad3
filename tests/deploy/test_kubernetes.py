"""The manifests for Kubernetes are valid, fit together, and ask for no more rights than needed."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
VERSION = "1.34"
BASE = yaml.safe_load((KUBERNETES / "base" / "kustomization.yaml").read_text())
Manifest = dict[str, Any]


def manifests(folder: str = "base") -> Iterator[Manifest]:
    for path in sorted((KUBERNETES / folder).glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if document["kind"] != "Kustomization":
                yield document


MANIFESTS = list(manifests())
PATCHES = list(manifests("s3"))
NAMES = [f"{manifest['kind']}-{manifest['metadata']['name']}" for manifest in MANIFESTS]
PODS = [
    pytest.param(
        manifest["spec"].get("jobTemplate", manifest)["spec"]["template"],
        id=manifest["metadata"]["name"],
    )
    for manifest in MANIFESTS
    if manifest["kind"] in {"Deployment", "StatefulSet", "Job", "CronJob"}
]
every_pod = pytest.mark.parametrize("pod", PODS)


@pytest.mark.parametrize("manifest", MANIFESTS, ids=NAMES)
def test_manifest_is_valid(manifest: Manifest):
    kubernetes_validate.validate(manifest, VERSION, strict=True)


def test_kustomization_lists_every_file():
    files = {path.name for path in (KUBERNETES / "base").glob("*.yaml")} - {"kustomization.yaml"}

    assert set(BASE["resources"]) == files


@every_pod
def test_pod_has_no_rights(pod: Manifest):
    spec = pod["spec"]

    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    for container in spec["containers"]:
        context = container["securityContext"]
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["readOnlyRootFilesystem"]
        assert context["allowPrivilegeEscalation"] is False


@every_pod
def test_pod_runs_as_the_user_of_the_image(pod: Manifest):
    [uid] = re.findall(r"useradd .*--uid (\d+)", (ROOT / "Dockerfile").read_text())

    assert pod["spec"]["securityContext"]["runAsUser"] == int(uid)


@every_pod
def test_pod_asks_for_what_it_needs_and_memory_has_an_end(pod: Manifest):
    for container in pod["spec"]["containers"]:
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]


@every_pod
def test_pod_has_settings_secrets_and_a_directory_that_it_may_write_to(pod: Manifest):
    [container] = pod["spec"]["containers"]

    assert {next(iter(source)) for source in container["envFrom"]} == {"configMapRef", "secretRef"}
    assert {mount["mountPath"] for mount in container["volumeMounts"]} >= {"/data", "/tmp"}


def test_settings_are_those_that_there_are_and_of_production():
    known = set(re.findall(r"^# ([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.M))
    [generated] = BASE["configMapGenerator"]
    literals = dict(literal.split("=", 1) for literal in generated["literals"])
    secret = (KUBERNETES / "base" / "secret.env.example").read_text()

    assert literals.keys() | set(re.findall(r"^([A-Z_]+)=", secret, re.M)) <= known
    assert (literals["TRAINHUB_PRODUCTION"], literals["TRAINHUB_HTTPS"]) == ("true", "true")
    assert literals["TRAINHUB_TRUSTED_PROXIES"]  # else all clients share one limit of passwords
    assert "127.0.0.1" in literals["TRAINHUB_ALLOWED_HOSTS"].split(",")  # the probe


def test_secrets_are_in_no_file_of_the_repository():
    assert BASE["secretGenerator"] == [{"name": "trainhub", "envs": ["secret.env"]}]
    assert "secret.env" in (ROOT / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize("command", ["serve", "run_worker", "migrate", "backup"])
def test_one_pod_runs_each_command(command: str):
    commands = [pod.values[0]["spec"]["containers"][0]["command"] for pod in PODS]

    assert [command in words for words in commands].count(True) == 1


def test_web_has_probes_of_the_addresses_that_there_are():
    [web] = [pod.values[0] for pod in PODS if pod.id == "trainhub-web"]
    [container] = web["spec"]["containers"]

    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert '"/readyz"' in container["readinessProbe"]["exec"]["command"][2]


def test_selectors_and_claims_are_of_what_there_is():
    labels = {pod.values[0]["metadata"]["labels"]["app.kubernetes.io/name"] for pod in PODS}
    text = yaml.safe_dump_all(MANIFESTS)
    claims = {
        manifest["metadata"]["name"]
        for manifest in MANIFESTS
        if manifest["kind"] == "PersistentVolumeClaim"
    }

    assert set(re.findall(r"app.kubernetes.io/name: (\S+)", text)) == labels
    assert set(re.findall(r"claimName: (\S+)", text)) == claims


def test_network_is_closed_but_for_what_is_listed():
    policies = [manifest for manifest in MANIFESTS if manifest["kind"] == "NetworkPolicy"]
    everything = [policy["spec"] for policy in policies if policy["spec"]["podSelector"] == {}]

    assert [spec["policyTypes"] for spec in everything] == [["Ingress", "Egress"]]
    assert "ingress" not in everything[0]


def test_s3_changes_only_what_there_is():
    patched = {f"{patch['kind']}-{patch['metadata']['name']}" for patch in PATCHES}
    listed = yaml.safe_load((KUBERNETES / "s3" / "kustomization.yaml").read_text())["patches"]

    assert patched <= set(NAMES)
    assert len(listed) == len(PATCHES)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize(("folder", "has_volume"), [("base", True), ("s3", False)])
def test_kustomize_assembles_them(folder: str, has_volume: bool, tmp_path: Path):
    shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    base = tmp_path / "kubernetes" / "base"
    shutil.copy(base / "secret.env.example", base / "secret.env")

    assembled = subprocess.run(
        ["kubectl", "kustomize", tmp_path / "kubernetes" / folder],
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    documents = list(yaml.safe_load_all(assembled))
    for document in documents:
        kubernetes_validate.validate(document, VERSION, strict=True)
    claims = {it["metadata"]["name"] for it in documents if it["kind"] == "PersistentVolumeClaim"}
    assert ("trainhub-artifacts" in claims) == has_volume
    assert ("/data/artifacts" in assembled) == has_volume
