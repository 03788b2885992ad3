from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0011_device_uuids"),
    ]

    operations = [
        migrations.AddField(
            model_name="run",
            name="deleted_with_project",
            field=models.BooleanField(db_default=False, default=False, editable=False),
        ),
        migrations.AddField(
            model_name="run",
            name="is_hidden",
            field=models.BooleanField(db_default=False, default=False, editable=False),
        ),
    ]
