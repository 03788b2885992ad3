from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0017_indexes_of_activity"),
    ]

    operations = [
        migrations.AddField(
            model_name="worker",
            name="draining",
            field=models.BooleanField(db_default=False, default=False, verbose_name="draining"),
        ),
        migrations.AlterField(
            model_name="runevent",
            name="kind",
            field=models.CharField(
                choices=[
                    ("created", "created"),
                    ("claimed", "claimed by a worker"),
                    ("status", "status changed"),
                    ("stop_requested", "stop requested"),
                    ("recovered", "recovered"),
                    ("readopted", "readopted"),
                    ("released", "released by its worker"),
                    ("rewound", "rewound to a checkpoint"),
                    ("lost", "marked as lost"),
                    ("reopened", "reopened after its end"),
                    ("params_changed", "hyperparameters changed on resuming"),
                    ("deleted", "moved to the trash"),
                    ("restored", "restored from the trash"),
                    ("archived", "archived"),
                    ("unarchived", "listed again"),
                    ("not_stored", "could not store its files"),
                    ("stored", "stored its files after all"),
                    ("fault", "its worker met an error"),
                    ("fault_over", "its worker's error is over"),
                    ("renamed", "renamed"),
                    ("note_changed", "note changed"),
                    ("tags_changed", "tags changed"),
                    ("priority_changed", "priority changed"),
                ],
                max_length=16,
                verbose_name="kind",
            ),
        ),
    ]
