"""Tells which tokens of earlier releases are those of runs: lists of tokens leave them out."""

from django.db import migrations

SQL = """
UPDATE accounts_token AS token SET run_id = run.id, scope = 'write'
FROM runs_run AS run WHERE token.digest = ANY (run.script_tokens);
"""


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_earlier_tokens"),
        ("runs", "0029_files_not_sent"),
    ]

    operations = [migrations.RunSQL(SQL, migrations.RunSQL.noop)]
