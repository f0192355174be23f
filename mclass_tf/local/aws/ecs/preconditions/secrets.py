"""Whether the execution role can read what the containers' secrets name.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/secrets-envvar-secrets-manager.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mclass_tf.local.aws import kms
from mclass_tf.local.aws.ecs.model import secrets
from mclass_tf.local.aws.ecs.model.task import Task
from mclass_tf.local.aws.ecs.preconditions import network, roles, words
from mclass_tf.local.aws.policies import IamDecision, IamRequest, decide

_RETRIEVAL = f"{words.UNPREPARED}execution resource retrieval failed: "


def unreadable(task: Task) -> Iterator[str | None]:
    """Yield for each secret why it cannot be had, or None."""
    for definition in task.launch.definition.container_definitions:
        for entry in definition.get("secrets") or []:
            yield _why(task, entry["valueFrom"])


def _why(task: Task, value_from: str) -> str | None:
    try:
        reference = secrets.parse(value_from, account_id=task.launch.account_id, region=task.launch.region)
        reason = _parameter(task, reference) if reference.service == "ssm" else _secret(task, reference)
        if reason is None:
            secrets.read(reference)
    except secrets.NoSecretError as error:
        return f"{_RETRIEVAL}{error}"
    return reason


def _secret(task: Task, reference: secrets.SecretReference) -> str | None:
    fetching = f"failed to fetch secret {reference.arn} from secrets manager: "
    operation = "Secrets Manager: GetSecretValue"
    blocked = network.blocked(task, service="secretsmanager", region=reference.region)
    if blocked is not None:
        return (
            f"{words.UNPREPARED}unable to retrieve secret from asm: There is a connection issue between the task and AWS "
            f"Secrets Manager. Check your task network configuration. {fetching}"
            + words.unsent(
                operation, host=f"secretsmanager.{reference.region}.amazonaws.com", blocked=blocked
            )
        )
    denial = roles.denial(task, action="secretsmanager:GetSecretValue", resource=_full_arn(reference))
    error = f"AccessDeniedException: {denial}" if denial else _key_error(task, reference)
    if error is None:
        return None
    return (
        f"{_RETRIEVAL}unable to retrieve secret from asm: service call has been retried 1 time(s): {fetching}"
        f"{words.refused(operation, error)}"
    )


def _parameter(task: Task, reference: secrets.SecretReference) -> str | None:
    operation = "SSM: GetParameters"
    blocked = network.blocked(task, service="ssm", region=reference.region)
    if blocked is not None:
        return (
            f"{words.UNPREPARED}unable to retrieve secrets from ssm: The task cannot pull secrets from AWS Systems "
            "Manager. There is a connection issue between the task and AWS Systems Manager Parameter Store. Check your "
            "task network configuration. "
            + words.unsent(operation, host=f"ssm.{reference.region}.amazonaws.com", blocked=blocked)
        )
    denial = roles.denial(task, action="ssm:GetParameters", resource=reference.arn)
    error = f"AccessDeniedException: {denial}" if denial else _key_error(task, reference)
    if error is None:
        return None
    return (
        f"{_RETRIEVAL}unable to retrieve secrets from ssm: service call has been retried 1 time(s): "
        f"{words.refused(operation, error)}"
    )


def _full_arn(reference: secrets.SecretReference) -> str:
    """The secret's own ARN, with the six characters that its reference may lack."""
    return secrets.full_arn(reference) or reference.arn


def _key_error(task: Task, reference: secrets.SecretReference) -> str | None:
    """Why the customer's key does not decrypt the secret: role and key policy must both let the execution role.

    https://docs.aws.amazon.com/secretsmanager/latest/userguide/security-encryption.html
    """
    named = secrets.key_of(reference)
    if named is None:
        return None
    key = kms.usable_key(account_id=reference.account_id, region=reference.region, reference=named)
    if key is None:
        return f"AccessDeniedException: Access to KMS is not allowed{words.local_cause(f'the key {named} is not there')}"
    denial = roles.denial(
        task,
        action="kms:Decrypt",
        resource=key.arn,
        context={"kms:ViaService": f"{reference.service}.{reference.region}.amazonaws.com"},
    )
    if denial is None and not _key_policy_allows(task, key):
        denial = f"the policy of {key.arn} does not let {task.launch.execution_role_arn} decrypt"
    return (
        f"AccessDeniedException: Access to KMS is not allowed{words.local_cause(denial)}" if denial else None
    )


def _key_policy_allows(task: Task, key: Any) -> bool:
    account_id = task.launch.account_id
    principals = (account_id, f"arn:aws:iam::{account_id}:root", task.launch.execution_role_arn or "")
    request = IamRequest(action="kms:Decrypt", resource="*", principals=principals)
    return decide([key.policy], request) is IamDecision.ALLOWED
