"""The page of the queue, GPU pools and workers."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.open_mode import local_administrator
from execution.scheduling.explanation import explain_queue
from projects.sight import EVERYTHING, Sight
from runs.models import EventKind, GpuPool, Run, Worker
from runs.models.run_queryset import DOCUMENTS
from runs.status import RunStatus
from tests.dashboard.operators import administrator, member, signed_in, staff
from tests.factories import (
    GpuPoolFactory,
    ProjectFactory,
    RunFactory,
    UserFactory,
    WorkerFactory,
    member_of,
    running,
)

pytestmark = pytest.mark.django_db

PAGE = "/dashboard/workers"
# The queue must not read these: they grow with every training step.
LONG_TABLES = ("metricpoint", "metricseries", "logline", "artifacts_")


@pytest.fixture
def client(client, settings):
    settings.LANGUAGE_CODE = "en"
    local_administrator()  # otherwise created by the first request
    return client


def action_of(run, action):
    return f"/dashboard/projects/{run.project_id}/runs/{run.pk}/{action}"


def messages_of(response):
    return [str(message) for message in response.context["messages"]]


# --- what is shown ---------------------------------------------------------------------------


def test_page_shows_workers_runs_pools_and_queue(client):
    alive = WorkerFactory(name="worker-alive", devices=["0", "1"])
    WorkerFactory(name="worker-dead", last_heartbeat=timezone.now() - timedelta(hours=2))
    GpuPoolFactory(gpu_type="A100", capacity=4)
    held = running(alive, gpu_type="A100", gpu_count=3)
    waiting = RunFactory(gpu_type="A100", gpu_count=2)

    page = client.get(PAGE).content.decode()

    assert page.index("worker-alive") < page.index("worker-dead")
    for text in ("Alive", "Not responding", held.name, waiting.name, "2 h ago", "3 of 4 in use"):
        assert text in page
    assert "Waiting for 2 A100 GPUs; 1 are free." in page
    assert "0, 1" in page


def test_draining_worker_is_shown_so(client):
    WorkerFactory(draining=True)

    assert "Draining" in client.get(PAGE).content.decode()


def test_pool_says_who_holds_what(client):
    ada, bob = UserFactory(username="ada"), UserFactory(username="bob")
    GpuPoolFactory(capacity=8)
    for user, count in ((ada, 3), (bob, 1), (ada, 2)):
        running(created_by=user, gpu_type="A100", gpu_count=count)

    response = client.get(PAGE)

    [pool] = response.context["cluster"].pools
    assert pool.people == [("ada", 5), ("bob", 1)]
    assert (pool.used, pool.use.free) == (6, 2)
    assert response.content.decode().count("<rect") == 3


def test_gpus_without_a_pool_are_shown_without_a_limit(client):
    running(gpu_type="H200", gpu_count=2)

    assert "2 in use, no limit set" in client.get(PAGE).content.decode()


def test_bar_of_a_pool_that_has_shrunk_shows_all_that_is_held(client):
    GpuPoolFactory(capacity=2)
    running(gpu_type="A100", gpu_count=4)

    [pool] = client.get(PAGE).context["cluster"].pools

    assert (pool.used, pool.width) == (4, 4)


def test_query_count_is_constant_and_no_long_table_is_read(client, django_assert_num_queries):
    worker = WorkerFactory()
    for _ in range(8):
        RunFactory()
        running(worker, gpu_type="A100", gpu_count=1, created_by=UserFactory())

    # User; workers, their runs; pools, their use, who holds it; the time, what is held and was
    # used, quotas, pools, the queue in 2, its runs, alive workers; those in clusters; the queue's
    # length; GPU-hours.
    with django_assert_num_queries(18) as captured:
        client.get(PAGE)

    touched = " ".join(query["sql"] for query in captured.captured_queries)
    assert not any(table in touched for table in LONG_TABLES)
    assert not any(f'"runs_run"."{column}"' in touched for column in DOCUMENTS)


def test_queue_is_in_claim_order_and_shows_the_next_run(client):
    WorkerFactory()
    now = timezone.now()
    RunFactory(name="later", queued_at=now)
    RunFactory(name="sooner", queued_at=now - timedelta(minutes=1))
    RunFactory(name="urgent", queued_at=now, priority=5)
    RunFactory(name="interrupted", status=RunStatus.RUNNING, started_at=now)

    queue = client.get(PAGE).context["cluster"].queue

    assert [waiting.run.name for waiting in queue] == ["interrupted", "urgent", "sooner", "later"]
    assert (
        queue[0].reason
        == "Next in the queue: a worker will claim it as soon as it has a free slot."
    )
    assert queue[3].reason == "Waiting for a free slot; runs ahead of it: 3."


def test_queue_is_shown_pool_by_pool_and_first_what_a_cluster_has(client):
    RunFactory(name="small")
    for gpu_type in ("H100", "A100"):
        GpuPoolFactory(gpu_type=gpu_type)
        for name in ("first", "second"):
            RunFactory(name=f"{gpu_type}-{name}", gpu_type=gpu_type, gpu_count=8, pool=gpu_type)
    RunFactory(name="submitted", gpu_type="A100", pool="A100", worker=WorkerFactory())

    response = client.get(PAGE)

    names = [waiting.run.name for waiting in response.context["cluster"].queue]
    assert names == ["small", "submitted", "A100-first", "A100-second", "H100-first", "H100-second"]
    text = " ".join(response.content.decode().split())
    headings = re.findall(r'<th scope="rowgroup" colspan="8"> (.*?) </th>', text)
    assert headings == [
        f'{pool} <small class="n">{count}</small>'
        for pool, count in (("No GPU pool", 1), ("A100", 3), ("H100", 2))
    ]


def test_queue_of_one_pool_has_no_heading(client):
    RunFactory()

    assert "rowgroup" not in client.get(PAGE).content.decode()


def test_queue_says_on_how_many_nodes_and_which_runs_go_on(client):
    RunFactory(gpu_type="H100", gpu_count=16, nodes=2)
    RunFactory(name="interrupted", status=RunStatus.RUNNING, started_at=timezone.now())

    page = client.get(PAGE).content.decode()

    assert page.count("badge-running") == 1
    assert "on 2 nodes" in page


def test_priority_is_offered_for_the_runs_whose_priority_can_be_changed(client):
    continued = RunFactory(started_at=timezone.now())
    interrupted = RunFactory(status=RunStatus.RUNNING, started_at=timezone.now(), worker=None)
    in_cluster = RunFactory(worker=WorkerFactory())

    page = client.get(PAGE).content.decode()

    assert all(f"queued-{run.pk}" in page for run in (continued, interrupted, in_cluster))
    assert re.findall(r"runs/(run_\w+)/priority", page) == [continued.pk]


def test_pool_says_which_gpus_of_which_cluster_it_has(client):
    GpuPoolFactory(name="big", gpu_type="H100-SXM5", executor="slurm", cluster="gpu")

    page = " ".join(client.get(PAGE).content.decode().split())

    assert "H100-SXM5 · Slurm · gpu" in page


def test_page_without_anything_says_what_to_do(client):
    page = client.get(PAGE).content.decode()

    assert "python manage.py run_worker" in page
    assert "The queue is empty." in page
    assert "No GPU pools are defined" in page


def test_gpu_hours_are_by_project_and_person(client):
    ada = UserFactory(username="ada")
    now = timezone.now()
    RunFactory(
        recipe=None,
        status=RunStatus.COMPLETED,
        gpu_count=4,
        created_by=ada,
        project=ProjectFactory(name="summaries"),
        started_at=now - timedelta(hours=3),
        finished_at=now - timedelta(hours=1),
    )

    [row] = client.get(PAGE).context["gpu_hours"]

    assert (row.project.name, row.person) == ("summaries", ada)
    assert (row.recent, row.all) == pytest.approx((8, 8))


# --- live ------------------------------------------------------------------------------------


def live(client, etag=""):
    headers = {"X-Part": "true", **({"If-None-Match": etag} if etag else {})}
    return client.get(PAGE, headers=headers)


def test_live_parts_are_those_of_the_page(client):
    part = live(client).content.decode()

    assert "<html" not in part
    for name in ("cluster-queue", "cluster-pools", "cluster-workers"):
        assert f'id="{name}"' in part
        assert f'id="{name}"' in client.get(PAGE).content.decode()


def test_live_parts_are_not_sent_again_until_something_happens(client):
    WorkerFactory()
    etag = live(client).headers["ETag"]
    assert live(client, etag).status_code == 304

    RunFactory().set_priority(1, by=None)

    assert live(client, etag).status_code == 200


@pytest.mark.parametrize("change", ["drain", "pool"])
def test_what_operators_change_is_sent(client, change):
    worker, pool = WorkerFactory(), GpuPoolFactory()
    etag = live(client).headers["ETag"]

    worker.drain(by=None) if change == "drain" else pool.resize(1)

    assert live(client, etag).status_code == 200


# --- the queue -------------------------------------------------------------------------------


def test_priority_is_changed_from_the_queue():
    run = RunFactory()

    response = signed_in(member_of(run.project)).post(
        action_of(run, "priority"), {"priority": "7"}, follow=True
    )

    run.refresh_from_db()
    assert run.priority == 7
    assert messages_of(response) == [f"{run.name} has priority 7."]
    assert response.redirect_chain[-1][0] == PAGE


@pytest.mark.parametrize("priority", ["", "x", "101", "1" * 10_000, "\0"])
def test_invalid_priority_is_refused(priority):
    run = RunFactory()

    response = signed_in(member_of(run.project)).post(
        action_of(run, "priority"), {"priority": priority}, follow=True
    )

    run.refresh_from_db()
    assert (response.status_code, run.priority) == (200, 0)
    assert messages_of(response)


def test_priority_of_a_run_that_has_started_is_refused_with_a_reason():
    run = running()

    response = signed_in(member_of(run.project)).post(
        action_of(run, "priority"), {"priority": "7"}, follow=True
    )

    assert "does not wait in the queue any more" in messages_of(response)[0]


def test_run_is_cancelled_from_the_queue():
    run = RunFactory()

    response = signed_in(member_of(run.project)).post(action_of(run, "leave-queue"), follow=True)

    run.refresh_from_db()
    assert run.status == RunStatus.CANCELLED
    assert response.redirect_chain[-1][0] == PAGE


# --- operators -------------------------------------------------------------------------------


def test_operator_drains_and_undrains_a_worker():
    worker, operator = WorkerFactory(), staff("change_worker")

    operator.post(f"{PAGE}/{worker.pk}/drain")
    assert Worker.objects.get().draining
    operator.post(f"{PAGE}/{worker.pk}/undrain")

    assert not Worker.objects.get().draining


def test_operator_removes_a_dead_worker():
    worker = WorkerFactory(last_heartbeat=timezone.now() - timedelta(hours=2))

    staff("change_worker").post(f"{PAGE}/{worker.pk}/remove")

    assert not Worker.objects.exists()


def test_live_worker_is_not_removed_and_the_page_says_why():
    worker = WorkerFactory(name="busy")

    response = administrator().post(f"{PAGE}/{worker.pk}/remove", follow=True)

    assert Worker.objects.exists()
    assert "busy is alive" in messages_of(response)[0]


@pytest.mark.parametrize("action", ["drain", "undrain", "remove"])
def test_unknown_worker_is_not_found(action):
    assert administrator().post(f"{PAGE}/worker_none/{action}").status_code == 404


@pytest.mark.parametrize("action", ["drain", "undrain", "remove"])
def test_members_do_not_act_on_workers(action):
    worker = WorkerFactory(last_heartbeat=timezone.now() - timedelta(hours=2))

    assert member().post(f"{PAGE}/{worker.pk}/{action}").status_code == 403
    assert Worker.objects.filter(draining=False).exists()


def test_members_see_no_forms_of_operators():
    WorkerFactory()
    GpuPoolFactory()

    page = member().get(PAGE).content.decode()

    for text in ("/drain", "/pools/resize", "/pools/add"):
        assert text not in page


def test_operator_resizes_a_pool():
    GpuPoolFactory(gpu_type="A100 80G", capacity=8)

    fields = {"pool": "A100 80G", "capacity": "4"}
    staff("change_gpupool").post("/dashboard/pools/resize", fields)

    assert GpuPool.objects.get().capacity == 4


@pytest.mark.parametrize("capacity", ["", "-1", "1000001", "x", "9" * 5000])
def test_invalid_capacity_is_refused(capacity):
    GpuPoolFactory(gpu_type="A100", capacity=8)

    fields = {"pool": "A100", "capacity": capacity}
    response = administrator().post("/dashboard/pools/resize", fields, follow=True)

    assert GpuPool.objects.get().capacity == 8
    assert messages_of(response)


@pytest.mark.parametrize("gpu_type", ["", "none", "\0"])
def test_unknown_pool_is_not_found(gpu_type):
    fields = {"pool": gpu_type, "capacity": "1"}

    assert administrator().post("/dashboard/pools/resize", fields).status_code == 404


def test_operator_adds_a_pool():
    staff("add_gpupool").post("/dashboard/pools/add", {"gpu_type": "H200", "capacity": "16"})

    pool = GpuPool.objects.get()
    assert (pool.name, pool.gpu_type, pool.capacity, pool.reserve) == ("H200", "H200", 16, 0)


def test_second_pool_of_a_type_has_the_name_of_its_executor():
    GpuPoolFactory(gpu_type="A100")

    administrator().post(
        "/dashboard/pools/add",
        {"gpu_type": "A100", "capacity": "16", "executor": "process", "reserve": "2"},
    )

    pool = GpuPool.objects.get(executor="process")
    assert (pool.name, pool.gpu_type, pool.reserve) == ("A100 process", "A100", 2)


@pytest.mark.parametrize(
    "fields",
    [
        {"gpu_type": "A100", "capacity": "1"},  # there is one
        {"gpu_type": "A100; rm", "capacity": "1"},
        {"gpu_type": "", "capacity": "1"},
        {"gpu_type": "H\0", "capacity": "1"},
        {"gpu_type": "H200", "capacity": "-1"},
        {"gpu_type": "H200", "capacity": "4", "reserve": "5"},
    ],
)
def test_invalid_pool_is_refused_in_its_form(fields):
    GpuPoolFactory(gpu_type="A100", capacity=8)

    response = administrator().post("/dashboard/pools/add", fields)

    assert response.status_code == 422
    assert response.context["pool_form"].errors
    assert GpuPool.objects.get().capacity == 8


@pytest.mark.parametrize("path", ["/dashboard/pools/add", "/dashboard/pools/resize"])
def test_members_do_not_change_pools(path):
    GpuPoolFactory(gpu_type="A100", capacity=8)

    assert member().post(path, {"gpu_type": "A100", "capacity": "1"}).status_code == 403
    assert Run.objects.count() == 0
    assert GpuPool.objects.get().capacity == 8


# --- what the reader does not see -----------------------------------------------------------


def test_runs_of_other_projects_are_counted_in_pools_and_workers():
    GpuPoolFactory(capacity=64)
    worker = WorkerFactory()
    mine = running(worker, name="mine", gpu_type="A100", gpu_count=2)
    for _number in range(3):
        running(worker, name="hidden-run", gpu_type="A100", gpu_count=8, created_by=UserFactory())

    response = signed_in(member_of(mine.project)).get(PAGE)

    cluster = response.context["cluster"]
    [pool], [row] = cluster.pools, cluster.workers
    assert (pool.holders, pool.used) == ([mine], 26)
    assert (pool.others.runs, pool.others.gpus) == (3, 24)
    assert (row.runs, row.held) == ([mine], 4)
    page = " ".join(response.content.decode().split())
    assert "26 of 64 in use" in page
    assert "3 runs of other projects, 24 GPUs" in page
    assert "hidden-run" not in page


def test_queue_tells_true_positions_and_counts_the_others():
    GpuPoolFactory(capacity=0)
    first, second = (RunFactory(name="hidden-run", gpu_type="A100", gpu_count=4) for _ in range(2))
    mine = RunFactory(name="mine", gpu_type="A100", gpu_count=1)

    response = signed_in(member_of(mine.project)).get(PAGE)

    cluster = response.context["cluster"]
    assert [(waiting.run, waiting.position) for waiting in cluster.queue] == [(mine, 3)]
    assert (cluster.queue_length, cluster.waiting_others.gpus) == (3, 8)
    page = response.content.decode()
    assert "Also waiting: 2 runs of other projects, 8 GPUs." in page
    assert first.pk not in page
    assert second.project_id not in page


def test_start_of_a_run_counts_the_hidden_ones_ahead():
    GpuPoolFactory(capacity=4)
    running(gpu_type="A100", gpu_count=4, expected_seconds=600)
    RunFactory(gpu_type="A100", gpu_count=4, expected_seconds=6000)
    mine = RunFactory(gpu_type="A100", gpu_count=4, expected_seconds=600)
    WorkerFactory()

    [for_all] = [one for one in explain_queue(9, EVERYTHING) if one.run == mine]
    [for_member] = explain_queue(9, Sight.of(member_of(mine.project)))

    assert for_member.position == 2
    assert for_member.waits_for == for_all.waits_for
    assert for_member.estimated_start is not None
    difference = for_member.estimated_start - for_all.estimated_start
    assert abs(difference) < timedelta(seconds=5)


def test_gpu_hours_are_those_of_visible_projects():
    mine, hidden = (running(gpu_type="A100", gpu_count=1) for _ in range(2))
    for run in (mine, hidden):
        run.note(EventKind.CLAIMED)

    response = signed_in(member_of(mine.project)).get(PAGE)

    assert [row.project for row in response.context["gpu_hours"]] == [mine.project]
