"""MLflow artifacts: a run's files by path, proxied by the server (``mlflow-artifacts:/…``).

https://mlflow.org/docs/latest/self-hosting/architecture/artifact-store/
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from django.contrib.auth.models import User
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import re_path
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.views import APIView

from artifacts import file_tree, uploads
from artifacts.direct_uploads import DirectUpload, UploadStatus
from artifacts.paths import checked_path
from artifacts.viewsets import download_file
from core.negotiation import AnyAccept
from registry.logged_models import FILES_FOLDER
from runs.models import Run
from tracking.errors import DoesNotExist, InvalidParameter, MlflowError
from tracking.model_sources import get_logged_model
from tracking.protocol import JsonObject, Message, Response, endpoint, protocol_view
from tracking.unseen import unseen
from tracking.vocabulary import artifact_uri

DEFAULT_EXPERIMENT: Final = "0"
CHECK_SECONDS: Final = 5  # after which a client asks again for a file that is being checked


# --- paths ------------------------------------------------------------------------------------


def resolve(caller: User, path: str) -> tuple[Run, str]:
    """Resolve ``path``, relative to the artifact root, to a run and a path among its files.

    The second path is empty for the run's root folder. Raises DoesNotExist, InvalidPath.

    Run files: ``{experiment}/{run}/artifacts/…``. Logged model files:
    ``{experiment}/models/{model}/artifacts/…``, stored in the folder ``models/{model}`` of the run
    that logged it, else of a hidden one.
    """
    parts = path.strip("/").split("/")
    if len(parts) < 3 or parts[2] != "artifacts":
        # …/models/{model}/artifacts has four parts.
        if len(parts) >= 4 and parts[1] == "models" and parts[3] == "artifacts":
            run = _files_run(caller, parts[2])
            return run, _join_path(["models", parts[2], *parts[4:]])
        raise DoesNotExist(_("No run has artifacts at %(path)s.") % {"path": path})
    return get_run(caller, parts[1], parts[0]), _join_path(parts[3:])


def get_run(caller: User, run_id: str, experiment_id: str = DEFAULT_EXPERIMENT) -> Run:
    """Raises DoesNotExist. Experiment "0", the clients' default, matches any experiment."""
    has_nul = "\x00" in run_id + experiment_id
    rows = Run.objects.none() if has_nul else Run.objects.filter(pk=run_id)
    if experiment_id != DEFAULT_EXPERIMENT:
        rows = rows.filter(project=experiment_id)
    run: Run | None = rows.visible_to(caller).first()
    if run is None:
        raise unseen(caller, rows, _("Run %(id)s not found.") % {"id": run_id})
    return run


def _files_run(caller: User, model_id: str) -> Run:
    """The run that has the model's files. Raises DoesNotExist."""
    run = get_logged_model(model_id, caller, include_deleted=True).files_run
    if run is None:
        raise DoesNotExist(_("Logged model %(id)s not found.") % {"id": model_id})
    return run


def _join_path(parts: list[str]) -> str:
    """Join ``parts`` and check the path; empty for no parts. Raises InvalidPath."""
    return checked_path("/".join(parts)) if parts else ""


# --- files ------------------------------------------------------------------------------------


@protocol_view("GET", "HEAD", "PUT", "DELETE")
def artifact(request: HttpRequest, caller: User, path: str) -> Response:
    if request.method == "PUT":
        with uploads.draining(request):
            return _upload(request, *resolve(caller, path))
    run, file_path = resolve(caller, path)
    if request.method == "DELETE":
        return _delete(run, file_path)
    try:
        return download_file(request, run, file_path)
    except Http404:
        raise being_checked(run, file_path) or DoesNotExist(
            _("File %(path)s not found.") % {"path": file_path}
        ) from None


