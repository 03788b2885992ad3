"""What holds for the repository as a whole, whatever is in it."""

import ast
import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from django.core.management import call_command
from django.db.migrations.loader import MigrationLoader

from execution.executors.training_user import CAPABILITIES

ROOT = Path(__file__).parents[1]
REQUIREMENTS = sorted(
    path
    for folder in (".", "tests/*", "examples/*")
    for path in ROOT.glob(f"{folder}/requirements*.txt")
)
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
LOCKED = re.compile(r"([\w.-]+)(?:\[.*\])?==([^\s;]+)")
OWN_SERVICES = ("web", "worker", "worker-ray", "worker-slurm")
RAY_SERVICES = ("ray-head", "ray-node", "worker-ray")
SLURM_SERVICES = ("slurm-node1", "slurm-node2", "slurm-controller", "worker-slurm")


def tracked_files() -> list[Path]:
    listing = subprocess.run(
        # CI's clone may belong to another user than the one that tests.
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    paths = [ROOT / name for name in listing.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


# --- Database --------------------------------------------------------------------------------


@pytest.mark.django_db
def test_no_migration_is_missing():
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


# --- Apps ------------------------------------------------------------------------------------

# App -> its layer, 0 for the highest: as import-linter's contract has them.
CONTRACT = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
][0]
LAYERS = {
    app.strip(): number
    for number, layer in enumerate(CONTRACT["layers"])
    for app in layer.split("|")
}


def names_of_models(path: Path) -> Iterator[str]:
    """The apps of models that ``path`` names by a text: "runs.Run" in a foreign key, get_model."""
    for call in ast.walk(ast.parse(path.read_text())):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
            continue
        if call.func.attr in {"ForeignKey", "OneToOneField", "ManyToManyField", "get_model"}:
            for argument in call.args[:1]:
                if isinstance(argument, ast.Constant):
                    yield argument.value.partition(".")[0]


def test_every_app_has_a_layer():
    apps = {path.parent.name for path in ROOT.glob("*/apps.py")}

    assert apps == LAYERS.keys()


@pytest.mark.parametrize("app", LAYERS)
def test_app_names_no_model_of_a_higher_app(app: str):
    named = {name for path in (ROOT / app).rglob("*.py") for name in names_of_models(path)}

    assert [name for name in named if LAYERS.get(name, LAYERS[app]) < LAYERS[app]] == []


def test_migrations_depend_on_those_of_lower_apps_alone():
    graph = MigrationLoader(None).graph
    upward = [
        (node, parent.key)
        for node in graph.nodes
        for parent in graph.node_map[node].parents
        if node[0] in LAYERS and LAYERS.get(parent.key[0], len(LAYERS)) < LAYERS[node[0]]
    ]

    assert upward == []


# --- Configuration ---------------------------------------------------------------------------


def variables_read() -> set[str]:
    """The names in every ``env.<kind>("NAME", …)`` of the settings."""
    tree = ast.parse((ROOT / "trainhub" / "settings.py").read_text())
    return {
        call.args[0].value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == "env"
        and call.args
        and isinstance(call.args[0], ast.Constant)
    }


def variables_of_compose() -> set[str]:
    return set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))


def variables_explained() -> set[str]:
    return set(re.findall(r"^# (\w+)=", (ROOT / ".env.example").read_text(), re.M))


def test_every_variable_that_is_read_is_in_the_example():
    assert variables_read() | variables_of_compose() == variables_explained()


def test_every_variable_in_the_example_is_explained():
    """Each, or each group of them, stands below a comment of its own."""
    blocks = (ROOT / ".env.example").read_text().split("\n\n")
    groups = [block.splitlines() for block in blocks if re.search(r"^# \w+=", block, re.M)]

    assert [lines for lines in groups if re.match(r"# \w+=", lines[0])] == []


