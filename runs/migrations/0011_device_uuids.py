import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0010_fault_over"),
    ]

    operations = [
        migrations.AddField(
            model_name="worker",
            name="device_uuids",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(blank=True, max_length=64),
                blank=True,
                default=list,
                editable=False,
                size=None,
            ),
        ),
    ]
