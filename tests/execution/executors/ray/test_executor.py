"""The Ray executor on a Ray that only answers: what the states of jobs and launchers mean."""

import io
import json
import os
import shutil
import tarfile
from datetime import timedelta

import pytest
from django.utils import timezone, translation

from artifacts.storage import open_range
from execution.executors.attempt import Attempt
from execution.executors.ray import host as hosts
from execution.executors.ray.client import RayAway
from execution.executors.ray.executor import RayExecutor
from execution.executors.ray.host import RayHost, Unheard
from execution.executors.ray.job import JobDescription
from execution.executors.ray.web_server import WebServer
from execution.launcher.ray_driver import bundle_of
from execution.models import MirroredAttempt, MirroredNode
from runs.executors import CannotStart, FoundPool, WorkState
from runs.models import FailureKind, GpuPool, Run, RunCode, StopKind
from runs.status import RunStatus
from tests.code_bundles.bundles import bundle
from tests.execution.executors.ray.imitated import ImitatedRay
from tests.execution.mirror.nodes import ImitatedNode
from tests.factories import GpuPoolFactory, RecipeFactory, UserFactory, running

pytestmark = pytest.mark.django_db

LONG_AGO = timedelta(seconds=60)
LOST = timedelta(seconds=hosts.LOST_SECONDS + 10)


@pytest.fixture(autouse=True)
def ray(monkeypatch, settings):
    settings.RAY_POLL_SECONDS = 0.0
    settings.PUBLIC_URL = "http://hub.example:8000"
    monkeypatch.setattr(hosts, "KILL_SECONDS", 0.0)
    monkeypatch.setattr(WebServer, "answers_for", lambda _self: 60.0)
    return ImitatedRay(monkeypatch)


@pytest.fixture
def executor():
    return RayExecutor()


@pytest.fixture
def run():
    recipe = RecipeFactory(executor="ray", command=["{python}", "{repository}/examples/x.py"])
    return running(recipe=recipe)


def fresh(run):
    return Run.objects.select_related("recipe", "project", "worker").get(pk=run.pk)


def poll(executor, run):
    run = fresh(run)
    return executor.poll(run, run.worker)


def name(run, attempt=1):
    return f"trainhub-{run.pk}-{attempt}"


@pytest.fixture
def node(executor, run, ray, tmp_path):
    """The launcher of a run that Ray has started."""
    executor.start(run, run.worker)
    ray.states[name(run)] = "RUNNING"
    node = ImitatedNode(tmp_path / "node", MirroredAttempt.objects.get())
    node.send()
    return node


def be_silent(since=LONG_AGO, **nodes):
    MirroredNode.objects.filter(**nodes).update(seen_at=timezone.now() - since)


# --- the job ---------------------------------------------------------------------------------


def test_job_has_what_launchers_need(executor, run, ray):
    executor.start(run, run.worker)

    [job] = ray.submitted
    variables = job["runtime_env"]["env_vars"]
    path = f"projects/{run.project_id}/runs/{run.pk}/attempts/1"
    assert job["submission_id"] == name(run)
    assert variables["TRAINHUB_ATTEMPT_URL"] == f"http://hub.example:8000/{path}"
    assert json.loads(variables["TRAINHUB_JOB"])["nodes"] == 1


def test_node_gets_no_path_and_no_variable_of_this_host(executor, run, settings):
    executor.start(run, run.worker)

    launch = MirroredAttempt.objects.get().whole_launch
    assert launch["command"] == ["{python}", "{attempt}/repository/examples/x.py"]
    assert launch["environment"]["TRAINHUB_CONFIG"] == "{attempt}/config.json"
    assert "PATH" not in launch["environment"]
    assert str(settings.WORK_DIR) not in json.dumps(launch)


