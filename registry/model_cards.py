"""Model cards: what is known about a checkpoint, as Markdown with YAML front matter.

In the reader's language. The text of users is escaped: it cannot add headings, links or fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from django.conf import settings
from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils.translation import gettext as _

from artifacts.kinds import TagValue
from artifacts.models import Artifact
from core.templatetags.pages import as_json, duration, number
from core.text import truncate
from registry.markdown import code, inline, link, paragraphs, quote, table
from registry.model_card_curves import curve_data_uri, curve_keys
from registry.model_card_facts import PURPOSE_TAG, Facts, Segment, began, facts_of
from registry.model_card_metadata import front_matter
from runs.models import DatasetInput, Run

MAX_VALUE_LENGTH: Final = 500  # characters of a hyperparameter or a source
# Params and tags that tell the code and the environment, as MLflow's clients and frameworks log.
_CODE_TAGS: Final = (
    "mlflow.source.name",
    "mlflow.source.git.repoURL",
    "mlflow.source.git.branch",
    "mlflow.source.git.commit",
    "mlflow.docker.image.name",
)
_VERSION_ENDINGS: Final = ("_version", ".version", "/version")


def model_card(checkpoint: Artifact) -> str:
    """A README.md for the checkpoint's repository."""
    facts = facts_of(checkpoint)
    return f"---\n{front_matter(facts)}---\n\n{body(facts, has_pictures=True)}"


def body(facts: Facts, *, has_pictures: bool) -> str:
    """The Markdown below the front matter. ``has_pictures``: with the curves in it."""
    sections = (
        *_introduction(facts),
        *_section(_("Training data"), _data(facts)),
        *_section(_("Hyperparameters"), _hyperparameters(facts)),
        *_section(_("Training"), _training(facts)),
        *(_section(_("Curves"), _curves(facts)) if has_pictures else ()),
        *_section(_("Evaluation results"), _results(facts)),
        *_section(_("Metrics at this checkpoint"), _metrics(facts)),
        *_section(_("Checkpoint"), _checkpoint(facts)),
        *_section(_("Lineage"), _lineage(facts)),
        *_section(_("Approval"), _approval(facts)),
        *_section(_("Code and environment"), _environment(facts)),
    )
    return "\n\n".join(sections) + "\n"


def _section(heading: str, blocks: Iterator[str]) -> Iterator[str]:
    """Nothing if there is nothing to say."""
    content = list(blocks)
    if content:
        yield f"## {heading}"
        yield from content


def _introduction(facts: Facts) -> Iterator[str]:
    project = facts.project
    step = _("Step %(step)d") % {"step": facts.checkpoint.step or 0}
    yield f"# {inline(project.name)} · {step}"
    if project.description.strip():
        yield paragraphs(project.description)
    rows = [
        (_("Objective"), inline(project.objective)),
        (_("Task"), inline(project.task_type)),
        (_("Base model"), inline(facts.run.model or project.base_model)),
        (_("Owner"), inline(project.owner)),
    ]
    yield from _facts([row for row in rows if row[1]])


