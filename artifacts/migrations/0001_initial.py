import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import core.ids

# The column belongs to runs, which must not depend on artifacts. The constraint is checked
# immediately, not on commit: resuming from a deleted checkpoint fails at once, and a successful
# insert locks the checkpoint until the commit.
RESUMED_FROM = """
ALTER TABLE runs_run ADD CONSTRAINT run_resumed_from
FOREIGN KEY (resumed_from_id) REFERENCES artifacts_artifact (id)
DEFERRABLE INITIALLY IMMEDIATE
"""
NOT_RESUMED_FROM = "ALTER TABLE runs_run DROP CONSTRAINT run_resumed_from"


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("runs", "0001_initial"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="UnreferencedBlob",
            fields=[
                ("key", models.CharField(max_length=200, primary_key=True, serialize=False)),
                (
                    "since",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), db_index=True
                    ),
                ),
            ],
            options={
                "verbose_name": "unreferenced blob",
                "verbose_name_plural": "unreferenced blobs",
            },
        ),
        migrations.CreateModel(
            name="Artifact",
            fields=[
                ("id", core.ids.PublicIdField(serialize=False)),
                (
                    "type",
                    models.CharField(
                        choices=[
                            ("checkpoint", "Checkpoint"),
                            ("event", "TensorBoard events"),
                            ("evaluation", "Evaluation result"),
                            ("config", "Configuration"),
                            ("file", "File"),
                        ],
                        max_length=16,
                        verbose_name="type",
                    ),
                ),
                ("name", models.CharField(max_length=250, verbose_name="name")),
                ("file", models.CharField(db_collation="C", max_length=500, verbose_name="file")),
                ("stored_as", models.CharField(blank=True, editable=False, max_length=64)),
                ("step", models.BigIntegerField(blank=True, null=True, verbose_name="step")),
                (
                    "metadata",
                    models.JSONField(
                        blank=True, default=dict, editable=False, verbose_name="metadata"
                    ),
                ),
                ("size_bytes", models.BigIntegerField(verbose_name="size (bytes)")),
                ("sha256", models.CharField(max_length=64, verbose_name="SHA-256")),
                ("created_at", models.DateTimeField(auto_now_add=True, verbose_name="created at")),
                ("updated_at", models.DateTimeField(auto_now=True, verbose_name="updated at")),
                (
                    "run",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="artifacts",
                        to="runs.run",
                        verbose_name="run",
                    ),
                ),
            ],
            options={
                "verbose_name": "artifact",
                "verbose_name_plural": "artifacts",
                "ordering": ("created_at", "id"),
            },
        ),
        migrations.CreateModel(
            name="ArtifactTag",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "value",
                    models.CharField(
                        choices=[("候选", "Candidate"), ("发布", "Released"), ("归档", "Archived")],
                        max_length=8,
                        verbose_name="tag",
                    ),
                ),
                ("notes", models.TextField(blank=True, max_length=10000, verbose_name="notes")),
                ("applied_at", models.DateTimeField(auto_now_add=True, verbose_name="applied at")),
                (
                    "applied_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="by",
                    ),
                ),
                (
                    "artifact",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="tags",
                        to="artifacts.artifact",
                    ),
                ),
            ],
            options={
                "verbose_name": "artifact tag",
                "verbose_name_plural": "artifact tags",
                "ordering": ("applied_at", "id"),
            },
        ),
        migrations.AddIndex(
            model_name="artifact",
            index=models.Index(
                condition=models.Q(("type", "checkpoint")),
                fields=["run", "-step"],
                name="artifact_checkpoints",
            ),
        ),
        migrations.AddIndex(
            model_name="artifact",
            index=models.Index(fields=["-created_at", "id"], name="artifact_newest_first"),
        ),
        migrations.AddConstraint(
            model_name="artifact",
            constraint=models.UniqueConstraint(
                condition=models.Q(("stored_as", "")),
                fields=("run", "file"),
                name="artifact_run_file",
            ),
        ),
        migrations.AddConstraint(
            model_name="artifact",
            constraint=models.UniqueConstraint(
                condition=models.Q(("stored_as", ""), _negated=True),
                fields=("run", "file"),
                name="artifact_run_upload",
            ),
        ),
        migrations.AddConstraint(
            model_name="artifact",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("type__in", ["checkpoint", "event", "evaluation", "config", "file"])
                ),
                name="artifact_type_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="artifact",
            constraint=models.CheckConstraint(
                condition=models.Q(("size_bytes__gte", 0)), name="artifact_size_not_negative"
            ),
        ),
        migrations.AddIndex(
            model_name="artifacttag",
            index=models.Index(fields=["value", "artifact"], name="artifacttag_by_value"),
        ),
        migrations.AddConstraint(
            model_name="artifacttag",
            constraint=models.UniqueConstraint(
                fields=("artifact", "value"), name="artifacttag_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="artifacttag",
            constraint=models.CheckConstraint(
                condition=models.Q(("value__in", ["候选", "发布", "归档"])),
                name="artifacttag_value_known",
            ),
        ),
        migrations.RunSQL(RESUMED_FROM, NOT_RESUMED_FROM),
    ]
