"""Rows, groups and ids of the table, as the database has them."""

import math
from datetime import timedelta
from urllib.parse import quote

import pytest
from django.http import QueryDict
from django.utils import timezone

from artifacts import trash
from artifacts.kinds import TagValue
from dashboard.run_table import query
from dashboard.run_table.address import Address
from dashboard.run_table.cells import cells, export_value
from dashboard.run_table.columns import ATTRIBUTES, parse_column
from runs.models import Run
from runs.status import RunStatus
from tests.factories import ProjectFactory, RunFactory, checkpoint
from tracking.errors import InvalidParameter

pytestmark = pytest.mark.django_db


def address(text: str) -> Address:
    return Address.of(QueryDict(text))


def names(project, text: str) -> list[str]:
    """The names of the runs that the address asks for, in its order."""
    ids = query.matching_ids(Run.objects.filter(project=project).kept(), address(text))
    by_id = dict(Run.objects.values_list("pk", "name"))
    return [by_id[pk] for pk in ids]


def rows(project, *specs: str, main: str | None = None):
    columns = [parse_column(spec) for spec in specs]
    runs = Run.objects.filter(project=project).kept()
    page = query.page(runs, address("sort=name"), columns, size=50, main=main)
    return [[row.values.get(column) for column in columns] for row in page.rows]


# --- names -----------------------------------------------------------------------------------


def test_known_columns_are_what_the_runs_of_the_project_use(project, make_run):
    make_run("a", hyperparameters={"lr": 1, "seed": 7}, tags={"team": "nlp"}, metrics={"loss": [1]})
    make_run("b", hyperparameters={"lr": 2, "seed": 7})
    RunFactory(hyperparameters={"elsewhere": 1})

    known = query.known_columns(project)

    assert known == query.Known(
        ("lr", "seed"), ("lr",), {"loss": 1}, ("team",), key_metrics=("loss",)
    )


def test_param_that_some_runs_lack_differs(project, make_run):
    make_run("a", hyperparameters={"lr": 1, "warmup": 7})
    make_run("b", hyperparameters={"lr": 1})

    assert query.known_columns(project).differing == ("warmup",)


def test_differing_numbers_come_before_differing_texts(project, make_run):
    make_run("a", hyperparameters={"a_path": "x", "lr": "3e-4"})
    make_run("b", hyperparameters={"a_path": "y", "lr": 0.1})

    assert query.known_columns(project).differing == ("lr", "a_path")


def test_project_without_runs_has_no_names():
    assert query.known_columns(ProjectFactory()) == query.Known()


# --- filters ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("metrics.loss < 2", ["low"]),
        ("last.loss < 2", ["low"]),
        ("min.loss < 0.6", ["low"]),
        ("max.loss >= 9", ["high"]),
        ("best.loss < 0.6", ["low"]),
        ("best.accuracy > 0.8", ["high"]),
        ('params.lr = "3e-4"', ["low"]),
        ("params.lr < 0.01", ["low"]),
        ("params.lr >= 0.01", ["high"]),
        ("params.text > 1", []),
        ('status = "已失败"', ["high"]),
        ('status = "Failed"', ["high"]),
        ('status = "FINISHED"', []),
        ('status IN ("运行中", "KILLED")', ["low"]),
        ('name LIKE "hi%"', ["high"]),
        ("progress > 0.015", ["low"]),
        ("gpus = 8", ["high"]),
        ("step >= 0 and gpus < 8", ["low"]),
        ('model = "big"', ["high"]),
        ('recipe = "simulated" and dataset = "d"', ["low"]),
        ('tags.team = "nlp"', ["low"]),
        ('failure = "out_of_memory"', ["high"]),
        ('failure = "Out of memory"', ["high"]),
        ("duration >= 0 and gpu_hours > -1", ["high", "low"]),
        ('checkpoint_tag = "发布"', ["low"]),
        ('checkpoint_tag = "released"', ["low"]),
        ("metrics.loss < 2 or params.lr > 0.01", ["high", "low"]),
    ],
)
def test_filter_compares_what_the_table_shows(project, make_run, text, expected):
    low = make_run(
        "low",
        hyperparameters={"lr": 0.0003, "text": "x" * 500},
        metrics={"loss": [5, 0.5, 1], "accuracy": [0.9, 0.1, 0.7][1:]},
        tags={"team": "nlp"},
        dataset="d",
    )
    high = make_run(
        "high",
        hyperparameters={"lr": "0.1"},
        metrics={"loss": [9, 3], "accuracy": [0.9, 0.1]},
        gpu_count=8,
        model="big",
    )
    high.transition(RunStatus.FAILED, failure_kind="out_of_memory")
    checkpoint(low).tag(TagValue.RELEASED, notes="", by=None)

    assert names(project, f"sort=name&filter={quote(text)}") == expected


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("metrics.loss <", 14),
        ("metrics.loss < 2 and nonsense = 'x'", 21),
        ("status = 'sleeping'", 0),
        ("metrics.loss < 2 and name > 3", 21),
        ("name = 'a' and created = 1.5", 15),
        ("metrics.loss § 2", 13),
        ("(metrics.loss < 2", 17),
    ],
)
def test_error_in_the_filter_has_a_position(project, text, position):
    with pytest.raises(InvalidParameter) as raised:
        names(project, f"filter={quote(text)}")

    assert raised.value.position == position


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name=LPH", ["alpha"]),
        ("status=已失败&status=已取消", ["beta"]),
        ("status=已暂停", ["paused"]),
        ("who=ada", ["alpha"]),
        ("tag=发布", ["beta"]),
        ("status=nonsense", ["paused", "beta", "alpha"]),
        ("name=%00", ["paused", "beta", "alpha"]),
    ],
)
def test_plain_filters_select_runs(project, make_run, text, expected):
    make_run("alpha", tags={"mlflow.user": "ada"})
    beta = make_run("beta")
    beta.transition(RunStatus.FAILED)
    checkpoint(beta).tag(TagValue.RELEASED, notes="", by=None)
    make_run("paused", status=RunStatus.PAUSED)

    assert names(project, text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["kept"]),
        ("archived=only", ["put away"]),
        ("archived=with&sort=name", ["kept", "put away"]),
    ],
)
def test_archived_runs_are_listed_only_if_asked_for(project, make_run, text, expected):
    make_run("kept")
    away = make_run("put away")
    away.transition(RunStatus.COMPLETED)
    away.archive(by=None)

    assert names(project, text) == expected


