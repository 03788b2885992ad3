"""Versions belong to the project of their run; models to the team that all users are in."""

from django.db import migrations

SQL = """
UPDATE registry_modelversion AS version SET project_id = coalesce(
    (SELECT project_id FROM runs_run WHERE id = version.run_id),
    (SELECT project_id FROM registry_loggedmodel WHERE id = version.logged_model_id)
);
UPDATE registry_registeredmodel SET team_id = (SELECT id FROM accounts_team LIMIT 1);
"""


class Migration(migrations.Migration):
    dependencies = [("registry", "0003_projects_of_versions")]

    operations = [migrations.RunSQL(SQL, migrations.RunSQL.noop)]
