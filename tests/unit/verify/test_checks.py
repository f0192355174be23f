"""Each check of `verify` passes on an environment that matches its outputs, and fails without its protection."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from botocore.validate import ParamValidator

from mclass_tf import verify
from mclass_tf.aws import Access, Aws
from mclass_tf.errors import VerificationError

ACCOUNT = "222222222222"
REGION = "ap-northeast-2"
ZONES = ("a", "c")
LB = f"arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1"
CERTIFICATE = f"arn:aws:acm:{REGION}:{ACCOUNT}:certificate/1"
REPOSITORY = f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/mclass-server"
REPOSITORY_URL = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/mclass-server"
LOG_GROUP = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/ecs/mclass-task"
TASK = f"arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/mclass-task"
CLUSTER = f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/mclass-cluster"
SERVICE = f"arn:aws:ecs:{REGION}:{ACCOUNT}:service/mclass-cluster/mclass-service"
SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:mclass-1"
DIGEST = "sha256:" + "ab" * 32
BLUE, GREEN = (f"{LB}:targetgroup/mclass-{colour}/1" for colour in ("blue", "green"))
PRODUCTION, REDIRECT = (f"{LB}:listener/app/mclass-alb/1/{name}" for name in ("prod", "http"))
PRODUCTION_RULE, TEST_RULE = (f"{LB}:listener-rule/app/mclass-alb/1/prod/{name}" for name in ("prod", "test"))
HEADER = {"name": "X-Test-Traffic", "value": "0f0e0d0c-0b0a-4908-8706-050403020100"}
ROLES = {
    name: f"arn:aws:iam::{ACCOUNT}:role/mclass-{name}" for name in ("execution", "task", "infrastructure")
}
ENDPOINTS = {name: f"vpce-{name}" for name in ("ecr.api", "ecr.dkr", "logs", "s3")}
DNS_NAME = "mclass-alb-1.ap-northeast-2.elb.amazonaws.com"
PUBLIC = tuple(f"subnet-public-{zone}" for zone in ZONES)
PRIVATE = tuple(f"subnet-private-{zone}" for zone in ZONES)
CIDRS = {
    PUBLIC[0]: "10.0.0.0/20",
    PUBLIC[1]: "10.0.16.0/20",
    PRIVATE[0]: "10.0.128.0/20",
    PRIVATE[1]: "10.0.144.0/20",
}

OUTPUTS: Mapping[str, Any] = {
    "account_id": ACCOUNT,
    "region": REGION,
    "environment": "prod",
    "name": "mclass",
    "vpc_id": "vpc-1",
    "public_subnet_ids": list(PUBLIC),
    "private_subnet_ids": list(PRIVATE),
    "vpc_endpoint_ids": ENDPOINTS,
    "egress": "endpoints",
    "repository_name": "mclass-server",
    "repository_url": REPOSITORY_URL,
    "repository_arn": REPOSITORY,
    "alb_arn": f"{LB}:loadbalancer/app/mclass-alb/1",
    "alb_dns_name": DNS_NAME,
    "alb_zone_id": "Z1",
    "alb_security_group_id": "sg-alb",
    "url": f"https://{DNS_NAME}",
    "test_header": HEADER,
    "target_group_arns": {"blue": BLUE, "green": GREEN},
    "production_listener_arn": PRODUCTION,
    "production_listener_rule_arn": PRODUCTION_RULE,
    "test_listener_rule_arn": TEST_RULE,
    "redirect_listener_arn": REDIRECT,
    "certificate_arn": CERTIFICATE,
    "access_logs_bucket": "mclass-logs",
    "cluster_name": "mclass-cluster",
    "cluster_arn": CLUSTER,
    "service_name": "mclass-service",
    "service_arn": SERVICE,
    "service_security_group_id": "sg-service",
    "task_definition_family": "mclass-task",
    "task_definition_arn": f"{TASK}:7",
    "container_name": "mclass-server",
    "container_port": 3000,
    "image_digest": DIGEST,
    "execution_role_arn": ROLES["execution"],
    "task_role_arn": ROLES["task"],
    "infrastructure_role_arn": ROLES["infrastructure"],
    "log_group_name": "/ecs/mclass-task",
    "log_group_arn": LOG_GROUP,
    "kms_key_arn": KEY,
    "desired_count": 3,
    "autoscaling": {
        "min": 3,
        "max": 12,
        "cpu_percent": 60,
        "memory_percent": 70,
        "requests_per_target": 1000,
    },
    "deployment": {"minimum_healthy_percent": 100, "maximum_percent": 200},
    "deletion_protection": True,
    "log_retention_days": 365,
}

Answers = dict[str, Any]


# The fake


class FakeClient:
    """Answers an operation with the entry under its name, or under its name and one of the arguments."""

    def __init__(self, service: str, answers: Answers) -> None:
        self._service = service
        self._answers = answers

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        def call(**arguments: Any) -> Any:
            key = f"{self._service}.{operation}"
            special = [f"{key} {value}" for value in arguments.values() if f"{key} {value}" in self._answers]
            answer = self._answers[(special or [key])[0]]
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call

    def get_paginator(self, operation: str) -> FakePaginator:
        return FakePaginator(getattr(self, operation))


class FakePaginator:
    """Returns one page."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def paginate(self, **arguments: Any) -> Iterator[Any]:
        yield self._call(**arguments)


class FakeAws(Aws):
    """The clients of `Aws`, over canned answers instead of a network."""

    def __init__(self, answers: Answers, *, region: str = REGION) -> None:
        super().__init__(Access(region=region))
        self._answers = answers

    def _client(self, service: str) -> Any:
        return FakeClient(service, self._answers)


class RefusedError(Exception):
    """The exception of botocore when AWS answers with an error code."""

    def __init__(self, code: str) -> None:
        super().__init__(f"An error occurred ({code})")
        self.response = {"Error": {"Code": code}}


# The good world


def _permission(port: int, *, cidr: str = "", group: str = "", prefix_list: str = "") -> dict[str, Any]:
    return {
        "IpProtocol": "tcp",
        "FromPort": port,
        "ToPort": port,
        "IpRanges": [{"CidrIp": cidr}] if cidr else [],
        "Ipv6Ranges": [],
        "UserIdGroupPairs": [{"GroupId": group}] if group else [],
        "PrefixListIds": [{"PrefixListId": prefix_list}] if prefix_list else [],
    }


def _security_groups() -> list[dict[str, Any]]:
    def group(name: str, *, ingress: list[Any], egress: list[Any]) -> dict[str, Any]:
        return {"GroupId": name, "VpcId": "vpc-1", "IpPermissions": ingress, "IpPermissionsEgress": egress}

    public = [_permission(port, cidr="0.0.0.0/0") for port in (443, 80)]
    return [
        group(
            "sg-alb",
            ingress=public,
            egress=[_permission(3000, group="sg-service")],
        ),
        group(
            "sg-service",
            ingress=[_permission(3000, group="sg-alb")],
            egress=[_permission(443, group="sg-endpoints"), _permission(443, prefix_list="pl-s3")],
        ),
        group(
            "sg-endpoints", ingress=[_permission(443, cidr=CIDRS[subnet]) for subnet in PRIVATE], egress=[]
        ),
    ]


def _route_tables() -> list[dict[str, Any]]:
    inside = {"DestinationCidrBlock": "10.0.0.0/16", "GatewayId": "local", "State": "active"}
    outside = {"DestinationCidrBlock": "0.0.0.0/0", "GatewayId": "igw-1", "State": "active"}

    def table(name: str, subnets: tuple[str, ...], routes: list[Any]) -> dict[str, Any]:
        associations = [{"SubnetId": subnet, "Main": False} for subnet in subnets]
        return {"RouteTableId": name, "VpcId": "vpc-1", "Associations": associations, "Routes": routes}

    main = {
        "RouteTableId": "rtb-main",
        "VpcId": "vpc-1",
        "Associations": [{"Main": True}],
        "Routes": [inside],
    }
    return [main, table("rtb-public", PUBLIC, [inside, outside]), table("rtb-private", PRIVATE, [inside])]


def _endpoint(name: str) -> dict[str, Any]:
    common = {
        "VpcEndpointId": ENDPOINTS[name],
        "VpcId": "vpc-1",
        "ServiceName": f"com.amazonaws.{REGION}.{name}",
        "State": "available",
    }
    if name == "s3":
        return {**common, "VpcEndpointType": "Gateway", "RouteTableIds": ["rtb-private"]}
    return {
        **common,
        "VpcEndpointType": "Interface",
        "PrivateDnsEnabled": True,
        "SubnetIds": list(PRIVATE),
        "Groups": [{"GroupId": "sg-endpoints"}],
    }


