"""The tools that read, by the SDK's client."""

import io

import orjson
import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

import agents.tools  # noqa: F401  registers them
from accounts.roles import Role
from agents.tool import TOOLS
from artifacts import uploads
from artifacts.checkpoints import resume_run
from logs.appending import append_log
from logs.lines import Line
from metrics.points import Point, Points
from metrics.recording import record_points
from runs.actions import create_run
from runs.models import Recipe, Run
from runs.status import RunStatus
from tests.agents.conftest import agent_of
from tests.factories import (
    ProjectFactory,
    RecipeFactory,
    RunFactory,
    checkpoint,
    member_of,
    unmanaged_run,
)

pytestmark = pytest.mark.django_db

WRITING = {"queue_run", "cancel_run", "resume_run", "tag_run", "tag_checkpoint"}


def run_with_curve(project, points=100, **fields):
    run = unmanaged_run(project=project, **fields)
    record_points(
        run.pk,
        Points.of(
            Point("train_loss", step, 10.0 / (step + 1), 1000 + step) for step in range(points)
        ),
    )
    return run


def lines(*messages, level="INFO"):
    return [Line.new(message, level=level) for message in messages]


def test_tools_are_annotated_and_strict(agent):
    tools = agent.tools()

    assert set(tools) > WRITING
    for name, tool in tools.items():
        assert tool.annotations.read_only_hint == (name not in WRITING)
        assert tool.input_schema["additionalProperties"] is False
        assert tool.description


def test_token_that_reads_has_no_writing_tools(reader, member, project):
    run = RunFactory(project=project)

    assert WRITING.isdisjoint(reader.tools())
    assert reader.refused("cancel_run", run=run.pk) == "This token only reads."


def test_viewer_has_no_writing_tools(project):
    viewer = agent_of(member_of(project, Role.VIEWER))
    run = RunFactory(project=project)

    assert WRITING.isdisjoint(viewer.tools())
    assert viewer.refused("cancel_run", run=run.pk)


def test_member_elsewhere_is_refused_where_they_view(project):
    user = member_of(project, Role.VIEWER)
    ProjectFactory().roles.create(user=user, role=Role.MEMBER)
    run = RunFactory(project=project)

    assert "Member" in agent_of(user).refused("cancel_run", run=run.pk)
    run.refresh_from_db()
    assert run.stop_requested_at is None


def test_stranger_is_told_nothing(stranger, project):
    run = run_with_curve(project, name="secret-run", hyperparameters={"secret-param": 1})
    kept = checkpoint(run)
    append_log(run, lines("secret-line"))
    RunFactory(project=project, name="secret-queued")
    calls = {
        "list_projects": {},
        "find_runs": {"project": project.pk},
        "get_run": {"run": run.pk},
        "compare_runs": {"runs": [run.pk, run.pk + "x"]},
        "read_curve": {"run": run.pk, "metric": "train_loss"},
        "search_logs": {"run": run.pk},
        "why_not_running": {"run": run.pk},
        "show_queue": {},
        "show_lineage": {"checkpoint": kept.pk},
        "list_checkpoints": {"project": project.pk},
        "list_recipes": {},
        "queue_run": {"project": project.pk},
        "cancel_run": {"run": run.pk},
        "resume_run": {"run": run.pk},
        "tag_run": {"run": run.pk, "tags": {"a": "b"}},
        "tag_checkpoint": {"checkpoint": kept.pk, "tag": "candidate"},
    }
    assert set(calls) == set(TOOLS)

    for name, arguments in calls.items():
        told = stranger.result(name, **arguments).model_dump_json()
        for given in arguments.values():
            for one in given if isinstance(given, list) else [given]:
                told = told.replace(str(one), "")
        for secret in ("secret", project.name, project.pk, run.pk, kept.pk):
            assert secret not in told, name


