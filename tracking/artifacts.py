"""MLflow's artifacts: files of a run by path, through the server (``mlflow-artifacts:/…``).

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

from artifacts import trees, uploads
from artifacts.paths import checked_path
from artifacts.viewsets import download_file
from runs.models import Run
from tracking.errors import DoesNotExist, InvalidParameter, MlflowError
from tracking.model_sources import logged_model_named
from tracking.vocabulary import artifact_uri
from tracking.wire import Answer, Message, endpoint, protocol_view
from trainhub.negotiation import AnyAccept

# Clients know it by its beginning, and then send the file whole instead.
NO_MULTIPART: Final = "Multipart upload is not supported for the current artifact repository"
NO_PRESIGNED: Final = "Presigned downloads are not supported for the current artifact repository"
DEFAULT_EXPERIMENT: Final = "0"


# --- whose files ------------------------------------------------------------------------------


def owner_of(caller: User, path: str) -> tuple[Run, str]:
    """The run whose files ``path`` of the artifacts' root leads to, and the path below it (empty
    for all of them). Raises DoesNotExist, InvalidPath.

    A run's files: ``{experiment}/{run}/artifacts/…``. A logged model's are its source run's, in
    the folder ``models/{model}``: ``{experiment}/models/{model}/artifacts/…``.
    """
    parts = path.strip("/").split("/")
    if len(parts) < 3 or parts[2] != "artifacts":
        # …/models/{model}/artifacts has four parts.
        if len(parts) >= 4 and parts[1] == "models" and parts[3] == "artifacts":
            run = _source_run(caller, parts[0], parts[2])
            return run, _below(["models", parts[2], *parts[4:]])
        raise DoesNotExist(_("No run has files at %(path)s.") % {"path": path})
    return run_of(caller, parts[1], parts[0]), _below(parts[3:])


def run_of(caller: User, run_id: str, experiment_id: str = DEFAULT_EXPERIMENT) -> Run:
    """Raises DoesNotExist. An experiment of "0" is any: clients write it for the default one."""
    visible = Run.objects.visible_to(caller)
    if experiment_id != DEFAULT_EXPERIMENT:
        visible = visible.filter(project=experiment_id)
    run = visible.filter(pk=run_id).first() if "\x00" not in run_id + experiment_id else None
    if run is None:
        raise DoesNotExist(_("There is no run with the id %(id)s.") % {"id": run_id})
    return run


def _source_run(caller: User, experiment_id: str, model_id: str) -> Run:
    """The run that logged the model. Raises DoesNotExist."""
    run = logged_model_named(model_id, caller, deleted_too=True).source_run
    if run is None:
        raise DoesNotExist(_("There is no logged model with the id %(id)s.") % {"id": model_id})
    return run


def _below(parts: list[str]) -> str:
    """Raises InvalidPath."""
    return checked_path("/".join(parts)) if parts else ""


# --- files ------------------------------------------------------------------------------------


@protocol_view("GET", "HEAD", "PUT", "DELETE")
def artifact(request: HttpRequest, caller: User, path: str) -> Answer:
    if request.method == "PUT":
        with uploads.draining(request):
            return _upload(request, *owner_of(caller, path))
    run, below = owner_of(caller, path)
    if request.method == "DELETE":
        return _delete(run, below)
    try:
        return download_file(request, run, below)
    except Http404:
        raise DoesNotExist(_("There is no file %(path)s.") % {"path": below}) from None


def _upload(request: HttpRequest, run: Run, path: str) -> Answer:
    if not path:
        raise InvalidParameter(_("Name the file."))
    uploads.receive(run, path, request)
    return {}


def _delete(run: Run, path: str) -> Answer:
    if not trees.delete(run, path) and path:
        raise DoesNotExist(_("There is no file %(path)s.") % {"path": path})
    return {}


class ListRequest(Message):
    path: str = ""


@endpoint("GET", message=ListRequest)
def list_below_root(caller: User, message: ListRequest) -> Answer:
    """What lies in a folder, by name."""
    run, folder = owner_of(caller, message.path)
    return {"files": [_file_info(entry, entry.name) for entry in trees.entries(run, folder)]}


class RunListRequest(Message):
    run_id: str = ""
    run_uuid: str = ""
    path: str = ""


@endpoint("GET", message=RunListRequest)
def list_of_run(caller: User, message: RunListRequest) -> Answer:
    """What lies in a run's folder, by path."""
    run = run_of(caller, message.run_id or message.run_uuid)
    folder = _below(message.path.split("/")) if message.path else ""
    files = [_file_info(entry, entry.path) for entry in trees.entries(run, folder)]
    return {"root_uri": artifact_uri(run.project_id, run.pk), "files": files}


def _file_info(entry: trees.Entry, path: str) -> dict[str, Any]:
    if entry.size_bytes is None:
        return {"path": path, "is_dir": True}
    return {"path": path, "is_dir": False, "file_size": entry.size_bytes}


@protocol_view("POST")
def multipart_upload(request: HttpRequest, caller: User, path: str) -> Answer:
    raise MlflowError("NOT_IMPLEMENTED", NO_MULTIPART)


@protocol_view("GET")
def presigned_download(request: HttpRequest, caller: User, path: str) -> Answer:
    raise MlflowError("NOT_IMPLEMENTED", NO_PRESIGNED)


class ArtifactLinkView(APIView):
    """A file by link, for people: whoever may see the run, signed in or with a token."""

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
    re_path(rf"^{PROXY}/artifacts\Z", list_below_root),
    re_path(rf"^{PROXY}/artifacts/(?P<path>.+)\Z", artifact),
    re_path(rf"^{PROXY}/mpu/(?:create|complete|abort)/(?P<path>.+)\Z", multipart_upload),
    re_path(rf"^{PROXY}/presigned/(?P<path>.+)\Z", presigned_download),
    re_path(r"^2\.0/mlflow/artifacts/list\Z", list_of_run),
]
