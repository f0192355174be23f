"""Checks the roles that ECS uses: whether ECS may assume them, and what they allow."""

from __future__ import annotations

from collections.abc import Mapping

from mclass_tf.local.aws import roles
from mclass_tf.local.aws.ecs.model.stages import NOT_ASSUMED
from mclass_tf.local.aws.ecs.model.task import Task
from mclass_tf.local.aws.policies import IamDecision, IamRequest, decide

_SERVICE = "ecs-tasks.amazonaws.com"
_ECS = "ecs.amazonaws.com"


def assume_role_error(task: Task, role_arn: str) -> str | None:
    """Return why ECS cannot assume the role, as ECS words it, or None.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_execution_IAM_role.html
    """
    role = roles.find(role_arn)
    launch = task.launch
    request = IamRequest(
        action="sts:AssumeRole",
        principals=(_SERVICE,),
        context={
            "aws:SourceAccount": launch.account_id,
            "aws:SourceArn": f"arn:aws:ecs:{launch.region}:{launch.account_id}:{task.id}",
        },
    )
    if role is not None and roles.trusts(role, request):
        return None
    return (
        f"ECS was unable to assume the role '{role_arn}' that was provided for this task. Please verify that the role "
        "being passed has the proper trust relationship and permissions and that your IAM user has permissions to pass "
        "this role."
    )


def denial(
    task: Task, *, action: str, resource: str = "*", context: Mapping[str, str] | None = None
) -> str | None:
    """Return why the execution role is denied the action, as IAM words it, or None.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
    """
    role_arn = task.launch.execution_role_arn
    role = roles.find(role_arn) if role_arn else None
    if role is None:
        return f"User: {caller(task)} is not authorized to perform: {action} on resource: {resource}"
    request = IamRequest(action=action, resource=resource, context=context or {})
    for kind, documents in roles.policies_by_kind(role):
        decision = decide(documents, request)
        if decision is not IamDecision.ALLOWED:
            return _access_denied(task, request, decision, kind)
    return None


def infrastructure_refusal(role_arn: str, *, rule_arn: str, groups: tuple[str, ...]) -> str | None:
    """Return why ECS cannot shift traffic with this role, or None.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/AmazonECSInfrastructureRolePolicyForLoadBalancers.html
    """
    role = roles.find(role_arn)
    trust = IamRequest(action="sts:AssumeRole", principals=(_ECS,))
    if role is None or not roles.trusts(role, trust):
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
        if not roles.permits(role, IamRequest(action=action, resource=resource)):
            return f"{role_arn} is not authorized to perform: {action} on resource: {resource}"
    return None


def invocation_refusal(role_arn: str, *, function_arn: str) -> str | None:
    """Return why ECS cannot invoke the function with this role, or None.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/blue-green-permissions.html
    """
    role = roles.find(role_arn)
    trust = IamRequest(action="sts:AssumeRole", principals=(_ECS,))
    if role is None or not roles.trusts(role, trust):
        return f"{NOT_ASSUMED} {role_arn}"
    action = "lambda:InvokeFunction"
    if not roles.permits(role, IamRequest(action=action, resource=function_arn)):
        return f"{role_arn} is not authorized to perform: {action} on resource: {function_arn}"
    return None


def caller(task: Task) -> str:
    """Return the ARN of the session in which ECS acts for the task."""
    name = (task.launch.execution_role_arn or "").rsplit("/", 1)[-1]
    return f"arn:aws:sts::{task.launch.account_id}:assumed-role/{name}/{task.id}"


def _access_denied(task: Task, request: IamRequest, decision: IamDecision, kind: str) -> str:
    cause = (
        f"with an explicit deny in {'an' if kind[0] in 'aeiou' else 'a'} {kind}"
        if decision is IamDecision.DENIED
        else f"because no {kind} allows the {request.action} action"
    )
    return f"User: {caller(task)} is not authorized to perform: {request.action} on resource: {request.resource} {cause}"
