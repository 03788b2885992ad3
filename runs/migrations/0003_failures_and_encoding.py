from django.db import migrations, models

import runs.models.encoding


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0002_recipes"),
    ]

    operations = [
        migrations.AddField(
            model_name="recipe",
            name="encoding",
            field=models.CharField(
                blank=True,
                db_default="utf-8",
                default="utf-8",
                help_text="The text encoding that the command prints in, e.g. gbk. With utf-8, lines that are not valid UTF-8 are decoded by a guess.",
                max_length=32,
                validators=[runs.models.encoding.validate_encoding],
                verbose_name="encoding",
            ),
        ),
        migrations.AddField(
            model_name="run",
            name="failure_kind",
            field=models.CharField(
                blank=True,
                choices=[
                    ("out_of_memory", "Out of memory"),
                    ("disk_full", "Disk full"),
                    ("diverged", "Diverged"),
                    ("communication", "Communication between processes failed"),
                    ("import_error", "Import error"),
                    ("cannot_start", "Cannot start"),
                    ("stalled", "Stalled"),
                    ("killed", "Killed"),
                    ("worker_lost", "Worker lost"),
                    ("exit_code", "Exited with an error"),
                ],
                db_default="",
                default="",
                max_length=16,
                verbose_name="kind of failure",
            ),
        ),
    ]
