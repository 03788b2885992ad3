"""TrainHub's own names of artifacts become messages: see core/messages.py."""

from typing import Any

from django.db import migrations, models

# Former name -> message.
NAMES = {
    "取消前的检查点": "Checkpoint before the cancellation",
    "TensorBoard 日志": "TensorBoard logs",
    "评估结果": "Evaluation results",
    "配置文件": "Configuration file",
    "最终模型": "Final model",
}
# In SQL, because a run may have tens of thousands of artifacts. Of what clients have uploaded, only
# checkpoints have names that TrainHub gave them.
FIXED = """
UPDATE artifacts_artifact SET name = %s
WHERE name = %s AND (stored_as = '' OR type = 'checkpoint')
"""
CHECKPOINTS = r"""
UPDATE artifacts_artifact
SET name = '{"message":"Checkpoint of step %(step)d","params":{"step":'
    || substring(name FROM '^第 (\d+) 步检查点$') || '}}'
WHERE type = 'checkpoint' AND name ~ '^第 \d+ 步检查点$'
"""
MODELS = """
UPDATE artifacts_artifact
SET name = '{"message":"Final model %(folder)s","params":{"folder":'
    || to_json(substring(name FROM '^最终模型 (.*)$'))::text || '}}'
WHERE type = 'checkpoint' AND stored_as = '' AND name LIKE '最终模型 %'
"""


def as_messages(apps: Any, schema_editor: Any) -> None:
    with schema_editor.connection.cursor() as cursor:
        for name, message in NAMES.items():
            cursor.execute(FIXED, [f'{{"message":"{message}","params":{{}}}}', name])
        cursor.execute(CHECKPOINTS)
        cursor.execute(MODELS)


class Migration(migrations.Migration):
    dependencies = [("artifacts", "0001_initial")]

    operations = [
        migrations.AlterField("artifact", "name", models.TextField(verbose_name="name")),
        migrations.RunPython(as_messages, migrations.RunPython.noop),
    ]