def test_token_of_a_project_sees_that_one_alone(member, project):
    other = ProjectFactory()
    other.roles.create(user=member, role=Role.OWNER)
    run = RunFactory(project=other)
    bound = agent_of(member, project_id=project.pk)

    assert [row["id"] for row in bound("list_projects")["projects"]] == [project.pk]
    assert bound.refused("get_run", run=run.pk) == f"There is no run {run.pk} that you may see."


def test_unknown_argument_is_named_with_the_known(agent):
    text = agent.refused("read_curve", run="run_x", metrics="loss")

    assert text == ("Unknown argument: 'metrics'. Known: run, metric, buckets, from_step, to_step.")


@pytest.mark.parametrize("name", sorted(TOOLS))
def test_nonsense_arguments_are_refused_by_name(agent, project, name):
    nonsense = [None, -1, 1e300, "", "\x00", "x" * 100_000, [None], {"a": [1]}]
    calls = [
        {argument: value} for argument in TOOLS[name].schema["properties"] for value in nonsense
    ]

    found = agent.results(name, calls)

    for call, result in zip(calls, found, strict=True):
        assert "went wrong" not in result.model_dump_json(), call


@pytest.mark.parametrize("value", [10**30, -(10**30)])
def test_integer_beyond_64_bits_is_refused(agent, project, value):
    text = agent.refused("queue_run", hyperparameters={"nested": [{"x": value}]})

    assert text.startswith("hyperparameters: ")
    assert not Run.objects.filter(project=project).exists()


def test_projects_are_found_by_name(agent, member, project):
    ProjectFactory(name="other").roles.create(user=member, role=Role.VIEWER)

    found = agent("list_projects", name="summ")

    assert [(row["name"], row["role"]) for row in found["projects"]] == [("summaries", "member")]
    assert found["total"] == 1


def test_runs_are_found_by_values_and_sorted(agent, project):
    for loss, rate in ((0.5, 1e-3), (0.2, 1e-4), (0.9, 1e-5)):
        run = unmanaged_run(project=project, hyperparameters={"lr": rate})
        record_points(run.pk, Points.of([Point("eval_loss", 1, loss, 1000)]))

    found = agent(
        "find_runs",
        filter="params.lr < 0.01 and min.eval_loss < 0.8",
        sort="min.eval_loss",
        show=["params.lr", "metrics.eval_loss"],
    )

    assert [row["metrics.eval_loss"] for row in found["runs"]] == [0.2, 0.5]
    assert [row["params.lr"] for row in found["runs"]] == [1e-4, 1e-3]
    assert found["total"] == 2


def test_runs_are_found_by_status_and_name(agent, project):
    RunFactory(project=project, name="alpha-1", status=RunStatus.FAILED)
    RunFactory(project=project, name="alpha-2")
    RunFactory(project=project, name="beta-1", status=RunStatus.FAILED)

    found = agent("find_runs", status=["failed"], name="alpha")

    assert [row["name"] for row in found["runs"]] == ["alpha-1"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"filter": "params.lr <"}, "filter: "),
        ({"sort": "loss"}, "sort: loss is no column"),
        ({"sort": "best.lr"}, "sort: Whether less or more of lr"),
        ({"status": ["broken"]}, "status: broken is no status. Known: queued, running"),
        ({"limit": 51}, "limit: "),
        ({"project": "proj_nope"}, "There is no project proj_nope"),
    ],
)
def test_wrong_question_for_runs_says_what_is_wrong(agent, project, arguments, told):
    assert agent.refused("find_runs", **arguments).startswith(told)


def test_project_has_to_be_named_where_there_are_several(agent, member, project):
    other = ProjectFactory()
    other.roles.create(user=member, role=Role.MEMBER)

    text = agent.refused("find_runs")

    assert project.pk in text
    assert other.pk in text


