"""Who may see the projects of earlier releases, where every user could do everything: whoever
created a project owns it, and all are maintainers of all of them, as the members of one team."""

from typing import Any

from django.db import connection, migrations

from core.ids import new_id

MAINTAINER, OWNER = 30, 40
TEAM = "全体成员"

SQL = """
CREATE CONSTRAINT TRIGGER access_change
AFTER INSERT OR UPDATE OR DELETE ON projects_projectrole DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION accounts_note_access_change();

CREATE CONSTRAINT TRIGGER access_change
AFTER UPDATE OF team_id ON projects_project DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (OLD.team_id IS DISTINCT FROM NEW.team_id)
EXECUTE FUNCTION accounts_note_access_change();

ALTER TABLE accounts_token ADD CONSTRAINT token_project FOREIGN KEY (project_id)
REFERENCES projects_project (id) ON DELETE CASCADE DEFERRABLE INITIALLY IMMEDIATE;
"""

REVERSE_SQL = """
ALTER TABLE accounts_token DROP CONSTRAINT token_project;
DROP TRIGGER access_change ON projects_project;
DROP TRIGGER access_change ON projects_projectrole;
"""

CREATORS = """
INSERT INTO projects_projectrole (project_id, user_id, role, created_at)
SELECT project.id, first.history_user_id, %s, now()
FROM projects_project AS project
    JOIN projects_historicalproject AS first ON first.id = project.id AND first.version = 1
WHERE first.history_user_id IS NOT NULL
ON CONFLICT DO NOTHING
"""

MEMBERS = """
INSERT INTO accounts_teammembership (team_id, user_id, role, created_at)
SELECT %s, id, %s, now() FROM auth_user WHERE is_active AND NOT is_superuser
"""


def keep_access(apps: Any, schema_editor: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM projects_project)")
        if not cursor.fetchone()[0]:
            return
        cursor.execute(CREATORS, [OWNER])
        cursor.execute("SELECT EXISTS (SELECT FROM auth_user WHERE is_active AND NOT is_superuser)")
        if not cursor.fetchone()[0]:
            return  # superusers see everything
        team = new_id("team")
        cursor.execute(
            "INSERT INTO accounts_team (id, name, description, created_at)"
            " VALUES (%s, %s, '', now())",
            [team, TEAM],
        )
        cursor.execute(MEMBERS, [team, MAINTAINER])
        cursor.execute("UPDATE projects_project SET team_id = %s", [team])


class Migration(migrations.Migration):
    dependencies = [("projects", "0003_teams"), ("accounts", "0003_earlier_tokens")]

    operations = [
        migrations.RunSQL(SQL, REVERSE_SQL),
        migrations.RunPython(keep_access, migrations.RunPython.noop),
    ]
