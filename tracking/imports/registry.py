"""The model registry of an MLflow server.

Versions keep their numbers. Unlike runs, models are changed for years: at each import, description,
tags, stages and aliases of the models that came from there become what they are there.
"""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db import transaction
from django.utils.translation import gettext as _

from accounts.models import Team
from core.exceptions import DomainError
from core.ids import derived_id
from core.text import storable
from registry.models import ModelVersion, NameTaken, RegisteredModel, Source, Stage
from runs.models import Run
from tracking.imports import messages
from tracking.imports.context import Context
from tracking.imports.runs import NotImported
from tracking.model_sources import source_of
from tracking.registered_models import checked_name, parse_stage

# The command is an operator's: it sees every run.
OPERATOR = User(username="import_mlflow", is_superuser=True)


def bring_in_model(
    context: Context, source: messages.RegisteredModel, versions: list[messages.ModelVersion]
) -> None:
    """Raises NotImported and other domain errors."""
    model = _model(context, source)
    for version in versions:
        _bring_in_version(context, model, version)
    _set_aliases(context, model, source)
    # Clients sort by it, and the above has changed it.
    moment = messages.moment(source.last_updated_timestamp)
    RegisteredModel.objects.filter(pk=model.pk).update(updated_at=moment)


def is_known(source: messages.RegisteredModel) -> bool:
    return RegisteredModel.objects.filter(pk=_id_of(source)).exists()


def _id_of(source: messages.RegisteredModel) -> str:
    return derived_id("model", "mlflow", source.name, str(source.creation_timestamp))


def _model(context: Context, source: messages.RegisteredModel) -> RegisteredModel:
    name = checked_name(source.name)
    tags = _texts(source.tags)
    description = storable(source.description)
    model: RegisteredModel | None = RegisteredModel.objects.filter(pk=_id_of(source)).first()
    if model is None:
        if RegisteredModel.objects.filter(name=name).exists():
            raise NameTaken(_("There is a registered model with this name already."))
        model = RegisteredModel.objects.create(
            id=_id_of(source),
            name=name,
            description=description,
            tags=tags,
            created_by=context.owner,
            team=context.team or Team.only_one_of(context.owner),
        )
        moment = messages.moment(source.creation_timestamp)
        RegisteredModel.objects.filter(pk=model.pk).update(created_at=moment)
        context.count("models")
        return model
    if model.description != description:
        model.describe(description)
    if tags.items() - model.tags.items():
        model.set_tags(tags)
    return model


def _bring_in_version(
    context: Context, model: RegisteredModel, source: messages.ModelVersion
) -> None:
    tags, description = _texts(source.tags), storable(source.description)
    with transaction.atomic():
        version: ModelVersion | None = model.versions.filter(number=source.version).first()
        if version is None:
            version = _add(context, model, source)
            context.count("versions")
        elif version.description != description:
            version.describe(description)
        if tags.items() - version.tags.items():
            version.set_tags(tags)
        _move(context, version, parse_stage(source.current_stage or Stage.NONE))
        ModelVersion.objects.filter(pk=version.pk).update(
            created_at=messages.moment(source.creation_timestamp),
            updated_at=messages.moment(source.last_updated_timestamp),
        )


def _move(context: Context, version: ModelVersion, stage: Stage) -> None:
    """What forbids a stage, such as an approval that the project demands of a release, is told; all
    else of the model comes in."""
    if version.stage == stage:
        return
    try:
        version.move_to(stage, archive_others=False, by=context.owner)
    except DomainError as error:
        text = _("Version %(number)d of %(model)s does not become %(stage)s: %(why)s")
        values = {"number": version.number, "model": version.model.name, "stage": stage.value}
        context.complain(text % {**values, "why": error.message})


def _add(context: Context, model: RegisteredModel, source: messages.ModelVersion) -> ModelVersion:
    return model.add_version(
        _source(context, source),
        number=source.version,
        run_link=source.run_link,
        description=storable(source.description),
        tags=_texts(source.tags),
        by=context.owner,
    )


def _source(context: Context, source: messages.ModelVersion) -> Source:
    """What is here of it; nothing of a project that has not come from that server, whatever IDs it
    tells."""
    found = source_of(
        source.source, run_id=source.run_id, model_id=source.model_id, caller=OPERATOR
    )
    projects = {it.project_id for it in (found.run, found.logged_model) if it is not None}
    if found.file is not None:
        runs = Run.objects.filter(pk=found.file.run_id)
        projects.update(runs.values_list("project_id", flat=True))
    if projects <= context.projects:
        return found
    return Source(source.source, source.source, None, None, source.run_id)


def _set_aliases(
    context: Context, model: RegisteredModel, source: messages.RegisteredModel
) -> None:
    """Aliases that only this place has stay."""
    here = dict(model.aliases.values_list("alias", "version__number"))
    for alias in source.aliases:
        if here.get(alias.alias) == alias.version:
            continue
        try:
            model.set_alias(alias.alias, alias.version, by=context.owner)
        except ModelVersion.DoesNotExist:
            text = _("The alias %(alias)s is of a version that is not here: %(version)d.")
            values = {"alias": alias.alias, "version": alias.version}
            raise NotImported(text % values) from None


def _texts(texts: list[messages.Text]) -> dict[str, str]:
    return {storable(key): storable(text) for key, text in messages.as_dict(texts).items()}
