import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import core.ids
import runs.models.recipe


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("projects", "0001_initial"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="GpuPool",
            fields=[
                (
                    "gpu_type",
                    models.CharField(
                        max_length=64, primary_key=True, serialize=False, verbose_name="GPU type"
                    ),
                ),
                ("capacity", models.PositiveIntegerField(verbose_name="GPUs")),
            ],
            options={
                "verbose_name": "GPU pool",
                "verbose_name_plural": "GPU pools",
                "ordering": ("gpu_type",),
            },
        ),
        migrations.CreateModel(
            name="Worker",
            fields=[
                ("id", core.ids.PublicIdField(prefix="worker", serialize=False)),
                ("name", models.CharField(max_length=200, unique=True, verbose_name="name")),
                ("host", models.CharField(max_length=255, verbose_name="host")),
                ("pid", models.PositiveIntegerField(verbose_name="process ID")),
                (
                    "executors",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=16),
                        size=None,
                        verbose_name="executors",
                    ),
                ),
                ("slots", models.PositiveSmallIntegerField(verbose_name="slots")),
                ("incarnation", models.PositiveIntegerField(default=1, verbose_name="incarnation")),
                ("started_at", models.DateTimeField(verbose_name="started at")),
                ("last_heartbeat", models.DateTimeField(verbose_name="last heartbeat")),
                (
                    "stopped_at",
                    models.DateTimeField(blank=True, null=True, verbose_name="stopped at"),
                ),
            ],
            options={
                "verbose_name": "worker",
                "verbose_name_plural": "workers",
                "ordering": ("-last_heartbeat",),
            },
        ),
        migrations.CreateModel(
            name="Recipe",
            fields=[
                (
                    "name",
                    models.SlugField(
                        max_length=64, primary_key=True, serialize=False, verbose_name="name"
                    ),
                ),
                (
                    "description",
                    models.CharField(blank=True, max_length=500, verbose_name="description"),
                ),
                (
                    "executor",
                    models.CharField(
                        choices=[
                            ("simulated", "Simulated"),
                            ("process", "Process on a worker's host"),
                        ],
                        max_length=16,
                        verbose_name="executor",
                    ),
                ),
                (
                    "command",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=1000),
                        blank=True,
                        default=list,
                        help_text="The program and its arguments, one per line, without a shell. {python} is TrainHub's Python interpreter, {repository} the directory of manage.py.",
                        size=None,
                        verbose_name="command",
                    ),
                ),
                (
                    "environment",
                    models.JSONField(
                        blank=True,
                        default=dict,
                        validators=[runs.models.recipe.validate_environment],
                        verbose_name="environment",
                    ),
                ),
                (
                    "default_hyperparameters",
                    models.JSONField(
                        blank=True, default=dict, verbose_name="default hyperparameters"
                    ),
                ),
                (
                    "gpu_type",
                    models.CharField(
                        blank=True,
                        max_length=64,
                        validators=[django.core.validators.RegexValidator("\\A[\\w.\\- ]*\\Z")],
                        verbose_name="GPU type",
                    ),
                ),
                ("gpu_count", models.PositiveSmallIntegerField(default=0, verbose_name="GPUs")),
                (
                    "stop_grace_seconds",
                    models.PositiveIntegerField(
                        default=10,
                        help_text="How long a process may take to save its checkpoint when it is stopped.",
                        verbose_name="grace period (s)",
                    ),
                ),
                (
                    "max_restarts",
                    models.PositiveSmallIntegerField(
                        default=3,
                        help_text="How many times a run continues after its worker or process dies.",
                        verbose_name="max restarts",
                    ),
                ),
                ("is_default", models.BooleanField(default=False, verbose_name="default")),
                ("enabled", models.BooleanField(default=True, verbose_name="enabled")),
            ],
            options={
                "verbose_name": "recipe",
                "verbose_name_plural": "recipes",
                "ordering": ("name",),
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("is_default", True)),
                        fields=("is_default",),
                        name="recipe_one_default",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("executor__in", ["simulated", "process"])),
                        name="recipe_executor_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("command", []), ("executor", "process"), _negated=True),
                        name="recipe_process_has_command",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Run",
            fields=[
                ("id", core.ids.PublicIdField(prefix="run", serialize=False)),
                ("project_version", models.PositiveIntegerField(verbose_name="project version")),
                ("name", models.CharField(max_length=200, verbose_name="name")),
                ("model", models.CharField(blank=True, max_length=200, verbose_name="model")),
                ("dataset", models.CharField(blank=True, max_length=1000, verbose_name="dataset")),
                ("hyperparameters", models.JSONField(default=dict, verbose_name="hyperparameters")),
                ("gpu_type", models.CharField(blank=True, max_length=64, verbose_name="GPU type")),
                ("gpu_count", models.PositiveSmallIntegerField(default=0, verbose_name="GPUs")),
                ("priority", models.SmallIntegerField(default=0, verbose_name="priority")),
                ("tags", models.JSONField(blank=True, default=dict, verbose_name="tags")),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("排队中", "Queued"),
                            ("运行中", "Running"),
                            ("已完成", "Completed"),
                            ("已失败", "Failed"),
                            ("已取消", "Cancelled"),
                        ],
                        default="排队中",
                        max_length=16,
                        verbose_name="status",
                    ),
                ),
                ("status_reason", models.TextField(blank=True, verbose_name="reason")),
                ("exit_code", models.IntegerField(blank=True, null=True, verbose_name="exit code")),
                (
                    "stop_kind",
                    models.CharField(
                        blank=True,
                        choices=[("cancel", "Cancel")],
                        max_length=16,
                        verbose_name="stop",
                    ),
                ),
                (
                    "stop_requested_at",
                    models.DateTimeField(blank=True, null=True, verbose_name="stop requested at"),
                ),
                ("progress", models.FloatField(default=0.0, verbose_name="progress")),
                ("step", models.BigIntegerField(default=0, verbose_name="step")),
                (
                    "total_steps",
                    models.BigIntegerField(blank=True, null=True, verbose_name="total steps"),
                ),
                ("metrics", models.JSONField(default=dict, verbose_name="metrics")),
                (
                    "gpu_utilization",
                    models.FloatField(blank=True, null=True, verbose_name="GPU utilization"),
                ),
                ("log_count", models.BigIntegerField(default=0, verbose_name="log lines")),
                (
                    "resumed_from_id",
                    models.CharField(
                        blank=True,
                        db_collation="C",
                        db_index=True,
                        max_length=32,
                        null=True,
                        verbose_name="resumed from",
                    ),
                ),
                ("start_step", models.BigIntegerField(default=0, verbose_name="start step")),
                ("attempt", models.PositiveSmallIntegerField(default=1, verbose_name="attempt")),
                (
                    "restart_count",
                    models.PositiveSmallIntegerField(default=0, verbose_name="restarts"),
                ),
                (
                    "max_restarts",
                    models.PositiveSmallIntegerField(default=3, verbose_name="max restarts"),
                ),
                (
                    "script_tokens",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=200),
                        blank=True,
                        default=list,
                        editable=False,
                        size=None,
                    ),
                ),
                ("executor_state", models.JSONField(default=dict, editable=False)),
                ("created_at", models.DateTimeField(auto_now_add=True, verbose_name="created at")),
                (
                    "queued_at",
                    models.DateTimeField(blank=True, null=True, verbose_name="queued at"),
                ),
                (
                    "started_at",
                    models.DateTimeField(blank=True, null=True, verbose_name="started at"),
                ),
                (
                    "finished_at",
                    models.DateTimeField(blank=True, null=True, verbose_name="finished at"),
                ),
                ("updated_at", models.DateTimeField(auto_now=True, verbose_name="updated at")),
                (
                    "reported_at",
                    models.DateTimeField(blank=True, null=True, verbose_name="last reported at"),
                ),
                ("lost_at", models.DateTimeField(blank=True, null=True, verbose_name="lost at")),
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
                        related_name="runs",
                        to="projects.project",
                        verbose_name="project",
                    ),
                ),
                (
                    "recipe",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        to="runs.recipe",
                        verbose_name="recipe",
                    ),
                ),
                (
                    "worker",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="runs",
                        to="runs.worker",
                        verbose_name="worker",
                    ),
                ),
            ],
            options={
                "verbose_name": "run",
                "verbose_name_plural": "runs",
                "ordering": ("-created_at", "id"),
            },
        ),
        migrations.CreateModel(
            name="RunEvent",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("created", "created"),
                            ("claimed", "claimed by a worker"),
                            ("status", "status changed"),
                            ("stop_requested", "stop requested"),
                            ("recovered", "recovered"),
                            ("readopted", "readopted"),
                            ("released", "released by its worker"),
                            ("rewound", "rewound to a checkpoint"),
                            ("lost", "marked as lost"),
                            ("reopened", "reopened after its end"),
                            ("params_changed", "hyperparameters changed on resuming"),
                            ("deleted", "moved to the trash"),
                            ("restored", "restored from the trash"),
                        ],
                        max_length=16,
                        verbose_name="kind",
                    ),
                ),
                (
                    "from_status",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("排队中", "Queued"),
                            ("运行中", "Running"),
                            ("已完成", "Completed"),
                            ("已失败", "Failed"),
                            ("已取消", "Cancelled"),
                        ],
                        max_length=16,
                        verbose_name="from",
                    ),
                ),
                (
                    "to_status",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("排队中", "Queued"),
                            ("运行中", "Running"),
                            ("已完成", "Completed"),
                            ("已失败", "Failed"),
                            ("已取消", "Cancelled"),
                        ],
                        max_length=16,
                        verbose_name="to",
                    ),
                ),
                ("attempt", models.PositiveSmallIntegerField(verbose_name="attempt")),
                ("reason", models.TextField(blank=True, verbose_name="reason")),
                ("created_at", models.DateTimeField(auto_now_add=True, verbose_name="when")),
                (
                    "actor",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="by",
                    ),
                ),
                (
                    "run",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="events",
                        to="runs.run",
                    ),
                ),
                (
                    "worker",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        to="runs.worker",
                        verbose_name="worker",
                    ),
                ),
            ],
            options={
                "verbose_name": "run event",
                "verbose_name_plural": "run events",
                "ordering": ("id",),
            },
        ),
        migrations.CreateModel(
            name="ModelLink",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("model_id", models.CharField(max_length=64, verbose_name="model")),
                ("is_output", models.BooleanField(verbose_name="output of the run")),
                ("step", models.BigIntegerField(default=0, verbose_name="step")),
                (
                    "run",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="model_links",
                        to="runs.run",
                    ),
                ),
            ],
            options={
                "verbose_name": "model of a run",
                "verbose_name_plural": "models of runs",
                "ordering": ("id",),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("run", "model_id", "is_output", "step"), name="modellink_once"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="DatasetInput",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=500, verbose_name="name")),
                ("digest", models.CharField(max_length=36, verbose_name="digest")),
                (
                    "source_type",
                    models.CharField(blank=True, max_length=36, verbose_name="source type"),
                ),
                ("source", models.TextField(blank=True, verbose_name="source")),
                ("schema", models.TextField(blank=True, verbose_name="schema")),
                ("profile", models.TextField(blank=True, verbose_name="profile")),
                ("tags", models.JSONField(blank=True, default=dict, verbose_name="tags")),
                (
                    "run",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="dataset_inputs",
                        to="runs.run",
                    ),
                ),
            ],
            options={
                "verbose_name": "dataset",
                "verbose_name_plural": "datasets",
                "ordering": ("id",),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("run", "name", "digest"), name="datasetinput_once"
                    )
                ],
            },
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(fields=["project", "-created_at", "id"], name="run_of_project"),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                models.F("project"),
                models.OrderBy(models.F("started_at"), descending=True, nulls_last=True),
                models.F("id"),
                condition=models.Q(("deleted_at", None)),
                name="run_of_project_by_start",
            ),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(fields=["-created_at", "id"], name="run_newest_first"),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                condition=models.Q(("status", "排队中")),
                fields=["-priority", "queued_at", "id"],
                name="run_queue",
            ),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                condition=models.Q(
                    models.Q(("recipe", None), ("status", "运行中")),
                    ("lost_at__isnull", False),
                    _connector="OR",
                ),
                fields=["id"],
                name="run_unmanaged",
            ),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                condition=models.Q(("status", "运行中")), fields=["worker"], name="run_running"
            ),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("status__in", ["排队中", "运行中", "已完成", "已失败", "已取消"])
                ),
                name="run_status_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("finished_at__isnull", False),
                        ("status__in", ["已取消", "已失败", "已完成"]),
                    ),
                    models.Q(
                        models.Q(("status__in", ["已取消", "已失败", "已完成"]), _negated=True),
                        ("finished_at__isnull", True),
                    ),
                    _connector="OR",
                ),
                name="run_finished_iff_terminal",
            ),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.CheckConstraint(
                condition=models.Q(("progress__gte", 0), ("progress__lte", 1)),
                name="run_progress_is_a_share",
            ),
        ),
        # Every batch of points updates these rows. Free space in the page keeps the new version of
        # a row on it, so indexes need no update (HOT).
        migrations.RunSQL(
            "ALTER TABLE runs_run SET (fillfactor = 60)",
            "ALTER TABLE runs_run RESET (fillfactor)",
        ),
    ]