def test_example_copied_as_it_is_changes_nothing():
    lines = (ROOT / ".env.example").read_text().splitlines()

    assert [line for line in lines if line and not line.startswith("#")] == []


# --- Packages --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.name)
def test_every_package_is_pinned_and_says_what_it_is_for(path: Path):
    lines = [line for line in path.read_text().splitlines() if line and line[0] not in "#-"]

    assert lines
    pinned = re.compile(r"[A-Za-z0-9_.-]+(\[[a-z0-9,]+\])?==\S+( ; [^#]+)? +# \S.+")
    assert [line for line in lines if not pinned.fullmatch(line)] == []


def test_lock_is_made_of_the_requirements_and_hashed():
    asked = re.findall(
        r"^([\w.-]+)(?:\[.*\])?==(\S+)", (ROOT / "requirements.txt").read_text(), re.M
    )
    blocks = re.split(r"\n(?=\w)", (ROOT / "requirements.lock").read_text())
    locked = {match[1]: (match[2], block) for block in blocks if (match := LOCKED.match(block))}

    assert {name.lower() for name, _version in asked} <= locked.keys()
    assert {version for name, version in asked if locked[name.lower()][0] != version} == set()
    assert [
        name for name, (_version, block) in locked.items() if "--hash=sha256:" not in block
    ] == []


def packages_for_pages() -> dict[str, str]:
    """Those of the pages and, for tests, those that examine them."""
    asked = json.loads((ROOT / "package.json").read_text())
    return asked["dependencies"] | asked["devDependencies"]


def test_packages_for_pages_are_pinned():
    dependencies = packages_for_pages()

    assert dependencies
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in dependencies.values())


def test_lock_file_holds_what_package_json_asks_for():
    dependencies = packages_for_pages()
    packages = json.loads((ROOT / "package-lock.json").read_text())["packages"]

    locked = {name: packages[f"node_modules/{name}"]["version"] for name in dependencies}
    assert locked == dependencies
    assert all("integrity" in package for name, package in packages.items() if name)


def test_lock_file_names_no_registry():
    assert '"resolved"' not in (ROOT / "package-lock.json").read_text()


def test_no_file_names_a_registry():
    """Whoever installs has a registry configured, and it may not be the public one."""
    hosts = [b"pypi." + b"org", b"files.python" + b"hosted.org", b"registry.npm" + b"js.org"]
    naming = [
        path.relative_to(ROOT)
        for path in tracked_files()
        if any(host in path.read_bytes() for host in hosts)
    ]

    assert naming == []


# --- Deployment ------------------------------------------------------------------------------


def test_compose_runs_a_database_that_is_recent_enough_and_kept_to_itself():
    database = COMPOSE["services"]["db"]

    name, _, tag = database["image"].partition(":")
    assert name == "postgres"
    assert int(tag) >= 15
    assert "ports" not in database


def test_compose_starts_again_what_ends():
    services = COMPOSE["services"]

    assert {name: service["restart"] for name, service in services.items()} == dict.fromkeys(
        ("db", "web", "worker", *RAY_SERVICES, *SLURM_SERVICES), "unless-stopped"
    )


def test_compose_starts_clusters_only_if_they_are_asked_for():
    services = COMPOSE["services"]

    profiles = {
        name: tuple(service["profiles"])
        for name, service in services.items()
        if "profiles" in service
    }
    assert profiles == {
        **dict.fromkeys(RAY_SERVICES, ("ray",)),
        **dict.fromkeys(SLURM_SERVICES, ("slurm",)),
    }


def test_worker_of_compose_that_has_a_user_for_trainings_may_use_it():
    """Otherwise it does not start."""
    workers = {
        name: service
        for name, service in COMPOSE["services"].items()
        if "run_worker" in service.get("command", [])
    }
    with_user = {
        name
        for name, service in workers.items()
        if service["environment"]["TRAINHUB_TRAINING_USER"]
    }

    assert set(workers) == {"worker", "worker-ray", "worker-slurm"}
    assert with_user == {name for name, service in workers.items() if "cap_add" in service}


