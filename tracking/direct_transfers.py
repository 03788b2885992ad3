"""MLflow's multipart uploads and presigned downloads: clients send and fetch bytes at S3.

A file of 500 MB or more (MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE) is uploaded so if the client
has MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD, or finds it in the server's info. Its sha256 is not
announced.

https://mlflow.org/docs/latest/self-hosting/architecture/artifact-store/
"""

from __future__ import annotations

import posixpath
from typing import Any, Final

import msgspec
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.urls import re_path
from django.utils.translation import gettext as _

from artifacts import direct_upload_actions, file_tree
from artifacts.direct_downloads import url_of
from artifacts.direct_transfers import MAX_ETAG_LENGTH, MAX_PARTS, Part, direct_transfers
from artifacts.direct_uploads import LASTS, DirectUpload
from runs.models import Run
from tracking.artifacts import PROXY, being_checked, resolve
from tracking.errors import DoesNotExist, InvalidParameter, MlflowError
from tracking.protocol import JsonObject, Message, Response, endpoint, protocol_view

# Clients match the start of this text and fall back to a single request.
NO_MULTIPART: Final = "Multipart upload is not supported for the current artifact repository"
NO_PRESIGNED: Final = "Presigned downloads are not supported for the current artifact repository"


class CreateRequest(Message):
    path: str = ""  # of the file at the client
    num_parts: int = 1


@endpoint("POST", message=CreateRequest)
def create(caller: User, message: CreateRequest, path: str) -> JsonObject:
    run, file = _file(caller, path, message.path)
    if not 1 <= message.num_parts <= MAX_PARTS:
        text = _("num_parts must be from 1 to %(limit)d.") % {"limit": MAX_PARTS}
        raise InvalidParameter(text)
    upload = direct_upload_actions.start(run, file, part_count=message.num_parts)
    # The client asks for no further URLs, and sends its parts over hours.
    urls = direct_upload_actions.part_urls(upload, range(1, upload.part_count + 1), life=LASTS)
    credentials = [{"url": it.url, "part_number": it.number, "headers": {}} for it in urls]
    return {"upload_id": upload.pk, "credentials": credentials}


class SentPart(Message):
    part_number: int = 0
    etag: str | None = None


class CompleteRequest(Message):
    path: str = ""
    upload_id: str = ""
    parts: list[SentPart] = msgspec.field(default_factory=list)


@endpoint("POST", message=CompleteRequest)
def complete(caller: User, message: CompleteRequest, path: str) -> JsonObject:
    """A large file is listed once a worker has read it."""
    upload = _upload(*_file(caller, path, message.path), message.upload_id)
    parts = [Part(it.part_number, (it.etag or "")[:MAX_ETAG_LENGTH]) for it in message.parts]
    direct_upload_actions.complete(upload, parts)
    return {}


class AbortRequest(Message):
    path: str = ""
    upload_id: str = ""


@endpoint("POST", message=AbortRequest)
def abort(caller: User, message: AbortRequest, path: str) -> JsonObject:
    upload = _upload(*_file(caller, path, message.path), message.upload_id)
    direct_upload_actions.abort(upload)
    return {}


def _file(caller: User, folder: str, local_file: str) -> tuple[Run, str]:
    """The run and the path among its files. ``local_file``: with separators of any system."""
    run, above = resolve(caller, folder)
    if direct_transfers() is None:
        raise MlflowError("NOT_IMPLEMENTED", NO_MULTIPART)
    name = posixpath.basename(local_file.replace("\\", "/"))
    if not name:
        raise InvalidParameter(_("A file path is required."))
    return run, posixpath.join(above, name)


def _upload(run: Run, path: str, upload_id: str) -> DirectUpload:
    """Raises DoesNotExist."""
    rows = DirectUpload.objects.none()
    if "\x00" not in upload_id + path:
        rows = DirectUpload.objects.filter(pk=upload_id, run=run, file=path)
    upload: DirectUpload | None = rows.first()
    if upload is None:
        raise DoesNotExist(_("Upload %(id)s not found.") % {"id": upload_id})
    return upload


@protocol_view("GET")
def presigned_download(request: HttpRequest, caller: User, path: str) -> Response:
    run, file = resolve(caller, path)
    if direct_transfers() is None:
        raise MlflowError("NOT_IMPLEMENTED", NO_PRESIGNED)
    artifact = file_tree.find(run, file)
    if artifact is None:
        raise being_checked(run, file) or DoesNotExist(
            _("File %(path)s not found.") % {"path": file}
        )
    content: dict[str, Any] = {
        "url": url_of(artifact), "headers": {}, "file_size": artifact.size_bytes,
    }  # fmt: skip
    return content


urlpatterns = [
    re_path(rf"^{PROXY}/mpu/create/(?P<path>.+)\Z", create),
    re_path(rf"^{PROXY}/mpu/complete/(?P<path>.+)\Z", complete),
    re_path(rf"^{PROXY}/mpu/abort/(?P<path>.+)\Z", abort),
    re_path(rf"^{PROXY}/presigned/(?P<path>.+)\Z", presigned_download),
]
