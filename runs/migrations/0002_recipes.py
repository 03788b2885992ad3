from typing import Any

from django.db import migrations

RECIPES = [
    {
        "name": "simulated",
        "description": "Computes what a training would report; needs no GPU.",
        "executor": "simulated",
        "is_default": True,
    },
    {
        "name": "char-lm",
        "description": "Trains a small character-level language model in NumPy on a text file.",
        "executor": "process",
        "command": ["{python}", "{repository}/examples/char_lm/train.py"],
        "stop_grace_seconds": 10,
    },
]


def add_recipes(apps: Any, schema_editor: Any) -> None:
    Recipe = apps.get_model("runs", "Recipe")
    for recipe in RECIPES:
        Recipe.objects.get_or_create(name=recipe["name"], defaults=recipe)


class Migration(migrations.Migration):
    dependencies = [("runs", "0001_initial")]

    operations = [migrations.RunPython(add_recipes, migrations.RunPython.noop)]
