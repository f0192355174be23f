"""Runs moto's own tests against the local AWS: a pytest plugin for the tests in moto's source distribution.

moto's tests reset their server by an unauthenticated call, with invented credentials, and send requests that AWS refuses. This plugin
resets through the admin endpoint, signs with the owner's key, and completes requests so that AWS could accept them. It changes
no assertion.
"""

from __future__ import annotations

import contextlib
import json
import os
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import botocore.handlers
from moto.core.config import default_user_config
from moto.core.models import ServerModeMockAWS

_URL = os.environ["TEST_SERVER_MODE_ENDPOINT"]
_SECRET = os.environ["AWS_SECRET_ACCESS_KEY"]
_RESET_SECONDS = 60
_TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "ecs-tasks.amazonaws.com"},
                "Action": "sts:AssumeRole",
            }
        ],
    }
)
_real_client = boto3.client  # moto replaces it while a test runs


def _reset(self: Any) -> None:
    """Delete everything in the local AWS."""
    request = urllib.request.Request(
        f"{_URL}/_mclass/reset", data=b"{}", headers={"Authorization": f"Bearer {_SECRET}"}, method="PUT"
    )
    with urllib.request.urlopen(request, timeout=_RESET_SECONDS):
        pass


def _ec2(region: str) -> Any:
    return _real_client("ec2", region_name=region, endpoint_url=_URL)


# ---- requests that AWS could accept


def _register_task_definition(params: dict[str, Any], region: str) -> None:
    """Make it a task definition for Fargate: the local AWS has no container instances."""
    if params.get("requiresCompatibilities") not in (None, ["FARGATE"]):
        return
    if params.get("networkMode") not in (None, "awsvpc"):
        return
    params.setdefault("networkMode", "awsvpc")
    params.setdefault("requiresCompatibilities", ["FARGATE"])
    if "cpu" not in params or "memory" not in params:
        params.update(cpu="1024", memory="8192")


def _has_default_capacity(params: dict[str, Any], region: str) -> bool:
    ecs = _real_client("ecs", region_name=region, endpoint_url=_URL)
    clusters = ecs.describe_clusters(clusters=[params.get("cluster") or "default"])["clusters"]
    return any(cluster.get("defaultCapacityProviderStrategy") for cluster in clusters)


def _on_fargate(params: dict[str, Any], region: str) -> None:
    """Run it on Fargate, in the subnets of the default VPC."""
    if not params.get("capacityProviderStrategy") and not _has_default_capacity(params, region):
        params.setdefault("launchType", "FARGATE")
    if "networkConfiguration" not in params:
        subnets = _ec2(region).describe_subnets()["Subnets"][:2]
        params["networkConfiguration"] = {
            "awsvpcConfiguration": {"subnets": [subnet["SubnetId"] for subnet in subnets]}
        }


def _with_gateway(params: dict[str, Any], region: str) -> None:
    """Attach an internet gateway to the VPC of an internet-facing load balancer."""
    subnets = params.get("Subnets") or [entry["SubnetId"] for entry in params.get("SubnetMappings") or []]
    if not subnets or params.get("Scheme") == "internal":
        return
    with contextlib.suppress(Exception):  # the subnet does not exist, which the test expects to be refused
        ec2 = _ec2(region)
        vpc = ec2.describe_subnets(SubnetIds=subnets[:1])["Subnets"][0]["VpcId"]
        attached = [{"Name": "attachment.vpc-id", "Values": [vpc]}]
        if not ec2.describe_internet_gateways(Filters=attached)["InternetGateways"]:
            gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
            ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)


def _with_groups_of_its_vpc(params: dict[str, Any], region: str) -> None:
    """Replace security groups of another VPC, which AWS refuses: moto's tests create them in the default VPC."""
    subnets = params.get("Subnets") or [entry["SubnetId"] for entry in params.get("SubnetMappings") or []]
    with contextlib.suppress(Exception):  # what does not exist is for the test to see
        ec2 = _ec2(region)
        vpc = ec2.describe_subnets(SubnetIds=subnets[:1])["Subnets"][0]["VpcId"]
        groups = ec2.describe_security_groups(GroupIds=params["SecurityGroups"])["SecurityGroups"]
        if any(group["VpcId"] != vpc for group in groups):
            filters = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "group-name", "Values": ["default"]}]
            own = ec2.describe_security_groups(Filters=filters)["SecurityGroups"]
            params["SecurityGroups"] = [own[0]["GroupId"]]


def _balancing(params: dict[str, Any], region: str) -> None:
    _with_gateway(params, region)
    _with_groups_of_its_vpc(params, region)


def _trusting(params: dict[str, Any], region: str) -> None:
    """Give a role a trust policy where the test passes any text."""
    text = params.get("AssumeRolePolicyDocument")
    with contextlib.suppress(ValueError, TypeError):
        if isinstance(json.loads(str(text)), dict) and json.loads(str(text)).get("Statement"):
            return
    if text is not None:
        params["AssumeRolePolicyDocument"] = _TRUST


_COMPLETED: dict[str, Callable[[dict[str, Any], str], None]] = {
    "ecs.RegisterTaskDefinition": _register_task_definition,
    "ecs.CreateService": _on_fargate,
    "ecs.RunTask": _on_fargate,
    "elastic-load-balancing-v2.CreateLoadBalancer": _balancing,
    "iam.CreateRole": _trusting,
}


def _handler(complete: Callable[[dict[str, Any], str], None]) -> Callable[..., None]:
    def handle(params: dict[str, Any], context: dict[str, Any], **_named: Any) -> None:
        complete(params, context["client_region"])

    return handle


def pytest_configure(config: Any) -> None:
    ServerModeMockAWS.reset = _reset
    default_user_config["core"]["mock_credentials"] = False
    for operation, complete in _COMPLETED.items():
        botocore.handlers.BUILTIN_HANDLERS.append((f"provide-client-params.{operation}", _handler(complete)))


# ---- results


_found: dict[str, tuple[str, str]] = {}


def pytest_runtest_logreport(report: Any) -> None:
    """Remember the outcome of a test: a failure of any phase, else that of its call, else that it was skipped."""
    outcome, _ = _found.get(report.nodeid, ("", ""))
    if report.failed and outcome != "failed":
        crash = getattr(report.longrepr, "reprcrash", None)
        _found[report.nodeid] = (
            "failed",
            " ".join(str(getattr(crash, "message", report.longrepr)).split())[:600],
        )
    elif report.when == "call" or (report.skipped and not outcome):
        _found[report.nodeid] = (report.outcome, "")


def pytest_sessionfinish(session: Any) -> None:
    lines = (
        json.dumps({"test": test, "outcome": outcome, "message": message})
        for test, (outcome, message) in _found.items()
    )
    Path(os.environ["FOREIGN_RESULTS"]).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
