"""Unix times in milliseconds, and times as text."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
from django.utils.translation import gettext_lazy as _

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
# The calendar repeats every 400 years.
CYCLE_YEARS = 400
CYCLE_MS = 146_097 * 86_400_000
YEAR_1_MS = -62_135_596_800_000  # the first and last milliseconds that datetime can represent
YEAR_9999_MS = 253_402_300_799_999

YEAR_RANGE: Final = _("The year must be between 1970 and 9999.")


def milliseconds(time: datetime) -> int:
    """``time`` as Unix time in whole milliseconds."""
    return (time - EPOCH) // MILLISECOND


def is_time(timestamp_ms: float) -> bool:
    """Whether this Unix time (ms) is in the years 1970 to 9999, which every client can read. Times
    that clients report, or ask for, have to be."""
    return 0 <= timestamp_ms <= YEAR_9999_MS


def unix_milliseconds(seconds: float) -> int:
    """Unix time in seconds, to the nearest millisecond."""
    return round(seconds * 1000)


def iso_time(timestamp_ms: int) -> str:
    """Format a Unix time in milliseconds as ISO 8601, e.g. ``2024-01-02T10:00:00.000Z``.

    Years before 1 and after 9999, which datetime cannot represent, have a sign and six or more
    digits.
    """
    if YEAR_1_MS <= timestamp_ms <= YEAR_9999_MS:
        time = EPOCH + MILLISECOND * timestamp_ms
        return time.isoformat(timespec="milliseconds")[:-6] + "Z"
    cycles, rest = divmod(timestamp_ms, CYCLE_MS)
    time = EPOCH + MILLISECOND * rest
    year = time.year + cycles * CYCLE_YEARS
    return f"{year:+07d}{time.isoformat(timespec='milliseconds')[4:-6]}Z"


def iso_times(timestamps_ms: Sequence[int]) -> list[str]:
    """``iso_time`` for each timestamp, ten times as fast for long sequences."""
    times = np.array(timestamps_ms, dtype=np.int64)
    if not len(times) or times.min() < YEAR_1_MS or times.max() > YEAR_9999_MS:
        return [iso_time(timestamp_ms) for timestamp_ms in timestamps_ms]
    texts = np.datetime_as_string(times.astype("datetime64[ms]"), unit="ms", timezone="UTC")
    iso: list[str] = texts.tolist()
    return iso
