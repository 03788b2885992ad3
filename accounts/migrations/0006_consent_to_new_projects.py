from django.db import migrations, models


class Migration(migrations.Migration):
    """Those who are members already have consented: projects/migrations/0005."""

    dependencies = [("accounts", "0005_issuer_of_token")]

    operations = [
        migrations.AddField(
            model_name="teammembership",
            name="takes_new_projects",
            field=models.BooleanField(
                db_default=False, default=False, verbose_name="takes new projects"
            ),
        ),
    ]
