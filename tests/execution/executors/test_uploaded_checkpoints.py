"""A sharded checkpoint that was uploaded file by file is one checkpoint, and a script that resumes
from it gets its folder."""

import json

import pytest

from execution.executors.process import ProcessExecutor
from runs.executors import WorkState
from runs.models import Run
from tests.clients import ApiClient
from tests.execution.executors.contract import poll_until
from tests.factories import RecipeFactory, RunFactory, WorkerFactory
from tests.saved_files import dcp_metadata, zipped

pytestmark = pytest.mark.django_db

SCRIPT = """
import json, os, pathlib
folder = pathlib.Path(os.environ["TRAINHUB_RESUME_FROM"])
next_to_it = {path.name: path.read_text() for path in folder.parent.iterdir() if path.is_file()}
files = {path.name: path.read_bytes().hex() for path in folder.iterdir()}
print(json.dumps([folder.name, files, next_to_it]))
"""
DEEPSPEED = {
    name: zipped(name.encode())
    for name in [
        "mp_rank_00_model_states.pt",
        *(f"bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt" for rank in range(4)),
    ]
}
LIGHTNING = {
    ".metadata": dcp_metadata("__0_0.distcp"),
    "__0_0.distcp": zipped(),
    "meta.pt": zipped(b"meta"),
}


def rest_address(run):
    return f"/projects/{run.project_id}/runs/{run.pk}/artifacts/files"


def mlflow_address(run):
    return f"/api/2.0/mlflow-artifacts/artifacts/{run.project_id}/{run.pk}/artifacts"


@pytest.mark.parametrize("address", [rest_address, mlflow_address], ids=["REST", "MLflow"])
@pytest.mark.parametrize(
    ("folder", "files", "step", "next_to_it"),
    [
        ("global_step100", DEEPSPEED, 100, {"latest": "global_step100"}),
        ("epoch=1-step=200.ckpt", LIGHTNING, 200, {}),
    ],
    ids=["DeepSpeed", "Lightning"],
)
def test_script_resumes_from_the_folder(address, folder, files, step, next_to_it):
    api, source = ApiClient(), RunFactory(recipe=None, hyperparameters={})
    for name, content in files.items():
        assert api.put(f"{address(source)}/{folder}/{name}", content).status_code < 300
    path = f"/projects/{source.project_id}/runs/{source.pk}"
    listed = api.get(f"{path}/artifacts", {"type": "checkpoint"}).json()["items"]
    [checkpoint] = listed

    response = api.post_json(
        f"{path}/resume?source_artifact_id={checkpoint['id']}",
        {"recipe": RecipeFactory(script=SCRIPT).name},
    )

    assert checkpoint["name"] == f"第 {step} 步检查点"
    assert response.status_code == 201, response.content
    run = Run.objects.get(pk=response.json()["id"])
    run.claim(WorkerFactory())
    executor = ProcessExecutor()
    executor.start(run, run.worker)
    poll_until(executor, run, WorkState.FINISHED)
    handed = json.loads(run.log_lines.get().message)
    assert handed == [folder, {name: files[name].hex() for name in files}, next_to_it]
