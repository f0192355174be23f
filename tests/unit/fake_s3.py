"""A bucket in memory with S3's conditional writes and listing, and a clock that a test moves."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from email.utils import format_datetime
from typing import Any

from botocore.exceptions import ClientError

KEYS_A_CALL = 1000


class NoSuchKeyError(Exception):
    pass


class NoSuchBucketError(Exception):
    pass


class _Exceptions:
    NoSuchBucket = NoSuchBucketError
    NoSuchKey = NoSuchKeyError
    ClientError = ClientError


class FakeS3:
    """`before_put` is called before each write and may write first; `refusal` is the code that every write gets.

    Of the next `lost_answers` writes that are stored the answer is lost: each is repeated at once, as botocore does.
    `calls` counts what was asked for, by operation. Keys that `refuses` is true of take no writes.
    """

    exceptions = _Exceptions

    def __init__(self, *, keys_a_call: int = KEYS_A_CALL) -> None:
        self.keys_a_call = keys_a_call
        self.objects: dict[str, tuple[bytes, dt.datetime]] = {}
        self.now = dt.datetime(2026, 11, 23, 1, 2, 3, tzinfo=dt.UTC)
        self.refusal = ""
        self.lost_answers = 0
        self.before_put: Callable[[], None] = lambda: None
        self.refuses: Callable[[str], bool] = lambda _: False
        self.refuses_reads = False
        self.calls: Counter[str] = Counter()

    def put_object(
        self,
        *,
        Bucket: str,  # noqa: N803
        Key: str,  # noqa: N803
        Body: bytes,  # noqa: N803
        ContentType: str,  # noqa: N803
        IfNoneMatch: str | None = None,  # noqa: N803
        IfMatch: str | None = None,  # noqa: N803
    ) -> dict[str, Any]:
        self.calls["PutObject"] += 1
        self.before_put()
        there = self.objects.get(Key)
        if self.refusal:
            raise _refused(self.refusal)
        if self.refuses(Key):
            raise _refused("AccessDenied")
        if there is not None and IfNoneMatch is not None:
            raise _refused("PreconditionFailed")
        if IfMatch is not None and (there is None or _etag(there[0]) != IfMatch):
            raise _refused("PreconditionFailed")
        self.objects[Key] = (Body, self.now)
        if self.lost_answers:
            self.lost_answers -= 1
            return self.put_object(
                Bucket=Bucket,
                Key=Key,
                Body=Body,
                ContentType=ContentType,
                IfNoneMatch=IfNoneMatch,
                IfMatch=IfMatch,
            )
        return {"ETag": _etag(Body)}

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        self.calls["GetObject"] += 1
        if self.refuses_reads:
            raise _refused("AccessDenied")
        if Key not in self.objects:
            raise NoSuchKeyError
        body, at = self.objects[Key]
        return {
            "Body": io.BytesIO(body),
            "ETag": _etag(body),
            "LastModified": at,
            "ResponseMetadata": {"HTTPHeaders": {"date": format_datetime(self.now, usegmt=True)}},
        }

    def head_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        self.calls["HeadObject"] += 1
        return {"LastModified": self.objects[Key][1]}

    def list_objects_v2(
        self,
        *,
        Bucket: str,  # noqa: N803
        Prefix: str,  # noqa: N803
        Delimiter: str,  # noqa: N803
        StartAfter: str = "",  # noqa: N803
        ContinuationToken: str = "",  # noqa: N803
    ) -> dict[str, Any]:
        """Answer with the first keys and folders after a key, in the order of keys; a folder counts once."""
        self.calls["ListObjectsV2"] += 1
        keys = sorted(self.objects)
        entries: dict[str, bool] = {}
        is_cut = False
        for key in keys[bisect_right(keys, ContinuationToken or StartAfter) :]:
            if not key.startswith(Prefix):
                continue
            first, delimiter, _ = key.removeprefix(Prefix).partition(Delimiter)
            entry = f"{Prefix}{first}{delimiter}"
            if entry in entries or (ContinuationToken.endswith(Delimiter) and entry == ContinuationToken):
                continue
            if len(entries) == self.keys_a_call:
                is_cut = True
                break
            entries[entry] = bool(delimiter)
        answer: dict[str, Any] = {
            "IsTruncated": is_cut,
            "Contents": [{"Key": entry} for entry, is_folder in entries.items() if not is_folder],
            "CommonPrefixes": [{"Prefix": entry} for entry, is_folder in entries.items() if is_folder],
        }
        return {**answer, "NextContinuationToken": [*entries][-1]} if is_cut else answer


def _etag(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


def _refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, "PutObject")