def test_run_starts_in_its_code_on_the_node(executor, settings):
    recipe = RecipeFactory(
        executor="ray",
        command=["{python}", "{code}/train.py"],
        code="required",
        code_from="members",
    )
    run = running(recipe=recipe)
    RunCode.objects.create(run=run, bundle=bundle({"train.py": "print()"}), origin={})

    executor.start(run, run.worker)

    mirrored = MirroredAttempt.objects.get()
    launch = mirrored.whole_launch
    assert launch["command"] == ["{python}", "{attempt}/code/train.py"]
    assert launch["environment"]["TRAINHUB_CODE_DIR"] == "{attempt}/code"
    assert launch["starts_in"] == "code"
    with (
        open_range(mirrored.start_key, 0, mirrored.start_bytes) as file,
        tarfile.open(fileobj=io.BytesIO(file.read())) as tar,
    ):
        assert "code/train.py" in tar.getnames()


def test_submitting_twice_makes_one_job(executor, run, ray):
    executor.start(run, run.worker)
    (Attempt.of(run).directory / "ray.json").unlink()  # its worker died before it noted that

    executor.start(fresh(run), run.worker)

    assert len(ray.submitted) == 1


def test_run_without_owner_cannot_report_where_sign_in_is_required(executor, run, settings):
    settings.OPEN_MODE = False

    with pytest.raises(CannotStart):
        executor.start(run, run.worker)


def test_job_reports_with_the_runs_own_token(executor, run, ray, settings):
    settings.OPEN_MODE = False
    run.change(created_by=UserFactory())

    executor.start(fresh(run), run.worker)

    token = ray.submitted[0]["runtime_env"]["env_vars"]["TRAINHUB_ATTEMPT_TOKEN"]
    assert token.endswith(run.pk)


# --- states ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "reason"), [("PENDING", "prepares its job"), ("RUNNING", "all at once")]
)
def test_job_whose_launchers_have_not_begun_waits(executor, run, ray, state, reason):
    executor.start(run, run.worker)
    ray.states[name(run)] = state

    work = poll(executor, run)

    assert work.state is WorkState.WAITING
    with translation.override("en"):
        assert reason in str(work.reason)


def test_job_that_failed_before_it_began_says_why(executor, run, ray):
    executor.start(run, run.worker)
    ray.states[name(run)] = "FAILED"
    ray.messages[name(run)] = "Traceback:\nModuleNotFoundError: No module named 'ray'\n"

    work = poll(executor, run)

    assert (work.state, work.failure_kind) == (WorkState.DIED, FailureKind.CANNOT_START)
    with translation.override("en"):
        assert "No module named 'ray'" in str(work.reason)


def test_job_that_ray_has_forgotten_before_it_began_is_submitted_again(executor, run, ray):
    executor.start(run, run.worker)
    ray.states.clear()

    assert poll(executor, run).state is WorkState.WAITING
    poll(executor, run)

    assert len(ray.submitted) == 2


def test_run_whose_launcher_reports_is_working(executor, run, node):
    assert poll(executor, run).state is WorkState.WORKING


def test_run_says_what_its_launcher_cannot_send(executor, run, node):
    node.save("step-1.bin", b"state")
    node.hub.rejected = {"checkpoints/step-1.bin"}
    node.send()
    node.send()

    poll(executor, run)

    with translation.override("en"):
        assert "Node 0 cannot send its files: checkpoints/step-1.bin" in str(
            fresh(run).status_reason
        )


@pytest.mark.parametrize("states", [{}, {"FAILED"}], ids=["forgotten", "failed"])
def test_run_whose_launcher_reports_goes_on_whatever_ray_says(executor, run, ray, node, states):
    ray.states = {name(run): state for state in states}

    assert poll(executor, run).state is WorkState.WORKING


@pytest.mark.parametrize("states", [{}, {"FAILED"}], ids=["forgotten", "failed"])
def test_silent_launcher_of_a_job_that_ray_does_not_run_is_lost(executor, run, ray, node, states):
    ray.states = {name(run): state for state in states}
    be_silent()

    work = poll(executor, run)

    assert (work.state, work.failure_kind) == (WorkState.DIED, FailureKind.NODE_FAILED)
    assert work.is_interruption
    assert poll(executor, run) == work