def test_compose_has_the_ray_of_its_client():
    services = COMPOSE["services"]
    [client] = re.findall(r"ray\[default\]==(\S+)", (ROOT / "requirements-ray.txt").read_text())

    for name in ("ray-head", "ray-node"):
        assert services[name]["image"].startswith(f"rayproject/ray:{client}-")


def test_example_for_kuberay_has_the_ray_of_its_client():
    cluster = yaml.safe_load((ROOT / "examples" / "kuberay" / "ray-cluster.yaml").read_text())
    [client] = re.findall(r"ray\[default\]==(\S+)", (ROOT / "requirements-ray.txt").read_text())
    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]

    assert cluster["spec"]["rayVersion"] == client
    for group in groups:
        [container] = group["template"]["spec"]["containers"]
        assert container["image"].startswith(f"rayproject/ray:{client}-")


def test_nodes_of_composes_ray_reach_the_web_server_by_a_name_that_it_allows():
    services = COMPOSE["services"]
    url = urlsplit(services["worker-ray"]["environment"]["TRAINHUB_PUBLIC_URL"])
    web = services["web"]["environment"]

    assert url.hostname in services
    assert url.hostname in web["TRAINHUB_ALLOWED_HOSTS"].split(",")
    assert str(url.port) == web["TRAINHUB_PORT"]


@pytest.mark.parametrize("name", OWN_SERVICES)
def test_compose_is_production_with_sign_in(name: str):
    environment = COMPOSE["services"][name]["environment"]

    assert environment["TRAINHUB_PRODUCTION"] == "true"
    assert environment["TRAINHUB_OPEN_MODE"] == "false"


@pytest.mark.parametrize("name", OWN_SERVICES)
def test_compose_refuses_to_start_without_its_secrets(name: str):
    environment = COMPOSE["services"][name]["environment"]

    assert "${POSTGRES_PASSWORD:?" in environment["DATABASE_URL"]
    assert environment["TRAINHUB_SECRET_KEY"].startswith("${TRAINHUB_SECRET_KEY:?")


def test_compose_lets_trainings_save_before_the_worker_is_killed():
    worker = COMPOSE["services"]["worker"]

    assert worker["command"][-2:] == ["--on-exit", "stop"]
    assert int(worker["stop_grace_period"].removesuffix("s")) > 10


def test_compose_gives_the_worker_what_trainings_of_their_own_users_take_and_no_more():
    worker = COMPOSE["services"]["worker"]
    needed = {name.removeprefix("CAP_") for name in CAPABILITIES}
    handed_on = [part for part in worker["command"] if "-caps=" in part]

    assert worker["cap_drop"] == ["ALL"]
    assert set(worker["cap_add"]) == needed
    assert {
        frozenset(part.partition("=")[2].upper().replace("+", "").split(",")) for part in handed_on
    } == {frozenset({"-ALL", *needed})}
    assert "--reuid=trainhub" in worker["command"]


def test_compose_volumes_are_declared():
    used = {
        volume.partition(":")[0]
        for service in COMPOSE["services"].values()
        for volume in service.get("volumes", [])
    }

    assert used == set(COMPOSE["volumes"])


def test_image_does_not_run_as_root():
    lines = (ROOT / "Dockerfile").read_text().splitlines()

    users = [line for line in lines if line.startswith("USER ")]
    assert users == ["USER trainhub"]
    assert lines.index("USER trainhub") < next(
        number for number, line in enumerate(lines) if line.startswith("CMD ")
    )


def test_secrets_of_this_machine_do_not_get_into_an_image():
    ignored = (ROOT / ".dockerignore").read_text().splitlines()

    assert {".env", "var", ".git"} <= set(ignored)


def test_secrets_of_this_machine_are_not_tracked():
    assert not {".env", "secret_key"} & {path.name for path in tracked_files()}
