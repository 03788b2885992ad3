"""The tabs of a run: configuration, lineage, events; places in its log; its files."""

import io
import json
from datetime import UTC, datetime, timedelta

import pytest

from accounts.open_mode import local_administrator
from accounts.roles import Role
from artifacts.kinds import TagValue
from artifacts.uploads import store
from core.times import milliseconds
from logs.appending import append_log
from logs.lines import Line
from metrics.points import Point
from metrics.recording import record_metrics
from projects.models import Project
from runs.inputs import log_inputs
from runs.models import EventKind
from runs.status import RunStatus
from tests.dashboard.operators import administrator, member
from tests.factories import RunFactory, checkpoint, member_of, unmanaged_run

pytestmark = pytest.mark.django_db

START = datetime(2024, 1, 2, 10, 0, tzinfo=UTC)


@pytest.fixture
def client(client, settings):
    settings.LANGUAGE_CODE = "en"
    local_administrator()
    return client


def url_of(run, part=""):
    return f"/dashboard/projects/{run.project_id}/runs/{run.pk}{part}"


def text_of(client, run, part):
    return " ".join(client.get(url_of(run, part)).content.decode().split())


def uploaded(run, name, content):
    artifact, _is_new = store(run, name, io.BytesIO(content.encode()))
    return artifact


# --- configuration -----------------------------------------------------------------------------


def test_configuration_tells_code_data_and_what_the_project_changed_since(client):
    run = unmanaged_run(
        tags={"mlflow.source.git.commit": "9f2c1aa", "mlflow.docker.image": "pytorch:2"},
        hyperparameters={"lr": "3e-4"},
    )
    log_inputs(run.pk, [{"name": "papers", "digest": "d1"}])
    project = Project.objects.get(pk=run.project_id)
    project.revise({"objective": "Better summaries"}, by=None)

    page = text_of(client, run, "/configuration")

    for text in ("9f2c1aa", "papers", "pytorch:2", "3e-4", "Better summaries", "v2"):
        assert text in page


def test_configuration_can_be_copied_as_json(client):
    run = RunFactory(hyperparameters={"lr": 1e-4}, tags={"stage": "sft"}, dataset='a"b</script>')

    content = json.loads(client.get(url_of(run, "/configuration")).context["configuration"].json)

    assert content["hyperparameters"] == {"lr": 1e-4}
    assert content["dataset"] == 'a"b</script>'
    assert content["tags"] == {"stage": "sft"}


def test_command_of_a_recipe_is_for_operators_who_have_signed_in(client, settings):
    run = RunFactory()
    run.recipe.command = ["train.py", "--secret-flag"]
    run.recipe.save()

    assert "--secret-flag" not in text_of(client, run, "/configuration")  # in open mode
    assert "--secret-flag" in text_of(administrator(), run, "/configuration")
    settings.OPEN_MODE = False
    assert "--secret-flag" not in text_of(member(), run, "/configuration")


# --- lineage -----------------------------------------------------------------------------------


def test_lineage_is_a_nested_list_with_states_steps_and_bests(client):
    run = RunFactory(name="first", status=RunStatus.RUNNING)
    record_metrics(run, [Point("loss", 50, 1.5, 0)])
    saved = checkpoint(run, step=50)
    resumed = RunFactory(
        name="second", project=run.project, resumed_from_id=saved.pk, start_step=50, step=80
    )

    above, _, tree = text_of(client, resumed, "/lineage").partition('class="tree"')

    assert tree.index("first</a>") < tree.index("<ul>") < tree.index("second</a>")
    for text in ("steps 50–80", "best loss 1.5", 'aria-current="true"'):
        assert text in tree
    assert "?whole=1" in above