def _facts(rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    if rows:
        yield table([_("Fact"), _("Value")], rows)


# --- data ----------------------------------------------------------------------------------------


def _data(facts: Facts) -> Iterator[str]:
    if facts.named_datasets:
        yield "\n".join(f"- {inline(name)}" for name in facts.named_datasets)
    if facts.datasets:
        yield table(
            [_("Dataset"), _("Digest"), _("Used for"), _("Source")],
            [_dataset(dataset) for dataset in facts.datasets],
        )


def _dataset(dataset: DatasetInput) -> tuple[str, ...]:
    source = " ".join(filter(None, (dataset.source_type, dataset.source)))
    return (
        inline(dataset.name),
        code(dataset.digest),
        inline(str(dataset.tags.get(PURPOSE_TAG, ""))),
        code(truncate(source, MAX_VALUE_LENGTH)),
    )


# --- training ------------------------------------------------------------------------------------


def _hyperparameters(facts: Facts) -> Iterator[str]:
    values = facts.run.hyperparameters
    if values:
        rows = [(inline(name), _value(values[name])) for name in sorted(values)]
        yield table([_("Name"), _("Value")], rows)
    changed = [segment for segment in facts.segments if segment.changes or segment.drift]
    if changed:
        # Outside an f-string, where makemessages sees it.
        yield "### " + _("Changed on resuming")
    for segment in changed:
        yield link(segment.run.name, run_url(segment.run))
        if segment.changes:
            yield table(
                [_("Name"), _("Before"), _("After")],
                [
                    (inline(change.name), _value(change.before), _value(change.after))
                    for change in segment.changes
                ],
            )
        if segment.drift:
            yield "\n".join(f"- {inline(line)}" for line in segment.drift)


def _value(value: Any) -> str:
    return code("–" if value is None else truncate(as_json(value), MAX_VALUE_LENGTH))


def _training(facts: Facts) -> Iterator[str]:
    hours = facts.gpu_hours
    rows = [
        (_("Trained by"), inline(", ".join(_people(facts)))),
        (_("Started"), _time(began(facts))),
        (_("Checkpoint stored"), _time(facts.checkpoint.created_at)),
        (_("Training time"), duration(facts.held)),
        (_("GPU-hours"), "" if hours is None else number(hours)),
        (_("GPUs"), inline(", ".join(dict.fromkeys(map(_gpus, facts.segments))))),
        (_("Runs"), str(len(facts.segments))),
        (_("Attempts"), str(sum(segment.run.attempt for segment in facts.segments))),
    ]
    yield from _facts([row for row in rows if row[1]])
    yield _(
        "Training time and GPU-hours are sums over all runs of the lineage and their attempts, "
        "each run up to the checkpoint that was used of it. A run counts while a worker holds it, "
        "with all of its GPUs; time in the queue does not count."
    )


def _curves(facts: Facts) -> Iterator[str]:
    for key in curve_keys(facts):
        yield f"![{inline(key)}]({curve_data_uri(facts, key)})"


def _people(facts: Facts) -> list[str]:
    creators = (segment.run.created_by for segment in facts.segments)
    return list(dict.fromkeys(user.get_username() for user in creators if user is not None))


def _gpus(segment: Segment) -> str:
    run = segment.run
    return f"{run.gpu_count} × {run.gpu_type or 'GPU'}" if run.gpu_count else ""


def _lineage(facts: Facts) -> Iterator[str]:
    rows = []
    start = facts.segments[0].run.start_step
    for segment in facts.segments:
        end = segment.checkpoint.step or 0
        hours = "–" if segment.gpu_hours is None else number(segment.gpu_hours)
        rows.append(
            (
                link(segment.run.name, run_url(segment.run)),
                f"{start} – {end}",
                duration(segment.held),
                hours,
                code(segment.checkpoint.pk),
            )
        )
        start = end
    headings = [_("Run"), _("Steps"), _("Training time"), _("GPU-hours"), _("Checkpoint")]
    yield table(headings, rows)


def _environment(facts: Facts) -> Iterator[str]:
    tags, params = facts.run.tags, facts.run.hyperparameters
    rows = [(inline(name), _value(tags[name])) for name in _CODE_TAGS if tags.get(name)]
    rows += [
        (inline(name), _value(value))
        for name, value in sorted({**params, **tags}.items())
        if name.lower().endswith(_VERSION_ENDINGS) and not name.startswith("mlflow.")
    ]
    yield from _facts(rows)


# --- what it is worth ----------------------------------------------------------------------------


def _results(facts: Facts) -> Iterator[str]:
    if facts.results:
        rows = [(inline(key), number(value)) for key, value in facts.results.items()]
        yield table([_("Result"), _("Value")], rows)


def _metrics(facts: Facts) -> Iterator[str]:
    if facts.metrics:
        rows = [(inline(key), number(value)) for key, value in facts.metrics.items()]
        yield table([_("Metric"), _("Value")], rows)


def _checkpoint(facts: Facts) -> Iterator[str]:
    checkpoint = facts.checkpoint
    rows = [
        ("ID", code(checkpoint.pk)),
        (_("Step"), "" if checkpoint.step is None else str(checkpoint.step)),
        (_("File"), code(checkpoint.folder or checkpoint.file)),
        (_("Layout"), inline(checkpoint.layout)),
        (_("Size"), str(filesizeformat(facts.size_bytes))),
        ("SHA-256", "" if checkpoint.folder else code(checkpoint.sha256)),
        (_("Verified"), _time(checkpoint.verified_at)),
        (_("Damage"), inline(str(checkpoint.damage))),
        (_("Run"), link(facts.run.name, run_url(facts.run))),
    ]
    rows += [
        (_("Registered as"), f"{inline(version.model.name)} {version.number}")
        for version in facts.versions
    ]
    yield from _facts([row for row in rows if row[1]])


def _approval(facts: Facts) -> Iterator[str]:
    for tag in facts.tags:
        by = "" if tag.applied_by is None else inline(tag.applied_by.get_username())
        parts = (f"**{TagValue(tag.value).label}**", by, _time(tag.applied_at))
        yield " · ".join(part for part in parts if part)
        if tag.notes.strip():
            yield quote(tag.notes)


def _time(value: datetime | None) -> str:
    return "" if value is None else value.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def run_url(run: Run) -> str:
    """The address of the run's page for readers elsewhere."""
    page = reverse("dashboard:run", args=[run.project_id, run.pk])
    return f"{settings.PUBLIC_URL.rstrip('/')}{page}"
