from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0007_read_tensorboard"),
    ]

    operations = [
        migrations.AddField(
            model_name="run",
            name="requested_hyperparameters",
            field=models.JSONField(editable=False, null=True),
        ),
    ]
