"""What clients do at S3 themselves, by presigned URLs: their bytes do not pass through the server.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-presigned-url.html
https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from botocore.exceptions import ClientError
from django.conf import settings

from artifacts.s3_uploads import MIB
from artifacts.storage import ArtifactS3Storage, artifact_storage
from artifacts.storage_errors import s3_errors
from core.exceptions import InvalidInput
from core.messages import Message

MAX_PARTS: Final = 10_000  # of S3
MAX_OBJECT_BYTES: Final = 5 * 1024 * 1024 * MIB  # of most servers
SMALLEST_PART_BYTES: Final = 64 * MIB  # S3 allows 5 MiB; fewer parts are fewer URLs
MAX_ETAG_LENGTH: Final = 200

_NO_UPLOAD: Final = frozenset({"NoSuchUpload", "404"})
_INVALID_PARTS: Final = frozenset(
    {"InvalidPart", "InvalidPartOrder", "EntityTooSmall", "MalformedXML", "InvalidRequest"}
)


class InvalidParts(InvalidInput):
    """S3 does not have these parts."""

    code = "invalid_parts"


class NoSuchUpload(Exception):
    """S3 has no such multipart upload: it has been completed or aborted."""


class Part(NamedTuple):
    """A part that S3 has. ``number``: from 1; ``etag``: what S3 answered when it was sent."""

    number: int
    etag: str


def part_bytes(size: int) -> int:
    """The size of the parts in which a file of ``size`` bytes is sent; the last may be smaller."""
    mebibytes = -(-size // (MAX_PARTS * MIB))
    return max(SMALLEST_PART_BYTES, mebibytes * MIB)


def direct_transfers() -> DirectTransfers | None:
    """None unless the storage is S3 and the settings let clients use it themselves."""
    return _transfers() if settings.S3_DIRECT else None


def transfers_of_earlier() -> DirectTransfers | None:
    """For uploads that have begun, even if the settings allow no further ones. None if the storage
    is not S3."""
    return _transfers()


def _transfers() -> DirectTransfers | None:
    storage = artifact_storage()
    return DirectTransfers(storage) if isinstance(storage, ArtifactS3Storage) else None


class DirectTransfers:
    """Multipart uploads and presigned URLs of an S3 storage. Names are those of stored files.

    All methods that ask S3 raise StorageError.
    """

    def __init__(self, storage: ArtifactS3Storage) -> None:
        self._storage = storage

    @property
    def _client(self) -> Any:
        return self._storage.connection.meta.client

    def _object(self, name: str) -> dict[str, Any]:
        return {"Bucket": self._storage.bucket_name, "Key": self._storage.object_key(name)}

    # --- uploads -----------------------------------------------------------------------------

    def begin(self, name: str) -> str:
        """Begin a multipart upload; its id in S3."""
        options = self._storage.get_object_parameters(name)
        with s3_errors():
            answer = self._client.create_multipart_upload(**options, **self._object(name))
        upload_id: str = answer["UploadId"]
        return upload_id

    def part_url(
        self, name: str, upload_id: str, number: int, *, size: int | None, seconds: float
    ) -> str:
        """Where a part is sent with PUT. ``size``: in bytes, which S3 then insists on."""
        part = {"UploadId": upload_id, "PartNumber": number}
        length = {} if size is None else {"ContentLength": size}
        return self._signed("upload_part", {**self._object(name), **part, **length}, seconds)

    def complete(self, name: str, upload_id: str, parts: Iterable[Part]) -> None:
        """Make the parts one object. Raises InvalidParts, NoSuchUpload."""
        sent = [{"PartNumber": part.number, "ETag": part.etag} for part in parts]
        with s3_errors():
            try:
                self._client.complete_multipart_upload(
                    **self._object(name), UploadId=upload_id, MultipartUpload={"Parts": sent}
                )
            except ClientError as error:
                code = _code_of(error)
                if code in _NO_UPLOAD:
                    raise NoSuchUpload from error
                if code in _INVALID_PARTS:
                    why = error.response["Error"].get("Message", code)
                    raise InvalidParts(
                        Message("S3 refuses the parts: %(why)s", why=why), attr="parts"
                    ) from error
                raise

    def abort(self, name: str, upload_id: str) -> None:
        """Delete the parts of an upload; also if that is done again. ``upload_id``: empty if it is
        not known, for all uploads under the name."""
        with s3_errors():
            for known in [upload_id] if upload_id else self._uploads_of(name):
                try:
                    self._client.abort_multipart_upload(**self._object(name), UploadId=known)
                except ClientError as error:
                    if _code_of(error) not in _NO_UPLOAD:
                        raise

    def _uploads_of(self, name: str) -> list[str]:
        place = self._object(name)
        pages = self._client.get_paginator("list_multipart_uploads").paginate(
            Bucket=place["Bucket"], Prefix=place["Key"]
        )
        found = (upload for page in pages for upload in page.get("Uploads", ()))
        return [upload["UploadId"] for upload in found if upload["Key"] == place["Key"]]

    def size_of(self, name: str) -> int:
        """In bytes. Raises FileNotFoundError."""
        with s3_errors():
            try:
                size: int = self._client.head_object(**self._object(name))["ContentLength"]
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                    raise FileNotFoundError(name) from error
                raise
        return size

    # --- downloads ---------------------------------------------------------------------------

    def download_url(
        self, name: str, *, content_type: str, disposition: str, seconds: float
    ) -> str:
        """Where the object is fetched with GET, in full or by ranges, with these headers."""
        headers = {"ResponseContentType": content_type, "ResponseContentDisposition": disposition}
        return self._signed("get_object", {**self._object(name), **headers}, seconds)

    def _signed(self, operation: str, parameters: Mapping[str, Any], seconds: float) -> str:
        with s3_errors():
            url: str = self._storage.signing_client.generate_presigned_url(
                operation, Params=dict(parameters), ExpiresIn=int(seconds)
            )
        return url


def _code_of(error: ClientError) -> str:
    code: str = error.response.get("Error", {}).get("Code", "")
    return code
