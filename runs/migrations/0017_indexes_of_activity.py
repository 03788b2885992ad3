import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0016_descriptions_and_lineage"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterField(
            model_name="runevent",
            name="actor",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                to=settings.AUTH_USER_MODEL,
                verbose_name="by",
            ),
        ),
        migrations.AddIndex(
            model_name="runevent",
            index=models.Index(fields=["actor", "-created_at", "-id"], name="runevent_by_actor"),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                condition=models.Q(("finished_at__isnull", False)),
                fields=["-finished_at", "id"],
                name="run_newest_end",
            ),
        ),
        migrations.AddIndex(
            model_name="runevent",
            index=models.Index(
                fields=["kind", "to_status", "-created_at", "-id"], name="runevent_by_kind"
            ),
        ),
    ]
