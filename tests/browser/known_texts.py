"""Which texts on a page are a person's data, or names that are the same in every language."""

import re
from dataclasses import fields

from tests.browser.examination import CHINESE, LATIN_WORD
from tests.browser.site import Site
from trainhub.demo.texts import CHINESE as TEXTS
from trainhub.demo.texts import ProjectTexts

# Chinese in an English page: the name of the other language, and words of the contract.
NAMES_IN_CHINESE = ("简体中文", "中文")
# Latin words in a Chinese page: names of products, formats, protocols and units.
NAMES = frozenset(
    [
        *("TrainHub", "MLflow", "TensorBoard", "Hugging", "Face", "PyTorch", "Swagger", "OpenAPI"),
        *("Markdown", "Parquet", "CSV", "JSON", "YAML", "HTML", "SVG", "PNG", "API", "URL", "SHA"),
        *("GPU", "GPUs", "CPU", "Token", "NaN", "EMA", "UTC", "Asia", "Shanghai", "English"),
        "admin",
        *("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
        *("KiB", "MiB", "GiB", "TiB", "Enter", "Esc", "Shift", "Tab"),
        *("TPE", "ASHA"),
        *("Webhook", "hooks", "example", "org"),  # the last three: a host
        # Of search spaces.
        *("float", "int", "categorical", "low", "high", "log", "step", "count", "choices"),
        *("Slurm", "Ray", "zip", "main", "Python", "shell", "gbk", "utf", "UTF", "Git", "README"),
        # Of resources on Slurm and Ray.
        *("partition", "account", "qos", "constraint", "reservation", "exclude", "nodelist"),
        *("resources", "labels"),
        # Of model cards on Hugging Face.
        *("license", "model-index", "description"),
        # Of the language of searches.
        *("and", "not", "like", "ilike", "null", "params", "metrics", "tags", "attributes"),
    ]
)


def chinese_data() -> list[str]:
    """What the demo's team has written, the longest first."""
    texts = list(TEXTS.people)
    for field in fields(TEXTS):
        value = getattr(TEXTS, field.name)
        if isinstance(value, str):
            texts.append(value)
        elif isinstance(value, ProjectTexts):
            texts += [value.name, value.description, value.objective, value.task_type, *value.tags]
    texts += ["小李", *NAMES_IN_CHINESE]
    return sorted(texts, key=len, reverse=True)


def chinese_left(texts: list[str]) -> list[str]:
    """Those of ``texts``, of a page in English, with Chinese that nobody of the team wrote."""
    known = chinese_data()
    # A text that is cut in its middle shows a beginning and an end.
    pieces = {piece for text in known for piece in CHINESE.findall(text)}
    left = []
    for text in texts:
        rest = text
        for piece in [*known, *sorted(pieces, key=len, reverse=True)]:
            rest = rest.replace(piece, "")
        if CHINESE.search(rest):
            left.append(text)
    return left


def data_words(site: Site) -> frozenset[str]:
    """Every Latin word in what people and programs have stored."""
    query = """
        SELECT concat_ws(' ', name, model, dataset, gpu_type, hyperparameters, tags, metrics,
                         status_reason, recipe_id) FROM runs_run
        UNION SELECT key FROM metrics_metricseries
        UNION SELECT concat_ws(' ', message, source) FROM logs_logline
        UNION SELECT concat_ws(' ', name, host) FROM runs_worker
        UNION SELECT concat_ws(' ', name, description, command, environment, encoding)
              FROM runs_recipe
        UNION SELECT concat_ws(' ', base_model, task_type, default_hyperparameters)
              FROM projects_project
        UNION SELECT concat_ws(' ', file, metadata, id) FROM artifacts_artifact
        UNION SELECT name FROM registry_registeredmodel
        UNION SELECT reason FROM runs_runevent
        UNION SELECT key FROM artifacts_evaluationresult
        UNION SELECT username FROM auth_user
        UNION SELECT name FROM accounts_team
    """
    words: set[str] = set()
    for (text,) in site.query(query):
        words.update(LATIN_WORD.findall(str(text)))
    return frozenset(words)


# Addresses, ids, the names that runs have by default, names of columns as addresses have them, and
# what a recipe's command and environment hold.
ADDRESS = re.compile(
    r"https?://\S+|/[\w./{}-]+|\b[a-z]+_[0-9a-z]{12}\b|\b(?:run|sweep)-\d{3}\b"
    r"|\b(?:max|tags)\.\S+|\{\w+\}|\b\w+\.py\b|\b[a-z]+_[a-z_]+\b|NAME=value"
)


def english_left(texts: list[str], data: frozenset[str], catalog: dict[str, str]) -> list[str]:
    """Those of ``texts``, of a page in Chinese, that are English. ``data``: words that are
    somebody's; ``catalog``: English → Chinese."""
    left = []
    for text in filter(None, texts):
        if text in catalog and catalog[text] not in ("", text) and text not in data:
            left.append(text)
            continue
        words = LATIN_WORD.findall(ADDRESS.sub("", text))
        if any(word not in data and word not in NAMES for word in words):
            left.append(text)
    return left