def test_silent_launcher_of_a_job_that_runs_is_waited_for(executor, run, node):
    be_silent()

    assert poll(executor, run).state is WorkState.WORKING


def test_launcher_silent_for_long_is_lost_though_ray_says_that_its_job_runs(
    executor, run, ray, node
):
    be_silent(LOST)

    work = poll(executor, run)

    assert (work.state, work.failure_kind) == (WorkState.DIED, FailureKind.NODE_FAILED)
    assert work.is_interruption
    assert ray.stopped == [name(run)]


def test_launchers_of_a_running_job_get_time_to_report_after_the_web_server_was_away(
    executor, run, ray, node, monkeypatch
):
    monkeypatch.setattr(WebServer, "answers_for", lambda _self: 50.0)
    be_silent(LOST)

    assert poll(executor, run).state is WorkState.WORKING
    assert ray.stopped == []


@pytest.fixture
def two_nodes(executor, run, ray, tmp_path):
    """The launchers of a run over two nodes."""
    run.change(nodes=2)
    executor.start(fresh(run), run.worker)
    ray.states[name(run)] = "RUNNING"
    mirrored = MirroredAttempt.objects.get()
    return [ImitatedNode(tmp_path / str(rank), mirrored, rank) for rank in range(2)]


def test_one_silent_node_of_several_is_lost(executor, run, two_nodes):
    for node in two_nodes:
        node.send()
    be_silent(LOST, rank=1)

    work = poll(executor, run)

    assert (work.state, work.failure_kind) == (WorkState.DIED, FailureKind.NODE_FAILED)


def test_node_that_has_yet_to_begin_is_waited_for(executor, run, ray, two_nodes):
    two_nodes[0].send()

    assert poll(executor, run).state is WorkState.WORKING
    ray.states[name(run)] = "FAILED"
    assert poll(executor, run).state is WorkState.WORKING


def test_node_that_has_not_begun_long_after_its_job_was_over_is_lost(
    executor, run, ray, two_nodes, monkeypatch
):
    two_nodes[0].send()
    ray.states[name(run)] = "FAILED"
    poll(executor, run)
    (Attempt.of(run).directory / hosts.OVER).write_text(json.dumps({"at": 0.0}))

    work = poll(executor, run)

    assert (work.state, work.failure_kind) == (WorkState.DIED, FailureKind.NODE_FAILED)


def test_killed_run_ends_though_ray_says_that_its_job_runs(executor, run, ray, node, monkeypatch):
    monkeypatch.setattr(hosts, "STOP_SECONDS", 0.0)
    monkeypatch.setattr(ray, "stop_job", lambda _id: None)  # it does nothing
    executor.kill(fresh(run), run.worker)
    be_silent(LOST)

    assert poll(executor, run).state is not WorkState.WORKING


def test_files_of_a_run_killed_long_ago_go_though_ray_says_that_its_job_runs(
    executor, run, ray, node, monkeypatch
):
    monkeypatch.setattr(hosts, "STOP_SECONDS", 0.0)
    monkeypatch.setattr(ray, "stop_job", lambda _id: None)
    executor.forget(run)
    assert Attempt.of(run).directory.exists()

    killed = Attempt.of(run).directory / "killed"
    os.utime(killed, times=(0, 0))
    executor.forget(run)

    assert not Attempt.of(run).directory.exists()


def test_silence_counts_only_while_the_web_server_answers(executor, run, ray, node, monkeypatch):
    monkeypatch.setattr(WebServer, "answers_for", lambda _self: 3.0)
    ray.states.clear()
    be_silent()

    assert poll(executor, run).state is WorkState.WORKING


