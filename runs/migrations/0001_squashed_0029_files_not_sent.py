"""All migrations of runs up to 0029 in one, so that new databases are created faster.

Those that it replaces stay for databases that have applied some of them.
"""

from importlib import import_module

import django.contrib.postgres.fields
import django.contrib.postgres.indexes
import django.core.validators
import django.db.models.deletion
import django.db.models.expressions
import django.db.models.fields.json
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import core.ids
import runs.models.encoding
import runs.models.recipe

add_recipes = import_module("runs.migrations.0002_recipes").add_recipes
VACUUM_EARLY = import_module("runs.migrations.0014_run_index").VACUUM_EARLY


class Migration(migrations.Migration):
    replaces = [
        ("runs", "0001_initial"),
        ("runs", "0002_recipes"),
        ("runs", "0003_failures_and_encoding"),
        ("runs", "0004_rewound_to"),
        ("runs", "0005_devices_and_restarts"),
        ("runs", "0006_stalled_runs"),
        ("runs", "0007_read_tensorboard"),
        ("runs", "0008_requested_hyperparameters"),
        ("runs", "0009_remove_rewound_to"),
        ("runs", "0010_fault_over"),
        ("runs", "0011_device_uuids"),
        ("runs", "0012_deleted_and_hidden"),
        ("runs", "0013_indexes_of_listed_runs"),
        ("runs", "0014_run_index"),
        ("runs", "0015_archived_runs"),
        ("runs", "0016_descriptions_and_lineage"),
        ("runs", "0017_indexes_of_activity"),
        ("runs", "0018_draining"),
        ("runs", "0019_program_checks"),
        ("runs", "0020_count_unarchived_runs"),
        ("runs", "0021_held_time"),
        ("runs", "0022_pools"),
        ("runs", "0023_goodput_of_runs"),
        ("runs", "0024_code_of_runs"),
        ("runs", "0025_cluster_resources"),
        ("runs", "0026_device_models"),
        ("runs", "0027_ray_executor"),
        ("runs", "0028_run_submitted"),
        ("runs", "0029_files_not_sent"),
    ]

    initial = True

    dependencies = [
        ("projects", "0002_key_metrics"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
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
                (
                    "devices",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=64),
                        blank=True,
                        editable=False,
                        null=True,
                        size=None,
                        verbose_name="devices",
                    ),
                ),
                (
                    "device_uuids",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(blank=True, max_length=64),
                        blank=True,
                        default=list,
                        editable=False,
                        size=None,
                    ),
                ),
                (
                    "device_models",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(blank=True, max_length=64),
                        blank=True,
                        db_default=[],
                        default=list,
                        editable=False,
                        size=None,
                    ),
                ),
                ("incarnation", models.PositiveIntegerField(default=1, verbose_name="incarnation")),
                ("started_at", models.DateTimeField(verbose_name="started at")),
                ("last_heartbeat", models.DateTimeField(verbose_name="last heartbeat")),
                (
                    "stopped_at",
                    models.DateTimeField(blank=True, null=True, verbose_name="stopped at"),
                ),
                (
                    "draining",
                    models.BooleanField(db_default=False, default=False, verbose_name="draining"),
                ),
            ],
            options={
                "verbose_name": "worker",
                "verbose_name_plural": "workers",
                "ordering": ("-last_heartbeat",),
            },
        ),
        migrations.CreateModel(
            name="CodeBundle",
            fields=[
                (
                    "sha256",
                    models.CharField(
                        db_collation="C",
                        max_length=64,
                        primary_key=True,
                        serialize=False,
                        validators=[django.core.validators.RegexValidator("\\A[0-9a-f]{64}\\Z")],
                        verbose_name="SHA-256",
                    ),
                ),
                ("stored_as", models.CharField(editable=False, max_length=200, unique=True)),
                ("archive_sha256", models.CharField(editable=False, max_length=64)),
                ("size_bytes", models.BigIntegerField(verbose_name="size (bytes)")),
                ("unpacked_bytes", models.BigIntegerField()),
                ("file_count", models.PositiveIntegerField()),
                ("files", models.JSONField(default=list, editable=False)),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        verbose_name="created at",
                    ),
                ),
                (
                    "used_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), db_index=True
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
                    ),
                ),
            ],
            options={
                "verbose_name": "code bundle",
                "verbose_name_plural": "code bundles",
            },
        ),
        migrations.CreateModel(
            name="GpuPool",
            fields=[
                (
                    "name",
                    models.CharField(
                        max_length=64,
                        primary_key=True,
                        serialize=False,
                        validators=[django.core.validators.RegexValidator("\\A[\\w.\\- ]*\\Z")],
                        verbose_name="name",
                    ),
                ),
                (
                    "gpu_type",
                    models.CharField(
                        max_length=64,
                        validators=[django.core.validators.RegexValidator("\\A[\\w.\\- ]*\\Z")],
                        verbose_name="GPU type",
                    ),
                ),
                (
                    "capacity",
                    models.PositiveIntegerField(
                        validators=[django.core.validators.MaxValueValidator(1000000)],
                        verbose_name="GPUs",
                    ),
                ),
                (
                    "executor",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("simulated", "Simulated"),
                            ("process", "Process on a worker's host"),
                            ("slurm", "Slurm"),
                            ("ray", "Ray"),
                        ],
                        help_text="Whose runs use it; empty: those of every executor without a pool of its own.",
                        max_length=16,
                        verbose_name="executor",
                    ),
                ),
                (
                    "cluster",
                    models.CharField(
                        blank=True,
                        help_text="The part of the executor's cluster that it is, such as a Slurm partition.",
                        max_length=200,
                        verbose_name="cluster",
                    ),
                ),
                (
                    "hosts",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=255),
                        blank=True,
                        default=list,
                        help_text="Only workers on these hosts execute its runs; empty: all.",
                        size=None,
                        verbose_name="hosts",
                    ),
                ),
                (
                    "reserve",
                    models.PositiveIntegerField(
                        default=0,
                        help_text="Of its GPUs, as many as only runs of recipes of the kind evaluation use, so that they start beside large trainings.",
                        verbose_name="GPUs kept for evaluations",
                    ),
                ),
                (
                    "price_per_gpu_hour",
                    models.DecimalField(
                        blank=True,
                        decimal_places=4,
                        max_digits=12,
                        null=True,
                        validators=[django.core.validators.MinValueValidator(0)],
                        verbose_name="price per GPU-hour",
                    ),
                ),
                (
                    "is_discovered",
                    models.BooleanField(default=False, editable=False, verbose_name="discovered"),
                ),
            ],
            options={
                "verbose_name": "GPU pool",
                "verbose_name_plural": "GPU pools",
                "ordering": ("name",),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("gpu_type", "executor", "cluster"),
                        name="gpupool_one_of_a_type",
                        violation_error_message="There is a pool of this type already.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("reserve__lte", models.F("capacity"))),
                        name="gpupool_reserve_within_capacity",
                        violation_error_message="More GPUs are kept for evaluations than there are.",
                    ),
                ],
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
                            ("slurm", "Slurm"),
                            ("ray", "Ray"),
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
                        help_text="The program and its arguments, one per line, without a shell; a JSON list or a line of a shell is understood, too. {python} is TrainHub's Python interpreter, {repository} the directory of manage.py, {code} the folder of the run's code.",
                        size=None,
                        verbose_name="command",
                    ),
                ),
                (
                    "environment",
                    models.JSONField(
                        blank=True,
                        default=dict,
                        help_text="One NAME=value per line.",
                        validators=[runs.models.recipe.validate_environment],
                        verbose_name="environment",
                    ),
                ),
                (
                    "encoding",
                    models.CharField(
                        blank=True,
                        db_default="utf-8",
                        default="utf-8",
                        help_text="The text encoding that the command prints in, e.g. gbk. With utf-8, lines that are not valid UTF-8 are decoded by a guess.",
                        max_length=32,
                        validators=[runs.models.encoding.validate_encoding],
                        verbose_name="encoding",
                    ),
                ),
                (
                    "read_tensorboard",
                    models.BooleanField(
                        db_default=True,
                        default=True,
                        help_text="Whether the scalars of the TensorBoard event files that the command writes become metrics.",
                        verbose_name="read TensorBoard files",
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
                (
                    "gpu_count",
                    models.PositiveSmallIntegerField(
                        default=0, help_text="Of all nodes together.", verbose_name="GPUs"
                    ),
                ),
                (
                    "nodes",
                    models.PositiveSmallIntegerField(
                        db_default=1,
                        default=1,
                        help_text="Machines that a run works on, each with its share of the GPUs.",
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(10000),
                        ],
                        verbose_name="nodes",
                    ),
                ),
                (
                    "cpus_per_node",
                    models.PositiveSmallIntegerField(
                        blank=True,
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                        verbose_name="CPUs of a node",
                    ),
                ),
                (
                    "memory_gb_per_node",
                    models.PositiveIntegerField(
                        blank=True,
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                        verbose_name="memory of a node (GB)",
                    ),
                ),
                (
                    "time_limit_seconds",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text="How long its cluster runs it at a time. It saves a checkpoint shortly before, and goes on from it in a new job. Empty: the cluster's own limit.",
                        null=True,
                        validators=[
                            django.core.validators.MinValueValidator(60),
                            django.core.validators.MaxValueValidator(31622400),
                        ],
                        verbose_name="time limit (s)",
                    ),
                ),
                (
                    "engine_options",
                    models.JSONField(
                        blank=True,
                        db_default={},
                        default=dict,
                        help_text="For Slurm: partition, account, qos, constraint, reservation, exclude, nodelist, and gres_type, Slurm's name of the GPU type if it has another one. For Ray: runtime_env, resources, labels.",
                        verbose_name="options of its cluster",
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        blank=True,
                        choices=[("training", "Training"), ("evaluation", "Evaluation")],
                        db_default="training",
                        default="training",
                        help_text="Evaluations may use the GPUs that a pool keeps for them.",
                        max_length=16,
                        verbose_name="kind",
                    ),
                ),
                (
                    "preemptible",
                    models.BooleanField(
                        db_default=False,
                        default=False,
                        help_text="Whether its runs give up their GPUs, each with a checkpoint, to waiting runs of a higher priority. They keep their place in the queue.",
                        verbose_name="preemptible",
                    ),
                ),
                (
                    "stop_grace_seconds",
                    models.PositiveIntegerField(
                        default=10,
                        help_text="How long a process may take to save its checkpoint when it is stopped.",
                        verbose_name="grace period (s)",
                    ),
                ),
                (
                    "stall_silence_seconds",
                    models.PositiveIntegerField(
                        db_default=0,
                        default=0,
                        help_text="A run that has printed and reported nothing for this long is stalled: its stacks are stored and it is stopped. 0: no limit.",
                        verbose_name="longest silence (s)",
                    ),
                ),
                (
                    "stall_step_seconds",
                    models.PositiveIntegerField(
                        db_default=0,
                        default=0,
                        help_text="The same for a run whose step has not risen for this long. 0: no limit.",
                        verbose_name="longest step (s)",
                    ),
                ),
                (
                    "stall_action",
                    models.CharField(
                        choices=[("restart", "Restart from the checkpoint"), ("fail", "Fail")],
                        db_default="restart",
                        default="restart",
                        help_text="What happens after a stalled run was stopped, with its checkpoint if it can.",
                        max_length=16,
                        verbose_name="when stalled",
                    ),
                ),
                (
                    "max_restarts",
                    models.PositiveSmallIntegerField(
                        default=3,
                        help_text="How many times a run continues after its process dies without a newer checkpoint.",
                        verbose_name="max restarts",
                    ),
                ),
                (
                    "code",
                    models.CharField(
                        choices=[
                            ("none", "No code"),
                            ("optional", "A run may bring code"),
                            ("required", "A run must bring code"),
                        ],
                        db_default="none",
                        default="none",
                        help_text="Whether a run brings files of its own, which the command finds in {code}.",
                        max_length=16,
                        verbose_name="code",
                    ),
                ),
                (
                    "code_from",
                    models.CharField(
                        choices=[
                            ("nobody", "Nobody"),
                            ("operators", "Operators"),
                            ("members", "Everyone who may start runs"),
                        ],
                        db_default="nobody",
                        default="nobody",
                        help_text="Who brings code can run any program on the workers.",
                        max_length=16,
                        verbose_name="code from",
                    ),
                ),
                (
                    "git_urls",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(
                            max_length=500, validators=[runs.models.recipe.validate_git_url]
                        ),
                        blank=True,
                        db_default=[],
                        default=list,
                        help_text="From which a run may name a revision as its code, one address per line.",
                        size=None,
                        verbose_name="Git repositories",
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
                        condition=models.Q(
                            ("executor__in", ["simulated", "process", "slurm", "ray"])
                        ),
                        name="recipe_executor_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("command", []),
                            ("executor__in", ("process", "slurm", "ray")),
                            _negated=True,
                        ),
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
                ("requested_hyperparameters", models.JSONField(editable=False, null=True)),
                ("gpu_type", models.CharField(blank=True, max_length=64, verbose_name="GPU type")),
                ("gpu_count", models.PositiveSmallIntegerField(default=0, verbose_name="GPUs")),
                (
                    "pool",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        editable=False,
                        max_length=64,
                        verbose_name="GPU pool",
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[("training", "Training"), ("evaluation", "Evaluation")],
                        db_default="training",
                        default="training",
                        editable=False,
                        max_length=16,
                        verbose_name="kind",
                    ),
                ),
                (
                    "preemptible",
                    models.BooleanField(
                        db_default=False, default=False, verbose_name="preemptible"
                    ),
                ),
                ("expected_seconds", models.FloatField(editable=False, null=True)),
                (
                    "nodes",
                    models.PositiveSmallIntegerField(db_default=1, default=1, verbose_name="nodes"),
                ),
                (
                    "time_limit_seconds",
                    models.PositiveIntegerField(
                        blank=True, null=True, verbose_name="time limit (s)"
                    ),
                ),
                ("priority", models.SmallIntegerField(default=0, verbose_name="priority")),
                ("tags", models.JSONField(blank=True, default=dict, verbose_name="tags")),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("排队中", "Queued"),
                            ("运行中", "Running"),
                            ("已暂停", "Paused"),
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
                (
                    "failure_kind",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("out_of_memory", "Out of memory"),
                            ("disk_full", "Disk full"),
                            ("diverged", "Diverged"),
                            ("communication", "Communication between processes failed"),
                            ("import_error", "Import error"),
                            ("cannot_start", "Cannot start"),
                            ("stalled", "Stalled"),
                            ("killed", "Killed"),
                            ("worker_lost", "Worker lost"),
                            ("time_limit", "Time limit"),
                            ("node_failed", "Node failed"),
                            ("preempted", "Preempted in its cluster"),
                            ("cluster_cancel", "Cancelled in its cluster"),
                            ("exit_code", "Exited with an error"),
                        ],
                        db_default="",
                        default="",
                        max_length=16,
                        verbose_name="kind of failure",
                    ),
                ),
                ("exit_code", models.IntegerField(blank=True, null=True, verbose_name="exit code")),
                (
                    "stop_kind",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("cancel", "Cancel"),
                            ("stalled", "Stalled"),
                            ("preempt", "Preempt"),
                            ("pause", "Pause"),
                        ],
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
                ("restart_step", models.BigIntegerField(db_default=0, default=0, editable=False)),
                ("attempt_start_step", models.BigIntegerField(editable=False, null=True)),
                (
                    "devices",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=64),
                        blank=True,
                        db_default=[],
                        default=list,
                        editable=False,
                        size=None,
                        verbose_name="devices",
                    ),
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
                ("held_seconds", models.FloatField(editable=False, null=True)),
                ("held_since", models.DateTimeField(editable=False, null=True)),
                ("created_at", models.DateTimeField(auto_now_add=True, verbose_name="created at")),
                (
                    "queued_at",
                    models.DateTimeField(blank=True, null=True, verbose_name="queued at"),
                ),
                (
                    "estimated_start",
                    models.DateTimeField(
                        blank=True, editable=False, null=True, verbose_name="estimated start"
                    ),
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
                    "attempt_started_at",
                    models.DateTimeField(blank=True, null=True, verbose_name="attempt started at"),
                ),
                (
                    "reported_at",
                    models.DateTimeField(blank=True, null=True, verbose_name="last reported at"),
                ),
                (
                    "stepped_at",
                    models.DateTimeField(blank=True, null=True, verbose_name="last step at"),
                ),
                ("lost_at", models.DateTimeField(blank=True, null=True, verbose_name="lost at")),
                (
                    "deleted_at",
                    models.DateTimeField(blank=True, null=True, verbose_name="deleted at"),
                ),
                (
                    "archived_at",
                    models.DateTimeField(blank=True, null=True, verbose_name="archived at"),
                ),
                ("is_hidden", models.BooleanField(db_default=False, default=False, editable=False)),
                (
                    "deleted_with_project",
                    models.BooleanField(db_default=False, default=False, editable=False),
                ),
                (
                    "is_indexed",
                    models.BooleanField(db_default=False, default=False, editable=False),
                ),
                (
                    "is_accounted",
                    models.BooleanField(db_default=False, default=False, editable=False),
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
                "indexes": [
                    models.Index(
                        condition=models.Q(("deleted_at", None), ("is_hidden", False)),
                        fields=["project", "-created_at", "id"],
                        include=("is_indexed", "archived_at"),
                        name="run_of_project",
                    ),
                    models.Index(
                        models.F("project"),
                        models.OrderBy(models.F("started_at"), descending=True, nulls_last=True),
                        models.F("id"),
                        condition=models.Q(("deleted_at", None), ("is_hidden", False)),
                        name="run_of_project_by_start",
                    ),
                    models.Index(
                        condition=models.Q(
                            ("archived_at", None), ("deleted_at", None), ("is_hidden", False)
                        ),
                        fields=["project"],
                        name="run_unarchived",
                    ),
                    models.Index(
                        condition=models.Q(("is_hidden", False), ("is_indexed", False)),
                        fields=["project", "id"],
                        name="run_not_indexed",
                    ),
                    models.Index(
                        condition=models.Q(
                            ("finished_at__isnull", False),
                            ("is_hidden", False),
                            ("is_indexed", False),
                        ),
                        fields=["id"],
                        name="run_to_index",
                    ),
                    models.Index(
                        condition=models.Q(
                            ("finished_at__isnull", False),
                            ("is_accounted", False),
                            ("is_hidden", False),
                        ),
                        fields=["id"],
                        name="run_to_account",
                    ),
                    models.Index(fields=["-created_at", "id"], name="run_newest_first"),
                    models.Index(
                        condition=models.Q(("finished_at__isnull", False)),
                        fields=["-finished_at", "id"],
                        name="run_newest_end",
                    ),
                    models.Index(
                        condition=models.Q(("status", "排队中")),
                        fields=["-priority", "queued_at", "id"],
                        name="run_queue",
                    ),
                    models.Index(
                        models.F("pool"),
                        django.db.models.expressions.CombinedExpression(
                            models.F("priority"), "*", models.Value(-1)
                        ),
                        models.F("project"),
                        models.F("queued_at"),
                        models.F("id"),
                        condition=models.Q(("status", "排队中"), ("worker", None)),
                        name="run_queue_of_pool",
                    ),
                    models.Index(
                        condition=models.Q(
                            models.Q(("recipe", None), ("status", "运行中")),
                            ("lost_at__isnull", False),
                            _connector="OR",
                        ),
                        fields=["id"],
                        name="run_unmanaged",
                    ),
                    django.contrib.postgres.indexes.HashIndex(
                        django.db.models.fields.json.KeyTextTransform("mlflow.parentRunId", "tags"),
                        condition=models.Q(("tags__has_key", "mlflow.parentRunId")),
                        name="run_nested_in",
                    ),
                    models.Index(
                        condition=models.Q(("status", "运行中")),
                        fields=["worker"],
                        name="run_running",
                    ),
                    models.Index(
                        condition=models.Q(("status", "排队中"), ("worker__isnull", False)),
                        fields=["worker"],
                        name="run_submitted",
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "status__in",
                                ["排队中", "运行中", "已暂停", "已完成", "已失败", "已取消"],
                            )
                        ),
                        name="run_status_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("finished_at__isnull", False),
                                ("status__in", ["已取消", "已失败", "已完成"]),
                            ),
                            models.Q(
                                models.Q(
                                    ("status__in", ["已取消", "已失败", "已完成"]), _negated=True
                                ),
                                ("finished_at__isnull", True),
                            ),
                            _connector="OR",
                        ),
                        name="run_finished_iff_terminal",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("progress__gte", 0), ("progress__lte", 1)),
                        name="run_progress_is_a_share",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="RunColumn",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "kind",
                    models.CharField(
                        choices=[("param", "hyperparameter"), ("metric", "metric")], max_length=8
                    ),
                ),
                ("key", models.CharField(db_collation="C", max_length=250, verbose_name="key")),
                (
                    "project",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="run_columns",
                        to="projects.project",
                    ),
                ),
            ],
            options={
                "verbose_name": "column of runs",
                "verbose_name_plural": "columns of runs",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("project", "kind", "key"), name="runcolumn_once"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="ParamValue",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "run_id",
                        "column_id",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("number", models.FloatField(null=True)),
                ("text", models.TextField(db_collation="C")),
                ("is_text", models.BooleanField()),
                (
                    "run",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="param_values",
                        to="runs.run",
                    ),
                ),
                (
                    "column",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="runs.runcolumn",
                    ),
                ),
            ],
            options={
                "verbose_name": "value of a hyperparameter",
                "verbose_name_plural": "values of hyperparameters",
                "indexes": [
                    models.Index(
                        condition=models.Q(("number__isnull", False)),
                        fields=["column", "number", "run"],
                        include=("text", "is_text"),
                        name="paramvalue_number",
                    ),
                    models.Index(
                        condition=models.Q(("number", None)),
                        fields=["column", "text", "run"],
                        include=("is_text",),
                        name="paramvalue_text",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Submission",
            fields=[
                (
                    "key",
                    models.CharField(
                        db_collation="C", max_length=64, primary_key=True, serialize=False
                    ),
                ),
                ("request_digest", models.CharField(max_length=64)),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), db_index=True
                    ),
                ),
                (
                    "run",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="runs.run",
                    ),
                ),
            ],
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
                            ("submitted", "submitted to its cluster"),
                            ("started", "started by its cluster"),
                            ("requeued", "waits in its cluster"),
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
                            ("archived", "archived"),
                            ("unarchived", "listed again"),
                            ("not_stored", "could not store its files"),
                            ("stored", "stored its files after all"),
                            ("not_sent", "could not send its files"),
                            ("sent", "sent its files after all"),
                            ("fault", "its worker met an error"),
                            ("fault_over", "its worker's error is over"),
                            ("renamed", "renamed"),
                            ("note_changed", "note changed"),
                            ("tags_changed", "tags changed"),
                            ("priority_changed", "priority changed"),
                            ("preempted", "preempted"),
                            ("paused", "paused"),
                            ("continued", "continued after a pause"),
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
                            ("已暂停", "Paused"),
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
                            ("已暂停", "Paused"),
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
                        db_index=False,
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
                "indexes": [
                    django.contrib.postgres.indexes.HashIndex(
                        condition=models.Q(
                            ("kind", "created"), models.Q(("reason", ""), _negated=True)
                        ),
                        fields=["reason"],
                        name="runevent_created_because",
                    ),
                    models.Index(
                        fields=["kind", "to_status", "-created_at", "-id"], name="runevent_by_kind"
                    ),
                    models.Index(fields=["actor", "-created_at", "-id"], name="runevent_by_actor"),
                ],
            },
        ),
        migrations.CreateModel(
            name="ProgramCheck",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("digest", models.CharField(db_collation="C", max_length=64)),
                ("program", models.CharField(max_length=1000, verbose_name="program")),
                ("search_path", models.CharField(blank=True, max_length=10000)),
                ("requested_at", models.DateTimeField(verbose_name="requested at")),
                ("answered_at", models.DateTimeField(null=True, verbose_name="answered at")),
                ("path", models.TextField(blank=True, verbose_name="path")),
                (
                    "worker",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="program_checks",
                        to="runs.worker",
                    ),
                ),
            ],
            options={
                "verbose_name": "program check",
                "verbose_name_plural": "program checks",
                "ordering": ("id",),
                "indexes": [
                    models.Index(
                        condition=models.Q(("answered_at", None)),
                        fields=["worker"],
                        name="programcheck_unanswered",
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("worker", "digest"), name="programcheck_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="GpuUsage",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("pool", models.CharField(blank=True, max_length=64)),
                ("day", models.DateField()),
                ("gpu_seconds", models.FloatField(default=0.0)),
                (
                    "project",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="projects.project",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("day", "project", "pool"), name="gpuusage_one_a_day"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Quota",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "owner",
                    models.CharField(
                        blank=True,
                        help_text="Of all projects with this owner together.",
                        max_length=200,
                        verbose_name="owner",
                    ),
                ),
                (
                    "max_gpus",
                    models.PositiveIntegerField(blank=True, null=True, verbose_name="GPUs at once"),
                ),
                (
                    "max_gpu_hours",
                    models.FloatField(
                        blank=True,
                        null=True,
                        validators=[django.core.validators.MinValueValidator(0.0)],
                        verbose_name="GPU-hours a month",
                    ),
                ),
                (
                    "pool",
                    models.ForeignKey(
                        blank=True,
                        help_text="Empty: of all pools together.",
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="quotas",
                        to="runs.gpupool",
                        verbose_name="GPU pool",
                    ),
                ),
                (
                    "project",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="quotas",
                        to="projects.project",
                        verbose_name="project",
                    ),
                ),
            ],
            options={
                "verbose_name": "quota",
                "verbose_name_plural": "quotas",
                "ordering": ("project__name", "owner", "pool"),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("project", None), models.Q(("owner", ""), _negated=True)),
                            models.Q(("project__isnull", False), ("owner", "")),
                            _connector="OR",
                        ),
                        name="quota_of_project_or_owner",
                        violation_error_message="A quota is that of a project or of an owner.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("max_gpus__isnull", False),
                            ("max_gpu_hours__isnull", False),
                            _connector="OR",
                        ),
                        name="quota_limits_something",
                        violation_error_message="Set the GPUs at once, the GPU-hours a month, or both.",
                    ),
                    models.UniqueConstraint(
                        fields=("project", "owner", "pool"),
                        name="quota_one_of_each",
                        nulls_distinct=False,
                        violation_error_message="There is such a quota already.",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="RunCode",
            fields=[
                (
                    "run",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="code",
                        serialize=False,
                        to="runs.run",
                    ),
                ),
                ("origin", models.JSONField(default=dict, editable=False)),
                ("patch", models.TextField(blank=True, editable=False)),
                (
                    "bundle",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="run_codes",
                        to="runs.codebundle",
                    ),
                ),
            ],
            options={
                "verbose_name": "code of a run",
                "verbose_name_plural": "code of runs",
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
        # Every batch of points updates these rows. Free space in the page keeps the new version of
        # a row on it, so indexes need no update (HOT).
        migrations.RunSQL(
            "ALTER TABLE runs_run SET (fillfactor = 60)",
            "ALTER TABLE runs_run RESET (fillfactor)",
        ),
        migrations.RunSQL(VACUUM_EARLY, migrations.RunSQL.noop),
        migrations.RunPython(add_recipes, migrations.RunPython.noop),
    ]
