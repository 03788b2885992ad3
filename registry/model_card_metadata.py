"""The YAML front matter of a model card: the fields that Hugging Face's Hub reads.

https://huggingface.co/docs/hub/model-cards#model-card-metadata. Only what is known is in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson
import yaml

from artifacts import layouts
from registry.markdown import plain
from registry.model_card_facts import PURPOSE_TAG, Facts

# Repositories on the Hub: "gpt2", "meta-llama/Llama-2-13b".
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9][\w.\-]{0,95}(?:/[A-Za-z0-9][\w.\-]{0,95})?")
_LANGUAGE: Final = re.compile(r"[a-z]{2,3}(?:-[A-Za-z0-9]{2,8})*")

# What projects call their task -> the Hub's name of it.
_TASKS: Final[dict[str, str]] = {
    **{
        task: task
        for task in (
            *("text-generation", "text-classification", "token-classification"),
            *("question-answering", "table-question-answering", "zero-shot-classification"),
            *("translation", "summarization", "feature-extraction", "fill-mask"),
            *("sentence-similarity", "text-ranking", "text-to-speech", "text-to-audio"),
            *("automatic-speech-recognition", "audio-classification", "text-to-image"),
            *("image-to-text", "image-text-to-text", "image-classification"),
            *("object-detection", "image-segmentation", "visual-question-answering"),
            *("document-question-answering", "text-to-video", "reinforcement-learning"),
        )
    },
    "文本生成": "text-generation",
    "对话": "text-generation",
    "语言模型": "text-generation",
    "代码生成": "text-generation",
    "文本摘要": "summarization",
    "摘要": "summarization",
    "机器翻译": "translation",
    "翻译": "translation",
    "文本分类": "text-classification",
    "情感分析": "text-classification",
    "命名实体识别": "token-classification",
    "序列标注": "token-classification",
    "问答": "question-answering",
    "抽取式问答": "question-answering",
    "语义相似度": "sentence-similarity",
    "语音识别": "automatic-speech-recognition",
    "语音合成": "text-to-speech",
    "图像分类": "image-classification",
    "目标检测": "object-detection",
}
_ADAPTER_FILES: Final = re.compile(r"(?:\A|/)adapter_model\.(?:safetensors|bin)")
_EVALUATION_WORDS: Final = ("eval", "valid", "test")


def front_matter(facts: Facts) -> str:
    """The YAML without the lines of dashes around it."""
    return yaml.safe_dump(metadata(facts), allow_unicode=True, sort_keys=False, width=1000)


def metadata(facts: Facts) -> dict[str, Any]:
    """The fields that have a value, in the order of Hugging Face's template."""
    run, project = facts.run, facts.project
    task = _TASKS.get(plain(project.task_type).lower().replace(" ", "-"))
    base_model = _repository(run.model or project.base_model)
    is_adapter = _ADAPTER_FILES.search(facts.checkpoint.file) is not None
    fields: dict[str, Any] = {
        "language": _languages(_said(facts, "language")),
        "license": plain(_said(facts, "license")),
        "library_name": _library(facts, is_adapter=is_adapter),
        "pipeline_tag": task,
        "base_model": base_model,
        # Of a full model, how it relates to its base is not recorded.
        "base_model_relation": "adapter" if is_adapter and base_model else None,
        "datasets": _datasets(facts),
        "metrics": sorted({_type_of(key) for key in facts.results}),
        "tags": [plain(tag) for tag in project.tags],
        "model-index": _model_index(facts, task or plain(project.task_type)),
    }
    return {name: value for name, value in fields.items() if value}


def _said(facts: Facts, name: str) -> str:
    """What the run's tags, its hyperparameters or the project's tags say of ``name``."""
    for source in (facts.run.tags, facts.run.hyperparameters, facts.project.experiment_tags):
        value = source.get(name)
        if isinstance(value, str) and value.strip():
            return value
    return ""


def _languages(text: str) -> list[str]:
    return [word for word in re.split(r"[\s,;、，]+", text) if _LANGUAGE.fullmatch(word)]


def _repository(name: str) -> str | None:
    return name if _REPOSITORY.fullmatch(name) else None


def _library(facts: Facts, *, is_adapter: bool) -> str | None:
    if is_adapter:
        return "peft"
    is_transformers = facts.checkpoint.layout in {layouts.HUGGING_FACE.name, layouts.MODEL}
    return "transformers" if is_transformers else None


def _datasets(facts: Facts) -> list[str]:
    """Those that are datasets of the Hub, by their source or by a name with an owner."""
    found = [
        _hub_path(dataset.source)
        for dataset in facts.datasets
        if dataset.source_type == "hugging_face"
    ]
    found += [name for name in facts.named_datasets if "/" in name]
    return [name for name in dict.fromkeys(found) if _REPOSITORY.fullmatch(name)]


def _hub_path(source: str) -> str:
    """MLflow's HuggingFaceDatasetSource is JSON with the path of the dataset."""
    try:
        content = orjson.loads(source)
    except orjson.JSONDecodeError:
        return ""
    path = content.get("path") if isinstance(content, dict) else None
    return path if isinstance(path, str) else ""


def _model_index(facts: Facts, task: str) -> list[dict[str, Any]]:
    """Results need the name of what they were measured on: the part of a key before the metric, as
    ``mmlu`` in ``results/mmlu/acc``, else the only dataset for evaluation that the runs tell."""
    evaluated_on = _evaluation_dataset(facts)
    by_dataset: dict[str, list[dict[str, Any]]] = {}
    for key, value in facts.results.items():
        *groups, name = key.split("/")
        dataset = next((group for group in reversed(groups) if group != "results"), evaluated_on)
        if dataset:
            measured = {"type": _type_of(key), "value": value, "name": plain(name)}
            by_dataset.setdefault(plain(dataset), []).append(measured)
    if not by_dataset or not task:
        return []
    results = [
        {"task": {"type": task}, "dataset": {"name": name, "type": name}, "metrics": metrics}
        for name, metrics in by_dataset.items()
    ]
    return [{"name": plain(facts.project.name), "results": results}]


def _evaluation_dataset(facts: Facts) -> str:
    names = {
        dataset.name
        for dataset in facts.datasets
        if _is_for_evaluation(dataset.tags) and dataset.name
    }
    return names.pop() if len(names) == 1 else ""


def _is_for_evaluation(tags: Mapping[str, Any]) -> bool:
    purpose = str(tags.get(PURPOSE_TAG, "")).lower()
    return any(word in purpose for word in _EVALUATION_WORDS)


def _type_of(key: str) -> str:
    """eval/mmlu/acc,none -> acc: harnesses add the name of a filter after a comma."""
    return plain(key.rpartition("/")[2].partition(",")[0]) or plain(key)
