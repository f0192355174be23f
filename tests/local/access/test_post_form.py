"""Presigned POSTs of S3: let in by the signature of their policy, and held to its conditions."""

from __future__ import annotations

import urllib.request
import uuid
from typing import Any
from urllib.error import HTTPError

import pytest

from tests.local.conftest import REGION, Account


@pytest.fixture
def bucket(fresh: Account) -> str:
    name = f"uploads-{fresh.account_id}"
    fresh.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    return name


def _post(
    url: str,
    fields: dict[str, str] | list[tuple[str, str]],
    content: bytes,
    *,
    more: str = "",
    host: str = "",
) -> tuple[int, str]:
    """Send the form as a browser does; return the status and the body. `more` names another file."""
    boundary = uuid.uuid4().hex
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in (fields.items() if isinstance(fields, dict) else fields)
    ]
    parts += [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="f"\r\n\r\n'
        for name in ("file", *([more] if more else []))
    ]
    if more:
        parts.insert(-1, "first\r\n")
    body = "".join(parts).encode() + content + f"\r\n--{boundary}--\r\n".encode()
    headers = {
        "Content-Type": f"multipart/form-data; boundary={boundary}",
        **({"Host": host} if host else {}),
    }
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=body, headers=headers)) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def _presigned(account: Account, bucket: str, **more: Any) -> dict[str, Any]:
    presigned: dict[str, Any] = account.client("s3").generate_presigned_post(
        bucket, "reports/one.txt", **{"ExpiresIn": 60, **more}
    )
    return presigned


def test_a_presigned_post_uploads_its_file(fresh: Account, bucket: str) -> None:
    presigned = _presigned(fresh, bucket)
    assert _post(presigned["url"], presigned["fields"], b"content")[0] == 204
    stored = fresh.client("s3").get_object(Bucket=bucket, Key="reports/one.txt")["Body"].read()
    assert stored == b"content"


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"key": "reports/two.txt"}, "AccessDenied", "Policy Condition failed"),
        ({"acl": "public-read"}, "AccessDenied", "Extra input fields: acl"),
        ({"x-amz-signature": "0" * 64}, "SignatureDoesNotMatch", ""),
        ({"policy": "e30="}, "AuthorizationHeaderMalformed", "Invalid Policy"),
        ({"policy": "%"}, "AuthorizationHeaderMalformed", "Invalid Policy"),
        ({"x-amz-algorithm": "AWS4"}, "InvalidRequest", "AWS4-HMAC-SHA256"),
        ({"x-amz-credential": "nobody"}, "AuthorizationHeaderMalformed", ""),
    ],
)
def test_a_post_that_its_policy_does_not_allow_is_refused(
    fresh: Account, bucket: str, changes: dict[str, str], code: str, words: str
) -> None:
    presigned = _presigned(fresh, bucket)
    status, body = _post(presigned["url"], {**presigned["fields"], **changes}, b"content")
    assert status in {400, 403}
    assert f"<Code>{code}</Code>" in body
    assert words in body


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([("key", "stolen")], [("Key", "reports/one.txt")]),
        ([("Key", "reports/one.txt")], [("key", "stolen")]),
        ([("key", "reports/one.txt")], [("key", "stolen")]),
        ([("key", "stolen")], [("key", "reports/one.txt")]),
        ([("Key", "reports/one.txt")], []),
    ],
)
def test_no_field_is_compared_with_the_policy_while_another_of_its_name_is_stored(
    fresh: Account, bucket: str, before: list[tuple[str, str]], after: list[tuple[str, str]]
) -> None:
    presigned = _presigned(fresh, bucket)
    others = [(name, value) for name, value in presigned["fields"].items() if name != "key"]
    status, body = _post(presigned["url"], [*before, *others, *after], b"content")
    assert (status, "AccessDenied" in body) == (403, True)
    assert "Contents" not in fresh.client("s3").list_objects_v2(Bucket=bucket)


@pytest.mark.parametrize("more", ["file", "other"])
def test_only_one_file_is_uploaded_so_that_its_length_is_known(
    fresh: Account, bucket: str, more: str
) -> None:
    presigned = _presigned(fresh, bucket, Conditions=[["content-length-range", 1, 10]])
    status, body = _post(presigned["url"], presigned["fields"], b"c" * 100, more=more)
    assert (status, "exactly one file" in body) == (403, True)
    assert "Contents" not in fresh.client("s3").list_objects_v2(Bucket=bucket)


@pytest.mark.parametrize("query", ["?delete", "?uploads", "/reports/one.txt?uploads", "?key=stolen"])
def test_a_form_signs_no_other_call_than_an_upload(fresh: Account, bucket: str, query: str) -> None:
    fresh.client("s3").put_object(Bucket=bucket, Key="kept", Body=b"")
    presigned = _presigned(fresh, bucket)
    deletes = b"<Delete><Object><Key>kept</Key></Object></Delete>"
    status, body = _post(f"{presigned['url']}{query}", presigned["fields"], deletes)
    assert (status, "AccessDenied" in body) == (403, True)
    listed = fresh.client("s3").list_objects_v2(Bucket=bucket)["Contents"]
    assert [each["Key"] for each in listed] == ["kept"]


@pytest.mark.parametrize("host", ["other-1.localhost", "s3.localhost"])
def test_a_form_for_one_bucket_uploads_to_no_other_that_the_host_names(
    fresh: Account, bucket: str, host: str
) -> None:
    presigned = _presigned(fresh, bucket)
    assert _post(presigned["url"], presigned["fields"], b"content", host=host)[0] == 204
    assert fresh.client("s3").head_object(Bucket=bucket, Key="reports/one.txt")["ContentLength"] == 7


def test_an_expired_policy_is_refused(fresh: Account, bucket: str) -> None:
    presigned = _presigned(fresh, bucket, ExpiresIn=-10)
    status, body = _post(presigned["url"], presigned["fields"], b"content")
    assert (status, "expired" in body) == (403, True)


@pytest.mark.parametrize(
    ("conditions", "status"),
    [
        ([["content-length-range", 1, 100]], 204),
        ([["content-length-range", 100, 200]], 403),
        ([["starts-with", "$key", "reports/"]], 204),
        ([["starts-with", "$key", "other/"]], 403),
        ([["eq", "$key", "reports/one.txt"]], 204),
        ([["ends-with", "$key", "txt"]], 403),
        ([["eq"]], 403),
    ],
)
def test_a_post_is_held_to_the_conditions_of_its_policy(
    fresh: Account, bucket: str, conditions: list[Any], status: int
) -> None:
    presigned = _presigned(fresh, bucket, Conditions=conditions)
    assert status == _post(presigned["url"], presigned["fields"], b"content")[0]


def test_a_form_without_a_policy_is_refused(fresh: Account, bucket: str) -> None:
    status, body = _post(f"{fresh.server.url}/{bucket}", {"key": "one"}, b"content")
    assert (status, "AccessDenied" in body) == (403, True)
