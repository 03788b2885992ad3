"""The GPUs of hosts: which are known, and that no two runs have the same one at once."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from execution.devices import (
    Device,
    NoDevices,
    NvmlDevices,
    Reading,
    known_devices,
    uuids_of,
    variables_of,
)
from execution.executors.attempt import Attempt
from execution.executors.process import ProcessExecutor
from execution.scheduling.claiming import claim
from execution.scheduling.explanation import explain, explain_queue
from execution.scheduling.host_devices import HostDevices
from execution.worker import WorkerLoop
from projects.sight import EVERYTHING
from runs import attempts
from runs.models import Run
from runs.status import RunStatus
from tests.concurrency import in_parallel
from tests.factories import GpuPoolFactory, RecipeFactory, RunFactory, WorkerFactory, running
from tests.processes import lives
from tests.waiting import wait_until


class FakeDevices:
    """A host with ``count`` GPUs."""

    def __init__(self, count):
        self.count = count

    def devices(self):
        names = [f"GPU-{index}{index}{index}-aaaa" for index in range(self.count)]
        return [Device(index, name) for index, name in enumerate(names)] or None

    def readings(self):
        return [Reading(device) for device in self.devices() or []]


# --- which are known -------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def no_variable(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize(
    ("setting", "found", "known"),
    [
        ("", 0, None),
        ("", 2, ["0", "1"]),
        ("0", 4, ["0"]),
        ("GPU-5a, 7 ,7", 0, ["GPU-5a", "7"]),
        ("none", 4, None),
    ],
)
def test_devices_are_those_set_by_hand_otherwise_those_found(settings, setting, found, known):
    settings.GPUS = setting

    assert known_devices(FakeDevices(found)) == known


@pytest.mark.parametrize(
    ("visible", "known"),
    [
        ("2,0", ["2", "0"]),
        ("GPU-111", ["GPU-111"]),
        ("", []),
        ("-1", []),
        ("0,-1,1", ["0"]),
        ("GPU-333-aaaa,9", ["GPU-333-aaaa"]),
        ("GPU-5", []),
        ("MIG-8f3c6b0e-1111", ["MIG-8f3c6b0e-1111"]),
    ],
)
def test_devices_that_the_worker_itself_does_not_see_are_left_out(monkeypatch, visible, known):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    assert known_devices(FakeDevices(4)) == known


@pytest.mark.parametrize(
    ("visible", "known"),
    [("", []), ("-1", []), ("1,0", ["1", "0"]), ("GPU-5a,MIG-7", ["GPU-5a", "MIG-7"])],
)
def test_without_a_driver_the_workers_own_variable_tells(monkeypatch, settings, visible, known):
    settings.GPU_VARIABLES = ["HIP_VISIBLE_DEVICES"]
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", visible)

    assert known_devices(NoDevices()) == known


def test_devices_set_by_hand_overrule_the_workers_own_variable(monkeypatch, settings):
    settings.GPUS = "0,1"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

    assert known_devices(FakeDevices(4)) == ["0", "1"]


def test_host_without_a_driver_has_no_known_devices():
    assert known_devices(NoDevices()) is None


def test_devices_have_uuids_whatever_they_are_called():
    full = "GPU-8f3c6b0e-1111-2222-3333-444455556666"
    names = ["1", "GPU-000", "MIG-7", "9", "GPU-9", full]

    uuids = uuids_of(names, FakeDevices(2))

    assert uuids == ["GPU-111-aaaa", "GPU-000-aaaa", "MIG-7", "", "", full]


class FakeNvml:
    """The part of pynvml in use; its one device does not tell its power."""

    NVMLError = type("NVMLError", (Exception,), {})
    NVML_TEMPERATURE_GPU = 0

    def __getattr__(self, name):
        answers = {
            "nvmlInit": None,
            "nvmlDeviceGetCount": 1,
            "nvmlDeviceGetHandleByIndex": "handle",
            "nvmlDeviceGetUUID": "GPU-5",
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=85),
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=40e9, total=80e9),
            "nvmlDeviceGetTemperature": 64,
        }

        def answer(*_):
            if name not in answers:
                raise self.NVMLError
            return answers[name]

        return answer


def test_driver_is_asked_for_each_device_and_may_leave_questions_open():
    source = NvmlDevices(FakeNvml())

    assert source.readings() == [
        Reading(
            Device(0, "GPU-5"),
            utilization=85,
            memory_used=40_000,
            memory_total=80_000,
            temperature=64,
        )
    ]


class OneLost(FakeNvml):
    """Of its two devices, the second has fallen off the bus."""

    def __init__(self):
        self.lost = {1}

    def nvmlDeviceGetCount(self):  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        if index in self.lost:
            raise self.NVMLError("GPU is lost")
        return index


def test_lost_device_is_left_out_and_said_once(caplog):
    source = NvmlDevices(OneLost())

    assert known_devices(source) == ["0"]
    assert [reading.device.index for reading in source.readings()] == [0]
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_host_that_has_lost_its_only_devices_has_none_to_assign():
    nvml = OneLost()
    nvml.lost = {0, 1}

    assert known_devices(NvmlDevices(nvml)) == []


# --- variables -------------------------------------------------------------------------------


def test_variables_name_the_devices_in_the_drivers_order():
    assert variables_of(["2", "3"], known=True) == {
        "CUDA_VISIBLE_DEVICES": "2,3",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }


def test_run_without_gpus_sees_none_of_a_host_that_has_some():
    assert variables_of([], known=True)["CUDA_VISIBLE_DEVICES"] == ""


def test_nothing_is_set_for_a_run_without_gpus_on_a_host_without_known_ones():
    assert variables_of([], known=False) == {}


def test_variables_are_those_of_the_setting(settings):
    settings.GPU_VARIABLES = ["HIP_VISIBLE_DEVICES", "ASCEND_RT_VISIBLE_DEVICES"]

    assert variables_of(["1"], known=True) == {
        "HIP_VISIBLE_DEVICES": "1",
        "ASCEND_RT_VISIBLE_DEVICES": "1",
    }


# --- assigning -------------------------------------------------------------------------------


def gpu_run(count, **fields):
    recipe = fields.pop("recipe", None) or RecipeFactory()
    return RunFactory(recipe=recipe, gpu_type="A100", gpu_count=count, **fields)


@pytest.mark.django_db
def test_runs_of_two_workers_on_a_host_share_its_devices_without_overlap():
    one, two = WorkerFactory.create_batch(2, host="a", devices=["0", "1", "2"])
    first, second = gpu_run(2), gpu_run(1)

    assert claim(one, slots=1) == [first]
    assert claim(two, slots=1) == [second]

    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.devices, second.devices) == (["0", "1"], ["2"])


@pytest.mark.django_db
def test_run_waits_for_free_devices_and_short_ones_go_first():
    worker = WorkerFactory(host="a", devices=["0", "1"])
    running(worker, recipe=RecipeFactory(), gpu_count=1, devices=["0"])
    large, _long, small = gpu_run(2), gpu_run(1), gpu_run(1, expected_seconds=30.0)

    assert claim(worker, slots=9) == [small]

    small.refresh_from_db()
    assert small.devices == ["1"]
    assert "2" in explain(large).reason


@pytest.mark.django_db
def test_devices_of_another_host_do_not_count():
    running(WorkerFactory(host="b"), devices=["0"], gpu_count=1)
    run = gpu_run(1)

    claim(WorkerFactory(host="a", devices=["0"]), slots=1)

    run.refresh_from_db()
    assert run.devices == ["0"]


def gpus(worker_host, names, uuids):
    return WorkerFactory(host=worker_host, devices=names, device_uuids=uuids)


@pytest.mark.django_db
def test_workers_in_containers_of_one_machine_share_its_devices_by_their_uuids():
    one, two = gpus("a", ["0", "1"], ["GPU-x", "GPU-y"]), gpus("b", ["0"], ["GPU-y"])
    first, second, third = gpu_run(1), gpu_run(1), gpu_run(1)

    assert claim(two, slots=1) == [first]  # GPU-y
    assert claim(one, slots=9) == [second]

    second.refresh_from_db()
    assert second.devices == ["0"]
    assert HostDevices(one).free == HostDevices(two).free == 0
    third.refresh_from_db()
    assert third.status == RunStatus.QUEUED


@pytest.mark.django_db
def test_workers_may_call_a_device_differently():
    uuids = ["GPU-x", "GPU-y"]
    one, two = gpus("a", ["0", "1"], uuids), gpus("a", ["GPU-x", "GPU-y"], uuids)
    gpu_run(1), gpu_run(1)

    [first], [second] = claim(one, slots=1), claim(two, slots=1)

    assert (first.devices, second.devices) == (["0"], ["GPU-y"])


@pytest.mark.django_db
def test_device_with_two_names_is_assigned_once():
    worker = gpus("a", ["0", "GPU-x", "1"], ["GPU-x", "GPU-x", "GPU-y"])

    assert HostDevices(worker).free == 2
    assert HostDevices(worker).take(2) == ["0", "1"]


@pytest.mark.django_db
def test_device_that_a_neighbor_without_a_driver_uses_is_in_use():
    running(WorkerFactory(host="a"), devices=["0"], gpu_count=1)
    worker = gpus("a", ["0", "1"], ["GPU-x", "GPU-y"])

    assert HostDevices(worker).take(1) == ["1"]


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_concurrent_workers_in_containers_never_assign_the_same_device():
    names = [str(number) for number in range(4)]
    uuids = [f"GPU-{name}" for name in names]
    workers = [gpus(f"host-{host}", names, uuids) for host in range(3)]
    for _ in range(9):
        gpu_run(1)

    in_parallel(*(lambda worker=worker: claim(worker, slots=9) for worker in workers))

    assert sorted(name for run in Run.objects.running() for name in run.devices) == names


@pytest.mark.django_db
def test_worker_without_devices_claims_no_run_that_needs_one():
    worker = WorkerFactory(host="a", devices=[])
    run = gpu_run(1)

    assert claim(worker, slots=1) == []

    assert "1" in explain(run).reason


@pytest.mark.django_db
def test_run_that_no_host_has_devices_for_says_so():
    WorkerFactory(host="a", devices=["0"])

    assert "2" in explain(gpu_run(2)).reason


@pytest.mark.django_db
def test_host_without_known_devices_assigns_numbers_as_far_as_the_pool_goes():
    GpuPoolFactory(capacity=2)
    worker = WorkerFactory()
    runs = [gpu_run(1), gpu_run(1), gpu_run(1)]

    claimed = claim(worker, slots=9)

    assert claimed == runs[:2]
    assert [run.devices for run in claimed] == [["0"], ["1"]]


@pytest.mark.django_db
def test_simulated_run_occupies_no_device():
    run = RunFactory(gpu_type="A100", gpu_count=4)

    assert claim(WorkerFactory(devices=["0"]), slots=1) == [run]

    assert run.devices == []


@pytest.mark.django_db
@pytest.mark.parametrize(
    "end",
    [
        lambda run: run.transition(RunStatus.COMPLETED),
        lambda run: run.transition(RunStatus.FAILED),
        lambda run: run.transition(RunStatus.CANCELLED),
        lambda run: attempts.recover(run, "It died."),
        lambda run: attempts.continue_elsewhere(run, "Its worker died."),
        lambda run: attempts.release(run, run.worker, next_attempt=True),
    ],
    ids=["completed", "failed", "cancelled", "restarted", "worker-died", "released"],
)
def test_devices_are_given_back_at_every_end(end):
    run = running(devices=["0", "1"])

    end(run)

    assert Run.objects.get().devices == []


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_concurrent_workers_of_a_host_never_assign_the_same_device():
    names = [str(number) for number in range(6)]
    workers = WorkerFactory.create_batch(3, host="a", devices=names)
    for _ in range(9):
        gpu_run(1)

    in_parallel(*(lambda worker=worker: claim(worker, slots=9) for worker in workers))

    assigned = [name for run in Run.objects.running() for name in run.devices]
    assert sorted(assigned) == names


# --- at work ---------------------------------------------------------------------------------

SHOW = (
    "import json, os, pathlib, sys, time\n"
    "folder = pathlib.Path(sys.argv[1])\n"
    "draft = folder / ('.' + os.environ['TRAINHUB_RUN_ID'])\n"
    "draft.write_text(json.dumps(os.environ.get(sys.argv[2])))\n"
    "draft.rename(folder / os.environ['TRAINHUB_RUN_ID'])\n"
    "time.sleep(600)"
)


def show_recipe(folder, variable="CUDA_VISIBLE_DEVICES", **fields):
    return RecipeFactory(command=[sys.executable, "-c", SHOW, str(folder), variable], **fields)


def shown(folder, run):
    path = Path(folder) / run.pk
    wait_until(path.exists)
    return json.loads(path.read_text())


def worker_loop(name, count):
    executors = {"process": ProcessExecutor()}
    loop = WorkerLoop(name=name, executors=executors, device_source=FakeDevices(count))
    loop.register()
    return loop


@pytest.mark.django_db
def test_worker_registers_its_devices_with_their_uuids():
    worker = worker_loop("one", 2).worker

    assert worker.device_uuids == ["GPU-000-aaaa", "GPU-111-aaaa"]
    assert worker.uuid_of("1") == "GPU-111-aaaa"


@pytest.mark.django_db
def test_processes_of_two_workers_on_a_host_see_devices_of_their_own(tmp_path):
    loops = [worker_loop("one", 2), worker_loop("two", 2)]
    recipe = show_recipe(tmp_path)
    runs = [gpu_run(1, recipe=recipe), gpu_run(1, recipe=recipe)]
    without = gpu_run(0, recipe=recipe)
    for loop in loops:
        loop.slots = 2
        loop.tick()

    assert {shown(tmp_path, run) for run in runs} == {"0", "1"}
    assert shown(tmp_path, without) == ""


@pytest.mark.django_db
def test_recipe_may_set_the_variable_itself(tmp_path):
    loop = worker_loop("one", 2)
    recipe = show_recipe(tmp_path, environment={"CUDA_VISIBLE_DEVICES": "7"})
    run = gpu_run(0, recipe=recipe)

    loop.tick()

    assert shown(tmp_path, run) == "7"


@pytest.mark.django_db
def test_torchrun_starts_a_rank_for_each_device_by_default(tmp_path):
    loop = worker_loop("one", 3)
    recipe = show_recipe(tmp_path, variable="PET_NPROC_PER_NODE")
    runs = [gpu_run(2, recipe=recipe), gpu_run(0, recipe=recipe)]
    loop.slots = 2

    loop.tick()

    assert [shown(tmp_path, run) for run in runs] == ["2", None]


@pytest.mark.django_db
def test_process_left_over_by_a_dead_worker_is_killed_for_its_device(tmp_path):
    loop = worker_loop("one", 1)
    recipe = show_recipe(tmp_path)
    left = gpu_run(1, recipe=recipe)
    loop.tick()
    shown(tmp_path, left)
    process = Attempt.of(left).process()
    left.refresh_from_db()
    attempts.continue_elsewhere(left, "Its worker died.")
    left.change(worker=WorkerFactory(host="elsewhere"))
    run = gpu_run(1, recipe=recipe)

    loop.tick()

    assert shown(tmp_path, run) == "0"
    assert not lives(process)


@pytest.mark.django_db
@pytest.mark.parametrize("length", [1, 20])
def test_queries_for_reasons_do_not_grow_with_the_queue(length, django_assert_num_queries):
    worker = WorkerFactory(host="a", devices=["0", "1"])
    running(worker, recipe=RecipeFactory(), gpu_count=1, devices=["0"])
    for _number in range(length):
        gpu_run(2)

    # the time, what is held and was used, quotas, pools, the queue, its runs, workers; the host's
    # workers and runs, when they end, and how earlier ones have; those that wait in clusters
    with django_assert_num_queries(13):
        waiting = explain_queue(50, EVERYTHING)

    assert len({one.reason for one in waiting}) == 1
    assert "2" in waiting[0].reason
