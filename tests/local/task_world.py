"""The resources that Terraform applies for a service, created by the same calls, and tasks with a fake driver."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from moto.ecs.models import ecs_backends

from mclass_tf.local.aws.ecs.model.task import Launch, Registration, Task
from mclass_tf.local.aws.ecs.tasks.tasks import TaskManager
from mclass_tf.local.live import Live
from tests.local import in_process
from tests.local.fake_driver import FakeContainer, FakeDriver
from tests.local.in_process import REGION
from tests.within import within

PORT = 3000
DEADLINE = 10.0
REPOSITORY = "mclass-server"
LOG_GROUP = "/ecs/mclass-task"
DEREGISTRATION_DELAY = 20
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
URL = "http://127.0.0.1:4566"

_LAYER = "sha256:" + "1" * 64
_CONFIG = "sha256:" + "2" * 64


def make_manifest(*, size: int = 1000, name: str = "one") -> str:
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "annotations": {"name": name},
            "config": {"mediaType": "application/json", "digest": _CONFIG, "size": 10},
            "layers": [{"mediaType": "application/tar", "digest": _LAYER, "size": size}],
        }
    )


def digest_of(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def push(account_id: str, manifest: str, *, repository: str = REPOSITORY, tag: str = "v1") -> str:
    """Put an image with existing layers. Return its digest."""
    ecr = in_process.client(account_id, "ecr")
    document = json.loads(manifest)
    parts = [*document.get("layers", []), *([document["config"]] if "config" in document else [])]
    held = _ecr(account_id).repositories[repository].layers
    held.update({part["digest"]: part["size"] for part in parts})
    ecr.put_image(repositoryName=repository, imageManifest=manifest, imageTag=tag)
    return digest_of(manifest)


def _ecr(account_id: str) -> Any:
    from moto.ecr.models import ecr_backends  # noqa: PLC0415  after the local AWS has taken moto's place

    return ecr_backends[account_id][REGION]


@dataclass(frozen=True, kw_only=True)
class Applied:
    """The ids of what was applied in one account."""

    account_id: str
    vpc_id: str
    subnet_ids: tuple[str, ...]
    group_id: str
    target_group_arn: str
    execution_role: str
    digest: str
    ids: Mapping[str, str] = field(default_factory=dict)

    @property
    def role_arn(self) -> str:
        return f"arn:aws:iam::{self.account_id}:role/{self.execution_role}"

    @property
    def host(self) -> str:
        return f"{self.account_id}.dkr.ecr.{REGION}.amazonaws.com"

    @property
    def image(self) -> str:
        return f"{self.host}/{REPOSITORY}@{self.digest}"

    @property
    def network(self) -> dict[str, Any]:
        """The `networkConfiguration` of a service or a task in the private subnets."""
        return {
            "awsvpcConfiguration": {
                "subnets": list(self.subnet_ids),
                "securityGroups": [self.group_id],
                "assignPublicIp": "DISABLED",
            }
        }

    def client(self, service: str) -> Any:
        return in_process.client(self.account_id, service)

    def container(self, **settings: Any) -> dict[str, Any]:
        """Return the container definition of the modules, with changed settings."""
        return {
            "name": "mclass-server",
            "image": self.image,
            "essential": True,
            "portMappings": [{"containerPort": PORT, "hostPort": PORT, "protocol": "tcp"}],
            "logConfiguration": {
                "logDriver": "awslogs",
                "options": {
                    "awslogs-group": LOG_GROUP,
                    "awslogs-region": REGION,
                    "awslogs-stream-prefix": "mclass-server",
                },
            },
            **settings,
        }

    def launch(
        self, *containers: dict[str, Any], definition: Mapping[str, Any] | None = None, **changed: Any
    ) -> Launch:
        """Return the launch of one task of the service."""
        registered = self.client("ecs").register_task_definition(
            **{
                "family": "mclass-task",
                "cpu": "256",
                "memory": "512",
                "networkMode": "awsvpc",
                "requiresCompatibilities": ["FARGATE"],
                "executionRoleArn": self.role_arn,
                "containerDefinitions": list(containers) or [self.container()],
                **(definition or {}),
            }
        )["taskDefinition"]
        backend = ecs_backends[self.account_id][REGION]
        launch = Launch(
            account_id=self.account_id,
            region=REGION,
            cluster_name="mclass-cluster",
            cluster_arn=f"arn:aws:ecs:{REGION}:{self.account_id}:cluster/mclass-cluster",
            definition=backend.describe_task_definition(registered["taskDefinitionArn"]),
            group="service:mclass-service",
            started_by="ecs-svc/1234567890123456789",
            settings={
                "networkConfiguration": self.network,
                "capacityProviderStrategy": [{"capacityProvider": "FARGATE", "weight": 1}],
            },
            registrations=(
                Registration(
                    target_group_arn=self.target_group_arn,
                    container_name="mclass-server",
                    container_port=PORT,
                ),
            ),
        )
        return replace(launch, **changed)


def apply(*, egress: str = "nat") -> Applied:
    """Create the resources of a service as the modules do: with NAT (dev) or endpoints (prod)."""
    account_id = in_process.new_account()
    ids: dict[str, str] = {}
    ec2 = in_process.client(account_id, "ec2")
    vpc_id = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    for attribute in ("EnableDnsSupport", "EnableDnsHostnames"):
        ec2.modify_vpc_attribute(VpcId=vpc_id, **{attribute: {"Value": True}})
    public, private = _subnets(ec2, vpc_id, ids)
    group_id = ec2.create_security_group(GroupName="tasks", Description="tasks", VpcId=vpc_id)["GroupId"]
    open_egress = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    ec2.revoke_security_group_egress(GroupId=group_id, IpPermissions=open_egress)
    _make_nat(ec2, public, ids, group_id) if egress == "nat" else _make_endpoints(
        ec2, vpc_id, private, ids, group_id
    )
    target_group = _target_group(account_id, vpc_id, public)
    in_process.client(account_id, "ecr").create_repository(repositoryName=REPOSITORY)
    in_process.client(account_id, "logs").create_log_group(logGroupName=LOG_GROUP)
    _execution_role(account_id)
    digest = push(account_id, make_manifest())
    return Applied(
        account_id=account_id,
        vpc_id=vpc_id,
        subnet_ids=private,
        group_id=group_id,
        target_group_arn=target_group,
        execution_role="mclass-execution",
        digest=digest,
        ids=ids,
    )


def _subnets(ec2: Any, vpc_id: str, ids: dict[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(VpcId=vpc_id, InternetGatewayId=gateway)
    ids["internet_gateway"] = gateway
    public: list[str] = []
    private: list[str] = []
    table = ec2.create_route_table(VpcId=vpc_id)["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    ids["public_table"] = table
    for number, zone in enumerate("ac"):
        for found, third in ((public, number), (private, 128 + number)):
            subnet = ec2.create_subnet(
                VpcId=vpc_id, CidrBlock=f"10.0.{third}.0/24", AvailabilityZone=f"{REGION}{zone}"
            )["Subnet"]["SubnetId"]
            found.append(subnet)
        ec2.associate_route_table(RouteTableId=table, SubnetId=public[-1])
        ids[f"private_table_{zone}"] = ec2.create_route_table(VpcId=vpc_id)["RouteTable"]["RouteTableId"]
        ec2.associate_route_table(RouteTableId=ids[f"private_table_{zone}"], SubnetId=private[-1])
    return tuple(public), tuple(private)


def _make_nat(ec2: Any, public: tuple[str, ...], ids: dict[str, str], group_id: str) -> None:
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    gateway = ec2.create_nat_gateway(SubnetId=public[0], AllocationId=address)["NatGateway"]["NatGatewayId"]
    ids["nat_gateway"] = gateway
    for zone in "ac":
        ec2.create_route(
            RouteTableId=ids[f"private_table_{zone}"],
            DestinationCidrBlock="0.0.0.0/0",
            NatGatewayId=gateway,
        )
    https = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443}
    ec2.authorize_security_group_egress(
        GroupId=group_id, IpPermissions=[{**https, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    )


def _make_endpoints(
    ec2: Any, vpc_id: str, private: tuple[str, ...], ids: dict[str, str], group_id: str
) -> None:
    group = ec2.create_security_group(GroupName="endpoints", Description="endpoints", VpcId=vpc_id)["GroupId"]
    ids["endpoint_group"] = group
    https = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443}
    ec2.authorize_security_group_ingress(
        GroupId=group,
        IpPermissions=[{**https, "IpRanges": [{"CidrIp": f"10.0.{third}.0/24"} for third in (128, 129)]}],
    )
    for service in ("ecr.api", "ecr.dkr", "logs", "secretsmanager", "ssm"):
        ids[service] = ec2.create_vpc_endpoint(
            VpcId=vpc_id,
            VpcEndpointType="Interface",
            ServiceName=f"com.amazonaws.{REGION}.{service}",
            PrivateDnsEnabled=True,
            SecurityGroupIds=[group],
            SubnetIds=list(private),
        )["VpcEndpoint"]["VpcEndpointId"]
    ids["s3"] = ec2.create_vpc_endpoint(
        VpcId=vpc_id,
        VpcEndpointType="Gateway",
        ServiceName=f"com.amazonaws.{REGION}.s3",
        RouteTableIds=[ids["private_table_a"], ids["private_table_c"]],
    )["VpcEndpoint"]["VpcEndpointId"]
    lists = ec2.describe_managed_prefix_lists()["PrefixLists"]
    s3 = next(entry["PrefixListId"] for entry in lists if entry["PrefixListName"].endswith(".s3"))
    ids["s3_prefix_list"] = s3
    ec2.authorize_security_group_egress(
        GroupId=group_id,
        IpPermissions=[
            {**https, "UserIdGroupPairs": [{"GroupId": group}]},
            {**https, "PrefixListIds": [{"PrefixListId": s3}]},
        ],
    )


def _target_group(account_id: str, vpc_id: str, public: tuple[str, ...]) -> str:
    elb = in_process.client(account_id, "elbv2")
    arn: str = elb.create_target_group(
        Name="blue", Protocol="HTTP", Port=PORT, VpcId=vpc_id, TargetType="ip"
    )["TargetGroups"][0]["TargetGroupArn"]
    elb.modify_target_group_attributes(
        TargetGroupArn=arn,
        Attributes=[
            {"Key": "deregistration_delay.timeout_seconds", "Value": str(DEREGISTRATION_DELAY)},
        ],
    )
    balancer = elb.create_load_balancer(Name="mclass", Subnets=list(public), Type="application")
    elb.create_listener(
        LoadBalancerArn=balancer["LoadBalancers"][0]["LoadBalancerArn"],
        Protocol="HTTP",
        Port=80,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": arn}],
    )
    return arn


def trust(account_id: str, *, service: str = "ecs-tasks.amazonaws.com", source: str = "") -> str:
    """The trust policy of the modules."""
    return json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": service},
                    "Action": "sts:AssumeRole",
                    "Condition": {
                        "ArnLike": {"aws:SourceArn": f"arn:aws:ecs:{REGION}:{source or account_id}:*"},
                        "StringEquals": {"aws:SourceAccount": source or account_id},
                    },
                }
            ],
        }
    )


def infrastructure_role(iam: Any) -> str:
    """Create a role by which ECS may shift traffic; return its ARN."""
    name = "mclass-infrastructure"
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "ecs.amazonaws.com"},
        "Action": "sts:AssumeRole",
    }
    role: str = iam.create_role(
        RoleName=name,
        AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
    )["Role"]["Arn"]
    iam.attach_role_policy(
        RoleName=name,
        PolicyArn="arn:aws:iam::aws:policy/AmazonECSInfrastructureRolePolicyForLoadBalancers",
    )
    return role


def policy(account_id: str, *, without: str = "") -> str:
    """Return the inline policy of the modules, optionally without one action."""
    statements: list[dict[str, Any]] = [
        {"Effect": "Allow", "Action": ["ecr:GetAuthorizationToken"], "Resource": ["*"]},
        {
            "Effect": "Allow",
            "Action": ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
            "Resource": [f"arn:aws:ecr:{REGION}:{account_id}:repository/{REPOSITORY}"],
        },
        {
            "Effect": "Allow",
            "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
            "Resource": [f"arn:aws:logs:{REGION}:{account_id}:log-group:{LOG_GROUP}:*"],
        },
    ]
    for statement in statements:
        statement["Action"] = [action for action in statement["Action"] if action != without]
    kept = [statement for statement in statements if statement["Action"]]
    return json.dumps({"Version": "2012-10-17", "Statement": kept})


def _execution_role(account_id: str) -> None:
    iam = in_process.client(account_id, "iam")
    iam.create_role(RoleName="mclass-execution", AssumeRolePolicyDocument=trust(account_id))
    iam.put_role_policy(
        RoleName="mclass-execution", PolicyName="start-tasks", PolicyDocument=policy(account_id)
    )


@dataclass(frozen=True)
class World:
    """Tasks with a fake driver. The clock of the control plane runs a hundred times as fast as on AWS."""

    applied: Applied
    tasks: TaskManager
    driver: FakeDriver
    live: Live

    def launch(self, *containers: dict[str, Any], **changed: Any) -> Task:
        launch = self.applied.launch(*containers, **changed)
        with in_process.aws().exclusive():
            return self.tasks.launch(launch)

    def stop(
        self,
        task: Task,
        *,
        code: str = "ServiceSchedulerInitiated",
        reason: str = "Scaling activity",
        drain: bool = True,
    ) -> None:
        with in_process.aws().exclusive():
            self.tasks.stop(task, code=code, reason=reason, drain=drain)

    async def running(self, *containers: dict[str, Any], **changed: Any) -> tuple[Task, FakeContainer]:
        """Return a RUNNING task and its first container."""
        task = self.launch(*containers, **changed)
        await self.status(task, "RUNNING")
        return task, next(entry for entry in self.driver.started if entry.container.task_id == task.id)

    async def status(self, task: Task, status: str) -> None:
        await until(
            lambda: task.last_status == status,
            lambda: f"{task.last_status}: {task.stopped_reason}, not {status}",
        )

    def targets(self) -> list[tuple[str, str]]:
        """Return the target addresses with their states."""
        found = self.applied.client("elbv2").describe_target_health(
            TargetGroupArn=self.applied.target_group_arn
        )["TargetHealthDescriptions"]
        return [(entry["Target"]["Id"], entry["TargetHealth"]["State"]) for entry in found]

    def log(self, task: Task) -> list[str]:
        found = self.applied.client("logs").get_log_events(
            logGroupName=LOG_GROUP, logStreamName=f"mclass-server/mclass-server/{task.id}", startFromHead=True
        )["events"]
        return [entry["message"] for entry in found]


class Blobs:
    """A folder for manifests."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def blob(self, digest: str) -> Path:
        return self._folder / digest.removeprefix("sha256:")


