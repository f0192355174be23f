"""The roles of a task: whether ECS may assume them, and what they may do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moto.iam.models import iam_backends
from moto.utilities.utils import get_partition

from mclass_tf.local.aws.ecs.model.task import Task
from mclass_tf.local.aws.policies import Decision, Request, decide, may_allow

_SERVICE = "ecs-tasks.amazonaws.com"
_ECS = "ecs.amazonaws.com"
_ARN_COLONS = 5
_PARTS_OF_ROLE = 6


def unassumable(task: Task, role_arn: str) -> str | None:
    """Return ECS's words where the role is missing or does not trust ECS's tasks.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_execution_IAM_role.html
    """
    role = find(role_arn)
    launch = task.launch
    request = Request(
        action="sts:AssumeRole",
        principals=(_SERVICE,),
        context={
            "aws:SourceAccount": launch.account_id,
            "aws:SourceArn": f"arn:aws:ecs:{launch.region}:{launch.account_id}:{task.id}",
        },
    )
    if role is not None and decide([role.assume_role_policy_document], request) is Decision.ALLOWED:
        return None
    return (
        f"ECS was unable to assume the role '{role_arn}' that was provided for this task. Please verify that the role "
        "being passed has the proper trust relationship and permissions and that your IAM user has permissions to pass "
        "this role."
    )


def denial(
    task: Task, *, action: str, resource: str = "*", context: Mapping[str, str] | None = None
) -> str | None:
    """Return IAM's words where the execution role may not do it, else None.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
    """
    role_arn = task.launch.execution_role_arn
    role = find(role_arn) if role_arn else None
    if role is None:
        return f"User: {caller(task)} is not authorized to perform: {action} on resource: {resource}"
    request = Request(action=action, resource=resource, context=context or {})
    found = decide(_policies(role), request)
    if found is Decision.ALLOWED and (boundary := _boundary(role)) is not None:
        within = decide([boundary], request)
        return None if within is Decision.ALLOWED else _words(task, request, within, "permissions boundary")
    return None if found is Decision.ALLOWED else _words(task, request, found, "identity-based policy")


def infrastructure_refusal(role_arn: str, *, rule_arn: str, groups: tuple[str, ...]) -> str | None:
    """Return why ECS cannot shift traffic with this role, None where it can.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/AmazonECSInfrastructureRolePolicyForLoadBalancers.html
    """
    role = find(role_arn) if role_arn.count(":") >= _ARN_COLONS else None
    trust = Request(action="sts:AssumeRole", principals=(_ECS,))
    if role is None or decide([role.assume_role_policy_document], trust) is not Decision.ALLOWED:
        return f"ECS was unable to assume the role '{role_arn}' that was provided for this service"
    needed = [
        ("elasticloadbalancing:ModifyRule", rule_arn),
        *(
            (f"elasticloadbalancing:{call}Targets", arn)
            for call in ("Register", "Deregister")
            for arn in groups
        ),
    ]
    for action, resource in needed:
        if not _may(role, Request(action=action, resource=resource)):
            return f"{role_arn} is not authorized to perform: {action} on resource: {resource}"
    return None


def invocation_refusal(role_arn: str, *, function_arn: str) -> str | None:
    """Return why ECS cannot ask a function with this role, None where it can.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/blue-green-permissions.html
    """
    role = find(role_arn) if role_arn.count(":") >= _ARN_COLONS else None
    trust = Request(action="sts:AssumeRole", principals=(_ECS,))
    if role is None or decide([role.assume_role_policy_document], trust) is not Decision.ALLOWED:
        return f"ECS was unable to assume the role '{role_arn}' that was provided for a lifecycle hook"
    action = "lambda:InvokeFunction"
    if not _may(role, Request(action=action, resource=function_arn)):
        return f"{role_arn} is not authorized to perform: {action} on resource: {function_arn}"
    return None


def _may(role: Any, request: Request) -> bool:
    documents = [_policies(role), *([[boundary]] if (boundary := _boundary(role)) is not None else [])]
    return all(decide(found, request) is Decision.ALLOWED for found in documents)


def may_at_best(role_arn: str, *, action: str, resource: str | None) -> bool:
    """Whether the role's policies let it do the action, as far as the request is known (`policies.may_allow`)."""
    role = find(role_arn) if role_arn.count(":") >= _ARN_COLONS else None
    if role is None:
        return False
    documents = [_policies(role), *([[boundary]] if (boundary := _boundary(role)) is not None else [])]
    return all(may_allow(found, action=action, resource=resource) for found in documents)


def caller(task: Task) -> str:
    """The session in which ECS acts for the task."""
    name = (task.launch.execution_role_arn or "").rsplit("/", 1)[-1]
    return f"arn:aws:sts::{task.launch.account_id}:assumed-role/{name}/{task.id}"


def find(role_arn: str) -> Any:
    """The role as moto keeps it, or None."""
    parts = role_arn.split(":")
    if len(parts) < _PARTS_OF_ROLE:
        return None
    backend = iam_backends[parts[4]][get_partition("us-east-1")]
    return next((role for role in backend.roles.values() if role.arn == role_arn), None)


def _policies(role: Any) -> list[str]:
    return [*role.policies.values(), *(_document(policy) for policy in role.managed_policies.values())]


def _document(policy: Any) -> str:
    """The default version of a managed policy."""
    return next(
        str(version.document)
        for version in policy.versions
        if version.version_id == policy.default_version_id
    )


def _boundary(role: Any) -> str | None:
    arn = role.permissions_boundary_arn
    if not arn:
        return None
    backend = iam_backends[role.account_id][role.partition]
    policy = backend.managed_policies.get(arn)
    return None if policy is None else _document(policy)


def _words(task: Task, request: Request, decision: Decision, kind: str) -> str:
    cause = (
        f"with an explicit deny in {'an' if kind[0] in 'aeiou' else 'a'} {kind}"
        if decision is Decision.DENIED
        else f"because no {kind} allows the {request.action} action"
    )
    return f"User: {caller(task)} is not authorized to perform: {request.action} on resource: {request.resource} {cause}"
