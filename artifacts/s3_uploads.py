"""In which parts bytes that can be read only once are uploaded to S3, of which it takes 10,000.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
"""

from __future__ import annotations

from typing import Final

from boto3.s3.transfer import TransferConfig  # type: ignore[import-untyped]

MIB: Final = 1024 * 1024
SMALLEST_PART_BYTES: Final = 8 * MIB  # smaller files are sent in one request
PART_BYTES_OF_UNKNOWN: Final = 64 * MIB  # for up to 625 GiB
MAX_OBJECT_BYTES: Final = 5 * 1024 * 1024 * MIB  # of most servers; whatever a client announces
# A tenth is left for headers of archives, and for what grows while it is read.
MAX_PARTS: Final = 9000
MAX_PARALLEL_PARTS: Final = 10
# Of one upload, while two parts fit into it (up to 840 GiB); of a larger one, two parts.
MEMORY_BYTES: Final = 192 * MIB


def part_bytes(size: int | None) -> int:
    """The size of the parts of a file of about ``size`` bytes; None if that is not known."""
    if size is None:
        return PART_BYTES_OF_UNKNOWN
    mebibytes = -(-min(size, MAX_OBJECT_BYTES) // (MAX_PARTS * MIB))
    return max(SMALLEST_PART_BYTES, mebibytes * MIB)


def transfer_config(size: int | None) -> TransferConfig:
    """How boto3 uploads a file of about ``size`` bytes. One part is read while others are sent."""
    part = part_bytes(size)
    parallel = max(1, min(MAX_PARALLEL_PARTS, MEMORY_BYTES // part - 1))
    config = TransferConfig(
        multipart_threshold=SMALLEST_PART_BYTES,
        multipart_chunksize=part,
        max_concurrency=parallel,
        preferred_transfer_client="classic",  # the other one ignores these limits
    )
    config.max_in_memory_upload_chunks = parallel
    return config
