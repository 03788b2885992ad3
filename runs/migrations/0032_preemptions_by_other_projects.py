"""Events no longer name the run of another project that has preempted theirs."""

from django.db import migrations

SQL = """
WITH named AS MATERIALIZED (
    SELECT id, run_id, reason FROM runs_runevent
    WHERE kind = 'stop_requested'
        AND starts_with(reason, '{"message":"Preempted: %(run)s of priority %(priority)d')
), hidden AS (
    SELECT named.id, named.reason::jsonb -> 'params' ->> 'priority' AS priority
    FROM named JOIN runs_run AS preempted ON preempted.id = named.run_id
    WHERE NOT EXISTS (
        SELECT FROM runs_run AS waiting
        WHERE waiting.id = named.reason::jsonb -> 'params' ->> 'run'
            AND waiting.project_id = preempted.project_id
    )
)
UPDATE runs_runevent AS event SET reason =
    '{"message":"Preempted: a run of another project, of priority %(priority)d, waits for its GPUs."'
    || ',"params":{"priority":' || hidden.priority || '}}'
FROM hidden WHERE hidden.id = event.id
"""


class Migration(migrations.Migration):
    dependencies = [("runs", "0031_code_uploads")]

    operations = [migrations.RunSQL(SQL, migrations.RunSQL.noop)]
