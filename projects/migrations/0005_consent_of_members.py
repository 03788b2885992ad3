from django.db import migrations


class Migration(migrations.Migration):
    """Teams keep taking the new projects of the members that they have, those of 0004 included. A
    member who is added later decides themselves, unless whoever adds them sets it: see Team.add."""

    dependencies = [
        ("projects", "0004_access"),
        ("accounts", "0006_consent_to_new_projects"),
    ]

    operations = [
        migrations.RunSQL(
            "UPDATE accounts_teammembership SET takes_new_projects = true",
            reverse_sql=migrations.RunSQL.noop,
        ),
    ]