@pytest.mark.parametrize("states", [{}, {"RUNNING"}], ids=["forgotten", "running"])
def test_run_says_that_a_lost_node_cannot_be_told_from_one_that_is_not_heard(
    executor, run, ray, node, monkeypatch, states
):
    monkeypatch.setattr(WebServer, "answers_for", lambda _self: None)
    ray.states = {name(run): state for state in states}
    be_silent()
    assert poll(executor, run).state is WorkState.WORKING
    be_silent(LOST)

    with pytest.raises(Unheard) as told:
        poll(executor, run)

    with translation.override("en"):
        assert "http://hub.example:8000 cannot be reached from this worker" in str(told.value)


def test_run_that_is_not_heard_can_be_cancelled(executor, run, ray, node, monkeypatch):
    monkeypatch.setattr(WebServer, "answers_for", lambda _self: None)
    ray.states.clear()
    be_silent(LOST)
    run.change(stop_kind=StopKind.CANCEL, stop_requested_at=timezone.now())

    assert poll(executor, run).state is WorkState.WORKING
    executor.kill(fresh(run), run.worker)
    assert poll(executor, run).state is WorkState.STOPPED


def test_cancel_reaches_launchers_while_ray_does_not_answer(executor, run, ray, node):
    ray.problem = ConnectionError("refused")
    run.change(stop_kind=StopKind.CANCEL, stop_requested_at=timezone.now())

    assert poll(executor, run).state is WorkState.WORKING
    executor.stop(fresh(run), run.worker)
    node.send()

    assert (node.folder / "stop-sent").exists()


def test_nothing_is_decided_while_ray_does_not_answer(executor, run, ray, node):
    ray.problem = ConnectionError("refused")
    node.append("stdout.log", "still here\n")
    node.send()

    with pytest.raises(RayAway):
        poll(executor, run)

    assert fresh(run).log_lines.filter(message="still here").exists()


def test_job_that_somebody_stops_in_ray_is_asked_to_save(executor, run, ray, node):
    ray.states[name(run)] = "STOPPED"
    assert poll(executor, run).state is WorkState.WORKING
    node.send()
    assert (node.folder / "stop-sent").exists()
    node.end(returncode=143)
    node.send(ended=True)

    work = poll(executor, run)

    assert (work.state, work.failure_kind) == (WorkState.DIED, FailureKind.CLUSTER_CANCEL)


def test_end_is_told_by_the_launcher_even_if_ray_does_not_answer(executor, run, ray, node):
    ray.problem = ConnectionError("refused")
    node.append("stdout.log", "done\n")
    node.end()
    node.send(ended=True)

    assert poll(executor, run).state is WorkState.FINISHED


# --- GPUs ------------------------------------------------------------------------------------


@pytest.fixture
def gpu_run():
    """It needs a node with 8 GPUs."""
    GpuPoolFactory(gpu_type="A100", capacity=8, executor="ray", is_discovered=True)
    recipe = RecipeFactory(executor="ray", command=["{python}", "x.py"])
    return running(recipe=recipe, gpu_count=8, gpu_type="A100", pool="A100")


def test_pools_are_what_living_nodes_announce(executor, ray):
    ray.nodes = [{"CPU": 8.0, "GPU": 8.0, "accelerator_type:A100": 1.0}] * 2

    assert executor.pools() == [FoundPool("A100", 16)]


def test_job_asks_for_gpus_of_its_pools_type(executor, gpu_run, ray):
    executor.start(gpu_run, gpu_run.worker)

    job = json.loads(ray.submitted[0]["runtime_env"]["env_vars"]["TRAINHUB_JOB"])
    assert bundle_of(job) == {"CPU": 1.0, "GPU": 8.0, "accelerator_type:A100": 0.001}


@pytest.mark.parametrize("fields", [{"pool": ""}, {"gpu_type": "gpu", "pool": "gpu"}])
def test_job_takes_nodes_of_any_type_where_no_type_is_known(executor, gpu_run, fields):
    gpu_run.change(**fields)

    assert JobDescription.of(fresh(gpu_run)).accelerator_type == ""


