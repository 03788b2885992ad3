import django.core.validators
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("projects", "0002_key_metrics"),
        ("runs", "0022_pools"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="gpupool",
            name="price_per_gpu_hour",
            field=models.DecimalField(
                blank=True,
                decimal_places=4,
                max_digits=12,
                null=True,
                validators=[django.core.validators.MinValueValidator(0)],
                verbose_name="price per GPU-hour",
            ),
        ),
        migrations.AddField(
            model_name="run",
            name="attempt_start_step",
            field=models.BigIntegerField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="run",
            name="is_accounted",
            field=models.BooleanField(db_default=False, default=False, editable=False),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                condition=models.Q(
                    ("finished_at__isnull", False), ("is_accounted", False), ("is_hidden", False)
                ),
                fields=["id"],
                name="run_to_account",
            ),
        ),
    ]
