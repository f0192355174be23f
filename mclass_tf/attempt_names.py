"""The names of a ledger's attempts, the latest first, by few calls however many there are.

A name begins with its time, so the order of keys is that of time; but S3 lists from the earliest on, a thousand a call. So
it is asked for what comes after a time: a day ago at first, then further and further back, and nearer where more than a
thousand follow. That takes some calls for each thousand names that are wanted, and some more for a clock that is wrong;
how many lie before them does not matter.

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
# Where all names begin: what lies beside the attempts begins with a letter.
_BEFORE_ALL = "0"


def stamp(at: dt.datetime) -> str:
    """Return the time as a name begins with it: to the millisecond, in UTC."""
    at = at.astimezone(dt.UTC)
    return f"{at:%Y%m%dT%H%M%S}.{at.microsecond // 1000:03d}Z"


def time_of(name: str) -> str:
    """Return the time that a name begins with, for people; the name where it begins with none."""
    try:
        return f"{dt.datetime.strptime(name[:15], '%Y%m%dT%H%M%S'):%Y-%m-%d %H:%M:%S} UTC"  # noqa: DTZ007  (all are UTC)
    except ValueError:
        return name


@dataclass(frozen=True, kw_only=True)
class _Page:
    """Names in the order of time; `is_cut`: there are more after them."""

    names: tuple[str, ...]
    is_cut: bool


class Names:
    """The names below prefixes of one bucket."""

    def __init__(self, s3: Any, bucket: str, *, now: Callable[[], dt.datetime]) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._now = now

    def latest_first(self, prefix: str) -> Iterator[str]:
        """Yield the names, listing no further back than they are asked for."""
        end = ""  # what comes from there on was yielded; "" where nothing was yet
        crowded: dt.datetime | None = None  # more than a page of names lies between that and `end`
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
            # Half of the way to the crowd at a time, and not without end.
            span = span * _FACTOR if crowded is None else max((upper - crowded) / 2, _LEAST_SPAN)

    def _all(self, prefix: str, *, after: str, end: str) -> Iterator[str]:
        """Yield the names between two times, the earliest first, a call for each thousand: more than that came within a moment."""
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
