"""Checks of the IAM roles: who may assume them, what they may do, and what they must not do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mclass_tf.verify.check import Comparison, NotApplicableError, equal, holds, registry, within
from mclass_tf.verify.iam import Policies, Statement, statements_of
from mclass_tf.verify.world import World

check = registry.group("roles")

TASKS = "ecs-tasks.amazonaws.com"
ECS = "ecs.amazonaws.com"

TOKEN = "ecr:GetAuthorizationToken"  # noqa: S105  (an action, which supports no resource)
PULL = ("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
LOG = ("logs:CreateLogStream", "logs:PutLogEvents")

# A reference to a secret may append a key, a version stage and a version id to its ARN.
_SECRET_ARN_PARTS = 7

# The calls of ECS that shift traffic in a blue/green deployment.
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/AmazonECSInfrastructureRolePolicyForLoadBalancers.html
SHIFT = "elasticloadbalancing:ModifyRule"
REGISTER = ("elasticloadbalancing:RegisterTargets", "elasticloadbalancing:DeregisterTargets")


@check(
    "the execution role can be assumed by ECS tasks alone",
    hint="the trust policy names ecs-tasks.amazonaws.com and no other principal",
)
def execution_trust(world: World) -> Iterator[Comparison]:
    yield from _trusts(world, world.outputs.execution_role_arn, TASKS)


@check(
    "the task role can be assumed by ECS tasks alone",
    hint="the trust policy names ecs-tasks.amazonaws.com and no other principal",
)
def task_trust(world: World) -> Iterator[Comparison]:
    yield from _trusts(world, world.outputs.task_role_arn, TASKS)


@check(
    "the infrastructure role can be assumed by ECS alone",
    hint="the trust policy names ecs.amazonaws.com and no other principal",
)
def infrastructure_trust(world: World) -> Iterator[Comparison]:
    yield from _trusts(world, world.outputs.infrastructure_role_arn, ECS)


@check(
    "the execution role may pull from this repository and write to this log group",
    hint="the execution role's policy lacks an action; a task could not start: see modules/ecs-service/iam.tf",
)
def execution_may(world: World) -> Iterator[Comparison]:
    policies, stream = _execution(world), f"{_log_group(world)}:log-stream:any/stream/0"
    needed = [(TOKEN, "*"), *((action, world.outputs.repository_arn) for action in PULL)]
    needed += [(action, stream) for action in LOG]
    for action, resource in needed:
        yield _may(policies, action, resource, expected=True)


@check(
    "the execution role may neither pull from another repository nor write to another log group",
    hint="name this repository's and this log group's ARN as resources, without a wildcard in the name",
)
def execution_may_not(world: World) -> Iterator[Comparison]:
    policies, outputs = _execution(world), world.outputs
    other_repository = outputs.repository_arn.rpartition("/")[0] + "/another-repository"
    other_group = _log_group(world).rpartition(":")[0] + ":/ecs/another-task:log-stream:any/stream/0"
    for action in PULL:
        yield _may(policies, action, other_repository, expected=False)
    for action in LOG:
        yield _may(policies, action, other_group, expected=False)


@check(
    "the execution role may read every secret that the container is given",
    hint="`secrets` in terraform.tfvars takes full ARNs; the execution role's policy follows from it",
)
def execution_reads_secrets(world: World) -> Iterator[Comparison]:
    secrets = sorted(_secrets(world))
    if not secrets:
        raise NotApplicableError("the container is given no secrets")
    for reference in secrets:
        resource = ":".join(reference.split(":")[:_SECRET_ARN_PARTS])
        action = "ssm:GetParameters" if ":ssm:" in resource else "secretsmanager:GetSecretValue"
        yield _may(_execution(world), action, resource, expected=True)


@check(
    "the execution role has no wildcard beyond the registry's token",
    hint="only ecr:GetAuthorizationToken may have Resource *; name every other resource and action",
)
def execution_wildcards(world: World) -> Iterator[Comparison]:
    statements = _execution(world).allowed
    broad = [item for item in statements if "*" in item.resources or item.inverted]
    actual = {action for item in broad for action in item.actions or ("NotAction",)}
    yield within("actions on every resource", allowed={TOKEN}, actual=actual)
    yield equal("actions with a wildcard", expected=set(), actual=_wildcard_actions(statements))


@check(
    "the task role has no statement that covers everything",
    hint="the service's own permissions name their actions and resources: `task_policy` of modules/ecs-service",
)
def task_role(world: World) -> Iterator[Comparison]:
    statements = world.iam.role_policies(world.outputs.task_role_arn).allowed
    broad = [
        item for item in statements if item.inverted or ("*" in item.resources and _wildcard_actions([item]))
    ]
    yield equal("statements for everything", expected=0, actual=len(broad))


@check(
    "the infrastructure role lets ECS register targets and shift this load balancer's traffic",
    hint="attach AmazonECSInfrastructureRolePolicyForLoadBalancers to the infrastructure role",
)
def infrastructure_may(world: World) -> Iterator[Comparison]:
    outputs = world.outputs
    policies = world.iam.role_policies(outputs.infrastructure_role_arn)
    for arn in (outputs.production_listener_rule_arn, outputs.test_listener_rule_arn):
        yield _may(policies, SHIFT, arn, expected=True)
    for arn in outputs.target_group_arns.values():
        for action in REGISTER:
            yield _may(policies, action, arn, expected=True)


@check(
    "no role has an administrator's permissions",
    hint="detach AdministratorAccess, PowerUserAccess and every other broad policy from the service's roles",
)
def no_administrator(world: World) -> Iterator[Comparison]:
    outputs = world.outputs
    for arn in (outputs.execution_role_arn, outputs.task_role_arn, outputs.infrastructure_role_arn):
        policies = world.iam.role_policies(arn)
        all_powerful = any("*" in s.actions and "*" in s.resources for s in policies.allowed)
        broad = [
            name for name in policies.attached if name.endswith(("Administrator", "AdministratorAccess"))
        ]
        broad += [name for name in policies.attached if name in ("PowerUserAccess", "IAMFullAccess")]
        permissions = [*broad, *(["*:*"] if all_powerful else [])]
        yield equal(f"broad permissions of {arn.rsplit('/', 1)[-1]}", expected=[], actual=permissions)


def _trusts(world: World, arn: str, service: str) -> Iterator[Comparison]:
    role = world.iam.role(arn)
    yield equal("role", expected=arn, actual=role["Arn"])
    allowed = [s for s in statements_of(role["AssumeRolePolicyDocument"]) if s.allows]
    trusted = {
        f"{kind} {who}"
        for statement in allowed
        for kind, all_ in statement.principals.items()
        for who in all_
    }
    yield equal("who may assume it", expected={f"Service {service}"}, actual=trusted)
    inverted = any(statement.inverted for statement in allowed)
    yield equal("a trust policy that names who may not", expected=False, actual=inverted)


def _execution(world: World) -> Policies:
    return world.iam.role_policies(world.outputs.execution_role_arn)


def _secrets(world: World) -> set[str]:
    return {
        str(secret["valueFrom"])
        for revision in world.ecs.task_definitions
        for container in revision.get("containerDefinitions", [])
        for secret in container.get("secrets", [])
    }


def _log_group(world: World) -> str:
    return world.outputs.log_group_arn.removesuffix(":*")


def _may(policies: Policies, action: str, resource: str, *, expected: bool) -> Comparison:
    actual = policies.allow(action=action, resource=resource)
    words = {True: "allowed", False: "not allowed"}
    return holds(
        f"{action} on {resource}", actual is expected, expected=words[expected], actual=words[actual]
    )


def _wildcard_actions(statements: Sequence[Statement]) -> set[str]:
    return {action for item in statements for action in item.actions if "*" in action}
