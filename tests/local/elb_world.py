"""A load balancer in a VPC of an account in the process of the tests, with a task behind it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from moto.elbv2.models import elbv2_backends

from mclass_tf.local.aws.elbv2 import snapshot
from mclass_tf.local.balancer.snapshot import Clients, LoadBalancer, Target, TargetGroup
from mclass_tf.local.live import live
from mclass_tf.local.network import Interface
from tests.local import in_process

ADDRESS = ("127.0.0.9", 30_000)


@dataclass(kw_only=True)
class ElbWorld:
    """`nodes` and `tasks` are the security groups of the load balancer and of the tasks; nothing is open but what AWS opens."""

    account_id: str
    vpc_id: str
    subnet_ids: list[str]
    nodes: str
    tasks: str
    arn: str
    group: str
    attached: list[Interface] = field(default_factory=list)

    def client(self, service: str) -> Any:
        return in_process.client(self.account_id, service)

    @property
    def backend(self) -> Any:
        return elbv2_backends[self.account_id][in_process.REGION]

    def forward(self, *, port: int = 80, **more: Any) -> str:
        """A listener that forwards to the group; return its ARN."""
        made = self.client("elbv2").create_listener(
            LoadBalancerArn=self.arn,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": self.group}],
            **{"Port": port, "Protocol": "HTTP", **more},
        )
        return str(made["Listeners"][0]["ListenerArn"])

    def attach(self, ip: str = "10.0.0.7", *, subnet: int = 0) -> None:
        """A task that answers on port 3000."""
        interface = Interface(
            id=f"eni-{ip}",
            private_ip=ip,
            mac_address="02:00:00:00:00:01",
            subnet_id=self.subnet_ids[subnet],
            vpc_id=self.vpc_id,
            availability_zone=f"{in_process.REGION}{'ac'[subnet]}",
            security_group_ids=(self.tasks,),
            ports={3000: ADDRESS},
        )
        live.interfaces.attach(interface)
        self.attached.append(interface)

    def detach_all(self) -> None:
        for interface in self.attached:
            live.interfaces.detach(interface)

    def register(self, ip: str = "10.0.0.7") -> None:
        self.client("elbv2").register_targets(TargetGroupArn=self.group, Targets=[{"Id": ip, "Port": 3000}])

    def open(self, **source: Any) -> None:
        """Let the load balancer's nodes in; without a source, by their group."""
        wanted = source or {"UserIdGroupPairs": [{"GroupId": self.nodes}]}
        self.client("ec2").authorize_security_group_ingress(
            GroupId=self.tasks, IpPermissions=[{**_HTTP, **wanted}]
        )

    def admit(self, *, port: int = 80, **source: Any) -> None:
        """Let clients in at the load balancer."""
        permission = {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, **source}
        self.client("ec2").authorize_security_group_ingress(GroupId=self.nodes, IpPermissions=[permission])

    def clients(self) -> Clients:
        """Return what the load balancer process knows of the clients of the only listener."""
        (listener,) = self.load_balancer().listeners
        return listener.clients

    def close(self) -> None:
        self.client("ec2").revoke_security_group_ingress(
            GroupId=self.tasks,
            IpPermissions=[{**_HTTP, "UserIdGroupPairs": [{"GroupId": self.nodes}]}],
        )

    def load_balancer(self) -> LoadBalancer:
        return next(entry for entry in self._built().snapshot.load_balancers if entry.arn == self.arn)

    def groups(self) -> list[TargetGroup]:
        return [
            entry for entry in self._built().snapshot.target_groups if f":{self.account_id}:" in entry.arn
        ]

    def targets(self) -> tuple[Target, ...]:
        return self.groups()[0].targets

    def _built(self) -> snapshot.BuiltSnapshot:
        with in_process.aws().exclusive():
            found = snapshot.build(1)
        assert json.loads(found.snapshot.to_json())["version"] == 1
        return found


_HTTP = {"IpProtocol": "tcp", "FromPort": 3000, "ToPort": 3000}


def make(*, scheme: str = "internal") -> ElbWorld:
    in_process.aws()
    account_id = in_process.new_account()
    ec2, elb = in_process.client(account_id, "ec2"), in_process.client(account_id, "elbv2")
    vpc_id = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(
            VpcId=vpc_id, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=f"{in_process.REGION}{zone}"
        )["Subnet"]["SubnetId"]
        for number, zone in enumerate("ac")
    ]
    if scheme != "internal":
        gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(VpcId=vpc_id, InternetGatewayId=gateway)
    nodes, tasks = (
        ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc_id)["GroupId"]
        for name in ("nodes", "tasks")
    )
    made = elb.create_load_balancer(Name="web", Subnets=subnets, SecurityGroups=[nodes], Scheme=scheme)
    group = elb.create_target_group(
        Name="blue", Port=3000, Protocol="HTTP", TargetType="ip", VpcId=vpc_id, HealthCheckPath="/health"
    )
    return ElbWorld(
        account_id=account_id,
        vpc_id=vpc_id,
        subnet_ids=subnets,
        nodes=nodes,
        tasks=tasks,
        arn=made["LoadBalancers"][0]["LoadBalancerArn"],
        group=group["TargetGroups"][0]["TargetGroupArn"],
    )