# --- orders ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("", ["c", "b", "a"]),
        ("name", ["a", "b", "c"]),
        ("-name", ["c", "b", "a"]),
        ("metrics.loss", ["b", "a", "c"]),
        ("-metrics.loss", ["a", "b", "c"]),
        ("max.loss", ["a", "b", "c"]),
        ("-params.lr", ["b", "a", "c"]),
        ("params.lr", ["a", "b", "c"]),
        ("tags.team", ["c", "b", "a"]),
        ("-priority", ["c", "b", "a"]),
        ("status", ["c", "b", "a"]),
        ("nonsense", ["c", "b", "a"]),
        ("checkpoint_tags", ["c", "b", "a"]),
    ],
)
def test_any_column_sorts(project, make_run, sort, expected):
    make_run("a", hyperparameters={"lr": "9e-4"}, metrics={"loss": [1, 2]}, priority=-1)
    make_run("b", hyperparameters={"lr": 0.01}, metrics={"loss": [9, 1]}, tags={"team": "b"})
    make_run("c", tags={"team": "a"}, priority=1)

    assert names(project, f"sort={sort}") == expected


@pytest.mark.parametrize("sort", ["metrics.loss", "-metrics.loss"])
def test_nan_sorts_after_numbers_and_before_nothing(project, make_run, sort):
    make_run("number", metrics={"loss": [1]})
    make_run("nan", metrics={"loss": [math.nan]})
    make_run("nothing")

    assert names(project, f"sort={sort}") == ["number", "nan", "nothing"]


# --- pages -----------------------------------------------------------------------------------


def test_page_beyond_the_end_is_the_last(project):
    RunFactory.create_batch(5, project=project)
    runs = Run.objects.filter(project=project).kept()

    page = query.page(runs, address("page=99"), [], size=2, main=None)

    assert (len(page.rows), page.number, page.total) == (1, 3, 5)


def test_row_has_each_value_of_a_metric(project, make_run):
    make_run("a", metrics={"loss": [5, 0.5, 1], "accuracy": [0.1, 0.9, 0.3]})

    shown = rows(project, "metrics.loss", "min.loss", "max.loss", "best.loss", "best.accuracy")

    assert shown == [[1, 0.5, 5, 0.5, 0.9]]


def test_metric_at_best_is_of_the_step_at_which_the_main_metric_was_best(project, make_run):
    make_run("a", metrics={"eval_loss": [5, 0.5, 1], "bleu": [10, 20, 30]})
    make_run("b", metrics={"bleu": [10, 20, 30]})

    shown = rows(project, "at_best.bleu", "at_best.eval_loss", main="eval_loss")

    assert shown == [[20, 0.5], [None, None]]


def test_metric_at_best_is_exact_in_a_series_with_buckets(project, make_run):
    values = [abs(step - 3210) / 1000 + 1 for step in range(5000)]
    make_run("a", metrics={"eval_loss": values, "bleu": list(range(5000))})

    assert rows(project, "at_best.bleu", main="eval_loss") == [[3210]]


