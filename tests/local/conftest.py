"""One local AWS per worker, and clients in its two accounts."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from mclass_tf import local
from tests.callers import ask, owner

DEV = "111111111111"
PROD = "222222222222"
REGION = "ap-northeast-2"

# A call that is refused must be refused at the first try: a retry would hide a 5xx.
_ONE_TRY = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=60)


@dataclass(frozen=True, kw_only=True)
class Account:
    """Credentials in one account of a local AWS."""

    server: local.LocalAws
    account_id: str
    access_key: str
    secret_key: str
    session_token: str | None

    def client(self, service: str, *, region: str = REGION) -> Any:
        return _client(self, service, region)

    def environment(self) -> dict[str, str]:
        """The environment of a child process that acts in this account, and in nothing outside."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_"))}
        return {
            **kept,
            "AWS_ENDPOINT_URL": self.server.url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_SESSION_TOKEN": self.session_token or "",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_PAGER": "",
        }


@lru_cache(maxsize=64)
def _client(account: Account, service: str, region: str) -> Any:
    factory: Any = boto3.client
    return factory(
        service,
        endpoint_url=account.server.url,
        region_name=region,
        aws_access_key_id=account.access_key,
        aws_secret_access_key=account.secret_key,
        aws_session_token=account.session_token,
        config=_ONE_TRY,
    )


def account_of(server: local.LocalAws, account_id: str) -> Account:
    factory: Any = boto3.client
    sts = factory(
        "sts",
        endpoint_url=server.url,
        region_name=REGION,
        config=_ONE_TRY,
        **owner(server.key),
    )
    found = sts.assume_role(RoleArn=f"arn:aws:iam::{account_id}:role/anything", RoleSessionName="tests")
    keys = found["Credentials"]
    return Account(
        server=server,
        account_id=account_id,
        access_key=keys["AccessKeyId"],
        secret_key=keys["SecretAccessKey"],
        session_token=keys["SessionToken"],
    )


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[local.LocalAws]:
    home = tmp_path_factory.mktemp("local-aws")
    yield local.up(home=home, port=0)
    local.down(home=home)


@pytest.fixture(scope="session")
def server_home(server: local.LocalAws, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of the worker's server."""
    homes = [
        record.parent
        for record in tmp_path_factory.getbasetemp().glob("local-aws*/server.json")
        if json.loads(record.read_text())["instance_id"] == server.instance_id
    ]
    return homes[0]


@pytest.fixture(scope="session")
def dev(server: local.LocalAws) -> Account:
    return account_of(server, DEV)


@pytest.fixture(scope="session")
def prod(server: local.LocalAws) -> Account:
    return account_of(server, PROD)


@pytest.fixture
def fresh(server: local.LocalAws, request: pytest.FixtureRequest) -> Account:
    """An account that no other test has touched: moto keeps accounts apart, so that names never clash."""
    return account_of(server, f"{abs(hash(request.node.nodeid)) % 10**12:012d}")


@pytest.fixture(scope="module")
def standing(server: local.LocalAws, request: pytest.FixtureRequest) -> Account:
    """An account for the calls of one module that are refused: whatever is made in it stays as it is."""
    return account_of(server, f"{abs(hash(request.node.nodeid)) % 10**12:012d}")


@pytest.fixture
def health(server: local.LocalAws) -> Callable[[], dict[str, Any]]:
    def read() -> dict[str, Any]:
        document: dict[str, Any] = ask(server, "health")
        return document

    return read


@dataclass(frozen=True, kw_only=True)
class Network:
    vpc_id: str
    subnet_ids: tuple[str, str]
    group_id: str


@pytest.fixture
def network(fresh: Account) -> Iterator[Network]:
    """A VPC with two public subnets in two zones and a security group."""
    yield make_network(fresh)
    # Those of hundreds of tests would be told to the load balancers' process at each change.
    elb = fresh.client("elbv2")
    for made in elb.describe_load_balancers()["LoadBalancers"]:
        with contextlib.suppress(ClientError):  # one that is protected stays
            elb.delete_load_balancer(LoadBalancerArn=made["LoadBalancerArn"])


def make_network(account: Account) -> Network:
    ec2 = account.client("ec2")
    vpc_id = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(VpcId=vpc_id, InternetGatewayId=gateway)
    subnets = [
        ec2.create_subnet(VpcId=vpc_id, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=f"{REGION}{zone}")[
            "Subnet"
        ]["SubnetId"]
        for number, zone in enumerate("ac")
    ]
    group = ec2.create_security_group(GroupName="tasks", Description="tasks", VpcId=vpc_id)
    return Network(vpc_id=vpc_id, subnet_ids=(subnets[0], subnets[1]), group_id=group["GroupId"])


@cache
def plugin_mirror() -> Path | None:
    """A folder of provider plugins directly under /opt, as the design says where to look."""
    return next((folder.parent for folder in Path("/opt").glob("*/registry.terraform.io")), None)
