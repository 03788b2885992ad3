from django.db import migrations, models


class Migration(migrations.Migration):
    """Teams keep taking the new projects of the members that they have. A member who is added later
    decides themselves, unless whoever adds them sets it: see Team.add."""

    dependencies = [
        ("accounts", "0005_issuer_of_token"),
        # It adds members, too, to whom the same applies.
        ("projects", "0004_access"),
    ]

    operations = [
        migrations.AddField(
            model_name="teammembership",
            name="takes_new_projects",
            field=models.BooleanField(
                db_default=True, default=False, verbose_name="takes new projects"
            ),
        ),
        migrations.AlterField(
            model_name="teammembership",
            name="takes_new_projects",
            field=models.BooleanField(
                db_default=False, default=False, verbose_name="takes new projects"
            ),
        ),
    ]
