"""A bucket in memory that heeds the conditions of a write, with a clock that a test moves."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
from collections.abc import Callable
from email.utils import format_datetime
from typing import Any

from botocore.exceptions import ClientError


class NoSuchKeyError(Exception):
    pass


class _Exceptions:
    NoSuchKey = NoSuchKeyError
    ClientError = ClientError


class FakeS3:
    """`before_put` is called before each write and may write first; `refusal` is the code that every write gets.

    Of the next `lost_answers` writes that are stored the answer is lost: each is repeated at once, as botocore does.
    """

    exceptions = _Exceptions

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, dt.datetime]] = {}
        self.now = dt.datetime(2026, 11, 23, 1, 2, 3, tzinfo=dt.UTC)
        self.refusal = ""
        self.lost_answers = 0
        self.before_put: Callable[[], None] = lambda: None

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
        self.before_put()
        there = self.objects.get(Key)
        if self.refusal:
            raise _refused(self.refusal)
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
        if Key not in self.objects:
            raise NoSuchKeyError
        body, at = self.objects[Key]
        return {
            "Body": io.BytesIO(body),
            "ETag": _etag(body),
            "LastModified": at,
            "ResponseMetadata": {"HTTPHeaders": {"date": format_datetime(self.now, usegmt=True)}},
        }

    def get_paginator(self, operation: str) -> FakeS3:
        assert operation == "list_objects_v2"
        return self

    def paginate(self, *, Bucket: str, Prefix: str, Delimiter: str) -> list[dict[str, Any]]:  # noqa: N803
        rest = (key.removeprefix(Prefix) for key in sorted(self.objects) if key.startswith(Prefix))
        folders = dict.fromkeys(key.partition(Delimiter)[0] for key in rest if Delimiter in key)
        return [{"CommonPrefixes": [{"Prefix": f"{Prefix}{folder}{Delimiter}"} for folder in folders]}]


def _etag(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


def _refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, "PutObject")
