"""The sums of runs by project, owner, pool, month, …"""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from goodput.parts import Part
from goodput.report_queries import Grouping
from goodput.reports import Days, report
from projects.sight import EVERYTHING
from runs.models import Run
from tests.factories import GpuPoolFactory, ProjectFactory, RunFactory, UserFactory
from tests.goodput.accounts import accounted

pytestmark = pytest.mark.django_db

YEAR = Days(date(2026, 1, 1), date(2027, 1, 1))
BY_PART = {Part.TRAINING: 6, Part.REPEATED: 1, Part.WAITING: 1}


def found(by, days=YEAR, **options):
    return report(by, days, sight=EVERYTHING, **options)


def test_goodput_is_kept_training_by_wall_time_weighted_by_gpus():
    project = ProjectFactory()
    accounted(project=project, gpu_count=3, hours={Part.TRAINING: 1})
    accounted(project=project, gpu_count=1, hours={Part.REPEATED: 1})

    [group] = found(Grouping.PROJECT).groups

    assert (group.key, group.name, group.run_count) == (project.pk, project.name, 2)
    assert group.goodput == pytest.approx(0.75)
    assert group.gpu_hours == pytest.approx(4)
    assert group.seconds(Part.TRAINING) == 3600


def test_goodput_without_gpus_is_by_wall_time():
    accounted(gpu_count=0, hours=BY_PART)

    [group] = found(Grouping.PROJECT).groups

    assert group.goodput == pytest.approx(6 / 8)
    assert group.gpu_hours == 0


def test_time_in_the_queue_holds_no_gpus():
    accounted(gpu_count=2, hours=BY_PART)

    [group] = found(Grouping.PROJECT).groups

    assert group.gpu_hours == pytest.approx(14)
    assert group.gpu_hours_of(Part.WAITING) == pytest.approx(2)


def test_largest_come_first():
    small = accounted(gpu_count=1, hours=BY_PART)
    large = accounted(gpu_count=8, hours=BY_PART)

    assert [group.key for group in found(Grouping.RUN).groups] == [large.pk, small.pk]


def test_owner_is_who_answers_for_the_project_now():
    ours = [ProjectFactory(owner="小李"), ProjectFactory(owner="小李")]
    for project in [*ours, ProjectFactory(owner="小王")]:
        accounted(project=project, gpu_count=1, hours=BY_PART)

    groups = found(Grouping.OWNER).groups

    assert [(group.key, group.run_count) for group in groups] == [("小李", 2), ("小王", 1)]


def test_user_is_who_has_created_the_run():
    user = UserFactory(username="ada")
    accounted(created_by=user, gpu_count=2, hours=BY_PART)
    accounted(created_by=None, gpu_count=1, hours=BY_PART)

    groups = found(Grouping.USER).groups

    assert [(group.key, group.name) for group in groups] == [(str(user.pk), "ada"), ("", "")]


def test_pool_is_the_gpu_type():
    accounted(gpu_type="H100", gpu_count=8, hours=BY_PART)
    accounted(gpu_type="A100", gpu_count=1, hours=BY_PART)

    assert [group.key for group in found(Grouping.POOL).groups] == ["H100", "A100"]


def test_run_of_two_months_counts_in_both_and_once_in_all():
    accounted(day=date(2026, 5, 30), days=4, gpu_count=1, hours={Part.TRAINING: 2})

    by_month = found(Grouping.MONTH)

    assert [(group.key, group.run_count, group.gpu_hours) for group in by_month.groups] == [
        ("2026-05", 1, 4),
        ("2026-06", 1, 4),
    ]
    assert by_month.total.run_count == 1
    assert by_month.total.gpu_hours == 8


def test_only_the_days_that_are_asked_for_count():
    accounted(day=date(2026, 5, 30), days=4, gpu_count=1, hours={Part.TRAINING: 2})

    [group] = found(Grouping.PROJECT, Days(date(2026, 5, 31), date(2026, 6, 2))).groups

    assert (group.run_count, group.gpu_hours) == (1, 4)


def test_one_project_alone():
    project = ProjectFactory()
    accounted(gpu_count=1, hours=BY_PART)
    accounted(project=project, gpu_count=1, hours=BY_PART)

    assert found(Grouping.PROJECT, project_id=project.pk).total.run_count == 1


def test_idle_share_is_of_what_was_measured():
    accounted(gpu_count=2, utilization=0.75, hours={Part.TRAINING: 4, Part.WAITING: 9})
    accounted(gpu_count=2, hours={Part.TRAINING: 4})

    total = found(Grouping.PROJECT).total

    assert total.idle_share == pytest.approx(0.25)
    assert total.idle_gpu_hours == pytest.approx(2)


def test_cost_is_of_pools_with_a_price():
    GpuPoolFactory(gpu_type="A100", price_per_gpu_hour=Decimal("2.50"))
    GpuPoolFactory(gpu_type="H100")
    project = ProjectFactory()
    accounted(project=project, gpu_type="A100", gpu_count=2, hours={Part.TRAINING: 3, Part.DOWN: 1})
    accounted(project=project, gpu_type="H100", gpu_count=1, hours={Part.TRAINING: 4})

    [group] = found(Grouping.PROJECT).groups

    assert group.cost == Decimal("15.00")
    assert group.unpriced_gpu_hours == pytest.approx(4)


def test_run_that_was_never_claimed_waits_until_now():
    RunFactory(queued_at=timezone.now() - timedelta(days=2), gpu_count=1)

    total = report(Grouping.DAY, Days.containing(None, None), sight=EVERYTHING)

    assert len(total.groups) == 3
    assert total.total.run_count == 1
    assert total.total.seconds(Part.WAITING) == pytest.approx(2 * 86_400, abs=60)
    assert total.total.goodput == 0


def test_limit_leaves_the_total_whole():
    for _ in range(3):
        accounted(gpu_count=1, hours=BY_PART)

    limited = found(Grouping.RUN, limit=1)

    assert (len(limited.groups), limited.group_count, limited.total.run_count) == (1, 3, 3)


def test_nothing_at_all():
    empty = found(Grouping.PROJECT)

    assert empty.groups == []
    assert (empty.total.goodput, empty.total.idle_share, empty.total.cost) == (None, None, None)


def test_runs_that_are_not_counted_yet_are_said_to_be():
    run = accounted(gpu_count=1, hours=BY_PART)
    assert not found(Grouping.PROJECT).pending

    Run.objects.filter(pk=run.pk).update(is_accounted=False)

    assert found(Grouping.PROJECT).pending


@pytest.mark.parametrize(
    ("start", "end", "days"),
    [
        ("2026-05-30T12:00Z", "2026-05-30T13:00Z", ("2026-05-30", "2026-05-31")),
        ("2026-05-30T00:00Z", "2026-06-01T00:00Z", ("2026-05-30", "2026-06-01")),
        ("2026-05-30T00:00+08:00", "2026-05-30T23:00Z", ("2026-05-29", "2026-05-31")),
        (None, "2026-05-31T00:00Z", ("2026-05-01", "2026-05-31")),
    ],
)
def test_days_are_whole_and_in_utc(start, end, days):
    times = [None if text is None else datetime.fromisoformat(text) for text in (start, end)]

    found = Days.containing(*times)

    assert (str(found.first), str(found.end)) == days


def test_last_days_are_the_default():
    days = Days.containing(None, None)

    assert days.end == datetime.now(UTC).date() + timedelta(days=1)
    assert days.end - days.first == timedelta(days=30)