def test_lineage_of_hundreds_of_generations_is_shown(client):
    run = oldest = RunFactory(name="generation-0")
    for generation in range(1, 201):
        run = RunFactory(
            name=f"generation-{generation}",
            project=run.project,
            resumed_from_id=checkpoint(run, step=generation).pk,
        )

    page = text_of(client, oldest, "/lineage")

    names = [f"generation-{generation}</a>" for generation in range(201)]
    assert all(name in page for name in names)
    assert "resumed ← generation-199" in page


def test_best_of_a_lineage_is_of_the_metric_that_the_project_names(client):
    run = RunFactory(project__key_metrics=["bleu"])
    record_metrics(run, [Point("eval_loss", 1, 1.5, 0), Point("bleu", 1, 30.0, 0)])
    RunFactory(project=run.project, resumed_from_id=checkpoint(run, step=1).pk)

    assert "best bleu 30" in text_of(client, run, "/lineage")


def test_lineage_of_a_run_by_itself_says_what_would_be_there(client):
    assert "nothing came of it yet" in text_of(client, RunFactory(), "/lineage")


# --- events ------------------------------------------------------------------------------------


def test_events_are_filtered_by_kind(client):
    run = RunFactory()
    run.note(EventKind.REWOUND, reason="to step 5")
    run.note(EventKind.RECOVERED, reason="worker died")

    both = text_of(client, run, "/events")
    one = text_of(client, run, "/events?kind=rewound&kind=nonsense")

    assert "to step 5" in both
    assert "worker died" in both
    assert "to step 5" in one
    assert "worker died" not in one


# --- places in the log -------------------------------------------------------------------------


@pytest.fixture
def logged():
    run = RunFactory()
    lines = [
        Line.new(
            f"line {n}", "ERROR" if n == 333 else "INFO", timestamp=START + timedelta(seconds=n)
        )
        for n in range(1, 501)
    ]
    append_log(run, lines)
    ms = milliseconds(START)
    record_metrics(run, [Point("loss", step, 1.0, ms + 10_000 * step) for step in range(1, 40)])
    return run


@pytest.mark.parametrize(
    ("query", "line"),
    [
        (f"at_ms={milliseconds(START) + 250_500}", 251),
        ("at_ms=0", 1),
        ("at_ms=99999999999999", 500),
        ("at_step=12", 120),
        ("at=12", 120),
        ("at=step 12", 120),
        ("at=2024-01-02 10:02:00", 120),
        ("at=2024-01-02 18:02:00&zone=Asia/Shanghai", 120),
        ("at=2024-01-02T10:02:00Z&zone=Asia/Shanghai", 120),
        ("at_error=1", 333),
    ],
)
def test_steps_and_times_lead_to_their_line(client, logged, query, line):
    answer = client.get(url_of(logged, f"/log?{query}"))

    assert answer["Location"] == url_of(logged, f"/log?at_line={line}#line-{line}")


def test_line_of_a_filtered_log_leads_to_its_neighbors(client, logged):
    filtered = text_of(client, logged, "/log?level=ERROR")
    link = url_of(logged, "/log?at_line=333#line-333")
    around = client.get(url_of(logged, "/log?at_line=333&level=ERROR"))

    assert f'href="{link}"' in filtered
    lines = [line.seq for line in around.context["page"]]
    assert {332, 333, 334} <= set(lines)
    page = " ".join(around.content.decode().split())
    assert 'class="line error marked" id="line-333" aria-current="location"' in page


@pytest.mark.parametrize("line", ["0", "501", "9" * 18])
def test_line_beyond_the_log_shows_its_nearest_end(client, logged, line):
    assert list(client.get(url_of(logged, f"/log?at_line={line}")).context["page"])


@pytest.mark.parametrize(
    "query",
    [
        *(
            "at=soon",
            "at=%00",
            "at_line=x",
            "at_line=-1",
            "at_step=" + "9" * 30,
            "at=" + "9" * 5000,
        ),
        *("at_ms=" + "9" * 19, "at_step=400", "at=10000-01-01", "at=0001-01-01T00:00+23:59"),
    ],
)
def test_a_place_that_is_not_there_says_so_above_the_log(client, logged, query):
    answer = client.get(url_of(logged, f"/log?{query}"))

    assert answer.status_code == 200
    assert answer.context["jump_form"].errors
    assert list(answer.context["page"])


