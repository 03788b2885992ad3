import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

# The runs that wait or hold GPUs count against the pools, which were known by their type.
SET_POOLS = """
UPDATE runs_run SET pool = runs_gpupool.name
FROM runs_gpupool
WHERE runs_gpupool.name = runs_run.gpu_type AND gpu_count > 0 AND recipe_id IS NOT NULL
    AND status IN ('排队中', '运行中')
"""
# Of the last month, as if each run had held its GPUs on the day of its end.
COUNT_USAGE = """
INSERT INTO runs_gpuusage (project_id, pool, day, gpu_seconds)
SELECT project_id, pool, (finished_at AT TIME ZONE 'UTC')::date, sum(gpu_count * held_seconds)
FROM runs_run
WHERE finished_at > now() - interval '31 days' AND gpu_count > 0 AND held_seconds > 0
GROUP BY 1, 2, 3
"""


class Migration(migrations.Migration):
    dependencies = [
        ("projects", "0002_key_metrics"),
        ("runs", "0021_held_time"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="GpuUsage",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("pool", models.CharField(blank=True, max_length=64)),
                ("day", models.DateField()),
                ("gpu_seconds", models.FloatField(default=0.0)),
            ],
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
            ],
            options={
                "verbose_name": "quota",
                "verbose_name_plural": "quotas",
                "ordering": ("project__name", "owner", "pool"),
            },
        ),
        migrations.AlterModelOptions(
            name="gpupool",
            options={
                "ordering": ("name",),
                "verbose_name": "GPU pool",
                "verbose_name_plural": "GPU pools",
            },
        ),
        migrations.RemoveConstraint(
            model_name="run",
            name="run_status_known",
        ),
        migrations.AddField(
            model_name="gpupool",
            name="cluster",
            field=models.CharField(
                blank=True,
                help_text="The part of the executor's cluster that it is, such as a Slurm partition.",
                max_length=200,
                verbose_name="cluster",
            ),
        ),
        migrations.AddField(
            model_name="gpupool",
            name="executor",
            field=models.CharField(
                blank=True,
                choices=[("simulated", "Simulated"), ("process", "Process on a worker's host")],
                help_text="Whose runs use it; empty: those of every executor without a pool of its own.",
                max_length=16,
                verbose_name="executor",
            ),
        ),
        migrations.AddField(
            model_name="gpupool",
            name="hosts",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=255),
                blank=True,
                default=list,
                help_text="Only workers on these hosts execute its runs; empty: all.",
                size=None,
                verbose_name="hosts",
            ),
        ),
        migrations.AddField(
            model_name="gpupool",
            name="is_discovered",
            field=models.BooleanField(default=False, editable=False, verbose_name="discovered"),
        ),
        migrations.RenameField(model_name="gpupool", old_name="gpu_type", new_name="name"),
        migrations.AlterField(
            model_name="gpupool",
            name="name",
            field=models.CharField(
                max_length=64,
                primary_key=True,
                serialize=False,
                validators=[django.core.validators.RegexValidator("\\A[\\w.\\- ]*\\Z")],
                verbose_name="name",
            ),
        ),
        migrations.AddField(
            model_name="gpupool",
            name="gpu_type",
            field=models.CharField(
                default="",
                max_length=64,
                validators=[django.core.validators.RegexValidator("\\A[\\w.\\- ]*\\Z")],
                verbose_name="GPU type",
            ),
            preserve_default=False,
        ),
        migrations.RunSQL("UPDATE runs_gpupool SET gpu_type = name", migrations.RunSQL.noop),
        migrations.AddField(
            model_name="gpupool",
            name="reserve",
            field=models.PositiveIntegerField(
                default=0,
                help_text="Of its GPUs, as many as only runs of recipes of the kind evaluation use, so that they start beside large trainings.",
                verbose_name="GPUs kept for evaluations",
            ),
        ),
        migrations.AddField(
            model_name="recipe",
            name="kind",
            field=models.CharField(
                blank=True,
                choices=[("training", "Training"), ("evaluation", "Evaluation")],
                db_default="training",
                default="training",
                help_text="Evaluations may use the GPUs that a pool keeps for them.",
                max_length=16,
                verbose_name="kind",
            ),
        ),
        migrations.AddField(
            model_name="recipe",
            name="preemptible",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="Whether its runs give up their GPUs, each with a checkpoint, to waiting runs of a higher priority. They keep their place in the queue.",
                verbose_name="preemptible",
            ),
        ),
        migrations.AddField(
            model_name="run",
            name="expected_seconds",
            field=models.FloatField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="run",
            name="kind",
            field=models.CharField(
                choices=[("training", "Training"), ("evaluation", "Evaluation")],
                db_default="training",
                default="training",
                editable=False,
                max_length=16,
                verbose_name="kind",
            ),
        ),
        migrations.AddField(
            model_name="run",
            name="pool",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                editable=False,
                max_length=64,
                verbose_name="GPU pool",
            ),
        ),
        migrations.AddField(
            model_name="run",
            name="preemptible",
            field=models.BooleanField(db_default=False, default=False, verbose_name="preemptible"),
        ),
        migrations.AlterField(
            model_name="run",
            name="status",
            field=models.CharField(
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
        migrations.AlterField(
            model_name="run",
            name="stop_kind",
            field=models.CharField(
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
        migrations.AlterField(
            model_name="runevent",
            name="from_status",
            field=models.CharField(
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
        migrations.AlterField(
            model_name="runevent",
            name="kind",
            field=models.CharField(
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
                    ("archived", "archived"),
                    ("unarchived", "listed again"),
                    ("not_stored", "could not store its files"),
                    ("stored", "stored its files after all"),
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
        migrations.AlterField(
            model_name="runevent",
            name="to_status",
            field=models.CharField(
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
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                models.F("pool"),
                models.F("priority") * -1,
                models.F("project"),
                models.F("queued_at"),
                models.F("id"),
                name="run_queue_of_pool",
                condition=models.Q(("status", "排队中"), ("worker", None)),
            ),
        ),
        migrations.AddConstraint(
            model_name="gpupool",
            constraint=models.UniqueConstraint(
                fields=("gpu_type", "executor", "cluster"),
                name="gpupool_one_of_a_type",
                violation_error_message="There is a pool of this type already.",
            ),
        ),
        migrations.AddConstraint(
            model_name="gpupool",
            constraint=models.CheckConstraint(
                condition=models.Q(("reserve__lte", models.F("capacity"))),
                name="gpupool_reserve_within_capacity",
                violation_error_message="More GPUs are kept for evaluations than there are.",
            ),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("status__in", ["排队中", "运行中", "已暂停", "已完成", "已失败", "已取消"])
                ),
                name="run_status_known",
            ),
        ),
        migrations.AddField(
            model_name="gpuusage",
            name="project",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="+", to="projects.project"
            ),
        ),
        migrations.AddField(
            model_name="quota",
            name="pool",
            field=models.ForeignKey(
                blank=True,
                help_text="Empty: of all pools together.",
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="quotas",
                to="runs.gpupool",
                verbose_name="GPU pool",
            ),
        ),
        migrations.AddField(
            model_name="quota",
            name="project",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="quotas",
                to="projects.project",
                verbose_name="project",
            ),
        ),
        migrations.AddConstraint(
            model_name="gpuusage",
            constraint=models.UniqueConstraint(
                fields=("day", "project", "pool"), name="gpuusage_one_a_day"
            ),
        ),
        migrations.AddConstraint(
            model_name="quota",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("project", None), models.Q(("owner", ""), _negated=True)),
                    models.Q(("project__isnull", False), ("owner", "")),
                    _connector="OR",
                ),
                name="quota_of_project_or_owner",
                violation_error_message="A quota is that of a project or of an owner.",
            ),
        ),
        migrations.AddConstraint(
            model_name="quota",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("max_gpus__isnull", False), ("max_gpu_hours__isnull", False), _connector="OR"
                ),
                name="quota_limits_something",
                violation_error_message="Set the GPUs at once, the GPU-hours a month, or both.",
            ),
        ),
        migrations.AddConstraint(
            model_name="quota",
            constraint=models.UniqueConstraint(
                fields=("project", "owner", "pool"),
                name="quota_one_of_each",
                nulls_distinct=False,
                violation_error_message="There is such a quota already.",
            ),
        ),
        migrations.RunSQL(SET_POOLS, migrations.RunSQL.noop),
        migrations.RunSQL(COUNT_USAGE, migrations.RunSQL.noop),
    ]
