import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0024_code_of_runs"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="recipe",
            name="recipe_executor_known",
        ),
        migrations.RemoveConstraint(
            model_name="recipe",
            name="recipe_process_has_command",
        ),
        migrations.AddField(
            model_name="recipe",
            name="cpus_per_node",
            field=models.PositiveSmallIntegerField(
                blank=True,
                null=True,
                validators=[django.core.validators.MinValueValidator(1)],
                verbose_name="CPUs of a node",
            ),
        ),
        migrations.AddField(
            model_name="recipe",
            name="engine_options",
            field=models.JSONField(
                blank=True,
                db_default={},
                default=dict,
                help_text="For Slurm: partition, account, qos, constraint, reservation, exclude, nodelist, and gres_type, Slurm's name of the GPU type if it has another one.",
                verbose_name="options of its cluster",
            ),
        ),
        migrations.AddField(
            model_name="recipe",
            name="memory_gb_per_node",
            field=models.PositiveIntegerField(
                blank=True,
                null=True,
                validators=[django.core.validators.MinValueValidator(1)],
                verbose_name="memory of a node (GB)",
            ),
        ),
        migrations.AddField(
            model_name="recipe",
            name="nodes",
            field=models.PositiveSmallIntegerField(
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
        migrations.AddField(
            model_name="recipe",
            name="time_limit_seconds",
            field=models.PositiveIntegerField(
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
        migrations.AddField(
            model_name="run",
            name="estimated_start",
            field=models.DateTimeField(
                blank=True, editable=False, null=True, verbose_name="estimated start"
            ),
        ),
        migrations.AddField(
            model_name="run",
            name="nodes",
            field=models.PositiveSmallIntegerField(db_default=1, default=1, verbose_name="nodes"),
        ),
        migrations.AddField(
            model_name="run",
            name="time_limit_seconds",
            field=models.PositiveIntegerField(blank=True, null=True, verbose_name="time limit (s)"),
        ),
        migrations.AlterField(
            model_name="recipe",
            name="executor",
            field=models.CharField(
                choices=[
                    ("simulated", "Simulated"),
                    ("process", "Process on a worker's host"),
                    ("slurm", "Slurm"),
                ],
                max_length=16,
                verbose_name="executor",
            ),
        ),
        migrations.AlterField(
            model_name="recipe",
            name="gpu_count",
            field=models.PositiveSmallIntegerField(
                default=0, help_text="Of all nodes together.", verbose_name="GPUs"
            ),
        ),
        migrations.AlterField(
            model_name="run",
            name="failure_kind",
            field=models.CharField(
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
        migrations.AddConstraint(
            model_name="recipe",
            constraint=models.CheckConstraint(
                condition=models.Q(("executor__in", ["simulated", "process", "slurm"])),
                name="recipe_executor_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="recipe",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("command", []), ("executor__in", ("process", "slurm")), _negated=True
                ),
                name="recipe_process_has_command",
            ),
        ),
        migrations.AlterField(
            model_name="gpupool",
            name="executor",
            field=models.CharField(
                blank=True,
                choices=[
                    ("simulated", "Simulated"),
                    ("process", "Process on a worker's host"),
                    ("slurm", "Slurm"),
                ],
                help_text="Whose runs use it; empty: those of every executor without a pool of its own.",
                max_length=16,
                verbose_name="executor",
            ),
        ),
        migrations.AlterField(
            model_name="runevent",
            name="kind",
            field=models.CharField(
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
    ]
