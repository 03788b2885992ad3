import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import core.ids
import registry.logged_models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("artifacts", "0001_initial"),
        ("projects", "0001_initial"),
        ("runs", "0001_initial"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="LoggedModel",
            fields=[
                ("tags", models.JSONField(blank=True, default=dict, verbose_name="tags")),
                (
                    "id",
                    models.CharField(
                        db_collation="C",
                        default=registry.logged_models.new_model_id,
                        editable=False,
                        max_length=36,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("name", models.CharField(max_length=500, verbose_name="name")),
                ("model_type", models.CharField(blank=True, max_length=500, verbose_name="type")),
                ("params", models.JSONField(blank=True, default=dict, verbose_name="parameters")),
                (
                    "status",
                    models.CharField(
                        choices=[("PENDING", "Pending"), ("READY", "Ready"), ("FAILED", "Failed")],
                        default="PENDING",
                        max_length=8,
                        verbose_name="status",
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True, verbose_name="created at")),
                ("updated_at", models.DateTimeField(auto_now=True, verbose_name="updated at")),
                (
                    "deleted_at",
                    models.DateTimeField(blank=True, null=True, verbose_name="deleted at"),
                ),
                (
                    "created_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="created by",
                    ),
                ),
                (
                    "project",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="logged_models",
                        to="projects.project",
                        verbose_name="project",
                    ),
                ),
                (
                    "source_run",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="logged_models",
                        to="runs.run",
                        verbose_name="run",
                    ),
                ),
            ],
            options={
                "verbose_name": "logged model",
                "verbose_name_plural": "logged models",
                "ordering": ("-created_at", "id"),
            },
        ),
        migrations.CreateModel(
            name="LoggedModelMetric",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("key", models.CharField(max_length=250)),
                ("dataset_name", models.CharField(blank=True, max_length=500)),
                ("dataset_digest", models.CharField(blank=True, max_length=250)),
                ("value", models.FloatField()),
                ("timestamp_ms", models.BigIntegerField()),
                ("step", models.BigIntegerField()),
                (
                    "model",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="metrics",
                        to="registry.loggedmodel",
                    ),
                ),
                (
                    "run",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="runs.run"
                    ),
                ),
            ],
            options={
                "ordering": ("key", "id"),
            },
        ),
        migrations.CreateModel(
            name="RegisteredModel",
            fields=[
                ("tags", models.JSONField(blank=True, default=dict, verbose_name="tags")),
                ("id", core.ids.PublicIdField(prefix="model", serialize=False)),
                ("name", models.CharField(max_length=256, unique=True, verbose_name="name")),
                ("description", models.TextField(blank=True, verbose_name="description")),
                (
                    "last_number",
                    models.PositiveIntegerField(
                        default=0, editable=False, verbose_name="last version"
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True, verbose_name="created at")),
                ("updated_at", models.DateTimeField(auto_now=True, verbose_name="updated at")),
                (
                    "created_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="created by",
                    ),
                ),
            ],
            options={
                "verbose_name": "registered model",
                "verbose_name_plural": "registered models",
                "ordering": ("name",),
            },
        ),
        migrations.CreateModel(
            name="ModelVersion",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("tags", models.JSONField(blank=True, default=dict, verbose_name="tags")),
                ("number", models.PositiveIntegerField(verbose_name="version")),
                ("source", models.TextField(max_length=2000, verbose_name="source")),
                ("location", models.TextField(max_length=2000, verbose_name="location")),
                (
                    "run_link",
                    models.TextField(blank=True, max_length=2000, verbose_name="run link"),
                ),
                ("description", models.TextField(blank=True, verbose_name="description")),
                (
                    "stage",
                    models.CharField(
                        choices=[
                            ("None", "None"),
                            ("Staging", "Staging"),
                            ("Production", "Production"),
                            ("Archived", "Archived"),
                        ],
                        default="None",
                        max_length=10,
                        verbose_name="stage",
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True, verbose_name="created at")),
                ("updated_at", models.DateTimeField(auto_now=True, verbose_name="updated at")),
                (
                    "checkpoint",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="model_versions",
                        to="artifacts.artifact",
                        verbose_name="checkpoint",
                    ),
                ),
                (
                    "created_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="created by",
                    ),
                ),
                (
                    "logged_model",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="versions",
                        to="registry.loggedmodel",
                        verbose_name="logged model",
                    ),
                ),
                (
                    "run",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="model_versions",
                        to="runs.run",
                        verbose_name="run",
                    ),
                ),
                (
                    "model",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="versions",
                        to="registry.registeredmodel",
                        verbose_name="model",
                    ),
                ),
            ],
            options={
                "verbose_name": "model version",
                "verbose_name_plural": "model versions",
                "ordering": ("model", "-number"),
            },
        ),
        migrations.CreateModel(
            name="ModelAlias",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("alias", models.CharField(max_length=255, verbose_name="alias")),
                (
                    "version",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="aliases",
                        to="registry.modelversion",
                    ),
                ),
                (
                    "model",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="aliases",
                        to="registry.registeredmodel",
                    ),
                ),
            ],
            options={
                "verbose_name": "model alias",
                "verbose_name_plural": "model aliases",
                "ordering": ("alias",),
            },
        ),
        migrations.AddIndex(
            model_name="loggedmodel",
            index=models.Index(
                fields=["project", "-created_at", "id"], name="loggedmodel_of_project"
            ),
        ),
        migrations.AddConstraint(
            model_name="loggedmodel",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["PENDING", "READY", "FAILED"])),
                name="loggedmodel_status_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="loggedmodelmetric",
            constraint=models.UniqueConstraint(
                fields=("model", "run", "key", "dataset_name", "dataset_digest"),
                name="loggedmodelmetric_once",
            ),
        ),
        migrations.AddIndex(
            model_name="registeredmodel",
            index=models.Index(fields=["-created_at", "id"], name="registeredmodel_newest_first"),
        ),
        migrations.AddIndex(
            model_name="modelversion",
            index=models.Index(fields=["-created_at", "id"], name="modelversion_newest_first"),
        ),
        migrations.AddConstraint(
            model_name="modelversion",
            constraint=models.UniqueConstraint(
                fields=("model", "number"), name="modelversion_number"
            ),
        ),
        migrations.AddConstraint(
            model_name="modelversion",
            constraint=models.CheckConstraint(
                condition=models.Q(("stage__in", ["None", "Staging", "Production", "Archived"])),
                name="modelversion_stage_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="modelalias",
            constraint=models.UniqueConstraint(fields=("model", "alias"), name="modelalias_once"),
        ),
    ]
