"""List the names of a ledger's attempts, latest first, with few calls regardless of their number.

A name begins with its time, so keys are ordered by time. But S3 lists the earliest first, a thousand per call. So we list the
names after a time: first a day ago, then further and further back, or nearer if more than a thousand follow. That takes a few
calls for each thousand names needed, and a few more if a clock is wrong. The number of earlier names does not matter.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

_FIRST_SPAN = dt.timedelta(days=1)
_LEAST_SPAN = dt.timedelta(seconds=1)
_FACTOR = 8
_EARLIEST = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
_LATEST = dt.datetime(9999, 12, 31, tzinfo=dt.UTC)
# Sorts before every name. Other keys beside the attempts begin with a letter.
_BEFORE_ALL = "0"


def stamp(at: dt.datetime) -> str:
    """Return the prefix of a name for a time, in UTC with milliseconds."""
    at = at.astimezone(dt.UTC)
    return f"{at:%Y%m%dT%H%M%S}.{at.microsecond // 1000:03d}Z"


def time_of(name: str) -> str:
    """Return the time at the start of a name, readably, or the name itself if it has none."""
    try:
        return f"{dt.datetime.strptime(name[:15], '%Y%m%dT%H%M%S'):%Y-%m-%d %H:%M:%S} UTC"  # noqa: DTZ007  (all are UTC)
    except ValueError:
        return name


@dataclass(frozen=True, kw_only=True)
class _Page:
    """Names, earliest first. `is_cut`: more follow."""

    names: tuple[str, ...]
    is_cut: bool


class AttemptNames:
    """Lists attempt names below prefixes of one bucket."""

    def __init__(self, s3: Any, bucket: str, *, now: Callable[[], dt.datetime]) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._now = now

    def latest_first(self, prefix: str) -> Iterator[str]:
        """Yield the names; list only as far back as the caller consumes."""
        end = ""  # names from here on were already yielded; "" at the start
        crowded: dt.datetime | None = None  # more than a page of names lies between this time and `end`
        upper, span = max(self._now(), _EARLIEST), _FIRST_SPAN
        while True:
            begin = upper - min(span, upper - _EARLIEST)
            lower = stamp(begin) if begin > _EARLIEST else _BEFORE_ALL
            page = next(self._pages(prefix, after=lower))
            names = [name for name in page.names if not end or name < end]
            if page.is_cut and len(names) == len(page.names):
                if not end and upper < _LATEST and names[-1] >= stamp(upper):
                    # This machine's clock is slow, or another one's was fast.
                    span *= _FACTOR
                    upper = upper + span if _LATEST - upper > span else _LATEST
                    continue
                if span > _LEAST_SPAN:
                    crowded = begin
                    span = (upper - begin) / _FACTOR
                    continue
                names = list(self._all(prefix, after=lower, end=end))
            yield from reversed(names)
            if lower == _BEFORE_ALL:
                return
            end, upper = lower, begin
            crowded = None if names else crowded
            # Halve the distance to the crowded time, down to the least span.
            span = span * _FACTOR if crowded is None else max((upper - crowded) / 2, _LEAST_SPAN)

    def _all(self, prefix: str, *, after: str, end: str) -> Iterator[str]:
        """Yield the names between two times, earliest first: more than a page of them lies within the least span."""
        names = (name for page in self._pages(prefix, after=after) for name in page.names)
        return takewhile(lambda name: not end or name < end, names)

    def _pages(self, prefix: str, *, after: str) -> Iterator[_Page]:
        request: dict[str, Any] = {"Bucket": self._bucket, "Prefix": prefix, "Delimiter": "/"}
        position = {"StartAfter": prefix + after}
        while True:
            response = self._s3.list_objects_v2(**request, **position)
            folders = (each["Prefix"].rstrip("/") for each in response.get("CommonPrefixes", ()))
            keys = (each["Key"] for each in response.get("Contents", ()))
            below = sorted(key.removeprefix(prefix) for key in (*folders, *keys))
            names = tuple(name for name in below if "0" <= name[:1] <= "9")
            is_cut = bool(response.get("IsTruncated")) and names == tuple(below)
            yield _Page(names=names, is_cut=is_cut)
            if not is_cut:
                return
            position = {"ContinuationToken": response["NextContinuationToken"]}
