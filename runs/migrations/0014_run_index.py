import django.db.models.deletion
from django.db import migrations, models

# Values are inserted in bursts, by workers, and read by index-only scans, which need the visibility
# map: vacuum and analyze after 2 % of new rows instead of 20 and 10 %.
VACUUM_EARLY = """
ALTER TABLE runs_paramvalue SET (
    autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02
)
"""


class Migration(migrations.Migration):
    dependencies = [
        ("projects", "0001_initial"),
        ("runs", "0013_indexes_of_listed_runs"),
    ]

    operations = [
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
                ("number", models.FloatField(null=True)),
                ("text", models.TextField(db_collation="C")),
                ("is_text", models.BooleanField()),
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
        migrations.AddField(
            model_name="run",
            name="is_indexed",
            field=models.BooleanField(db_default=False, default=False, editable=False),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                condition=models.Q(("is_hidden", False), ("is_indexed", False)),
                fields=["project", "id"],
                name="run_not_indexed",
            ),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                condition=models.Q(
                    ("finished_at__isnull", False), ("is_hidden", False), ("is_indexed", False)
                ),
                fields=["id"],
                name="run_to_index",
            ),
        ),
        migrations.RunSQL(VACUUM_EARLY, migrations.RunSQL.noop),
    ]
