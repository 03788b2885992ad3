import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0004_rewound_to"),
    ]

    operations = [
        migrations.AddField(
            model_name="run",
            name="devices",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=64),
                blank=True,
                db_default=[],
                default=list,
                editable=False,
                size=None,
                verbose_name="devices",
            ),
        ),
        migrations.AddField(
            model_name="run",
            name="restart_step",
            field=models.BigIntegerField(db_default=0, default=0, editable=False),
        ),
        migrations.AddField(
            model_name="worker",
            name="devices",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=64),
                blank=True,
                editable=False,
                null=True,
                size=None,
                verbose_name="devices",
            ),
        ),
        migrations.AlterField(
            model_name="recipe",
            name="max_restarts",
            field=models.PositiveSmallIntegerField(
                default=3,
                help_text="How many times a run continues after its process dies without a newer checkpoint.",
                verbose_name="max restarts",
            ),
        ),
    ]
