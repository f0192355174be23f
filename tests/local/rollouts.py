"""A service with real tasks behind a real load balancer, on a local AWS whose clock runs fast."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.callers import ask
from tests.local.conftest import REGION, Account, Network, make_network
from tests.local.ecs_cluster import call, list_all
from tests.local.images import app_image
from tests.local.registry_client import log_in
from tests.local.task_world import infrastructure_role, policy, trust

SPEED = 20
_REPOSITORY = "mclass-server"  # what the policy of the execution role names
_LOG_GROUP = "/ecs/mclass-task"
_PORT = 3000
_HEADER = {"X-Test-Traffic": "0f0e0d0c-0b0a-4908-8706-050403020100"}
_PATIENCE = 90.0


@dataclass(frozen=True, kw_only=True)
class Rollouts:
    """A service "s" in a cluster "c". Versions are told apart by what `/version` answers: behind the test rule, with the header."""

    account: Account
    image: str
    url: str

    def client(self, service: str) -> Any:
        return self.account.client(service)

    def register(self, version: str, *, image: str | None = None, **environment: str) -> str:
        """Register a task definition of that version; return its ARN."""
        variables = {"MCLASS_VERSION": version, "MCLASS_LAME_DUCK_SECONDS": "1", **environment}
        found: str = self.client("ecs").register_task_definition(
            family="t",
            requiresCompatibilities=["FARGATE"],
            networkMode="awsvpc",
            cpu="256",
            memory="512",
            executionRoleArn=f"arn:aws:iam::{self.account.account_id}:role/mclass-execution",
            containerDefinitions=[
                {
                    "name": "web",
                    "image": image or self.image,
                    "portMappings": [{"containerPort": _PORT}],
                    "environment": [{"name": name, "value": value} for name, value in variables.items()],
                    "logConfiguration": {
                        "logDriver": "awslogs",
                        "options": {
                            "awslogs-group": _LOG_GROUP,
                            "awslogs-region": REGION,
                            "awslogs-stream-prefix": "web",
                        },
                    },
                }
            ],
        )["taskDefinition"]["taskDefinitionArn"]
        return found

    def update(self, **changes: Any) -> None:
        call(self.client("ecs"), "UpdateService", {"cluster": "c", "service": "s", **changes})

    @property
    def service(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client("ecs").describe_services(cluster="c", services=["s"])["services"][
            0
        ]
        return found

    @property
    def record(self) -> dict[str, Any]:
        """The latest service deployment."""
        return list_all(self.client("ecs"))[-1]

    @property
    def described(self) -> dict[str, Any]:
        """The latest service deployment with its stage, hooks and weights."""
        request = {"serviceDeploymentArns": [self.record["serviceDeploymentArn"]]}
        found: dict[str, Any] = call(self.client("ecs"), "DescribeServiceDeployments", request)[
            "serviceDeployments"
        ][0]
        return found

    def answer(self, stage: str, action: str) -> None:
        """Wait for the pause at that stage, and answer it."""

        def awaited() -> list[dict[str, Any]]:
            found = self.described
            hooks = found.get("lifecycleHookDetails") or []
            is_there = found["lifecycleStage"] == stage
            return [hook for hook in hooks if is_there and hook["status"] == "AWAITING_ACTION"]

        self.wait(lambda: bool(awaited()))
        hook = awaited()[0]
        request = {"serviceDeploymentArn": self.record["serviceDeploymentArn"], "hookId": hook["hookId"]}
        call(self.client("ecs"), "ContinueServiceDeployment", {**request, "action": action})

    def tasks(self, status: str = "RUNNING") -> list[dict[str, Any]]:
        ecs = self.client("ecs")
        pages = ecs.get_paginator("list_tasks").paginate(cluster="c", serviceName="s", desiredStatus=status)
        arns = [arn for page in pages for arn in page["taskArns"]]
        return ecs.describe_tasks(cluster="c", tasks=arns)["tasks"] if arns else []

    def wait(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not holds():
            assert time.monotonic() < deadline, [event["message"] for event in self.service["events"][:10]]
            time.sleep(0.05)

    def wait_for_status(self, status: str) -> None:
        """Wait until the latest service deployment has that status."""
        self.wait(lambda: bool(self.record["status"] == status))

    def version(self, *, test: bool = False) -> str:
        request = urllib.request.Request(f"{self.url}/version", headers=_HEADER if test else {})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return str(json.load(answer)["version"])

    @contextmanager
    def traffic(self) -> Iterator[Traffic]:
        """Ask for the version without a pause, from two threads."""
        traffic = Traffic()
        threads = [threading.Thread(target=traffic.ask, args=(self.version,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            yield traffic
        finally:
            traffic.is_over.set()
            for thread in threads:
                thread.join()


@dataclass
class Traffic:
    """What users met: versions, and errors by name."""

    answers: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    is_over: threading.Event = field(default_factory=threading.Event)

    def ask(self, version: Callable[[], str]) -> None:
        while not self.is_over.wait(0.005):
            try:
                self.answers[version()] += 1
            except OSError as error:
                self.errors[str(error)] += 1


def make(
    account: Account, *, desired: int = 2, minimum: int = 50, strategy: Mapping[str, Any] | None = None
) -> Rollouts:
    """Make all of it, with version "1" on its way up.

    `strategy` is what the deployment configuration says of it; with it there are the rules and groups to shift traffic.
    """
    network = make_network(account)
    _open(account, network)
    _allow(account)
    image = _push(account)
    group, balancer = _balance(account, network)
    advanced = {} if strategy is None else {"advancedConfiguration": _wire(account, network, group, balancer)}
    rollouts = Rollouts(account=account, image=image, url=_url(account, balancer))
    ecs = account.client("ecs")
    ecs.create_cluster(clusterName="c")
    request = {
        "cluster": "c",
        "serviceName": "s",
        "taskDefinition": rollouts.register("1"),
        "desiredCount": desired,
        "launchType": "FARGATE",
        "healthCheckGracePeriodSeconds": 60,
        "deploymentConfiguration": {
            "minimumHealthyPercent": minimum,
            "maximumPercent": 200,
            "deploymentCircuitBreaker": {"enable": True, "rollback": True},
            **(strategy or {}),
        },
        "loadBalancers": [
            {"targetGroupArn": group, "containerName": "web", "containerPort": _PORT, **advanced}
        ],
        "networkConfiguration": {
            "awsvpcConfiguration": {
                "subnets": list(network.subnet_ids),
                "securityGroups": [network.group_id],
                "assignPublicIp": "ENABLED",
            }
        },
    }
    call(ecs, "CreateService", request)
    return rollouts


def _open(account: Account, network: Network) -> None:
    """The way to the internet, and from anywhere to the tasks."""
    ec2 = account.client("ec2")
    gateway = ec2.describe_internet_gateways()["InternetGateways"][0]["InternetGatewayId"]
    table = ec2.create_route_table(VpcId=network.vpc_id)["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    for subnet in network.subnet_ids:
        ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
    anyone = [{"CidrIp": "0.0.0.0/0"}]
    ec2.authorize_security_group_ingress(
        GroupId=network.group_id,
        IpPermissions=[{"IpProtocol": "tcp", "FromPort": 80, "ToPort": 8080, "IpRanges": anyone}],
    )


def _allow(account: Account) -> None:
    iam = account.client("iam")
    iam.create_role(RoleName="mclass-execution", AssumeRolePolicyDocument=trust(account.account_id))
    iam.put_role_policy(
        RoleName="mclass-execution", PolicyName="execution", PolicyDocument=policy(account.account_id)
    )
    account.client("logs").create_log_group(logGroupName=_LOG_GROUP)


def _push(account: Account) -> str:
    image, registry = app_image(), log_in(account, _REPOSITORY)
    for blob in image.blobs:
        registry.push_blob(image.path(blob.digest).read_bytes())
    assert registry.push_manifest(image.path(image.digest).read_bytes(), "v1").status_code == 201
    return f"{account.account_id}.dkr.ecr.{REGION}.amazonaws.com/{_REPOSITORY}:v1"


def _balance(account: Account, network: Network) -> tuple[str, str]:
    """Return the ARNs of the target group and of the load balancer."""
    elb = account.client("elbv2")
    group = _group(account, network, name="g")
    made = elb.create_load_balancer(
        Name="l", Subnets=list(network.subnet_ids), SecurityGroups=[network.group_id]
    )["LoadBalancers"][0]
    elb.create_listener(
        LoadBalancerArn=made["LoadBalancerArn"],
        Port=80,
        Protocol="HTTP",
        DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
    )
    return group, str(made["LoadBalancerArn"])


def _group(account: Account, network: Network, *, name: str) -> str:
    elb = account.client("elbv2")
    group: str = elb.create_target_group(
        Name=name,
        Protocol="HTTP",
        Port=_PORT,
        VpcId=network.vpc_id,
        TargetType="ip",
        HealthCheckPath="/ready",
        HealthCheckIntervalSeconds=10,
        HealthyThresholdCount=2,
        UnhealthyThresholdCount=2,
    )["TargetGroups"][0]["TargetGroupArn"]
    elb.modify_target_group_attributes(
        TargetGroupArn=group, Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "20"}]
    )
    return group


def _wire(account: Account, network: Network, group: str, balancer: str) -> dict[str, str]:
    """Return the advanced configuration: an alternate group, two rules of the listener, and the role."""
    elb = account.client("elbv2")
    alternate = _group(account, network, name="alternate")
    weights = [{"TargetGroupArn": group, "Weight": 100}, {"TargetGroupArn": alternate, "Weight": 0}]
    (listener,) = elb.describe_listeners(LoadBalancerArn=balancer)["Listeners"]
    path = {"Field": "path-pattern", "Values": ["/*"]}
    ((name, value),) = _HEADER.items()
    header = {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": name, "Values": [value]}}
    test, production = (
        elb.create_rule(
            ListenerArn=listener["ListenerArn"],
            Priority=priority,
            Conditions=conditions,
            Actions=[{"Type": "forward", "ForwardConfig": {"TargetGroups": weights}}],
        )["Rules"][0]["RuleArn"]
        for priority, conditions in ((1, [path, header]), (2, [path]))
    )
    return {
        "alternateTargetGroupArn": alternate,
        "productionListenerRule": production,
        "testListenerRule": test,
        "roleArn": infrastructure_role(account.client("iam")),
    }


def _url(account: Account, arn: str) -> str:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        known = ask(account.server, "load-balancers")["load_balancers"]
        ports = [
            listener["local_port"]
            for entry in known
            if entry["arn"] == arn
            for listener in entry["listeners"]
        ]
        if ports and ports[0]:
            return f"http://127.0.0.1:{ports[0]}"
        time.sleep(0.05)
    raise AssertionError("the load balancer does not listen")