def test_docked_log_shows_the_lines_around_a_place(client, logged):
    answer = client.get(url_of(logged, "/lines?at_step=30"))

    assert [answer.context["lines"][0].seq, answer.context["marked"]] == [240, 300]
    assert "marked" in answer.content.decode()


def test_docked_log_says_if_a_place_is_not_there(client, logged):
    answer = client.get(url_of(logged, "/lines?at_step=4000"))

    assert answer.status_code == 422
    assert "no metric at step 4000" in answer.content.decode()


@pytest.mark.parametrize("query", ["at_line=5", "at_ms=5", "at_error=1"])
def test_empty_log_has_no_places(client, query):
    run = RunFactory()

    assert client.get(url_of(run, f"/log?{query}"), follow=True).status_code == 200
    assert client.get(url_of(run, f"/lines?{query}")).status_code in {200, 422}


# --- files -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.json", '{"lr": 1}', '<span class="key">lr</span>'),
        ("a.csv", "name,value\nx,1", ">x</td>"),
        ("a.md", "# Title", "<h3>Title</h3>"),
        ("a.txt", "<b>plain</b>", "&lt;b&gt;plain&lt;/b&gt;"),
        ("a.html", "<p>x</p>", "sandbox"),
        ("a.json", "{", "Not valid JSON"),
        ("a.bin", "\x00\x01", "no preview of files of this kind"),
    ],
)
def test_page_of_a_file_shows_what_it_contains(client, name, content, expected):
    run = RunFactory()
    artifact = uploaded(run, name, content)

    assert expected in text_of(client, run, f"/artifacts/{artifact.pk}")


def test_html_is_framed_without_permissions_and_sent_under_a_policy(client):
    run = RunFactory()
    artifact = uploaded(run, "a.html", "<script>alert(1)</script>")

    page = text_of(client, run, f"/artifacts/{artifact.pk}")
    raw = client.get(url_of(run, f"/artifacts/{artifact.pk}/raw"))

    assert 'sandbox loading="lazy"' in page.replace('sandbox="" ', "sandbox ")
    assert "<script>alert" not in page
    assert raw["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert raw["X-Frame-Options"] == "SAMEORIGIN"
    raw.close()


def test_other_files_are_not_sent_to_be_shown(client):
    run = RunFactory()
    artifact = uploaded(run, "a.js", "alert(1)")

    assert client.get(url_of(run, f"/artifacts/{artifact.pk}/raw")).status_code == 404


def test_file_whose_bytes_are_gone_says_so(client):
    run = RunFactory()
    artifact = uploaded(run, "a.txt", "x")
    type(artifact).objects.filter(pk=artifact.pk).update(stored_as=".files/gone")

    assert "bytes are missing" in text_of(client, run, f"/artifacts/{artifact.pk}")


def test_page_of_a_checkpoint_tells_who_tagged_it_and_when(client):
    run = RunFactory()
    user = member_of(run.project, Role.MAINTAINER, username="li")
    saved = checkpoint(run)
    tag = saved.tag(TagValue.RELEASED, notes="checked\ntwice", by=user)

    page = text_of(client, run, f"/artifacts/{saved.pk}")

    for text in ("Released", "li</span>", "checked<br>twice", f"{tag.applied_at:%Y-%m-%d}"):
        assert text in page


def test_checkpoints_are_listed_with_their_metrics_and_tags(client):
    run = RunFactory()
    record_metrics(run, [Point("loss", 50, 1.25, 0)])
    checkpoint(run, step=50).tag(
        TagValue.CANDIDATE, notes="", by=member_of(run.project, username="li")
    )

    page = text_of(client, run, "/checkpoints")

    for text in ("1.25", "Candidate", "li ·"):
        assert text in page