def wait_for_nodes(executor, run, ray, monkeypatch):
    executor.start(run, run.worker)
    ray.states[name(run)] = "RUNNING"
    monkeypatch.setattr(RayHost, "waiting_seconds", 601.0)
    return poll(executor, run)


def test_run_that_no_node_is_large_enough_for_fails_and_frees_its_pool(
    executor, gpu_run, ray, monkeypatch
):
    ray.nodes = [{"CPU": 8.0, "GPU": 4.0, "accelerator_type:A100": 1.0}] * 2

    work = wait_for_nodes(executor, gpu_run, ray, monkeypatch)

    assert (work.state, work.failure_kind) == (WorkState.FAILED, FailureKind.CANNOT_START)
    with translation.override("en"):
        assert "1 CPUs and 8 GPUs each" in str(work.reason)


@pytest.mark.parametrize(
    ("nodes", "fields"),
    [(1, {}), (0, {"capacity": 4}), (0, {"is_discovered": False})],
    ids=["others hold it", "it is away", "its pool was set"],
)
def test_run_whose_nodes_may_come_waits_on(executor, gpu_run, ray, monkeypatch, nodes, fields):
    ray.nodes = [{"CPU": 8.0, "GPU": 8.0, "accelerator_type:A100": 1.0}] * nodes
    GpuPool.objects.update(**fields)

    assert wait_for_nodes(executor, gpu_run, ray, monkeypatch).state is WorkState.WAITING


# --- stopping --------------------------------------------------------------------------------


def test_stop_asks_the_launcher_and_not_ray(executor, run, ray, node):
    executor.stop(fresh(run), run.worker)
    node.send()

    assert (node.folder / "stop-sent").exists()
    assert ray.stopped == []


def test_stop_of_a_job_that_waits_ends_it(executor, run, ray):
    executor.start(run, run.worker)

    executor.stop(fresh(run), run.worker)

    assert ray.stopped == [name(run)]


def test_kill_ends_launcher_and_job(executor, run, ray, node):
    executor.kill(fresh(run), run.worker)
    node.send()

    assert (node.folder / "killed").exists()
    assert ray.stopped == [name(run)]


# --- the end ---------------------------------------------------------------------------------


def test_forgotten_run_leaves_nothing(executor, run, ray, node):
    ray.states.clear()

    executor.forget(run)

    assert not Attempt.of(run).directory.exists()
    assert not MirroredAttempt.objects.exists()


def test_files_are_kept_while_ray_does_not_answer(executor, run, ray, node):
    ray.problem = ConnectionError("refused")

    executor.forget(run)

    assert Attempt.of(run).directory.exists()


def end_without_files(run):
    """As a run does whose worker's host is gone."""
    shutil.rmtree(Attempt.of(run).directory.parent)
    run.transition(RunStatus.CANCELLED)


def test_run_that_has_ended_without_files_on_any_host_is_forgotten(executor, run, ray, node):
    end_without_files(run)
    ray.states[name(run)] = "SUCCEEDED"

    executor.tidy()

    assert not MirroredAttempt.objects.exists()


def test_job_of_a_run_that_has_ended_without_files_is_stopped_first(executor, run, ray, node):
    end_without_files(run)

    executor.tidy()
    assert ray.stopped == [name(run)]
    assert MirroredAttempt.objects.exists()

    executor.tidy()
    assert not MirroredAttempt.objects.exists()


def test_run_that_has_not_ended_is_not_forgotten(executor, run, ray, node):
    shutil.rmtree(Attempt.of(run).directory.parent)
    ray.states[name(run)] = "SUCCEEDED"

    executor.tidy()

    assert MirroredAttempt.objects.exists()


def test_run_that_has_ended_is_kept_while_ray_does_not_answer(executor, run, ray, node):
    end_without_files(run)
    ray.problem = ConnectionError("refused")

    executor.tidy()

    assert MirroredAttempt.objects.exists()


def test_executor_is_offered_only_with_an_address(executor, settings):
    settings.RAY_ADDRESS = ""

    assert not executor.works_here()