def being_checked(run: Run, path: str) -> MlflowError | None:
    """The error, after which clients ask again, if the file has been sent to S3 and is being read;
    None if it is not there."""
    checked = DirectUpload.objects.filter(run=run, status=UploadStatus.CHECKING)
    if "\x00" in path or not checked.filter(file=path).exists():
        return None
    text = _("File %(path)s has been uploaded and is being checked.") % {"path": path}
    return MlflowError("TEMPORARILY_UNAVAILABLE", text, retry_seconds=CHECK_SECONDS)


def _upload(request: HttpRequest, run: Run, path: str) -> Response:
    if not path:
        raise InvalidParameter(_("A file path is required."))
    uploads.receive(run, path, request)
    return {}


def _delete(run: Run, path: str) -> Response:
    if not file_tree.delete(run, path) and path:
        raise DoesNotExist(_("File %(path)s not found.") % {"path": path})
    return {}


class ListRequest(Message):
    path: str = ""


@endpoint("GET", message=ListRequest)
def list_artifacts(caller: User, message: ListRequest) -> JsonObject:
    """List a folder; paths are names relative to it."""
    run, folder = resolve(caller, message.path)
    is_of_model = message.path.strip("/").split("/")[1:2] == ["models"]
    entries = file_tree.entries(run, folder) if is_of_model else _own_entries(run, folder)
    return {"files": [_file_info(entry, entry.name) for entry in entries]}


class RunListRequest(Message):
    run_id: str = ""
    run_uuid: str = ""
    path: str = ""


@endpoint("GET", message=RunListRequest)
def list_run_artifacts(caller: User, message: RunListRequest) -> JsonObject:
    """List a run's folder; paths are relative to the run's artifact root."""
    run = get_run(caller, message.run_id or message.run_uuid)
    folder = _join_path(message.path.split("/")) if message.path else ""
    files = [_file_info(entry, entry.path) for entry in _own_entries(run, folder)]
    return {"root_uri": artifact_uri(run.project_id, run.pk), "files": files}


def _own_entries(run: Run, folder: str) -> list[file_tree.Entry]:
    """What a run's folder contains, without its logged models, which clients reach by themselves:
    whoever downloads a run does not take every model along."""
    entries = file_tree.entries(run, folder)
    if folder.split("/")[0] not in {"", FILES_FOLDER}:
        return entries
    models = {f"{FILES_FOLDER}/{pk}" for pk in run.logged_models.values_list("pk", flat=True)}
    if not models:
        return entries
    if folder:
        is_in_model = any(f"{folder}/".startswith(f"{model}/") for model in models)
        return [] if is_in_model else [entry for entry in entries if entry.path not in models]
    has_others = bool(_own_entries(run, FILES_FOLDER))
    return [entry for entry in entries if entry.path != FILES_FOLDER or has_others]


def _file_info(entry: file_tree.Entry, path: str) -> dict[str, Any]:
    if entry.size_bytes is None:
        return {"path": path, "is_dir": True}
    return {"path": path, "is_dir": False, "file_size": entry.size_bytes}


class ArtifactLinkView(APIView):
    """Download link for users who may see the run, by session or token."""

    content_negotiation_class = AnyAccept
    schema_tags: ClassVar[list[str]] = ["artifacts"]

    @extend_schema(exclude=True)
    def get(self, request: Request) -> HttpResponseBase:
        query = request.query_params
        run_id = query.get("run_uuid") or query.get("run_id") or ""
        path = query.get("path", "")
        visible = Run.objects.visible_to(request.user)
        if "\x00" in run_id + path:
            raise Http404
        return download_file(request._request, get_object_or_404(visible, pk=run_id), path)


PROXY: Final = r"2\.0/mlflow-artifacts"
urlpatterns = [
    re_path(rf"^{PROXY}/artifacts\Z", list_artifacts),
    re_path(rf"^{PROXY}/artifacts/(?P<path>.+)\Z", artifact),
    re_path(r"^2\.0/mlflow/artifacts/list\Z", list_run_artifacts),
]
