"""Signature Version 4: only botocore's signatures match, and no header causes a traceback."""

from __future__ import annotations

import datetime as dt
import io
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import example, given
from hypothesis import strategies as some

from mclass_tf.local.access import signature
from mclass_tf.local.access.signature import MalformedSignatureError, UnsupportedMechanismError
from tests.callers import signed

REGION = "ap-northeast-2"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
CREDENTIALS = Credentials("AKIDEXAMPLE", SECRET, "session token/+=")

_segments = some.text(min_size=1, max_size=12).map(lambda text: quote(text, safe=""))
_paths = some.lists(_segments, max_size=4).map(lambda parts: "/" + "/".join(parts))
_pairs = some.tuples(
    _segments, some.one_of(some.none(), some.text(max_size=12).map(lambda text: quote(text, safe="-_.~")))
)
_queries = some.lists(_pairs, max_size=4).map(
    lambda pairs: "&".join(name if value is None else f"{name}={value}" for name, value in pairs)
)
_values = some.text(alphabet=some.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)
_headers = some.dictionaries(
    some.sampled_from(["X-Amz-Meta-a", "X-Amz-Target", "Content-Type", "Range"]), _values
)


def environ_of(method: str, url: str, headers: dict[str, str], body: bytes) -> dict[str, Any]:
    """The request as the server receives it."""
    parts = urlsplit(url)
    found: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "RAW_URI": f"{parts.path}{'?' if parts.query else ''}{parts.query}",
        "PATH_INFO": parts.path,
        "QUERY_STRING": parts.query,
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_HOST": parts.netloc,
        "wsgi.input": io.BytesIO(body),
    }
    for name, value in headers.items():
        key = name.upper().replace("-", "_")
        found[key if key == "CONTENT_TYPE" else f"HTTP_{key}"] = value
    return found


@given(
    service=some.sampled_from(["s3", "ecs", "lambda"]),
    method=some.sampled_from(["GET", "POST", "PUT"]),
    path=_paths,
    query=_queries,
    headers=_headers,
    body=some.binary(max_size=64),
)
@example(service="lambda", method="GET", path="/a//../b/.", query="b=2&a=1&a", headers={}, body=b"")
@example(service="s3", method="PUT", path="/b/a//../%25", query="acl", headers={"Range": "a  b"}, body=b"x")
def test_signatures_of_botocore_match_and_those_with_another_secret_do_not(
    *, service: str, method: str, path: str, query: str, headers: dict[str, str], body: bytes
) -> None:
    url = f"http://127.0.0.1:4566{path}{'?' if query else ''}{query}"
    sent = signed(CREDENTIALS, service, url, region=REGION, method=method, body=body, headers=headers)

    environ = environ_of(method, url, sent, body)
    read = signature.read(environ)

    assert read is not None
    assert (read.access_key_id, read.service, read.token) == ("AKIDEXAMPLE", service, "session token/+=")
    assert read.matches(environ, secret=SECRET)
    assert not read.matches(environ, secret=SECRET.lower())
    assert environ["wsgi.input"].read() == body


@given(path=_paths, seconds=some.integers(min_value=1, max_value=604_800))
def test_a_presigned_url_names_its_signer_and_its_expiry(path: str, seconds: int) -> None:
    request = AWSRequest(method="GET", url=f"http://127.0.0.1:4566{path}?versionId=1")
    S3SigV4QueryAuth(CREDENTIALS, "s3", REGION, expires=seconds).add_auth(request)

    environ = environ_of("GET", str(request.url), {}, b"")
    read = signature.read(environ)

    assert read is not None
    assert read.expires_at is not None
    signed_at = dt.datetime.strptime(read.time, "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC).timestamp()
    assert read.expires_at == signed_at + seconds
    assert read.matches(environ, secret=SECRET)
    environ["HTTP_AUTHORIZATION"] = read.authorization  # as it is passed to moto
    again = signature.read({**environ, "HTTP_X_AMZ_DATE": read.time})
    assert again is not None
    assert (again.access_key_id, again.scope, again.value) == (read.access_key_id, read.scope, read.value)


def test_a_changed_body_is_noticed() -> None:
    url = "http://127.0.0.1:4566/bucket/key"
    sent = signed(CREDENTIALS, "s3", url, region=REGION, method="PUT", body=b"signed")
    environ = environ_of("PUT", url, sent, b"other")
    read = signature.read(environ)
    assert read is not None
    assert not read.matches(environ, secret=SECRET)


_PIECES = ["AWS4-HMAC-SHA256", " ", ",", "=", ";", "/", "Credential", "SignedHeaders", "Signature", "host", "s3", "20260101", REGION, "aws4_request", "A" * 20, "0" * 64, "\x80", "\ud7ff"]  # fmt: skip


@given(
    header=some.lists(some.one_of(some.sampled_from(_PIECES), some.text(max_size=3)), max_size=20).map(
        "".join
    ),
    time=some.one_of(some.sampled_from(["20260101T000000Z", "", "20269999T999999Z"]), some.text(max_size=16)),
)
@example(header=f"AWS4-HMAC-SHA256 Credential=a/20260101/b/s3/aws4_request,SignedHeaders=host,Signature={'0' * 64}", time="20260101T000000Z")  # fmt: skip
def test_any_authorization_header_is_parsed_or_refused(header: str, time: str) -> None:
    environ = environ_of("GET", "http://127.0.0.1/", {"Authorization": header, "X-Amz-Date": time}, b"")
    try:
        read = signature.read(environ)
    except (MalformedSignatureError, UnsupportedMechanismError):
        return
    assert (read is None) == (header == "")
    assert read is None or not read.matches(environ, secret=SECRET)


@given(query=some.lists(some.sampled_from(["X-Amz-Credential=", "X-Amz-Algorithm=AWS4-HMAC-SHA256", "X-Amz-Expires=", "9" * 30, "-1", "\u0661", "&", "a/20260101/b/s3/aws4_request", "X-Amz-Date=20260101T000000Z", "X-Amz-SignedHeaders=host", "X-Amz-Signature=" + "0" * 64, "%", "%ff"]), max_size=16).map("".join))  # fmt: skip
@example(query="X-Amz-Credential=x&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires=" + "9" * 30)
def test_any_query_is_parsed_or_refused(query: str) -> None:
    environ = environ_of("GET", f"http://127.0.0.1/?{query}", {}, b"")
    try:
        read = signature.read(environ)
    except (MalformedSignatureError, UnsupportedMechanismError):
        return
    assert read is None or not read.matches(environ, secret=SECRET)


@pytest.mark.parametrize("expires", ["0", "-1", "604801", "", "x", "1e3", "٣"])
def test_a_presigned_url_lasts_a_week_at_most(expires: str) -> None:
    query = f"X-Amz-Credential=a/20260101/b/s3/aws4_request&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires={expires}"
    with pytest.raises(MalformedSignatureError, match="X-Amz-Expires"):
        signature.read(environ_of("GET", f"http://127.0.0.1/?{query}", {}, b""))
