import django.db.models.deletion
from django.db import migrations, models


def of_run(related_name: str) -> models.ForeignKey:
    return models.ForeignKey(
        db_constraint=False,
        db_index=False,
        on_delete=django.db.models.deletion.CASCADE,
        related_name=related_name,
        to="runs.run",
    )


def key(*names: str) -> models.CompositePrimaryKey:
    return models.CompositePrimaryKey(
        *names, blank=True, editable=False, primary_key=True, serialize=False
    )


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0005_external"),
    ]

    operations = [
        migrations.CreateModel(
            name="LogBatch",
            fields=[
                ("pk", key("run_id", "key")),
                ("run", of_run("log_batches")),
                ("key", models.BinaryField(max_length=16)),
                ("content", models.BinaryField(max_length=16)),
                ("first_seq", models.BigIntegerField()),
                ("count", models.IntegerField()),
            ],
            options={
                "verbose_name": "log batch",
                "verbose_name_plural": "log batches",
            },
        ),
        migrations.CreateModel(
            name="LogBlock",
            fields=[
                ("pk", key("run_id", "number")),
                ("run", of_run("log_blocks")),
                ("number", models.BigIntegerField()),
                ("first_time", models.DateTimeField()),
                ("last_time", models.DateTimeField()),
                ("tallies", models.JSONField()),
                ("trigrams", models.BinaryField()),
            ],
            options={
                "verbose_name": "log block",
                "verbose_name_plural": "log blocks",
            },
        ),
        # In the row itself: a search looks at every filter, and fetching it from elsewhere takes
        # longer than looking.
        migrations.RunSQL(
            "ALTER TABLE runs_logblock ALTER tallies SET STORAGE MAIN, "
            "ALTER trigrams SET STORAGE PLAIN",
            migrations.RunSQL.noop,
        ),
        migrations.RemoveIndex(
            model_name="logline",
            name="logline_run_time",
        ),
        migrations.AlterField(
            model_name="logline",
            name="run",
            field=of_run("log_lines"),
        ),
    ]
