import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("runs", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="MetricSeries",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("key", models.CharField(db_collation="C", max_length=250, verbose_name="key")),
                ("count", models.BigIntegerField(db_default=0, default=0, verbose_name="points")),
                ("minimum", models.FloatField(null=True, verbose_name="minimum")),
                ("maximum", models.FloatField(null=True, verbose_name="maximum")),
                ("last_step", models.BigIntegerField(null=True, verbose_name="last step")),
                ("last_timestamp_ms", models.BigIntegerField(null=True)),
                ("last_value", models.FloatField(null=True, verbose_name="last value")),
                ("bucket_shift", models.SmallIntegerField(null=True)),
                ("bucketed_below", models.BigIntegerField(null=True)),
                ("bucketed_count", models.BigIntegerField(db_default=0, default=0)),
                (
                    "run",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="series",
                        to="runs.run",
                    ),
                ),
            ],
            options={
                "verbose_name": "metric",
                "verbose_name_plural": "metrics",
            },
        ),
        migrations.CreateModel(
            name="MetricPoint",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "series_id",
                        "step",
                        "timestamp_ms",
                        "value",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("step", models.BigIntegerField()),
                ("timestamp_ms", models.BigIntegerField()),
                ("value", models.FloatField()),
                (
                    "series",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="points",
                        to="metrics.metricseries",
                    ),
                ),
            ],
            options={
                "verbose_name": "metric point",
                "verbose_name_plural": "metric points",
            },
        ),
        migrations.CreateModel(
            name="MetricBucket",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "series_id",
                        "shift",
                        "number",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("shift", models.SmallIntegerField()),
                ("number", models.BigIntegerField()),
                ("count", models.BigIntegerField()),
                ("minimum", models.FloatField(null=True)),
                ("minimum_step", models.BigIntegerField(null=True)),
                ("maximum", models.FloatField(null=True)),
                ("maximum_step", models.BigIntegerField(null=True)),
                ("first_step", models.BigIntegerField()),
                ("first_timestamp_ms", models.BigIntegerField()),
                ("first_value", models.FloatField()),
                ("last_step", models.BigIntegerField()),
                ("last_timestamp_ms", models.BigIntegerField()),
                ("last_value", models.FloatField()),
                (
                    "series",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="buckets",
                        to="metrics.metricseries",
                    ),
                ),
            ],
            options={
                "verbose_name": "metric bucket",
                "verbose_name_plural": "metric buckets",
            },
        ),
        migrations.AddIndex(
            model_name="metricseries",
            index=models.Index(fields=["key", "run"], name="metricseries_key"),
        ),
        migrations.AddConstraint(
            model_name="metricseries",
            constraint=models.UniqueConstraint(fields=("run", "key"), name="metricseries_run_key"),
        ),
        # Every batch of points updates these rows. Free space in the page keeps the new version of
        # a row on it, so indexes need no update (HOT).
        migrations.RunSQL(
            "ALTER TABLE metrics_metricseries SET (fillfactor = 70)",
            "ALTER TABLE metrics_metricseries RESET (fillfactor)",
        ),
        migrations.RunSQL(
            "ALTER TABLE metrics_metricbucket SET (fillfactor = 80)",
            "ALTER TABLE metrics_metricbucket RESET (fillfactor)",
        ),
    ]
