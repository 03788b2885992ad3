"""What is done with the runs that are selected in the table."""

import pytest

from runs.models import Run, StopKind
from runs.status import RunStatus
from tests.dashboard.run_table.pages import page, shown, told
from tests.factories import RunFactory, running, unmanaged_run

pytestmark = pytest.mark.django_db


def act(client, url, action: str, *runs: Run, **fields):
    data = {"action": action, "runs": [run.pk for run in runs], **fields}
    return client.post(f"{url}/selected", data, follow=True)


def test_compare_leads_to_the_comparison(client, url, make_run):
    a, b = make_run("a"), make_run("b")

    response = client.post(f"{url}/selected", {"action": "compare", "runs": [a.pk, b.pk]})

    assert response["Location"] == f"/dashboard/compare?runs={a.pk},{b.pk}"


def test_action_returns_to_the_same_table(client, url, make_run):
    response = client.post(
        f"{url}/selected",
        {"action": "archive", "runs": make_run("a").pk, "query": "sort=name&filter=step+%3D+0"},
    )

    assert response["Location"] == f"{url}?sort=name&filter=step+%3D+0"


def test_action_returns_to_the_table_without_a_view_and_not_to_the_default_view(
    client, url, make_run
):
    response = client.post(f"{url}/selected", {"action": "archive", "runs": make_run("a").pk})

    assert response["Location"] == f"{url}?view="


def test_table_of_the_trash_restores_what_is_selected(client, url, make_run):
    trashed, _kept = make_run("trashed"), make_run("kept")
    trashed.transition(RunStatus.FAILED)
    trashed.move_to_trash(by=None)
    in_trash = page(client, f"{url}?archived=trash")
    listed = shown(client, f"{url}?archived=trash")

    act(client, url, "restore", all="1", query="archived=trash")

    assert listed == ["trashed"]
    assert 'value="restore"' in in_trash
    assert 'value="cancel"' not in in_trash
    assert sorted(shown(client, url)) == ["kept", "trashed"]


def test_deleted_runs_are_restored_by_undo(client, url, project, make_run):
    runs = [unmanaged_run(project=project), unmanaged_run(project=project)]

    response = act(client, url, "delete", *runs)
    deleted = shown(client, url)
    button = f'form="undo-restore" name="runs" value="{runs[0].pk},{runs[1].pk}"'
    act(client, url, "restore", runs=f"{runs[0].pk},{runs[1].pk}")

    assert button in response.content.decode()
    assert 'id="undo-restore"' in response.content.decode()
    assert deleted == []
    assert len(shown(client, url)) == 2


def test_refused_runs_are_told_with_the_reason(client, url, make_run):
    ended = make_run("ended")
    ended.transition(RunStatus.FAILED)

    response = act(client, url, "archive", ended, make_run("at work"))

    assert "1 archived." in told(response)
    assert "1 refused (at work): The run has not ended yet" in told(response)


def test_selected_runs_are_paused_and_those_that_cannot_be_are_told(client, url, project, make_run):
    queued = RunFactory(project=project)
    held = running(project=project)
    ended = make_run("ended")
    ended.transition(RunStatus.COMPLETED)
    elsewhere = unmanaged_run(project=project, name="elsewhere")

    response = act(client, url, "pause", queued, held, ended, elsewhere)

    queued.refresh_from_db()
    held.refresh_from_db()
    assert queued.is_paused
    assert held.stop_kind == StopKind.PAUSE
    assert "2 paused or stopping." in told(response)
    assert "1 refused (ended): The run has ended (Completed)" in told(response)
    assert "1 refused (elsewhere): The run is unmanaged" in told(response)


def test_selected_runs_are_continued_and_those_that_are_not_paused_are_told(client, url, project):
    paused = [RunFactory(project=project, status=RunStatus.PAUSED) for _ in range(2)]
    queued = RunFactory(project=project, name="queued")

    response = act(client, url, "continue", *paused, queued)

    assert Run.objects.queued().count() == 3
    assert "2 queued again." in told(response)
    assert "1 refused (queued): The run is not paused (Queued)" in told(response)


def test_selected_runs_are_tagged(client, url, make_run):
    run = make_run("a")

    act(client, url, "tag", run, tag_key="team", tag_value="nlp")

    run.refresh_from_db()
    assert run.tags == {"team": "nlp"}


def test_all_matching_runs_are_selected_beyond_the_page(client, url, project, make_run):
    RunFactory.create_batch(60, project=project, name="queued")
    other = make_run("other")

    act(client, url, "cancel", all="1", query="name=queued")

    other.refresh_from_db()
    assert other.status == RunStatus.RUNNING
    assert Run.objects.filter(status=RunStatus.CANCELLED).count() == 60


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_metrics_of_selected_runs_are_exported(client, url, make_run, form):
    a, b = make_run("a", metrics={"loss": [1]}), make_run("b", metrics={"loss": [2]})
    make_run("c", metrics={"loss": [3]})

    response = client.post(f"{url}/selected", {"action": form, "runs": [a.pk, b.pk]})
    content = b"".join(response.streaming_content)

    assert f".{form}" in response["Content-Disposition"]
    assert content.startswith(b"PAR1" if form == "parquet" else b"project_id,")
    if form == "csv":
        assert content.count(b"\r\n") == 3


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"action": "delete"},
        {"action": "delete", "runs": "\x00"},
        {"action": "nonsense", "runs": "run_x"},
        {"action": "tag", "all": "1", "tag_key": "\x00"},
        {"action": "archive", "all": "1", "query": "filter=("},
    ],
)
def test_nothing_is_done_with_nothing(client, url, make_run, fields):
    run = make_run("a")

    response = client.post(f"{url}/selected", fields, follow=True)

    run.refresh_from_db()
    assert response.status_code == 200
    assert (run.deleted_at, run.archived_at, run.tags) == (None, None, {})


def test_run_of_another_project_is_not_touched(client, url, make_run):
    other = unmanaged_run()

    act(client, url, "delete", other)

    other.refresh_from_db()
    assert other.deleted_at is None