def _network() -> Answers:
    def subnet(name: str) -> dict[str, Any]:
        return {
            "SubnetId": name,
            "VpcId": "vpc-1",
            "AvailabilityZone": f"{REGION}{name[-1]}",
            "CidrBlock": CIDRS[name],
        }

    return {
        "ec2.describe_vpcs": {"Vpcs": [{"VpcId": "vpc-1", "State": "available", "CidrBlock": "10.0.0.0/16"}]},
        "ec2.describe_vpc_attribute enableDnsSupport": {"EnableDnsSupport": {"Value": True}},
        "ec2.describe_vpc_attribute enableDnsHostnames": {"EnableDnsHostnames": {"Value": True}},
        "ec2.describe_subnets": {"Subnets": [subnet(name) for name in (*PUBLIC, *PRIVATE)]},
        "ec2.describe_route_tables": {"RouteTables": _route_tables()},
        "ec2.describe_internet_gateways": {"InternetGateways": [{"InternetGatewayId": "igw-1"}]},
        "ec2.describe_nat_gateways": {"NatGateways": []},
        "ec2.describe_vpc_endpoints": {"VpcEndpoints": [_endpoint(name) for name in sorted(ENDPOINTS)]},
        "ec2.describe_security_groups": {"SecurityGroups": _security_groups()},
    }


