"""What the checks read from AWS, each thing once: a check asks for a noun, never for a call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar, overload

from mclass_tf.aws import Aws
from mclass_tf.verify.iam import Policies, document
from mclass_tf.verify.outputs import Outputs

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import FilterTypeDef

T = TypeVar("T")
Item = Mapping[str, Any]

# Errors after which no other call can succeed: asking again, with its retries, would only cost minutes.
_FATAL = frozenset(
    {
        "ConnectTimeoutError",
        "ConnectionClosedError",
        "EndpointConnectionError",
        "NoCredentialsError",
        "PartialCredentialsError",
        "ReadTimeoutError",
        "SSLError",
    }
)


class MissingError(Exception):
    """AWS answered, but without the thing that the outputs name."""


class Fetch(Protocol):
    """Returns the HTTP status of a GET; raises OSError when there is no answer. `seconds` bounds the wait."""

    def __call__(self, url: str, *, seconds: float) -> int: ...


class _Once(Generic[T]):
    """A read that is made when first asked for; its answer, or its error, is then kept for every check."""

    def __init__(self, read: Callable[[World], T]) -> None:
        self._read = read
        self._name = read.__name__

    @overload
    def __get__(self, world: None, owner: type) -> Self: ...
    @overload
    def __get__(self, world: World, owner: type) -> T: ...
    def __get__(self, world: World | None, owner: type) -> Self | T:
        if world is None:
            return self
        return world.once(self._name, lambda: self._read(world))


class World:
    """The outputs, and AWS as it is now."""

    def __init__(self, *, outputs: Outputs, aws: Aws, fetch: Fetch) -> None:
        self.outputs = outputs
        self.aws = aws
        self.fetch = fetch
        self._answers: dict[str, Any] = {}
        self._errors: dict[str, Exception] = {}
        self._fatal: Exception | None = None

    def once(self, key: str, read: Callable[[], T]) -> T:
        if key not in self._answers:
            self._answers[key] = self._attempt(key, read)
        answer: T = self._answers[key]
        return answer

    def _attempt(self, key: str, read: Callable[[], T]) -> T:
        known = self._errors.get(key) or self._fatal
        if known is not None:
            raise known
        try:
            return read()
        except Exception as error:
            self._errors[key] = error
            if type(error).__name__ in _FATAL:
                self._fatal = error
            raise

    # Who asks

    @_Once
    def identity(self) -> Item:
        return self.aws.sts.get_caller_identity()

    # Network

    @_Once
    def vpc(self) -> Item:
        found = self.aws.ec2.describe_vpcs(VpcIds=[self.outputs.vpc_id])
        return _only(found["Vpcs"], f"VPC {self.outputs.vpc_id}")

    @_Once
    def vpc_dns(self) -> Mapping[str, bool]:
        ec2, vpc = self.aws.ec2, self.outputs.vpc_id
        support = ec2.describe_vpc_attribute(VpcId=vpc, Attribute="enableDnsSupport")
        hostnames = ec2.describe_vpc_attribute(VpcId=vpc, Attribute="enableDnsHostnames")
        return {
            "DNS support": support["EnableDnsSupport"]["Value"],
            "DNS hostnames": hostnames["EnableDnsHostnames"]["Value"],
        }

    @_Once
    def subnets(self) -> Mapping[str, Item]:
        ids = [*self.outputs.public_subnet_ids, *self.outputs.private_subnet_ids]
        # Without ids the call would list every subnet of the account.
        found = self.aws.ec2.describe_subnets(SubnetIds=ids)["Subnets"] if ids else []
        return {subnet["SubnetId"]: subnet for subnet in found}

    @_Once
    def route_tables(self) -> Sequence[Item]:
        return _items(
            self.aws.ec2.get_paginator("describe_route_tables").paginate(Filters=[self._in_vpc]),
            "RouteTables",
        )

    @_Once
    def internet_gateway_ids(self) -> frozenset[str]:
        attached: FilterTypeDef = {"Name": "attachment.vpc-id", "Values": [self.outputs.vpc_id]}
        found = _items(
            self.aws.ec2.get_paginator("describe_internet_gateways").paginate(Filters=[attached]),
            "InternetGateways",
        )
        return frozenset(gateway["InternetGatewayId"] for gateway in found)

    @_Once
    def nat_gateways(self) -> Mapping[str, Item]:
        found = _items(
            self.aws.ec2.get_paginator("describe_nat_gateways").paginate(Filters=[self._in_vpc]),
            "NatGateways",
        )
        return {gateway["NatGatewayId"]: gateway for gateway in found}

    @_Once
    def vpc_endpoints(self) -> Mapping[str, Item]:
        """Return the endpoints that the outputs name, by id."""
        ids = sorted(self.outputs.vpc_endpoint_ids.values())
        found = _items(
            self.aws.ec2.get_paginator("describe_vpc_endpoints").paginate(VpcEndpointIds=ids), "VpcEndpoints"
        )
        return {endpoint["VpcEndpointId"]: endpoint for endpoint in found}

    @_Once
    def security_groups(self) -> Mapping[str, Item]:
        found = _items(
            self.aws.ec2.get_paginator("describe_security_groups").paginate(Filters=[self._in_vpc]),
            "SecurityGroups",
        )
        return {group["GroupId"]: group for group in found}

    def security_group(self, group_id: str) -> Item:
        return _named(self.security_groups, group_id, f"security group {group_id} in {self.outputs.vpc_id}")

    @property
    def _in_vpc(self) -> FilterTypeDef:
        return {"Name": "vpc-id", "Values": [self.outputs.vpc_id]}

    # Registry

    @_Once
    def repository(self) -> Item:
        name = self.outputs.repository_name
        found = self.aws.ecr.describe_repositories(repositoryNames=[name])
        return _only(found["repositories"], f"repository {name}")

    @_Once
    def lifecycle_rules(self) -> Sequence[Item]:
        found = self.aws.ecr.get_lifecycle_policy(repositoryName=self.outputs.repository_name)
        rules: Sequence[Item] = document(found["lifecyclePolicyText"]).get("rules", [])
        return rules

    @_Once
    def repository_policy(self) -> Item | None:
        try:
            found = self.aws.ecr.get_repository_policy(repositoryName=self.outputs.repository_name)
        except Exception as error:
            if code_of(error) == "RepositoryPolicyNotFoundException":
                return None
            raise
        return document(found["policyText"])

    # Load balancer

    @_Once
    def load_balancer(self) -> Item:
        found = self.aws.elbv2.describe_load_balancers(LoadBalancerArns=[self.outputs.alb_arn])
        return _only(found["LoadBalancers"], f"load balancer {self.outputs.alb_arn}")

    @_Once
    def load_balancer_attributes(self) -> Mapping[str, str]:
        found = self.aws.elbv2.describe_load_balancer_attributes(LoadBalancerArn=self.outputs.alb_arn)
        return {item["Key"]: item["Value"] for item in found["Attributes"]}

    @_Once
    def listeners(self) -> Mapping[str, Item]:
        arn = self.outputs.alb_arn
        found = _items(
            self.aws.elbv2.get_paginator("describe_listeners").paginate(LoadBalancerArn=arn), "Listeners"
        )
        return {listener["ListenerArn"]: listener for listener in found}

    def listener(self, arn: str) -> Item:
        return _named(self.listeners, arn, f"listener {arn} on {self.outputs.alb_arn}")

    def rule(self, arn: str, *, of: str) -> Item:
        """Return the rule `arn` of the listener `of`."""
        elbv2 = self.aws.elbv2
        rules = self.once(
            f"rules of {of}",
            lambda: _items(elbv2.get_paginator("describe_rules").paginate(ListenerArn=of), "Rules"),
        )
        return _named({rule["RuleArn"]: rule for rule in rules}, arn, f"rule {arn} of the listener {of}")

    @_Once
    def target_groups(self) -> Mapping[str, Item]:
        """Return the target groups that the outputs name, by colour."""
        arns = self.outputs.target_group_arns
        pages = self.aws.elbv2.get_paginator("describe_target_groups")
        found = _items(pages.paginate(TargetGroupArns=sorted(arns.values())), "TargetGroups")
        by_arn: dict[str, Item] = {group["TargetGroupArn"]: group for group in found}
        return {colour: _named(by_arn, arn, f"target group {arn}") for colour, arn in arns.items()}

    @_Once
    def target_group_attributes(self) -> Mapping[str, Mapping[str, str]]:
        return {
            colour: {
                item["Key"]: item["Value"]
                for item in self.aws.elbv2.describe_target_group_attributes(TargetGroupArn=arn)["Attributes"]
            }
            for colour, arn in self.outputs.target_group_arns.items()
        }

    @_Once
    def target_states(self) -> Mapping[str, Sequence[str]]:
        """Return the health of every registered target, by the ARN of its target group."""
        return {
            arn: [
                target["TargetHealth"]["State"]
                for target in self.aws.elbv2.describe_target_health(TargetGroupArn=arn)[
                    "TargetHealthDescriptions"
                ]
            ]
            for arn in self.outputs.target_group_arns.values()
        }

    @_Once
    def certificate(self) -> Item:
        arn = self.outputs.certificate_arn or ""
        return self.aws.acm.describe_certificate(CertificateArn=arn)["Certificate"]

    # Service

    @_Once
    def cluster(self) -> Item:
        name = self.outputs.cluster_name
        found = self.aws.ecs.describe_clusters(clusters=[name], include=["SETTINGS"])
        return _only(found["clusters"], f"cluster {name}")

    @_Once
    def service(self) -> Item:
        cluster, name = self.outputs.cluster_name, self.outputs.service_name
        found = self.aws.ecs.describe_services(cluster=cluster, services=[name])
        return _only(found["services"], f"service {name} in {cluster}")

    @_Once
    def applied_task_definition(self) -> Item:
        """Return the revision that Terraform registered last; a service may still run an earlier one."""
        arn = self.outputs.task_definition_arn
        return self.aws.ecs.describe_task_definition(taskDefinition=arn)["taskDefinition"]

    @_Once
    def task_definitions(self) -> Sequence[Item]:
        """Return the revision that was applied and, where it is another, the one that the service runs."""
        applied, running = self.applied_task_definition, self.service["taskDefinition"]
        if running in (applied["taskDefinitionArn"], self.outputs.task_definition_arn):
            return (applied,)
        return (applied, self.aws.ecs.describe_task_definition(taskDefinition=running)["taskDefinition"])

    # Roles

    def role(self, arn: str) -> Item:
        return self.once(f"role {arn}", lambda: self.aws.iam.get_role(RoleName=_role_name(arn))["Role"])

    def role_policies(self, arn: str) -> Policies:
        """Return what a role may do; a role that does not exist is an error, not one that may do nothing."""
        self.role(arn)
        return self.once(f"policies of {arn}", lambda: self._role_policies(_role_name(arn)))

    def _role_policies(self, name: str) -> Policies:
        iam = self.aws.iam
        attached = _items(
            iam.get_paginator("list_attached_role_policies").paginate(RoleName=name), "AttachedPolicies"
        )
        inline = _items(iam.get_paginator("list_role_policies").paginate(RoleName=name), "PolicyNames")
        documents = [iam.get_role_policy(RoleName=name, PolicyName=p)["PolicyDocument"] for p in inline]
        for policy in attached:
            arn = policy["PolicyArn"]
            version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
            found = iam.get_policy_version(PolicyArn=arn, VersionId=version)
            documents.append(found["PolicyVersion"]["Document"])
        return Policies.parse(documents, attached=[policy["PolicyName"] for policy in attached])

    # Logs, scaling, encryption

    @_Once
    def log_group(self) -> Item:
        name = self.outputs.log_group_name
        found = _items(
            self.aws.logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=name), "logGroups"
        )
        return _only([group for group in found if group["logGroupName"] == name], f"log group {name}")

    @property
    def scalable_resource(self) -> str:
        return f"service/{self.outputs.cluster_name}/{self.outputs.service_name}"

    @_Once
    def scalable_target(self) -> Item:
        pages = self.aws.autoscaling.get_paginator("describe_scalable_targets").paginate(
            ServiceNamespace="ecs",
            ResourceIds=[self.scalable_resource],
            ScalableDimension="ecs:service:DesiredCount",
        )
        return _only(_items(pages, "ScalableTargets"), f"scalable target {self.scalable_resource}")

    @_Once
    def scaling_policies(self) -> Sequence[Item]:
        pages = self.aws.autoscaling.get_paginator("describe_scaling_policies").paginate(
            ServiceNamespace="ecs",
            ResourceId=self.scalable_resource,
            ScalableDimension="ecs:service:DesiredCount",
        )
        return _items(pages, "ScalingPolicies")

    @_Once
    def kms_key(self) -> Item:
        key = self.outputs.kms_key_arn or ""
        return self.aws.kms.describe_key(KeyId=key)["KeyMetadata"]

    @_Once
    def kms_rotation(self) -> bool:
        key = self.outputs.kms_key_arn or ""
        return self.aws.kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"]


def code_of(error: Exception) -> str:
    """Return AWS's own code of an error, such as "AccessDenied"; empty where AWS did not answer."""
    response = getattr(error, "response", None)
    code = response.get("Error", {}).get("Code", "") if isinstance(response, Mapping) else ""
    return str(code)


def _items(pages: Iterable[Mapping[str, Any]], key: str) -> list[Any]:
    return [item for page in pages for item in page.get(key, [])]


def _only(found: Sequence[T], what: str) -> T:
    if len(found) != 1:
        raise MissingError(f"{what}: found {len(found)} of them, expected one")
    return found[0]


def _named(found: Mapping[str, T], key: str, what: str) -> T:
    if key not in found:
        raise MissingError(f"{what} does not exist")
    return found[key]


def _role_name(arn: str) -> str:
    """Return the name of a role, which follows its path: arn:aws:iam::111111111111:role/path/name."""
    return arn.rsplit("/", 1)[-1]
