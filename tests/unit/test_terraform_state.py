"""What is read from a state: never more of its secrets than was asked for."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from mclass_tf import terraform_state
from mclass_tf.environment import Backend
from mclass_tf.errors import DamagedObjectError
from tests.unit.damaged import DAMAGED

BACKEND = Backend(
    file=Path("backend.hcl"), bucket="states", key="k", region="ap-northeast-2", allowed_account_ids=()
)


class _MissingKeyError(Exception):
    pass


class _MissingBucketError(Exception):
    pass


def aws(answer: object) -> Any:
    """AWS with one object in S3, or an error instead."""

    def get_object(*, Bucket: str, Key: str) -> object:  # noqa: N803
        if isinstance(answer, Exception):
            raise answer
        return {"Body": io.BytesIO(answer if isinstance(answer, bytes) else json.dumps(answer).encode())}

    errors = SimpleNamespace(
        NoSuchKey=_MissingKeyError, NoSuchBucket=_MissingBucketError, ClientError=ClientError
    )
    s3 = SimpleNamespace(get_object=get_object, exceptions=errors)
    return SimpleNamespace(s3=s3, s3_in=lambda _region: s3)


def test_a_secret_output_is_shown_to_nobody_who_does_not_ask_for_it() -> None:
    outputs = {"url": {"value": "http://x"}, "password": {"value": "hunter2", "sensitive": True}}

    document = {"version": 4, "lineage": "l", "serial": 1, "outputs": outputs}
    found = terraform_state.read(aws(document), BACKEND, environment="dev")

    assert found.outputs["password"] == "hunter2"
    assert found.sensitive == {"password"}
    assert found.shown == {"url": "http://x", "password": None}


@pytest.mark.parametrize("missing", [_MissingKeyError, _MissingBucketError])
def test_where_there_is_no_lock_object_nothing_is_locked(missing: type[Exception]) -> None:
    assert terraform_state.lock(aws(missing()), BACKEND) is None


@pytest.mark.parametrize(
    "body",
    [
        *DAMAGED.values(),
        b'{"version": 4, "lineage": "l", "serial": 1, "outputs": null}',
        b'{"version": 4, "lineage": "l", "serial": "1", "outputs": {}}',
        b'{"version": 4, "lineage": "l", "serial": 1, "outputs": {"x": 1}}',
    ],
    ids=lambda body: repr(body[:30]),
)
def test_what_is_no_state_is_told_with_where_it_lies_and_what_can_be_done(body: bytes) -> None:
    with pytest.raises(DamagedObjectError) as caught:
        terraform_state.read(aws(body), BACKEND, environment="dev")

    assert caught.value.exit_code == 3
    assert caught.value.message.startswith("s3://states/k cannot be read: ")
    assert "list-object-versions --bucket states --prefix k" in caught.value.hint


@pytest.mark.parametrize("body", [*DAMAGED.values(), b'{"ID": 7}'], ids=lambda body: repr(body[:30]))
def test_what_is_no_lock_is_told_with_how_to_remove_it(body: bytes) -> None:
    with pytest.raises(DamagedObjectError) as caught:
        terraform_state.lock(aws(body), BACKEND)

    assert "s3://states/k.tflock cannot be read" in caught.value.message
    assert "`aws s3 rm s3://states/k.tflock`" in caught.value.hint
