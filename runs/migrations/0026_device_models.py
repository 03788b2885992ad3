import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0025_cluster_resources"),
    ]

    operations = [
        migrations.AddField(
            model_name="worker",
            name="device_models",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(blank=True, max_length=64),
                blank=True,
                db_default=[],
                default=list,
                editable=False,
                size=None,
            ),
        ),
    ]