def test_answer_is_small_whatever_there_is(agent, project):
    long = {
        "name": "n" * 200,
        "model": "m" * 200,
        "hyperparameters": {f"p{number}": "v" * 500 for number in range(60)},
        "tags": {f"t{number}": "v" * 500 for number in range(60)},
    }
    recipe = Recipe.objects.get(name="simulated")
    build = {
        "project": project,
        "project_version": 1,
        "recipe": recipe,
        "queued_at": timezone.now(),
    }
    others = [Run(**build, name=f"run-{number}") for number in range(950)]
    with connection.cursor() as cursor:  # without triggers, which take longer
        cursor.execute("SET LOCAL session_replication_role = replica")
        Run.objects.bulk_create([*others, *(Run(**build, **long) for _ in range(50))])
        cursor.execute("SET LOCAL session_replication_role = origin")
    run = Run.objects.filter(project=project, model="m" * 200).first()
    append_log(run, lines(*("word " * 5000 for _ in range(60))))

    answers = {
        "find_runs": agent("find_runs", limit=50, show=[f"params.p{n}" for n in range(12)]),
        "get_run": agent("get_run", run=run.pk),
        "search_logs": agent("search_logs", run=run.pk, query="word", limit=50, around=5),
        "show_queue": agent("show_queue", limit=50),
    }

    sizes = {name: len(orjson.dumps(content)) for name, content in answers.items()}
    assert max(sizes.values()) <= 10_000, sizes
    found = answers["find_runs"]
    assert found["total"] == 1000
    assert found["next_offset"] == len(found["runs"]) < 50
    assert found["notes"]


def test_next_offset_leads_through_all(agent, project):
    expected = {RunFactory(project=project).pk for _ in range(5)}

    seen, offset = [], 0
    while offset is not None:
        page = agent("find_runs", limit=2, offset=offset)
        seen += [row["id"] for row in page["runs"]]
        offset = page.get("next_offset")

    assert sorted(seen) == sorted(expected)


def test_recipes_are_listed_to_the_end(agent, project):
    names = {RecipeFactory(description="d" * 300).pk for _ in range(60)}

    seen, offset = set(), 0
    while offset is not None:
        page = agent("list_recipes", offset=offset)
        seen |= {row["name"] for row in page["recipes"]}
        offset = page.get("next_offset")

    assert names <= seen


def test_run_tells_its_state(agent, project):
    run = run_with_curve(project, name="one", hyperparameters={"lr": 0.1})

    found = agent("get_run", run=run.pk)

    assert found["name"] == "one"
    assert found["status"] == "运行中"
    assert found["hyperparameters"] == {"lr": 0.1}
    assert found["key_metrics"]["train_loss"]["best_step"] == 99


def test_comparison_tells_differences_alone(agent, project):
    runs = [
        run_with_curve(project, points, hyperparameters={"lr": rate, "seed": 1})
        for points, rate in ((10, 0.1), (20, 0.2))
    ]

    found = agent("compare_runs", runs=[run.pk for run in runs])

    assert found["differences"] == {"params.lr": [0.1, 0.2]}
    (metric,) = found["metrics"]
    assert metric["key"] == "train_loss"
    assert metric["last_step"] == [9, 19]
    assert metric["best"] == pytest.approx([1.0, 0.5])


def test_curve_is_read_as_few_buckets(agent, project):
    run = run_with_curve(project, 1000)

    found = agent("read_curve", run=run.pk, metric="train_loss", buckets=10)
    near = agent("read_curve", run=run.pk, metric="train_loss", from_step=3, to_step=5)

    assert found["columns"] == ["step", "last_step", "min", "max", "first", "last"]
    assert len(found["rows"]) == 10
    assert found["rows"][0][3] == 10.0
    assert near["columns"] == ["step", "value"]
    assert [row[0] for row in near["rows"]] == [3, 4, 5]


def test_unknown_metric_is_told_with_the_known(agent, project):
    run = run_with_curve(project)

    text = agent.refused("read_curve", run=run.pk, metric="loss")

    assert text == "The run has no metric loss. It has: train_loss."


