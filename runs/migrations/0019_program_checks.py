import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
from django.db import migrations, models

import runs.models.recipe


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0018_draining"),
    ]

    operations = [
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
            ],
            options={
                "verbose_name": "program check",
                "verbose_name_plural": "program checks",
                "ordering": ("id",),
            },
        ),
        migrations.AlterField(
            model_name="gpupool",
            name="capacity",
            field=models.PositiveIntegerField(
                validators=[django.core.validators.MaxValueValidator(1000000)], verbose_name="GPUs"
            ),
        ),
        migrations.AlterField(
            model_name="gpupool",
            name="gpu_type",
            field=models.CharField(
                max_length=64,
                primary_key=True,
                serialize=False,
                validators=[django.core.validators.RegexValidator("\\A[\\w.\\- ]*\\Z")],
                verbose_name="GPU type",
            ),
        ),
        migrations.AlterField(
            model_name="recipe",
            name="command",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=1000),
                blank=True,
                default=list,
                help_text="The program and its arguments, one per line, without a shell; a JSON list or a line of a shell is understood, too. {python} is TrainHub's Python interpreter, {repository} the directory of manage.py.",
                size=None,
                verbose_name="command",
            ),
        ),
        migrations.AlterField(
            model_name="recipe",
            name="environment",
            field=models.JSONField(
                blank=True,
                default=dict,
                help_text="One NAME=value per line.",
                validators=[runs.models.recipe.validate_environment],
                verbose_name="environment",
            ),
        ),
        migrations.AddField(
            model_name="programcheck",
            name="worker",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="program_checks",
                to="runs.worker",
            ),
        ),
        migrations.AddIndex(
            model_name="programcheck",
            index=models.Index(
                condition=models.Q(("answered_at", None)),
                fields=["worker"],
                name="programcheck_unanswered",
            ),
        ),
        migrations.AddConstraint(
            model_name="programcheck",
            constraint=models.UniqueConstraint(
                fields=("worker", "digest"), name="programcheck_once"
            ),
        ),
    ]
