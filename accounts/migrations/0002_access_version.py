"""The number that changes with everybody's access; see AccessVersion."""

from django.db import migrations

# Constraint triggers that are deferred, so that the row is locked only while a transaction commits.
SQL = """
INSERT INTO accounts_accessversion (number) VALUES (0);

CREATE FUNCTION accounts_note_access_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE accounts_accessversion SET number = number + 1;
    RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER access_change
AFTER INSERT OR UPDATE OR DELETE ON accounts_teammembership DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION accounts_note_access_change();
"""

REVERSE_SQL = """
DROP TRIGGER access_change ON accounts_teammembership;
DROP FUNCTION accounts_note_access_change();
DELETE FROM accounts_accessversion;
"""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]

    operations = [migrations.RunSQL(SQL, REVERSE_SQL)]