def test_logs_are_searched_with_lines_around(agent, project):
    run = unmanaged_run(project=project)
    append_log(run, lines("before", "CUDA out of memory", "after", "more"))

    found = agent("search_logs", run=run.pk, query="out of memory", around=1)

    assert found["matching"] == 1
    assert [line["message"] for line in found["lines"]] == [
        "before",
        "CUDA out of memory",
        "after",
    ]
    assert [line.get("is_context", False) for line in found["lines"]] == [True, False, True]


def test_end_of_the_log_leads_further_back(agent, project):
    run = unmanaged_run(project=project)
    append_log(run, lines(*(f"line {number}" for number in range(1, 11))))

    end = agent("search_logs", run=run.pk, limit=3)
    before = agent("search_logs", run=run.pk, limit=3, before_seq=end["before_seq"])

    assert [line["seq"] for line in end["lines"]] == [8, 9, 10]
    assert [line["seq"] for line in before["lines"]] == [5, 6, 7]


def test_logs_of_a_project_are_searched(agent, project):
    run = unmanaged_run(project=project)
    unmanaged_run(project=project)
    append_log(run, lines("loss is NaN"))

    found = agent("search_logs", query="nan")

    assert [row["run"] for row in found["runs"]] == [run.pk]
    assert len(found["searched"]) == 2


def test_wrong_regular_expression_is_refused(agent, project):
    run = unmanaged_run(project=project)
    append_log(run, lines("x"))

    assert agent.refused("search_logs", run=run.pk, regex="(").startswith("regex: ")


def test_waiting_run_tells_why(agent, project):
    run = RunFactory(project=project)

    found = agent("why_not_running", run=run.pk)

    assert found["waits_for"] == "worker"
    assert found["position"] == 1
    assert found["reason"]


def test_queue_counts_what_the_caller_does_not_see(agent, project):
    own = RunFactory(project=project)
    RunFactory(gpu_count=3)

    found = agent("show_queue")

    assert [row["run"] for row in found["queue"]] == [own.pk]
    assert found["waiting_others"] == {"runs": 1, "gpus": 3}


def test_lineage_is_told_from_the_oldest_on(agent, project, member):
    source = create_run(project, by=member, hyperparameters={"max_steps": 30, "save_steps": 5})
    call_command("advance_runs", steps=10, verbosity=0)
    kept = agent("list_checkpoints", run=source.pk)["checkpoints"][0]
    resumed = resume_run(source, source.artifacts.get(pk=kept["id"]), by=member)

    by_run = agent("show_lineage", run=resumed.pk)
    by_checkpoint = agent("show_lineage", checkpoint=kept["id"])

    assert [row["run"] for row in by_run["family"]] == [source.pk, resumed.pk]
    assert by_run["family"][1]["from_checkpoint"] == kept["id"]
    assert by_checkpoint["family"] == by_run["family"]


def test_checkpoint_of_several_files_has_the_size_of_all(agent, project):
    run = unmanaged_run(project=project)
    for name in ("model.safetensors", "optimizer.pt"):
        uploads.store(run, f"checkpoint-20/{name}", io.BytesIO(b"x" * 10))

    [listed] = agent("list_checkpoints", run=run.pk)["checkpoints"]

    assert listed["size_bytes"] == 20


def test_checkpoints_are_found_by_tag(agent, project):
    run = unmanaged_run(project=project)
    first, _second = checkpoint(run, step=1), checkpoint(run, step=2)
    agent("tag_checkpoint", checkpoint=first.pk, tag="candidate")

    latest = agent("list_checkpoints", run=run.pk)["checkpoints"]
    tagged = agent("list_checkpoints", tag="candidate")["checkpoints"]

    assert [row["step"] for row in latest] == [2, 1]
    assert [(row["id"], row["tags"]) for row in tagged] == [(first.pk, ["候选"])]
