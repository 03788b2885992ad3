"""Who has brought which code: what is known by its hash is not everybody's."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

FIRST_UPLOADS = """
INSERT INTO runs_codeupload (bundle_id, user_id)
SELECT sha256, created_by_id FROM runs_codebundle WHERE created_by_id IS NOT NULL
"""


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0030_script_tokens"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="CodeUpload",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        verbose_name="created at",
                    ),
                ),
                (
                    "bundle",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="uploads",
                        to="runs.codebundle",
                        verbose_name="code bundle",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="user",
                    ),
                ),
            ],
            options={
                "verbose_name": "code upload",
                "verbose_name_plural": "code uploads",
                "constraints": [
                    models.UniqueConstraint(fields=("bundle", "user"), name="codeupload_once")
                ],
            },
        ),
        migrations.RunSQL(FIRST_UPLOADS, migrations.RunSQL.noop),
    ]
