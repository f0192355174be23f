"""What is read from a state: never more of its secrets than was asked for."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mclass_tf import state
from mclass_tf.environment import Backend

BACKEND = Backend(file=Path("backend.hcl"), bucket="states", key="k", region="r", allowed_account_ids=())


class _MissingKeyError(Exception):
    pass


class _MissingBucketError(Exception):
    pass


def aws(answer: object) -> Any:
    """AWS with one object in S3, or an error in its place."""

    def get_object(*, Bucket: str, Key: str) -> object:  # noqa: N803
        if isinstance(answer, Exception):
            raise answer
        return {"Body": io.BytesIO(json.dumps(answer).encode())}

    errors = SimpleNamespace(NoSuchKey=_MissingKeyError, NoSuchBucket=_MissingBucketError)
    return SimpleNamespace(s3=SimpleNamespace(get_object=get_object, exceptions=errors))


def test_a_secret_output_is_shown_to_nobody_who_does_not_ask_for_it() -> None:
    outputs = {"url": {"value": "http://x"}, "password": {"value": "hunter2", "sensitive": True}}

    found = state.read(aws({"outputs": outputs}), BACKEND, environment="dev")

    assert found.outputs["password"] == "hunter2"
    assert found.sensitive == {"password"}
    assert found.shown == {"url": "http://x", "password": None}


@pytest.mark.parametrize("missing", [_MissingKeyError, _MissingBucketError])
def test_where_there_is_no_lock_object_nothing_is_locked(missing: type[Exception]) -> None:
    assert state.lock(aws(missing()), BACKEND) is None
