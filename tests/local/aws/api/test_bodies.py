"""Content encodings of requests, and the protocol of errors that are found before a call is dispatched."""

from __future__ import annotations

import gzip
import json
import zlib
from functools import reduce
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from mclass_tf.local.http.server import Reply
from tests.local import in_process

_FORM = "application/x-www-form-urlencoded; charset=utf-8"
_JSON = "application/x-amz-json-1.1"
_ACTIONS = {
    "iam": b"Action=ListUsers&Version=2010-05-08",
    "ec2": b"Action=DescribeVpcs&Version=2016-11-15",
    "monitoring": b"Action=ListMetrics&Version=2010-08-01",
}


@pytest.fixture(scope="module")
def account() -> str:
    return in_process.new_account()


def _send(account: str, service: str, body: bytes, encoding: str) -> Reply:
    if service in _ACTIONS:
        return in_process.send_form(account, service, body, encoding=encoding)
    target = "AmazonEC2ContainerServiceV20141113.ListClusters"
    return in_process.send(account, service, target, body, encoding=encoding)


def _code(service: str, reply: Reply) -> str:
    """Return the error's code as a client of the service reads it."""
    if service == "ecs":
        return str(json.loads(reply.body)["__type"])
    code = ET.fromstring(reply.body).find(".//Error/Code")
    assert code is not None
    return str(code.text)


_ENCODED = {
    "gzip": gzip.compress,
    "GZIP": gzip.compress,
    "x-gzip": gzip.compress,
    "gzip, identity": gzip.compress,
    "gzip,gzip": lambda body: gzip.compress(gzip.compress(body)),
    "identity": bytes,
}


_FIVE_TIMES = reduce(lambda body, _: gzip.compress(body), range(5), b"{}")


@pytest.mark.parametrize("encoding", _ENCODED)
@pytest.mark.parametrize("service", ["ecs", *_ACTIONS])
def test_an_encoded_body_is_read_in_every_protocol(account: str, service: str, encoding: str) -> None:
    body = _ENCODED[encoding](_ACTIONS.get(service, b"{}"))
    assert _send(account, service, body, encoding).status == 200


@pytest.mark.parametrize("service", ["ecs", *_ACTIONS])
@pytest.mark.parametrize(
    ("encoding", "body", "error"),
    [
        ("gzip", b"not gzip", (400, "SerializationException")),
        (",".join(["gzip"] * 5), _FIVE_TIMES, (400, "SerializationException")),
        ("gzip", gzip.compress(b"x" * 17_000_000), (413, "RequestEntityTooLargeException")),
        ("deflate", zlib.compress(b"{}"), (415, "UnsupportedMediaTypeException")),
    ],
    ids=["invalid", "too often", "too large", "unknown"],
)
def test_a_body_that_cannot_be_decoded_is_refused_in_the_client_s_protocol(
    account: str, service: str, encoding: str, body: bytes, error: tuple[int, str]
) -> None:
    reply = _send(account, service, body, encoding)
    assert error == (reply.status, _code(service, reply))


@pytest.mark.parametrize("service", _ACTIONS)
def test_a_caller_that_is_not_let_in_hears_so_in_its_protocol(account: str, service: str) -> None:
    """The action of a compressed form is unknown until the caller is known."""
    body = gzip.compress(_ACTIONS[service])
    reply = in_process.send_form(account, service, body, encoding="gzip", secret="wrong")
    expected = "AuthFailure" if service == "ec2" else "SignatureDoesNotMatch"
    assert expected == _code(service, reply)


def test_many_metrics_are_stored(account: str) -> None:
    """SDKs compress a PutMetricData above 10 KiB."""
    cloudwatch = in_process.client(account, "cloudwatch")
    data: list[dict[str, Any]] = [{"MetricName": f"metric{number:04}", "Value": 1.0} for number in range(400)]
    cloudwatch.put_metric_data(Namespace="many", MetricData=data)
    pages = cloudwatch.get_paginator("list_metrics").paginate(Namespace="many")
    assert sum(len(page["Metrics"]) for page in pages) == 400
