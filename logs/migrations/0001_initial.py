import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("runs", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="LogBatch",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "run_id",
                        "key",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("key", models.BinaryField(max_length=16)),
                ("content", models.BinaryField(max_length=16)),
                ("first_seq", models.BigIntegerField()),
                ("count", models.IntegerField()),
                (
                    "run",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="log_batches",
                        to="runs.run",
                    ),
                ),
            ],
            options={
                "verbose_name": "log batch",
                "verbose_name_plural": "log batches",
            },
        ),
        migrations.CreateModel(
            name="LogBlock",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "run_id",
                        "number",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("number", models.BigIntegerField()),
                ("first_time", models.DateTimeField()),
                ("last_time", models.DateTimeField()),
                ("tallies", models.JSONField()),
                ("trigrams", models.BinaryField()),
                (
                    "run",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="log_blocks",
                        to="runs.run",
                    ),
                ),
            ],
            options={
                "verbose_name": "log block",
                "verbose_name_plural": "log blocks",
            },
        ),
        migrations.CreateModel(
            name="LogLine",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "run_id",
                        "seq",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("seq", models.BigIntegerField(verbose_name="number")),
                ("timestamp", models.DateTimeField(verbose_name="time")),
                (
                    "level",
                    models.CharField(
                        choices=[
                            ("DEBUG", "DEBUG"),
                            ("INFO", "INFO"),
                            ("WARNING", "WARNING"),
                            ("ERROR", "ERROR"),
                            ("CRITICAL", "CRITICAL"),
                        ],
                        max_length=8,
                        verbose_name="level",
                    ),
                ),
                ("source", models.CharField(blank=True, max_length=64, verbose_name="source")),
                ("rank", models.IntegerField(blank=True, null=True, verbose_name="rank")),
                ("message", models.TextField(verbose_name="message")),
                (
                    "run",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="log_lines",
                        to="runs.run",
                    ),
                ),
            ],
            options={
                "verbose_name": "log line",
                "verbose_name_plural": "log lines",
            },
        ),
        # Inline storage: a search reads every filter, and fetching one from a TOAST table takes
        # longer than testing it.
        migrations.RunSQL(
            "ALTER TABLE logs_logblock ALTER tallies SET STORAGE MAIN, "
            "ALTER trigrams SET STORAGE PLAIN",
            migrations.RunSQL.noop,
        ),
    ]
