import django.contrib.postgres.fields
import django.db.models.deletion
import simple_history.models
from django.conf import settings
from django.db import migrations, models

import core.ids


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="HistoricalProject",
            fields=[
                ("id", core.ids.PublicIdField(db_index=True, prefix="proj", primary_key=False)),
                ("name", models.CharField(max_length=200, verbose_name="name")),
                (
                    "description",
                    models.TextField(blank=True, max_length=10000, verbose_name="description"),
                ),
                (
                    "objective",
                    models.TextField(blank=True, max_length=10000, verbose_name="objective"),
                ),
                (
                    "task_type",
                    models.CharField(blank=True, max_length=100, verbose_name="task type"),
                ),
                (
                    "base_model",
                    models.CharField(blank=True, max_length=200, verbose_name="base model"),
                ),
                ("owner", models.CharField(blank=True, max_length=100, verbose_name="owner")),
                (
                    "tags",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=64),
                        blank=True,
                        default=list,
                        size=None,
                        verbose_name="tags",
                    ),
                ),
                (
                    "default_hyperparameters",
                    models.JSONField(
                        blank=True, default=dict, verbose_name="default hyperparameters"
                    ),
                ),
                (
                    "version",
                    models.PositiveIntegerField(default=1, editable=False, verbose_name="version"),
                ),
                ("history_id", models.AutoField(primary_key=True, serialize=False)),
                ("history_date", models.DateTimeField(db_index=True)),
                ("history_change_reason", models.CharField(max_length=100, null=True)),
                (
                    "history_type",
                    models.CharField(
                        choices=[("+", "Created"), ("~", "Changed"), ("-", "Deleted")], max_length=1
                    ),
                ),
                (
                    "history_user",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "historical project",
                "verbose_name_plural": "historical projects",
                "ordering": ("-history_date", "-history_id"),
                "get_latest_by": ("history_date", "history_id"),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.CreateModel(
            name="Project",
            fields=[
                ("id", core.ids.PublicIdField(prefix="proj", serialize=False)),
                ("name", models.CharField(max_length=200, verbose_name="name")),
                (
                    "description",
                    models.TextField(blank=True, max_length=10000, verbose_name="description"),
                ),
                (
                    "objective",
                    models.TextField(blank=True, max_length=10000, verbose_name="objective"),
                ),
                (
                    "task_type",
                    models.CharField(blank=True, max_length=100, verbose_name="task type"),
                ),
                (
                    "base_model",
                    models.CharField(blank=True, max_length=200, verbose_name="base model"),
                ),
                ("owner", models.CharField(blank=True, max_length=100, verbose_name="owner")),
                (
                    "tags",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=64),
                        blank=True,
                        default=list,
                        size=None,
                        verbose_name="tags",
                    ),
                ),
                (
                    "default_hyperparameters",
                    models.JSONField(
                        blank=True, default=dict, verbose_name="default hyperparameters"
                    ),
                ),
                (
                    "experiment_tags",
                    models.JSONField(
                        blank=True, default=dict, editable=False, verbose_name="experiment tags"
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[("草稿", "Draft"), ("进行中", "Active"), ("已归档", "Archived")],
                        default="草稿",
                        max_length=16,
                        verbose_name="status",
                    ),
                ),
                (
                    "version",
                    models.PositiveIntegerField(default=1, editable=False, verbose_name="version"),
                ),
                (
                    "run_count",
                    models.PositiveIntegerField(default=0, editable=False, verbose_name="runs"),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True, verbose_name="created at")),
                ("updated_at", models.DateTimeField(auto_now=True, verbose_name="updated at")),
            ],
            options={
                "verbose_name": "project",
                "verbose_name_plural": "projects",
                "ordering": ("-created_at", "id"),
                "indexes": [
                    models.Index(fields=["name", "created_at", "id"], name="project_by_name"),
                    models.Index(fields=["-created_at", "id"], name="project_newest_first"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("status__in", ["草稿", "进行中", "已归档"])),
                        name="project_status_known",
                    )
                ],
            },
        ),
    ]