@pytest.fixture
def with_bleu_at_best(make_run):
    """Runs with 20, 5 and NaN bleu at the best step, and two that have none."""
    make_run("twenty", metrics={"eval_loss": [5, 0.5, 1], "bleu": [10, 20, 30]})
    make_run("five", metrics={"eval_loss": [0.5, 5], "bleu": [5, 50]})
    make_run("nan", metrics={"eval_loss": [1], "bleu": [float("nan")]})
    make_run("without", metrics={"eval_loss": [1]})
    make_run("new")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("sort=at_best.bleu", ["five", "twenty", "nan", "new", "without"]),
        ("sort=-at_best.bleu", ["twenty", "five", "nan", "new", "without"]),
        ("sort=-at_best.bleu&filter=metrics.bleu > 0", ["twenty", "five"]),
        ("sort=-at_best.bleu&page=9", ["twenty", "five", "nan", "new", "without"]),
    ],
)
def test_runs_are_sorted_by_a_metric_at_best(project, with_bleu_at_best, text, names):
    runs = Run.objects.filter(project=project).kept()

    page = query.page(runs, address(text), [], size=50, main="eval_loss")

    assert [row.run.name for row in page.rows] == names


def test_pages_of_runs_sorted_by_a_metric_at_best(project, with_bleu_at_best):
    runs = Run.objects.filter(project=project).kept()

    page = query.page(runs, address("sort=at_best.bleu&page=2"), [], size=2, main="eval_loss")

    assert [row.run.name for row in page.rows] == ["nan", "new"]
    assert (page.number, page.total) == (2, 5)


def test_too_many_runs_to_sort_by_a_metric_at_best_are_refused(
    project, with_bleu_at_best, monkeypatch
):
    monkeypatch.setattr(query, "MAX_SORTED_AT_BEST", 4)
    runs = Run.objects.filter(project=project).kept()

    with pytest.raises(InvalidParameter, match=" 4 "):
        query.page(runs, address("sort=at_best.bleu"), [], size=2, main="eval_loss")


def test_page_takes_the_same_queries_for_any_number_of_runs(
    project, make_run, django_assert_num_queries
):
    for number in range(20):
        make_run(str(number), metrics={"loss": [1]})
    columns = [parse_column(spec) for spec in ("params.lr", "metrics.loss", "checkpoint_tags")]
    runs = Run.objects.filter(project=project).kept()

    with django_assert_num_queries(5):  # count, ids, runs, series, tags
        page = query.page(runs, address(""), columns, size=50, main=None)

        for column in map(parse_column, ATTRIBUTES):
            cells(column, page.rows)
            assert len([export_value(column, row) for row in page.rows]) == 20


# --- groups ----------------------------------------------------------------------------------


def groups(project, text: str, *specs: str) -> list[query.Group]:
    asked = address(text)
    runs = Run.objects.filter(project=project).kept()
    return query.groups(runs, asked, asked.group, [parse_column(spec) for spec in specs])


def test_groups_have_the_mean_and_the_deviation_of_each_metric(project, make_run):
    for lr, loss in ((0.1, 1), (0.1, 3), (0.02, 7)):
        make_run("x", hyperparameters={"lr": lr}, metrics={"loss": [loss]})
    make_run("y")
    loss = parse_column("metrics.loss")

    found = groups(project, "group=params.lr", "metrics.loss")

    assert [(group.value, group.count) for group in found] == [(0.02, 1), (0.1, 2), (None, 1)]
    assert found[1].metrics[loss] == query.Spread(2, pytest.approx(math.sqrt(2)), 1, 3)
    assert found[0].metrics[loss].deviation is None
    assert found[2].metrics[loss].mean is None


def test_groups_sort_by_the_mean_of_a_metric(project, make_run):
    for lr, loss in ((1, 1), (2, 9), (3, 5)):
        make_run("x", hyperparameters={"lr": lr}, metrics={"loss": [loss]})

    found = groups(project, "group=params.lr&sort=-metrics.loss", "metrics.loss")

    assert [group.value for group in found] == [2, 3, 1]


def test_groups_are_of_the_runs_that_match(project, make_run):
    for lr in (1, 2):
        make_run("x", hyperparameters={"lr": lr})

    assert [group.value for group in groups(project, "group=params.lr&filter=params.lr+>+1")] == [2]


def test_texts_of_the_same_number_are_one_group(project, make_run):
    for lr in (0.00005, "5e-05", "0.00005", "5e-5 ", "2e-4"):
        make_run("x", hyperparameters={"lr": lr})

    found = groups(project, "group=params.lr")

    assert [(group.value, group.count) for group in found] == [(5e-5, 3), (2e-4, 1), ("5e-5 ", 1)]


def test_numbers_that_are_the_same_double_are_groups_of_their_own(project, make_run):
    for seed in (2**53, 2**53 + 1):
        make_run("x", hyperparameters={"seed": seed})

    found = groups(project, "group=params.seed")

    assert [group.value for group in found] == [str(2**53), str(2**53 + 1)]