@asynccontextmanager
async def _world(
    applied: Applied, folder: Path, speed: float, make_driver: Callable[[], Any], state: Live
) -> AsyncIterator[World]:
    driver, before = make_driver(), state.clock.speed
    state.clock.speed = speed
    tasks = TaskManager(
        exclusive=in_process.aws().exclusive, driver=driver, blobs=Blobs(folder), url=URL, state=state
    )
    running = asyncio.create_task(tasks.run())
    try:
        yield World(applied, tasks, driver, state)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        state.clock.speed = before


def run(
    folder: Path,
    scenario: Callable[[World], Coroutine[Any, Any, None]],
    *,
    applied: Applied | None = None,
    speed: float = 100,
    make_driver: Callable[[], Any] = FakeDriver,
    state: Live | None = None,
    seconds: float = 3 * DEADLINE,
) -> None:
    """Run the scenario in a new world, for at most so many seconds; `state` is shared with other parts."""

    async def play() -> None:
        async with _world(applied or apply(), folder, speed, make_driver, state or Live()) as world:
            await within(scenario(world), seconds)

    asyncio.run(play())


async def until(condition: Callable[[], bool], told: Callable[[], str] = lambda: "") -> None:
    """Wait for a condition."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + DEADLINE
    while not condition():
        if loop.time() > deadline:
            raise AssertionError(f"still not after {DEADLINE} s: {told()}")
        await asyncio.sleep(0.005)


Scenario = Callable[[World], Awaitable[None]]
