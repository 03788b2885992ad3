from django.db import migrations, models

# As runs/models/held_time_queries.py, of every run. One that ended without an event counts to its
# end.
COUNT_HELD_TIME = """
WITH mark AS (
    SELECT
        run_id, kind = 'claimed' AS begins, created_at AS began,
        lead(created_at) OVER (PARTITION BY run_id ORDER BY id) AS ended
    FROM runs_runevent
    WHERE kind IN ('claimed', 'recovered', 'released')
        OR to_status IN ('已完成', '已失败', '已取消')
), span AS (
    SELECT mark.run_id, mark.began, coalesce(mark.ended, run.finished_at) AS ended
    FROM mark JOIN runs_run AS run ON run.id = mark.run_id
    WHERE mark.begins
), held AS (
    SELECT
        run_id,
        coalesce(sum(greatest(extract(epoch FROM ended - began), 0)), 0)::float8 AS seconds,
        max(began) FILTER (WHERE ended IS NULL) AS since
    FROM span
    GROUP BY run_id
)
UPDATE runs_run SET held_seconds = held.seconds, held_since = held.since
FROM held WHERE held.run_id = runs_run.id
"""


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0020_count_unarchived_runs"),
    ]

    operations = [
        migrations.AddField(
            model_name="run",
            name="held_seconds",
            field=models.FloatField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="run",
            name="held_since",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.RunSQL(COUNT_HELD_TIME, migrations.RunSQL.noop),
    ]
