"""Unmodelled calls are refused at once, in the protocol of the caller."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from mclass_tf import local
from tests.callers import ask, signed
from tests.local.conftest import REGION, Account

_CALLS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "json": (
        "application-autoscaling",
        "get_predictive_scaling_forecast",
        {
            "ServiceNamespace": "ecs",
            "ResourceId": "service/a/b",
            "ScalableDimension": "ecs:service:DesiredCount",
            "PolicyName": "p",
            "StartTime": 1,
            "EndTime": 2,
        },
    ),
    "query": ("elbv2", "describe_trust_store_associations", {"TrustStoreArn": "x"}),
    "ec2": ("ec2", "describe_ipams", {}),
    "rest-json": ("appsync", "list_domain_names", {}),
    "rest-xml": ("s3", "get_bucket_analytics_configuration", {"Bucket": "b-1", "Id": "i"}),
    "unknown service, json": ("codestar-connections", "list_hosts", {}),
    "unknown service, rest-json": ("outposts", "list_outposts", {}),
    "not modelled on purpose": ("ec2", "run_instances", {"MinCount": 1, "MaxCount": 1}),
    "tasks": ("ecs", "start_task", {"taskDefinition": "t", "containerInstances": ["i"]}),
}


@pytest.mark.parametrize("call", _CALLS.values(), ids=_CALLS.keys())
def test_an_unmodelled_call_gets_a_4xx_that_names_it(
    dev: Account, health: Callable[[], dict[str, Any]], call: tuple[str, str, dict[str, Any]]
) -> None:
    service, method, parameters = call
    client = dev.client(service)
    operation = client.meta.method_to_api_mapping[method]
    started = time.monotonic()
    with pytest.raises(ClientError) as error:
        getattr(client, method)(**parameters)
    assert time.monotonic() - started < 5
    answer = error.value.response
    assert answer["Error"]["Code"] == "UnsupportedOperation"
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 400
    named = operation if "rest-json" not in _protocol(client) else "GET /"
    assert named in answer["Error"]["Message"]
    assert any(named in entry for entry in health()["unsupported"])


def _protocol(client: Any) -> str:
    return str(client.meta.service_model.metadata["protocol"])


def test_cbor_is_refused_in_cbor(server: local.LocalAws) -> None:
    status, headers, body = _post(
        server,
        path="/service/GraniteServiceVersion20100801/operation/DescribeAlarms",
        service="monitoring",
        headers={"smithy-protocol": "rpc-v2-cbor", "Content-Type": "application/cbor"},
        body=b"\xa0",
    )
    assert (status, headers["Content-Type"]) == (400, "application/cbor")
    assert b"\x66__type" in body or b"\x79\x00\x06__type" in body
    assert b"DescribeAlarms" in body


def test_an_unmodelled_sub_resource_of_s3_does_not_affect_the_bucket(fresh: Account) -> None:
    s3 = fresh.client("s3")
    s3.create_bucket(Bucket="kept-bucket", CreateBucketConfiguration={"LocationConstraint": REGION})
    with pytest.raises(ClientError, match="UnsupportedOperation"):
        s3.delete_bucket_inventory_configuration(Bucket="kept-bucket", Id="i")
    assert s3.head_bucket(Bucket="kept-bucket")["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_an_internal_error_is_a_4xx_with_its_traceback_in_the_log(
    server: local.LocalAws, server_home: Path
) -> None:
    status, _, body = _post(
        server,
        path="/",
        service="elasticloadbalancing",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        body=b"Action=DescribeLoadBalancers&Version=2001-01-01",
    )
    assert (status, b"<Code>LocalAwsInternalError</Code>" in body) == (400, True)
    assert b"DescribeLoadBalancers" in body
    log = (server_home / "server.log").read_text()
    assert "Unknown ELB API version: 2001-01-01" in log
    assert "Traceback" in log


def test_the_admin_endpoint_knows_its_paths(server: local.LocalAws) -> None:
    with pytest.raises(urllib.error.HTTPError) as error:
        ask(server, "nothing")
    assert error.value.code == 404
    error.value.close()


def _post(
    server: local.LocalAws, *, path: str, service: str, headers: dict[str, str], body: bytes
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        credentials = Credentials(server.key.access_key_id, server.key.secret_access_key)
        url = server.url + path
        signing = signed(credentials, service, url, region=REGION, body=body, headers=headers)
        connection.request("POST", path, body=body, headers=signing)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()