def _registry() -> Answers:
    untagged = {"selection": {"tagStatus": "untagged"}, "action": {"type": "expire"}}
    releases = {
        "selection": {"tagStatus": "tagged", "countType": "imageCountMoreThan"},
        "action": {"type": "expire"},
    }
    policy = {"Statement": [{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::333333333333:root"}}]}
    return {
        "ecr.describe_repositories": {
            "repositories": [
                {
                    "repositoryArn": REPOSITORY,
                    "repositoryUri": REPOSITORY_URL,
                    "imageTagMutability": "IMMUTABLE",
                    "imageScanningConfiguration": {"scanOnPush": True},
                    "encryptionConfiguration": {"encryptionType": "KMS", "kmsKey": KEY},
                }
            ]
        },
        "ecr.get_lifecycle_policy": {"lifecyclePolicyText": json.dumps({"rules": [untagged, releases]})},
        "ecr.get_repository_policy": {"policyText": json.dumps(policy)},
    }


def _rule(arn: str, *, priority: int, conditions: list[dict[str, Any]]) -> dict[str, Any]:
    groups = [{"TargetGroupArn": BLUE, "Weight": 100}, {"TargetGroupArn": GREEN, "Weight": 0}]
    action = {"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}
    return {"RuleArn": arn, "Priority": str(priority), "Conditions": conditions, "Actions": [action]}


def _rules() -> dict[str, Any]:
    path = {"Field": "path-pattern", "PathPatternConfig": {"Values": ["/*"]}}
    config = {"HttpHeaderName": HEADER["name"], "Values": [HEADER["value"]]}
    header = {"Field": "http-header", "HttpHeaderConfig": config}
    return {
        "Rules": [
            _rule(PRODUCTION_RULE, priority=100, conditions=[path]),
            _rule(TEST_RULE, priority=99, conditions=[path, header]),
        ]
    }


def _listener(arn: str, *, port: int) -> dict[str, Any]:
    return {
        "ListenerArn": arn,
        "Port": port,
        "Protocol": "HTTPS",
        "SslPolicy": "ELBSecurityPolicy-TLS13-1-2-2021-06",
        "Certificates": [{"CertificateArn": CERTIFICATE}],
        "DefaultActions": [{"Type": "forward"}],
    }


def _load_balancer() -> Answers:
    attributes = {
        "routing.http.drop_invalid_header_fields.enabled": "true",
        "idle_timeout.timeout_seconds": "60",
        "access_logs.s3.enabled": "true",
        "access_logs.s3.bucket": "mclass-logs",
        "deletion_protection.enabled": "true",
    }
    zones = [
        {"ZoneName": f"{REGION}{zone}", "SubnetId": subnet}
        for zone, subnet in zip(ZONES, PUBLIC, strict=True)
    ]
    to_https = {"Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301"}
    redirect = {
        "ListenerArn": REDIRECT,
        "Port": 80,
        "Protocol": "HTTP",
        "DefaultActions": [{"Type": "redirect", "RedirectConfig": to_https}],
    }
    group = {
        "Protocol": "HTTP",
        "VpcId": "vpc-1",
        "TargetType": "ip",
        "HealthCheckEnabled": True,
        "HealthCheckPath": "/health",
        "HealthCheckPort": "traffic-port",
        "Matcher": {"HttpCode": "200-299"},
    }
    delay = {"Attributes": [{"Key": "deregistration_delay.timeout_seconds", "Value": "60"}]}
    healthy = {"TargetHealth": {"State": "healthy"}}
    return {
        "elbv2.describe_load_balancers": {
            "LoadBalancers": [
                {
                    "State": {"Code": "active"},
                    "Type": "application",
                    "DNSName": DNS_NAME,
                    "Scheme": "internet-facing",
                    "VpcId": "vpc-1",
                    "AvailabilityZones": zones,
                    "SecurityGroups": ["sg-alb"],
                }
            ]
        },
        "elbv2.describe_load_balancer_attributes": {
            "Attributes": [{"Key": key, "Value": value} for key, value in attributes.items()]
        },
        "elbv2.describe_listeners": {"Listeners": [_listener(PRODUCTION, port=443), redirect]},
        f"elbv2.describe_rules {PRODUCTION}": _rules(),
        "elbv2.describe_target_groups": {
            "TargetGroups": [{"TargetGroupArn": BLUE, **group}, {"TargetGroupArn": GREEN, **group}]
        },
        f"elbv2.describe_target_group_attributes {BLUE}": copy.deepcopy(delay),
        f"elbv2.describe_target_group_attributes {GREEN}": copy.deepcopy(delay),
        f"elbv2.describe_target_health {BLUE}": {
            "TargetHealthDescriptions": [dict(healthy) for _ in range(3)]
        },
        f"elbv2.describe_target_health {GREEN}": {"TargetHealthDescriptions": []},
        "acm.describe_certificate": {"Certificate": {"Status": "ISSUED"}},
    }


def _task_definition(revision: int) -> dict[str, Any]:
    options = {
        "awslogs-group": "/ecs/mclass-task",
        "awslogs-region": REGION,
        "awslogs-stream-prefix": "mclass-server",
    }
    container = {
        "name": "mclass-server",
        "image": f"{REPOSITORY_URL}@{DIGEST}",
        "portMappings": [{"containerPort": 3000}],
        "logConfiguration": {"logDriver": "awslogs", "options": options},
        "stopTimeout": 60,
        "secrets": [{"name": "TOKEN", "valueFrom": f"{SECRET}:token::"}],
        "readonlyRootFilesystem": True,
        "user": "10001:10001",
        "healthCheck": {"command": ["CMD", "python", "-c", "..."]},
    }
    return {
        "taskDefinition": {
            "taskDefinitionArn": f"{TASK}:{revision}",
            "family": "mclass-task",
            "status": "ACTIVE",
            "requiresCompatibilities": ["FARGATE"],
            "networkMode": "awsvpc",
            "runtimePlatform": {"cpuArchitecture": "X86_64"},
            "executionRoleArn": ROLES["execution"],
            "taskRoleArn": ROLES["task"],
            "containerDefinitions": [container],
        }
    }


def _ecs() -> Answers:
    return {
        "ecs.describe_clusters": {
            "clusters": [
                {
                    "clusterArn": CLUSTER,
                    "status": "ACTIVE",
                    "settings": [{"name": "containerInsights", "value": "enabled"}],
                    "capacityProviders": ["FARGATE", "FARGATE_SPOT"],
                }
            ]
        },
        "ecs.describe_services": {
            "services": [
                {
                    "status": "ACTIVE",
                    "serviceArn": SERVICE,
                    "clusterArn": CLUSTER,
                    "desiredCount": 3,
                    "runningCount": 3,
                    "taskDefinition": f"{TASK}:7",
                    "capacityProviderStrategy": [{"capacityProvider": "FARGATE", "weight": 1}],
                    "deploymentConfiguration": {
                        "minimumHealthyPercent": 100,
                        "maximumPercent": 200,
                        "deploymentCircuitBreaker": {"enable": True, "rollback": True},
                    },
                    "healthCheckGracePeriodSeconds": 60,
                    "loadBalancers": [
                        {"targetGroupArn": BLUE, "containerName": "mclass-server", "containerPort": 3000}
                    ],
                    "availabilityZoneRebalancing": "ENABLED",
                    "enableExecuteCommand": False,
                    "networkConfiguration": {
                        "awsvpcConfiguration": {
                            "subnets": list(PRIVATE),
                            "securityGroups": ["sg-service"],
                            "assignPublicIp": "DISABLED",
                        }
                    },
                }
            ]
        },
        f"ecs.describe_task_definition {TASK}:7": _task_definition(7),
        f"ecs.describe_task_definition {TASK}:6": _task_definition(6),
    }


def _policy(*statements: tuple[str | list[str], str | list[str]]) -> dict[str, Any]:
    return {
        "Statement": [
            {"Effect": "Allow", "Action": actions, "Resource": resources} for actions, resources in statements
        ]
    }


EXECUTION_POLICY = _policy(
    ("ecr:GetAuthorizationToken", "*"),
    (["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"], REPOSITORY),
    (["logs:CreateLogStream", "logs:PutLogEvents"], f"{LOG_GROUP}:*"),
    ("secretsmanager:GetSecretValue", SECRET),
)
INFRASTRUCTURE_POLICY = _policy(
    ("elasticloadbalancing:ModifyRule", f"{LB}:listener-rule/app/*/*/*/*"),
    ("elasticloadbalancing:*Targets", f"{LB}:targetgroup/*/*"),
)


def _trust(service: str) -> dict[str, Any]:
    return {"Statement": [{"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}]}


def _iam() -> Answers:
    services = dict.fromkeys(ROLES, "ecs-tasks.amazonaws.com") | {"infrastructure": "ecs.amazonaws.com"}
    attached = {
        "PolicyName": "AmazonECSInfrastructureRolePolicyForLoadBalancers",
        "PolicyArn": "arn:aws:iam::aws:policy/AmazonECSInfrastructureRolePolicyForLoadBalancers",
    }
    roles = {
        f"iam.get_role mclass-{name}": {
            "Role": {"Arn": arn, "AssumeRolePolicyDocument": _trust(services[name])}
        }
        for name, arn in ROLES.items()
    }
    return {
        **roles,
        "iam.list_role_policies": {"PolicyNames": []},
        "iam.list_role_policies mclass-execution": {"PolicyNames": ["start-tasks"]},
        "iam.get_role_policy": {"PolicyDocument": copy.deepcopy(EXECUTION_POLICY)},
        "iam.get_role_policy all-of-s3": {"PolicyDocument": _policy(("s3:*", "*"))},
        "iam.list_attached_role_policies": {"AttachedPolicies": []},
        "iam.list_attached_role_policies mclass-infrastructure": {"AttachedPolicies": [attached]},
        "iam.get_policy": {"Policy": {"DefaultVersionId": "v1"}},
        "iam.get_policy_version": {"PolicyVersion": {"Document": copy.deepcopy(INFRASTRUCTURE_POLICY)}},
    }


def _scaling_policy(name: str, *, target: float, metric: dict[str, Any]) -> dict[str, Any]:
    return {
        "PolicyName": name,
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": {"TargetValue": target, **metric},
    }


def _scaling() -> Answers:
    def predefined(name: str) -> dict[str, Any]:
        return {"PredefinedMetricSpecification": {"PredefinedMetricType": name}}

    def requests(arn: str) -> dict[str, Any]:
        dimension = {"Name": "TargetGroup", "Value": arn.rpartition(":")[2]}
        metric = {
            "MetricName": "RequestCountPerTarget",
            "Namespace": "AWS/ApplicationELB",
            "Dimensions": [dimension],
        }
        return {
            "Id": arn.split("/")[1].replace("-", "_"),
            "MetricStat": {"Metric": metric, "Stat": "Sum"},
            "ReturnData": False,
        }

    busiest = {"Id": "busiest", "Expression": "MAX([...])", "ReturnData": True}
    both = {"CustomizedMetricSpecification": {"Metrics": [requests(BLUE), requests(GREEN), busiest]}}
    return {
        "application-autoscaling.describe_scalable_targets": {
            "ScalableTargets": [{"MinCapacity": 3, "MaxCapacity": 12, "SuspendedState": {}}]
        },
        "application-autoscaling.describe_scaling_policies": {
            "ScalingPolicies": [
                _scaling_policy("cpu", target=60.0, metric=predefined("ECSServiceAverageCPUUtilization")),
                _scaling_policy(
                    "memory", target=70.0, metric=predefined("ECSServiceAverageMemoryUtilization")
                ),
                _scaling_policy("requests", target=1000.0, metric=both),
            ]
        },
    }


def good_world() -> Answers:
    """Return AWS's answers for an environment that matches OUTPUTS exactly."""
    return {
        "sts.get_caller_identity": {"Account": ACCOUNT},
        **_network(),
        **_registry(),
        **_load_balancer(),
        **_ecs(),
        **_iam(),
        **_scaling(),
        "logs.describe_log_groups": {
            "logGroups": [
                {
                    "logGroupName": "/ecs/mclass-task",
                    "arn": LOG_GROUP,
                    "retentionInDays": 365,
                    "kmsKeyId": KEY,
                },
                {"logGroupName": "/ecs/mclass-task-2", "arn": LOG_GROUP + "-2"},
            ]
        },
        "kms.describe_key": {
            "KeyMetadata": {"KeyId": "1", "Arn": KEY, "KeyState": "Enabled", "KeyUsage": "ENCRYPT_DECRYPT"}
        },
        "kms.get_key_rotation_status": {"KeyRotationEnabled": True},
    }


# Removed protections


@dataclass(frozen=True, kw_only=True)
class Harm:
    """A change of the good world, or of the outputs, that the check `name` must detect."""

    name: str
    what: str
    path: tuple[Any, ...] = ()
    to: Any = None
    outputs: Mapping[str, Any] | None = None
    region: str = REGION
    status: int | None = 200

    def answers(self) -> Answers:
        answers = good_world()
        if self.path:
            *way, last = self.path
            place: Any = answers
            for step in way:
                place = place[step]
            if isinstance(self.to, Exception) or self.to is not GONE:
                place[last] = self.to
            else:
                del place[last]
        return answers


GONE = object()

_SERVICE = ("ecs.describe_services", "services", 0)
_CLUSTER = ("ecs.describe_clusters", "clusters", 0)
_REVISION = (f"ecs.describe_task_definition {TASK}:7", "taskDefinition")
_CONTAINER = (*_REVISION, "containerDefinitions", 0)
_BALANCER = ("elbv2.describe_load_balancers", "LoadBalancers", 0)
_BALANCER_ATTRIBUTES = ("elbv2.describe_load_balancer_attributes", "Attributes")
_LISTENERS = ("elbv2.describe_listeners", "Listeners")
_RULE = (f"elbv2.describe_rules {PRODUCTION}", "Rules", 0, "Actions", 0)
_TEST_RULE = (f"elbv2.describe_rules {PRODUCTION}", "Rules", 1)
_GROUP = ("elbv2.describe_target_groups", "TargetGroups")
_SECURITY = ("ec2.describe_security_groups", "SecurityGroups")
_REPOSITORY = ("ecr.describe_repositories", "repositories", 0)
_TABLES = ("ec2.describe_route_tables", "RouteTables")
_ENDPOINT = ("ec2.describe_vpc_endpoints", "VpcEndpoints")
_LOGS = ("logs.describe_log_groups", "logGroups")
_TARGET = ("application-autoscaling.describe_scalable_targets", "ScalableTargets")
_POLICIES = ("application-autoscaling.describe_scaling_policies", "ScalingPolicies")
_EXECUTION = ("iam.get_role_policy", "PolicyDocument")
_DENIED = RefusedError("AccessDenied")


def _tracks(index: int) -> tuple[Any, ...]:
    return (*_POLICIES, index, "TargetTrackingScalingPolicyConfiguration")


def _trusted_by(role: str) -> tuple[Any, ...]:
    return (f"iam.get_role mclass-{role}", "Role", "AssumeRolePolicyDocument")


def _all_endpoints_but(name: str) -> list[dict[str, Any]]:
    return [_endpoint(other) for other in sorted(ENDPOINTS) if other != name]


ACCOUNT_HARMS = [
    Harm(
        name="the credentials belong to the account of the outputs",
        what="another account",
        path=("sts.get_caller_identity", "Account"),
        to="111111111111",
    ),
    Harm(name="the calls go to the region of the outputs", what="another region", region="eu-west-1"),
]

_VPC = "the VPC is available and resolves names, as private DNS needs"
_ZONES_PUBLIC = "the public subnets are of this VPC and in at least two zones"
_ZONES_PRIVATE = "the private subnets are of this VPC and in at least two zones"
_ROUTED = "the public subnets are routed to the internet gateway of this VPC"
_NOT_ROUTED = "no private subnet is routed to an internet gateway"
_EGRESS = "the private subnets reach the outside as `egress` says"
_REQUIRED = "every AWS service that a starting task calls has an endpoint in the VPC"
_AVAILABLE = "every endpoint is available in this VPC"
_PRIVATE_DNS = "every interface endpoint answers under the service's own name in every private subnet"
_ADMIT = "the endpoints admit the tasks on port 443"
_ADMIT_ONLY = "the endpoints admit no traffic from outside the VPC"
_TO_S3 = "every private subnet reaches S3, where image layers are, by the gateway endpoint"
_MAY_CALL = "the tasks may call AWS over HTTPS"
_INSIDE = "the tasks' security group allows no access to the internet beyond what `egress` gives"
_WORLD_ROUTE = {"DestinationCidrBlock": "0.0.0.0/0", "GatewayId": "igw-1", "State": "active"}
_NAT_ROUTE = {"DestinationCidrBlock": "0.0.0.0/0", "NatGatewayId": "nat-1", "State": "active"}

NETWORK_HARMS = [
    Harm(name=_VPC, what="VPC gone", path=("ec2.describe_vpcs", "Vpcs"), to=[]),
    Harm(
        name=_VPC,
        what="no DNS hostnames",
        path=("ec2.describe_vpc_attribute enableDnsHostnames", "EnableDnsHostnames", "Value"),
        to=False,
    ),
    Harm(
        name=_ZONES_PUBLIC,
        what="one zone",
        path=("ec2.describe_subnets", "Subnets", 0, "AvailabilityZone"),
        to=f"{REGION}c",
    ),
    Harm(
        name=_ZONES_PUBLIC,
        what="another VPC",
        path=("ec2.describe_subnets", "Subnets", 0, "VpcId"),
        to="vpc-2",
    ),
    Harm(
        name=_ZONES_PRIVATE,
        what="one zone",
        path=("ec2.describe_subnets", "Subnets", 2, "AvailabilityZone"),
        to=f"{REGION}c",
    ),
    Harm(name=_ZONES_PRIVATE, what="subnet gone", path=("ec2.describe_subnets", "Subnets", 3), to=GONE),
    Harm(name=_ROUTED, what="no route", path=(*_TABLES, 1, "Routes", 1), to=GONE),
    Harm(name=_ROUTED, what="blackhole", path=(*_TABLES, 1, "Routes", 1, "State"), to="blackhole"),
    Harm(
        name=_ROUTED,
        what="gateway of nobody",
        path=("ec2.describe_internet_gateways", "InternetGateways"),
        to=[],
    ),
    Harm(name=_NOT_ROUTED, what="route to the gateway", path=(*_TABLES, 2, "Routes", 0), to=_WORLD_ROUTE),
    Harm(
        name=_NOT_ROUTED,
        what="IPv6 to the gateway",
        path=(*_TABLES, 2, "Routes", 0),
        to={"DestinationIpv6CidrBlock": "::/0", "GatewayId": "igw-1", "State": "active"},
    ),
    Harm(name=_EGRESS, what="NAT in spite of endpoints", path=(*_TABLES, 2, "Routes", 0), to=_NAT_ROUTE),
    Harm(name=_EGRESS, what="no NAT in spite of nat", outputs={"egress": "nat", "vpc_endpoint_ids": {}}),
    Harm(name=_REQUIRED, what="no endpoint for logs", outputs={"vpc_endpoint_ids": {"s3": ENDPOINTS["s3"]}}),
    Harm(name=_REQUIRED, what="no endpoint at all", outputs={"vpc_endpoint_ids": {}}),
    Harm(name=_AVAILABLE, what="pending", path=(*_ENDPOINT, 0, "State"), to="pending"),
    Harm(name=_AVAILABLE, what="deleted", path=_ENDPOINT, to=_all_endpoints_but("logs")),
    Harm(name=_PRIVATE_DNS, what="no private DNS", path=(*_ENDPOINT, 0, "PrivateDnsEnabled"), to=False),
    Harm(name=_PRIVATE_DNS, what="one zone without", path=(*_ENDPOINT, 0, "SubnetIds"), to=[PRIVATE[0]]),
    Harm(name=_ADMIT, what="no ingress", path=(*_SECURITY, 2, "IpPermissions"), to=[]),
    Harm(
        name=_ADMIT,
        what="one subnet alone",
        path=(*_SECURITY, 2, "IpPermissions"),
        to=[_permission(443, cidr=CIDRS[PRIVATE[0]])],
    ),
    Harm(
        name=_ADMIT_ONLY,
        what="the internet",
        path=(*_SECURITY, 2, "IpPermissions", 0),
        to=_permission(443, cidr="0.0.0.0/0"),
    ),
    Harm(name=_TO_S3, what="route table without", path=(*_ENDPOINT, 3, "RouteTableIds"), to=["rtb-main"]),
    Harm(name=_MAY_CALL, what="no egress", path=(*_SECURITY, 1, "IpPermissionsEgress"), to=[]),
    Harm(name=_MAY_CALL, what="no way to S3", path=(*_SECURITY, 1, "IpPermissionsEgress", 1), to=GONE),
    Harm(
        name=_MAY_CALL,
        what="no way to the endpoints",
        path=(*_SECURITY, 1, "IpPermissionsEgress", 0),
        to=GONE,
    ),
    Harm(
        name=_INSIDE,
        what="a way to everywhere",
        path=(*_SECURITY, 1, "IpPermissionsEgress", 0),
        to=_permission(443, cidr="0.0.0.0/0"),
    ),
]

_FORGETS = "the repository expires untagged images, and old releases by their count"
_NAMED_ALONE = "the repository is open only to named accounts"
_EVERYBODY = json.dumps({"Statement": {"Effect": "Allow", "Principal": "*", "Action": "ecr:BatchGetImage"}})
_KEY_OF_REPOSITORY = "the repository is encrypted with the key that the outputs name"

REGISTRY_HARMS = [
    Harm(
        name="the repository is the one that the outputs name",
        what="gone",
        path=("ecr.describe_repositories",),
        to=RefusedError("RepositoryNotFoundException"),
    ),
    Harm(
        name="a tag that was pushed to the repository cannot be moved",
        what="mutable",
        path=(*_REPOSITORY, "imageTagMutability"),
        to="MUTABLE",
    ),
    Harm(
        name="the repository scans every image on push",
        what="no scan",
        path=(*_REPOSITORY, "imageScanningConfiguration", "scanOnPush"),
        to=False,
    ),
    Harm(
        name=_KEY_OF_REPOSITORY,
        what="AWS's key",
        path=(*_REPOSITORY, "encryptionConfiguration"),
        to={"encryptionType": "AES256"},
    ),
    Harm(
        name=_KEY_OF_REPOSITORY,
        what="another key",
        path=(*_REPOSITORY, "encryptionConfiguration", "kmsKey"),
        to=KEY + "2",
    ),
    Harm(
        name=_FORGETS,
        what="no policy",
        path=("ecr.get_lifecycle_policy",),
        to=RefusedError("LifecyclePolicyNotFoundException"),
    ),
    Harm(
        name=_FORGETS,
        what="no rules",
        path=("ecr.get_lifecycle_policy", "lifecyclePolicyText"),
        to='{"rules": []}',
    ),
    Harm(
        name=_NAMED_ALONE, what="everybody", path=("ecr.get_repository_policy", "policyText"), to=_EVERYBODY
    ),
    Harm(name=_NAMED_ALONE, what="not readable", path=("ecr.get_repository_policy",), to=_DENIED),
]

_ACTIVE_ALB = "the load balancer is active, an application load balancer, and has the name of the outputs"
_PLACED = "the load balancer is in this VPC, in subnets that fit its scheme, in at least two zones"
_LOGGED = "the load balancer writes its access log to the bucket of the outputs"
_SPEAKS = "the production listener speaks the protocol and has the port of the url"
_CERTIFIED = "the production listener has the certificate of the outputs, issued and in date"
_REDIRECTED = "plain HTTP on port 80 is permanently redirected to HTTPS"
_FORWARDS = "the production rule forwards to the blue and the green target group, and not all weights are 0"
_OWN_TEST = (
    "test traffic has a rule of its own, before the production rule, for the header of the outputs alone"
)
_ONLY_FORWARDS = "the production listener has no action but forward"
_GROUPS = "blue and green are two target groups of IP addresses in this VPC"
_ASKED = "both target groups check the same health check path on the tasks' own port"
_DRAINED = "both target groups let requests in flight finish before a task is stopped"
_TLS = "the HTTPS listeners accept only TLS 1.2 or later"
_PUBLIC_PORTS = "the internet reaches the load balancer only on its production and redirect ports"
_OUT = "the load balancer may reach the tasks on the container port"

LOAD_BALANCER_HARMS = [
    Harm(name=_ACTIVE_ALB, what="failed", path=(*_BALANCER, "State", "Code"), to="failed"),
    Harm(name=_ACTIVE_ALB, what="gone", path=("elbv2.describe_load_balancers", "LoadBalancers"), to=[]),
    Harm(name=_PLACED, what="internal in public subnets", path=(*_BALANCER, "Scheme"), to="internal"),
    Harm(name=_PLACED, what="one zone", path=(*_BALANCER, "AvailabilityZones", 1), to=GONE),
    Harm(
        name="the load balancer drops requests with invalid headers",
        what="kept",
        path=(*_BALANCER_ATTRIBUTES, 0, "Value"),
        to="false",
    ),
    Harm(
        name="the load balancer closes idle connections after a bounded time",
        what="not said",
        path=(*_BALANCER_ATTRIBUTES, 1),
        to=GONE,
    ),
    Harm(name=_LOGGED, what="off", path=(*_BALANCER_ATTRIBUTES, 2, "Value"), to="false"),
    Harm(name=_LOGGED, what="another bucket", path=(*_BALANCER_ATTRIBUTES, 3, "Value"), to="other"),
    Harm(
        name="the load balancer is protected from deletion as the outputs say",
        what="off",
        path=(*_BALANCER_ATTRIBUTES, 4, "Value"),
        to="false",
    ),
    Harm(
        name="the load balancer has exactly its own security group",
        what="another one too",
        path=(*_BALANCER, "SecurityGroups"),
        to=["sg-alb", "sg-open"],
    ),
    Harm(
        name="clients reach the load balancer on the port of the url",
        what="closed",
        path=(*_SECURITY, 0, "IpPermissions", 0),
        to=GONE,
    ),
    Harm(
        name=_PUBLIC_PORTS,
        what="22",
        path=(*_SECURITY, 0, "IpPermissions", 1),
        to=_permission(22, cidr="0.0.0.0/0"),
    ),
    Harm(
        name=_PUBLIC_PORTS,
        what="every port",
        path=(*_SECURITY, 0, "IpPermissions", 1),
        to={"IpProtocol": "-1", "IpRanges": [], "Ipv6Ranges": [{"CidrIpv6": "::/0"}]},
    ),
    Harm(name=_OUT, what="no egress", path=(*_SECURITY, 0, "IpPermissionsEgress"), to=[]),
    Harm(
        name=_OUT,
        what="another port",
        path=(*_SECURITY, 0, "IpPermissionsEgress", 0),
        to=_permission(3001, group="sg-service"),
    ),
    Harm(name=_SPEAKS, what="plain HTTP", path=(*_LISTENERS, 0, "Protocol"), to="HTTP"),
    Harm(name=_SPEAKS, what="gone", path=(*_LISTENERS, 0), to=GONE),
    Harm(name=_SPEAKS, what="certificate without HTTPS", outputs={"url": f"http://{DNS_NAME}:443"}),
    Harm(
        name=_CERTIFIED,
        what="another certificate",
        path=(*_LISTENERS, 0, "Certificates", 0, "CertificateArn"),
        to="other",
    ),
    Harm(
        name=_CERTIFIED,
        what="expired",
        path=("acm.describe_certificate", "Certificate", "Status"),
        to="EXPIRED",
    ),
    Harm(name=_TLS, what="TLS 1.0", path=(*_LISTENERS, 0, "SslPolicy"), to="ELBSecurityPolicy-2016-08"),
    Harm(
        name=_TLS,
        what="1.3 and 1.0",
        path=(*_LISTENERS, 0, "SslPolicy"),
        to="ELBSecurityPolicy-TLS13-1-0-2021-06",
    ),
    Harm(name=_REDIRECTED, what="no listener", outputs={"redirect_listener_arn": None}),
    Harm(
        name=_REDIRECTED,
        what="for now",
        path=(*_LISTENERS, 1, "DefaultActions", 0, "RedirectConfig", "StatusCode"),
        to="HTTP_302",
    ),
    Harm(name=_REDIRECTED, what="forwards", path=(*_LISTENERS, 1, "DefaultActions", 0, "Type"), to="forward"),
    Harm(
        name=_FORWARDS,
        what="all weights 0",
        path=(*_RULE, "ForwardConfig", "TargetGroups", 0, "Weight"),
        to=0,
    ),
    Harm(name=_FORWARDS, what="blue alone", path=(*_RULE, "ForwardConfig", "TargetGroups", 1), to=GONE),
    Harm(
        name=_FORWARDS,
        what="another group",
        path=(*_RULE, "ForwardConfig", "TargetGroups", 1, "TargetGroupArn"),
        to=f"{LB}:targetgroup/other/1",
    ),
    Harm(name=_FORWARDS, what="gone", path=(f"elbv2.describe_rules {PRODUCTION}", "Rules"), to=[]),
    Harm(
        name="the test rule forwards to the blue and the green target group",
        what="fixed response",
        path=(*_TEST_RULE, "Actions", 0),
        to={"Type": "fixed-response"},
    ),
    Harm(
        name=_OWN_TEST,
        what="the production rule",
        outputs={"test_listener_rule_arn": PRODUCTION_RULE},
    ),
    Harm(name=_OWN_TEST, what="after production", path=(*_TEST_RULE, "Priority"), to="101"),
    Harm(name=_OWN_TEST, what="no header", path=(*_TEST_RULE, "Conditions", 1), to=GONE),
    Harm(
        name=_OWN_TEST,
        what="another header",
        path=(*_TEST_RULE, "Conditions", 1, "HttpHeaderConfig", "HttpHeaderName"),
        to="X-Other",
    ),
    Harm(
        name=_OWN_TEST,
        what="a value that anybody may guess",
        path=(*_TEST_RULE, "Conditions", 1, "HttpHeaderConfig", "Values", 0),
        to="*",
    ),
    Harm(name=_OWN_TEST, what="not in the outputs", outputs={"test_header": None}),
    Harm(
        name=_ONLY_FORWARDS,
        what="default",
        path=(*_LISTENERS, 0, "DefaultActions", 0, "Type"),
        to="fixed-response",
    ),
    Harm(
        name=_ONLY_FORWARDS,
        what="maintenance page",
        path=(*_TEST_RULE, "Actions", 0, "Type"),
        to="fixed-response",
    ),
    Harm(
        name=_PUBLIC_PORTS,
        what="another port",
        path=(*_SECURITY, 0, "IpPermissions", 1),
        to=_permission(8443, cidr="128.0.0.0/1"),
    ),
    Harm(name=_GROUPS, what="instances", path=(*_GROUP, 0, "TargetType"), to="instance"),
    Harm(name=_GROUPS, what="another VPC", path=(*_GROUP, 1, "VpcId"), to="vpc-2"),
    Harm(name=_GROUPS, what="one for both", outputs={"target_group_arns": {"blue": BLUE, "green": BLUE}}),
    Harm(name=_ASKED, what="off", path=(*_GROUP, 0, "HealthCheckEnabled"), to=False),
    Harm(name=_ASKED, what="different paths", path=(*_GROUP, 1, "HealthCheckPath"), to="/"),
    Harm(
        name=_DRAINED,
        what="at once",
        path=(f"elbv2.describe_target_group_attributes {GREEN}", "Attributes", 0, "Value"),
        to="0",
    ),
]

_ACTIVE_SERVICE = "the service is active in this cluster"
_PERCENT = "the service keeps the minimum and maximum percent of the outputs during a deployment"
_BREAKER = "a failed deployment is stopped and rolled back by the circuit breaker"
_WIRED = "the service registers its tasks in the blue or the green target group, on the container port"
_PRIVATE_TASKS = "the tasks are in the private subnets, without public addresses"
_LB_ALONE = "the service's security group admits only the load balancer, on the container port"
_COUNT = (
    "the service has 0 tasks before its first image, and is within the scaling bounds after its first release"
)
_OWN_REVISION = "the service runs a revision of this environment's task definition"
_DEPLOYMENT = (*_SERVICE, "deploymentConfiguration")
_VPC_CONFIGURATION = (*_SERVICE, "networkConfiguration", "awsvpcConfiguration")

SERVICE_HARMS = [
    Harm(
        name="the cluster is active and is the one that the outputs name",
        what="inactive",
        path=(*_CLUSTER, "status"),
        to="INACTIVE",
    ),
    Harm(
        name="the cluster has Container Insights as the outputs say",
        what="off",
        path=(*_CLUSTER, "settings"),
        to=[],
    ),
    Harm(
        name="the cluster offers Fargate and Fargate Spot and nothing else",
        what="EC2 instances",
        path=(*_CLUSTER, "capacityProviders"),
        to=["FARGATE", "FARGATE_SPOT", "own"],
    ),
    Harm(name=_ACTIVE_SERVICE, what="inactive", path=(*_SERVICE, "status"), to="INACTIVE"),
    Harm(name=_ACTIVE_SERVICE, what="gone", path=("ecs.describe_services", "services"), to=[]),
    Harm(
        name="the service runs on Fargate",
        what="EC2",
        path=(*_SERVICE, "capacityProviderStrategy"),
        to=[{"capacityProvider": "own"}],
    ),
    Harm(name=_OWN_REVISION, what="inactive revision", path=(*_REVISION, "status"), to="INACTIVE"),
    Harm(
        name=_OWN_REVISION,
        what="another family",
        path=(*_SERVICE, "taskDefinition"),
        to="other",
    ),
    Harm(name=_PERCENT, what="minimum", path=(*_DEPLOYMENT, "minimumHealthyPercent"), to=0),
    Harm(name=_PERCENT, what="maximum", path=(*_DEPLOYMENT, "maximumPercent"), to=100),
    Harm(name=_BREAKER, what="off", path=(*_DEPLOYMENT, "deploymentCircuitBreaker"), to=GONE),
    Harm(
        name=_BREAKER,
        what="off, though it would roll back",
        path=(*_DEPLOYMENT, "deploymentCircuitBreaker", "enable"),
        to=False,
    ),
    Harm(
        name=_BREAKER,
        what="no rollback",
        path=(*_DEPLOYMENT, "deploymentCircuitBreaker", "rollback"),
        to=False,
    ),
    Harm(
        name="a task that starts has a grace period before its health counts",
        what="none",
        path=(*_SERVICE, "healthCheckGracePeriodSeconds"),
        to=GONE,
    ),
    Harm(name=_WIRED, what="no load balancer", path=(*_SERVICE, "loadBalancers"), to=[]),
    Harm(
        name=_WIRED, what="another group", path=(*_SERVICE, "loadBalancers", 0, "targetGroupArn"), to="other"
    ),
    Harm(name=_WIRED, what="another port", path=(*_SERVICE, "loadBalancers", 0, "containerPort"), to=80),
    Harm(
        name="the service rebalances its tasks over the zones after the loss of one, as the outputs say",
        what="off",
        path=(*_SERVICE, "availabilityZoneRebalancing"),
        to="DISABLED",
    ),
    Harm(
        name="nobody can open a shell in a task, unless the outputs say so",
        what="on",
        path=(*_SERVICE, "enableExecuteCommand"),
        to=True,
    ),
    Harm(name=_PRIVATE_TASKS, what="public IP", path=(*_VPC_CONFIGURATION, "assignPublicIp"), to="ENABLED"),
    Harm(name=_PRIVATE_TASKS, what="public subnets", path=(*_VPC_CONFIGURATION, "subnets"), to=list(PUBLIC)),
    Harm(
        name="the tasks have exactly the service's own security group",
        what="another one too",
        path=(*_VPC_CONFIGURATION, "securityGroups"),
        to=["sg-service", "sg-open"],
    ),
    Harm(
        name=_LB_ALONE,
        what="the VPC",
        path=(*_SECURITY, 1, "IpPermissions"),
        to=[_permission(3000, group="sg-alb"), _permission(3000, cidr="10.0.0.0/16")],
    ),
    Harm(name=_LB_ALONE, what="nobody", path=(*_SECURITY, 1, "IpPermissions"), to=[]),
    Harm(
        name=_LB_ALONE,
        what="all ports",
        path=(*_SECURITY, 1, "IpPermissions", 0),
        to={"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": "sg-alb"}]},
    ),
    Harm(name=_COUNT, what="below the minimum", path=(*_SERVICE, "desiredCount"), to=2),
    Harm(name=_COUNT, what="tasks without an image", outputs={"image_digest": None}),
]

_IMAGE = "the image is named by digest, in this environment's own repository"
_FARGATE = "the task definition is for Fargate, with an address of its own for every task"
_TASK_ROLES = "the tasks have the execution role and the task role of the outputs"
_LOGS_TO = "the container logs to the log group of the outputs"
_STOP = "the container has time to finish its requests after SIGTERM"
_USER = "the container runs as a user that is not root, without privileges"
_OPTIONS = (*_CONTAINER, "logConfiguration", "options")

TASK_DEFINITION_HARMS = [
    Harm(name=_IMAGE, what="a tag", path=(*_CONTAINER, "image"), to=f"{REPOSITORY_URL}:latest"),
    Harm(
        name=_IMAGE, what="another repository", path=(*_CONTAINER, "image"), to=f"docker.io/mclass@{DIGEST}"
    ),
    Harm(name=_IMAGE, what="another digest", outputs={"image_digest": "sha256:" + "0" * 64}),
    Harm(name=_IMAGE, what="no such container", path=(*_CONTAINER, "name"), to="other"),
    Harm(name=_FARGATE, what="bridge network", path=(*_REVISION, "networkMode"), to="bridge"),
    Harm(name=_FARGATE, what="EC2", path=(*_REVISION, "requiresCompatibilities"), to=["EC2"]),
    Harm(name=_TASK_ROLES, what="another execution role", path=(*_REVISION, "executionRoleArn"), to="other"),
    Harm(name=_TASK_ROLES, what="no task role", path=(*_REVISION, "taskRoleArn"), to=GONE),
    Harm(
        name="the container listens on the port that the load balancer uses",
        what="another port",
        path=(*_CONTAINER, "portMappings", 0, "containerPort"),
        to=8080,
    ),
    Harm(name=_LOGS_TO, what="another group", path=(*_OPTIONS, "awslogs-group"), to="/ecs/other"),
    Harm(name=_LOGS_TO, what="no log", path=(*_CONTAINER, "logConfiguration"), to=GONE),
    Harm(name=_LOGS_TO, what="no prefix", path=(*_OPTIONS, "awslogs-stream-prefix"), to=GONE),
    Harm(name=_STOP, what="not said", path=(*_CONTAINER, "stopTimeout"), to=GONE),
    Harm(name=_STOP, what="more than Fargate gives", path=(*_CONTAINER, "stopTimeout"), to=121),
    Harm(
        name="the container cannot write to its root file system",
        what="it can",
        path=(*_CONTAINER, "readonlyRootFilesystem"),
        to=GONE,
    ),
    Harm(name=_USER, what="not said", path=(*_CONTAINER, "user"), to=GONE),
    Harm(name=_USER, what="root by number", path=(*_CONTAINER, "user"), to="0:10001"),
    Harm(name=_USER, what="privileged", path=(*_CONTAINER, "privileged"), to=True),
    Harm(
        name="the container has a health check of its own, as deployments need",
        what="not asked",
        path=(*_CONTAINER, "healthCheck"),
        to=GONE,
    ),
]

_MAY = "the execution role may pull from this repository and write to this log group"
_MAY_NOT = "the execution role may neither pull from another repository nor write to another log group"
_SECRETS = "the execution role may read every secret that the container is given"
_WILDCARDS = "the execution role has no wildcard beyond the registry's token"
_SHIFTS = "the infrastructure role lets ECS register targets and shift this load balancer's traffic"
_ADMINISTRATOR = "no role has an administrator's permissions"
_NOTHING_TO_ALL = "the task role has no statement that covers everything"
_ANY_LOG = _policy(("logs:PutLogEvents", "*"))
_ADMINISTRATORS = {
    "AttachedPolicies": [
        {"PolicyName": "AdministratorAccess", "PolicyArn": "arn:aws:iam::aws:policy/AdministratorAccess"}
    ]
}
_TASK_POLICY = ("iam.list_attached_role_policies mclass-task",)

ROLE_HARMS = [
    *[
        Harm(
            name=f"the {role} role can be assumed by {who} alone",
            what=f"{role}: {what}",
            path=_trusted_by(role),
            to=to,
        )
        for role, who in (("execution", "ECS tasks"), ("task", "ECS tasks"), ("infrastructure", "ECS"))
        for what, to in (
            ("EC2", _trust("ec2.amazonaws.com")),
            ("nobody", {"Statement": []}),
            ("everybody", {"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole"}]}),
        )
    ],
    Harm(name=_MAY, what="no statement", path=(*_EXECUTION, "Statement", 2), to=GONE),
    Harm(
        name=_MAY,
        what="another repository",
        path=(*_EXECUTION, "Statement", 1, "Resource"),
        to=REPOSITORY + "2",
    ),
    Harm(
        name=_MAY,
        what="denied",
        path=(*_EXECUTION, "Statement", 2),
        to={"Effect": "Deny", "Action": "ecr:*", "Resource": "*"},
    ),
    Harm(name=_SECRETS, what="no statement", path=(*_EXECUTION, "Statement", 3), to=GONE),
    Harm(
        name=_SECRETS, what="another secret", path=(*_EXECUTION, "Statement", 3, "Resource"), to=SECRET + "2"
    ),
    Harm(name=_MAY_NOT, what="every repository", path=(*_EXECUTION, "Statement", 1, "Resource"), to="*"),
    Harm(
        name=_MAY_NOT,
        what="every log group",
        path=(*_EXECUTION, "Statement", 2, "Resource"),
        to=f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:*",
    ),
    Harm(
        name=_WILDCARDS, what="on everything", path=(*_EXECUTION, "Statement", 2), to=_ANY_LOG["Statement"][0]
    ),
    Harm(name=_WILDCARDS, what="every action", path=(*_EXECUTION, "Statement", 1, "Action"), to="ecr:*"),
    Harm(
        name=_WILDCARDS,
        what="all but one action",
        path=(*_EXECUTION, "Statement", 1),
        to={"Effect": "Allow", "NotAction": "iam:*", "Resource": REPOSITORY},
    ),
    Harm(name=_NOTHING_TO_ALL, what="not readable", path=_TASK_POLICY, to=_DENIED),
    Harm(
        name=_NOTHING_TO_ALL,
        what="all of S3",
        path=("iam.list_role_policies mclass-task",),
        to={"PolicyNames": ["all-of-s3"]},
    ),
    Harm(
        name=_SHIFTS,
        what="detached",
        path=("iam.list_attached_role_policies mclass-infrastructure", "AttachedPolicies"),
        to=[],
    ),
    Harm(name=_ADMINISTRATOR, what="the task role", path=_TASK_POLICY, to=_ADMINISTRATORS),
    Harm(
        name=_ADMINISTRATOR,
        what="the execution role",
        path=(*_EXECUTION, "Statement", 0),
        to=_policy(("*", "*"))["Statement"][0],
    ),
]

_KEPT = "the log group keeps its events for a limited time"
_BOUNDS = "the service scales between the bounds of the outputs"
_FOLLOWS = "the service scales on the metrics of the outputs, each with its target value"
_OWN_GROUPS = "the requests that scaling follows are those of this environment's target groups"
_METRICS = (*_tracks(2), "CustomizedMetricSpecification", "Metrics")
_RUN = "the service runs its desired number of tasks"
_HEALTHY = "every task that runs is a healthy target"
_ANSWERS = "the load balancer answers on the url, from healthy tasks"
_STATES = (f"elbv2.describe_target_health {BLUE}", "TargetHealthDescriptions")

OTHER_HARMS = [
    Harm(
        name="the log group exists under the ARN of the outputs",
        what="only a longer name",
        path=(*_LOGS, 0),
        to=GONE,
    ),
    Harm(name=_KEPT, what="for ever", path=(*_LOGS, 0, "retentionInDays"), to=GONE),
    Harm(name=_KEPT, what="shorter", path=(*_LOGS, 0, "retentionInDays"), to=1),
    Harm(
        name="the log group is encrypted with the key of the outputs",
        what="AWS's key",
        path=(*_LOGS, 0, "kmsKeyId"),
        to=GONE,
    ),
    Harm(name=_BOUNDS, what="minimum", path=(*_TARGET, 0, "MinCapacity"), to=1),
    Harm(name=_BOUNDS, what="a minimum above no tasks", path=(*_SERVICE, "desiredCount"), to=0),
    Harm(name=_BOUNDS, what="no target", path=_TARGET, to=[]),
    Harm(name=_FOLLOWS, what="none", path=_POLICIES, to=[]),
    Harm(name=_FOLLOWS, what="without CPU", path=(*_POLICIES, 0), to=GONE),
    Harm(name=_FOLLOWS, what="another target", path=(*_tracks(1), "TargetValue"), to=99.0),
    Harm(name=_FOLLOWS, what="steps", path=(*_POLICIES, 1, "PolicyType"), to="StepScaling"),
    Harm(name=_OWN_GROUPS, what="blue alone", path=(*_METRICS, 1), to=GONE),
    Harm(
        name=_OWN_GROUPS,
        what="somebody else's",
        path=(*_METRICS, 0, "MetricStat", "Metric", "Dimensions", 0, "Value"),
        to="targetgroup/other/1",
    ),
    Harm(
        name="scaling is not suspended",
        what="suspended",
        path=(*_TARGET, 0, "SuspendedState"),
        to={"DynamicScalingOutSuspended": True},
    ),
    Harm(
        name="the key is enabled and encrypts",
        what="to be deleted",
        path=("kms.describe_key", "KeyMetadata", "KeyState"),
        to="PendingDeletion",
    ),
    Harm(
        name="the key is rotated every year",
        what="never",
        path=("kms.get_key_rotation_status", "KeyRotationEnabled"),
        to=False,
    ),
    Harm(name=_RUN, what="a task is missing", path=(*_SERVICE, "runningCount"), to=2),
    Harm(name=_RUN, what="no task runs", path=(*_SERVICE, "runningCount"), to=0),
    Harm(name=_HEALTHY, what="no task runs", path=(*_SERVICE, "runningCount"), to=0),
    Harm(name=_HEALTHY, what="unhealthy", path=(*_STATES, 0, "TargetHealth", "State"), to="unhealthy"),
    Harm(name=_HEALTHY, what="not registered", path=_STATES, to=[]),
    Harm(name=_ANSWERS, what="bad gateway", status=502),
    Harm(name=_ANSWERS, what="no answer", status=None),
]

HARMS = [
    *ACCOUNT_HARMS,
    *NETWORK_HARMS,
    *REGISTRY_HARMS,
    *LOAD_BALANCER_HARMS,
    *SERVICE_HARMS,
    *TASK_DEFINITION_HARMS,
    *ROLE_HARMS,
    *OTHER_HARMS,
]


def run(
    answers: Answers,
    *,
    outputs: Mapping[str, Any] | None = None,
    only: str | None = None,
    region: str = REGION,
    status: int | OSError | None = 200,
) -> verify.VerifyReport:
    def fetch(url: str, *, seconds: float) -> int:
        if status is None:
            raise OSError("connection refused")
        if isinstance(status, OSError):
            raise status
        return status

    return verify.run(
        {**OUTPUTS, **(outputs or {})},
        FakeAws(answers, region=region),
        only=None if only is None else [only],
        fetch=fetch,
    )


def statuses(report: verify.VerifyReport) -> dict[str, verify.CheckStatus]:
    return {result.name: result.status for result in report.results}


def test_an_environment_that_is_as_its_outputs_say_passes_every_check() -> None:
    report = run(good_world())
    assert [result for result in report.results if result.status is not verify.CheckStatus.PASSED] == []
    assert len(verify.checks()) == report.passed


@pytest.mark.parametrize("harm", HARMS, ids=[f"{harm.name}: {harm.what}" for harm in HARMS])
def test_a_check_fails_without_its_protection(harm: Harm) -> None:
    report = run(harm.answers(), outputs=harm.outputs, only=harm.name, region=harm.region, status=harm.status)
    (result,) = report.results
    assert verify.CheckStatus.FAILED is result.status, result.detail
    assert result.detail
    assert result.hint


def test_every_check_has_a_case_that_removes_its_protection() -> None:
    assert {check.name for check in verify.checks()} == {harm.name for harm in HARMS}


@pytest.mark.parametrize(
    "key", [key for key in good_world() if not key.startswith("iam.")], ids=lambda key: key.split("/")[0]
)
def test_the_fake_answers_have_the_shape_of_aws_own(key: str) -> None:
    service, operation = key.split(" ", maxsplit=1)[0].split(".")
    client: Any = boto3.client(  # type: ignore[call-overload]
        service, region_name=REGION, aws_access_key_id="test", aws_secret_access_key="test"
    )
    shape = client.meta.service_model.operation_model(
        client.meta.method_to_api_mapping[operation]
    ).output_shape
    report = ParamValidator().validate(good_world()[key], shape).generate_report().splitlines()
    # The fakes return only what checks read, not everything that AWS would send.
    assert [line for line in report if "Missing required parameter" not in line] == []


def test_the_revision_that_the_service_runs_is_checked_beside_the_one_that_was_applied() -> None:
    answers = good_world()
    answers["ecs.describe_services"]["services"][0]["taskDefinition"] = f"{TASK}:6"
    older = answers[f"ecs.describe_task_definition {TASK}:6"]["taskDefinition"]
    older["containerDefinitions"][0]["user"] = "root"
    report = run(answers, only=_USER)
    assert report.failed == 1
    assert "mclass-task:6" in report.results[0].detail


def test_an_environment_without_certificate_bucket_and_key_skips_what_they_are_for_and_says_why() -> None:
    answers = good_world()
    listeners = answers["elbv2.describe_listeners"]["Listeners"]
    listeners[0].update(Protocol="HTTP", Port=80)
    del listeners[1]
    ingress = answers["ec2.describe_security_groups"]["SecurityGroups"][0]["IpPermissions"]
    ingress[:] = [_permission(80, cidr="0.0.0.0/0")]
    answers["ecr.describe_repositories"]["repositories"][0]["encryptionConfiguration"] = {
        "encryptionType": "AES256"
    }
    absent = (
        "redirect_listener_arn",
        "certificate_arn",
        "access_logs_bucket",
        "kms_key_arn",
        "deletion_protection",
    )
    outputs = {
        **dict.fromkeys(absent),
        "url": f"http://{DNS_NAME}",
    }
    report = run(answers, outputs=outputs)
    assert report.failed == 0, verify.render(report)
    skipped = {
        result.name: result.detail for result in report.results if result.status is verify.CheckStatus.SKIPPED
    }
    assert {_CERTIFIED, _TLS, _REDIRECTED, _LOGGED} < set(skipped)
    assert all(skipped.values())


def test_tasks_behind_nat_need_no_endpoints() -> None:
    answers = good_world()
    answers["ec2.describe_route_tables"]["RouteTables"][2]["Routes"].append(_NAT_ROUTE)
    answers["ec2.describe_nat_gateways"]["NatGateways"] = [{"NatGatewayId": "nat-1", "State": "available"}]
    answers["ec2.describe_security_groups"]["SecurityGroups"][1]["IpPermissionsEgress"] = [
        _permission(443, cidr="0.0.0.0/0")
    ]
    report = run(answers, outputs={"egress": "nat", "vpc_endpoint_ids": {}}, only="network")
    assert report.failed == 0, verify.render(report)
    assert verify.CheckStatus.SKIPPED is statuses(report)[_ADMIT]


def test_a_nat_gateway_that_failed_is_no_way_out() -> None:
    answers = good_world()
    answers["ec2.describe_route_tables"]["RouteTables"][2]["Routes"].append(_NAT_ROUTE)
    answers["ec2.describe_nat_gateways"]["NatGateways"] = [{"NatGatewayId": "nat-1", "State": "failed"}]
    report = run(answers, outputs={"egress": "nat", "vpc_endpoint_ids": {}}, only=_EGRESS)
    assert report.failed == 1


def test_an_environment_before_its_first_image_passes_with_the_placeholder_and_no_tasks() -> None:
    answers = good_world()
    answers["application-autoscaling.describe_scalable_targets"]["ScalableTargets"][0]["MinCapacity"] = 0
    answers["ecs.describe_services"]["services"][0].update(desiredCount=0, runningCount=0)
    container = answers[f"ecs.describe_task_definition {TASK}:7"]["taskDefinition"]["containerDefinitions"][0]
    container["image"] = f"{REPOSITORY_URL}@sha256:{'0' * 64}"
    report = run(answers, outputs={"image_digest": None})
    assert report.failed == 0, verify.render(report)
    assert {_RUN, _HEALTHY, _ANSWERS} == {
        name for name, status in statuses(report).items() if status is verify.CheckStatus.SKIPPED
    }


def test_an_internal_load_balancer_is_judged_only_where_it_answers() -> None:
    answers = good_world()
    balancer = answers["elbv2.describe_load_balancers"]["LoadBalancers"][0]
    balancer["Scheme"] = "internal"
    assert run(answers, only=_ANSWERS, status=TimeoutError("timed out")).skipped == 1
    assert run(answers, only=_ANSWERS, status=ConnectionError("another certificate")).failed == 1
    assert run(answers, only=_ANSWERS, status=500).failed == 1
    assert run(answers, only=_ANSWERS, status=200).passed == 1


def test_what_an_environment_opted_out_of_is_compared_with_what_its_outputs_say() -> None:
    answers = good_world()
    answers["ecs.describe_services"]["services"][0].update(
        availabilityZoneRebalancing="DISABLED", enableExecuteCommand=True
    )
    answers["ecs.describe_clusters"]["clusters"][0]["settings"][0]["value"] = "disabled"
    opted_out = {
        "availability_zone_rebalancing": False,
        "container_insights": "disabled",
        "execute_command_enabled": True,
    }
    assert run(answers, outputs=opted_out, only="service").failed == 0
    assert run(answers, only="service").failed == len(opted_out)
    assert run(good_world(), outputs=opted_out, only="service").failed == len(opted_out)


def test_a_changed_port_and_name_that_wait_for_the_next_release_are_no_difference() -> None:
    answers = good_world()
    applied = answers[f"ecs.describe_task_definition {TASK}:7"]
    runs = copy.deepcopy(applied)
    runs["taskDefinition"]["taskDefinitionArn"] = f"{TASK}:6"
    answers[f"ecs.describe_task_definition {TASK}:6"] = runs
    answers["ecs.describe_services"]["services"][0]["taskDefinition"] = f"{TASK}:6"
    container = applied["taskDefinition"]["containerDefinitions"][0]
    container.update(name="web", portMappings=[{"containerPort": 8080}])
    groups = answers["ec2.describe_security_groups"]["SecurityGroups"]
    for rule in (groups[0]["IpPermissionsEgress"][0], groups[1]["IpPermissions"][0]):
        rule.update(FromPort=0, ToPort=65535)
    outputs = {"container_name": "web", "container_port": 8080}

    report = run(answers, outputs=outputs)

    assert report.failed == 0, verify.render(report)
    # What runs must be reached on its own port, whatever is applied.
    answers["ecs.describe_services"]["services"][0]["loadBalancers"][0]["containerPort"] = 8080
    assert statuses(run(answers, outputs=outputs, only="service"))[_WIRED] is verify.CheckStatus.FAILED


def test_no_report_shows_the_value_of_the_test_header() -> None:
    answers = good_world()
    conditions = answers[f"elbv2.describe_rules {PRODUCTION}"]["Rules"][1]["Conditions"]
    conditions[1]["HttpHeaderConfig"]["Values"] = ["something else"]
    report = run(answers, only=_OWN_TEST)
    assert report.failed == 1
    assert HEADER["value"] not in verify.render(report) + repr(report)

    outputs = verify.Outputs.parse(OUTPUTS)
    assert HEADER["value"] not in repr(outputs)
    with pytest.raises(VerificationError) as refused:
        verify.Outputs.parse({**OUTPUTS, "test_header": {**HEADER, "more": HEADER["value"]}})
    assert "test_header" in refused.value.message
    assert HEADER["value"] not in str(refused.value)


@pytest.mark.parametrize(
    "value", ["*", "a" * 129, "short", "0f0e0d0c-0b0a-4908-8706-05040302010?", "with\r\nline"]
)
def test_a_header_that_others_may_match_is_refused(value: str) -> None:
    with pytest.raises(VerificationError, match="test_header"):
        verify.Outputs.parse({**OUTPUTS, "test_header": {"name": "X-Test-Traffic", "value": value}})
