"""Sources of model versions: resolves the forms of URI that MLflow clients send."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from django.conf import settings
from django.contrib.auth.models import User
from django.utils.translation import gettext as _

from registry.logged_models import LoggedModel
from registry.models import ModelVersion, RunFile, Source
from runs.models import Run
from tracking.errors import InvalidParameter
from tracking.unseen import unseen

MODEL_ID: Final = re.compile(r"m-[0-9a-f]{32}")
# mlflow-artifacts:/{experiment}/{run}/artifacts/{path}
RUN_ARTIFACT: Final = re.compile(r"[^/]+/([^/]+)/artifacts/(.+)")


def source_of(uri: str, *, run_id: str, model_id: str, caller: User) -> Source:
    """Resolve ``uri``, given the run and the logged model that the client sends with it.

    Raises InvalidParameter for a malformed URI or one that leaves its folder, DoesNotExist for a
    run, model, or version that it names and that is not found.
    """
    address = _split(uri)
    path = address.path.strip("/")
    run = find_run(run_id, caller) if run_id else None
    elsewhere = run_id if run is None else ""
    if address.scheme == "models":
        source = _model_source(uri, path, run, model_id, caller)
        return replace(source, run_elsewhere=elsewhere)
    model = get_logged_model(model_id, caller) if model_id else None
    file = _file_at(address.scheme, address.netloc, path)
    its_run = find_run(file.run_id, caller) if file else None
    run = run or _run_of(model)
    if file is None or its_run is None:  # elsewhere, or none of the caller's business
        return Source(uri, uri, None, run, elsewhere, model)
    return Source(uri, _location_of_file(its_run, file.path), file, run, elsewhere, model)


def check_remote(uri: str) -> None:
    """Raises InvalidParameter for a path on a disk: whoever loads the version has another one."""
    scheme = _split(uri).scheme
    if scheme in {"", "file"} or len(scheme) == 1:  # the last: C:\models
        raise InvalidParameter(
            _(
                "%(uri)s is a path on a local disk: a model version's files must be on this server "
                "or at an address that everyone can reach."
            )
            % {"uri": uri}
        )


def _split(uri: str) -> SplitResult:
    try:
        address = urlsplit(uri)
    except ValueError:  # e.g. http://[
        address = None
    if not uri or address is None or ".." in _decoded(address.path).split("/"):
        raise InvalidParameter(_("%(uri)s is not a valid model source.") % {"uri": uri or '""'})
    return address


def _decoded(path: str) -> str:
    """``path`` as a server sees it that decodes %2e, however often it is encoded."""
    while (decoded := unquote(path)) != path:
        path = decoded
    return path


def _model_source(uri: str, path: str, run: Run | None, model_id: str, caller: User) -> Source:
    if MODEL_ID.fullmatch(path):
        logged = get_logged_model(path, caller)
        run = run or logged.source_run
        return Source(uri, location_of(logged), file_of(logged), run, logged_model=logged)
    name, _slash, number = path.rpartition("/")
    version = get_version(name, number, caller)
    model = get_logged_model(model_id, caller) if model_id else version.logged_model
    checkpoint = version.checkpoint
    file = RunFile(checkpoint.run_id, checkpoint.file) if checkpoint else None
    return Source(uri, version.location, file, run or version.run, logged_model=model)


def _file_at(scheme: str, host: str, path: str) -> RunFile | None:
    if scheme == "runs":
        run_id, _slash, file = path.partition("/")
        return RunFile(run_id, file)
    if scheme == "mlflow-artifacts" and (match := RUN_ARTIFACT.fullmatch(path)):
        return RunFile(match[1], match[2])
    if scheme == "s3" and host == settings.ARTIFACTS_BUCKET and path.count("/") >= 2:
        _project_id, run_id, file = path.split("/", 2)
        return RunFile(run_id, file.removeprefix("files/"))  # see Artifact.path
    return None


def _location_of_file(run: Run, path: str) -> str:
    """The URI that MLflow clients download a file that is stored here from."""
    return f"mlflow-artifacts:/{run.project_id}/{run.pk}/artifacts/{path}"


def download_uri(version: ModelVersion) -> str:
    """The URI that the version's files are downloaded from.

    A checkpoint is renamed when another file is stored at its path, so use its current path. A
    folder that holds a checkpoint keeps its path.
    """
    checkpoint, location = version.checkpoint, urlsplit(version.location)
    if checkpoint is None or location.scheme != "mlflow-artifacts":
        return version.location
    folder = RUN_ARTIFACT.fullmatch(location.path.strip("/"))
    if folder is None or checkpoint.file.startswith(f"{folder[2]}/"):
        return version.location
    return _location_of_file(checkpoint.run, checkpoint.file)


def location_of(model: LoggedModel) -> str:
    return f"mlflow-artifacts:/{model.project_id}/models/{model.pk}/artifacts"


def file_of(model: LoggedModel) -> RunFile | None:
    """The folder with the model's files among those of a run."""
    run = model.files_run
    return RunFile(run.pk, f"models/{model.pk}") if run else None


def _run_of(model: LoggedModel | None) -> Run | None:
    return model.source_run if model else None


def find_run(run_id: str, caller: User) -> Run | None:
    run: Run | None = Run.objects.visible_to(caller).filter(pk=run_id).first()
    return run


def get_run(run_id: str, caller: User) -> Run:
    """Raises DoesNotExist."""
    run = find_run(run_id, caller)
    if run is None:
        rows = Run.objects.filter(pk=run_id)
        raise unseen(caller, rows, _("Run %(id)s not found.") % {"id": run_id})
    return run


def get_logged_model(model_id: str, caller: User, *, include_deleted: bool = False) -> LoggedModel:
    models = LoggedModel.objects.none() if "\x00" in model_id else LoggedModel.objects.all()
    rows = (models if include_deleted else models.kept()).filter(pk=model_id)
    model: LoggedModel | None = (
        rows.visible_to(caller).select_related("source_run", "keeper").first()
    )
    if model is None:
        raise unseen(caller, rows, _("Logged model %(id)s not found.") % {"id": model_id})
    return model


def get_version(name: str, number: str, caller: User) -> ModelVersion:
    """Raises DoesNotExist, InvalidParameter if ``number`` is not a number."""
    if not number.isascii() or not number.isdigit():
        raise InvalidParameter(
            _("Parameter 'version' must be an integer, got '%(number)s'.") % {"number": number}
        )
    rows = ModelVersion.objects.filter(model__name=name, number=int(number))
    version: ModelVersion | None = (
        rows.visible_to(caller)
        .select_related("model", "checkpoint__run", "run", "logged_model", "created_by")
        .first()
    )
    if version is None:
        text = _("Model Version (name=%(name)s, version=%(number)s) not found.")
        raise unseen(caller, rows, text % {"number": number, "name": name})
    return version
