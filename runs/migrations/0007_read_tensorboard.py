from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0006_stalled_runs"),
    ]

    operations = [
        migrations.AddField(
            model_name="recipe",
            name="read_tensorboard",
            field=models.BooleanField(
                db_default=True,
                default=True,
                help_text="Whether the scalars of the TensorBoard event files that the command writes become metrics.",
                verbose_name="read TensorBoard files",
            ),
        ),
    ]