@pytest.mark.parametrize("by", ["status", "who", "model", "tags.team", "gpus"])
def test_runs_can_be_grouped_by_other_columns(project, make_run, by):
    make_run("x", model="m", tags={"team": "m", "mlflow.user": "m"}, gpu_count=4)

    assert [group.count for group in groups(project, f"group={by}")] == [1]


# --- checkpoint tags -------------------------------------------------------------------------


def test_runs_are_sorted_by_the_greatest_tag_of_their_checkpoints(project, make_run):
    tags = {
        "archived": [TagValue.ARCHIVED],
        "released": [TagValue.ARCHIVED, TagValue.RELEASED],
        "none": [],
        "candidate": [TagValue.CANDIDATE],
    }
    for name, values in tags.items():
        run = make_run(name)
        for step, value in enumerate(values, start=1):
            checkpoint(run, step=step).tag(value, notes="", by=None)

    assert names(project, "sort=-checkpoint_tags") == ["released", "candidate", "archived", "none"]
    assert names(project, "sort=checkpoint_tags") == ["archived", "candidate", "released", "none"]


def test_tags_of_removed_checkpoints_are_not_those_of_their_run(project, make_run):
    def done(name):
        run = make_run(name)
        run.transition(RunStatus.COMPLETED)
        return run

    removed = checkpoint(done("removed"))
    for artifact in (removed, checkpoint(done("kept"))):
        artifact.tag(TagValue.ARCHIVED, notes="", by=None)
    trash.trash(removed, reason="", by=None)

    assert names(project, "filter=" + quote('checkpoint_tag = "归档"')) == ["kept"]
    assert names(project, "sort=-checkpoint_tags") == ["kept", "removed"]


# --- GPU-hours -------------------------------------------------------------------------------


@pytest.fixture
def queued_long(make_run):
    """A run of an hour's work on 2 GPUs, and one of two hours that waited for a day in between."""
    end = timezone.now()
    fields = {"gpu_count": 2, "status": RunStatus.COMPLETED, "finished_at": end}
    make_run("short", started_at=end - timedelta(hours=3), held_seconds=7200, **fields)
    make_run("long wait", started_at=end - timedelta(days=1), held_seconds=3600, **fields)


@pytest.mark.usefixtures("queued_long")
def test_gpu_hours_do_not_count_the_time_in_the_queue(project):
    column = parse_column("gpu_hours")
    runs = Run.objects.filter(project=project).kept()
    found = query.page(runs, address("sort=name"), [column], size=50, main=None).rows

    assert [export_value(column, row) for row in found] == [2.0, 4.0]
    assert [cell.text for cell in cells(column, found)] == ["2", "4"]


@pytest.mark.usefixtures("queued_long")
def test_runs_are_sorted_and_found_by_the_gpu_hours_that_they_show(project):
    assert names(project, "sort=-gpu_hours") == ["short", "long wait"]
    assert names(project, "filter=gpu_hours+%3E+3") == ["short"]


# --- groups of large values ------------------------------------------------------------------


@pytest.mark.parametrize("large", [1e200, -1e308])
def test_values_whose_squares_overflow_have_no_mean(project, make_run, large):
    for number, value in enumerate([1.0, 3.0, large, large]):
        make_run(f"run {number}", model="m", metrics={"perplexity": [value]})
    column = parse_column("metrics.perplexity")
    runs = Run.objects.filter(project=project).kept()

    [group] = query.groups(runs, address("group=model"), parse_column("model"), [column])

    spread = group.metrics[column]
    assert (group.count, spread.mean) == (4, 2.0)
    assert large in (spread.least, spread.greatest)


# --- the main metric -------------------------------------------------------------------------


def test_main_metric_is_the_one_that_the_project_names_first(project, make_run):
    make_run("a", metrics={"eval_loss": [1], "bleu": [2]})
    by_rule = query.known_columns(project).main_metric
    project.show_first(["missing", "bleu"])

    assert (by_rule, query.known_columns(project).main_metric) == ("eval_loss", "bleu")


# --- the trash -------------------------------------------------------------------------------


def test_runs_in_the_trash_are_sorted_and_found_by_their_values(project, make_run):
    for name, loss in (("a", 3), ("b", 1), ("c", 2)):
        make_run(name, hyperparameters={"lr": loss}, metrics={"loss": [loss]})
    runs = Run.objects.filter(project=project)
    runs.update(deleted_at=timezone.now(), is_indexed=True)

    def found(text):
        ids = query.matching_ids(runs, address(f"archived=trash&{text}"))
        return [Run.objects.get(pk=pk).name for pk in ids]

    assert found("sort=metrics.loss") == ["b", "c", "a"]
    assert found("sort=params.lr&filter=metrics.loss+%3E+1") == ["c", "a"]
