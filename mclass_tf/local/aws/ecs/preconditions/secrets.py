"""Checks that the execution role can read the secrets of the containers.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/secrets-envvar-secrets-manager.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mclass_tf.local.aws import kms
from mclass_tf.local.aws.ecs.model import secrets
from mclass_tf.local.aws.ecs.model.task import Task
from mclass_tf.local.aws.ecs.preconditions import messages, network, roles
from mclass_tf.local.aws.policies import IamDecision, IamRequest, decide

_RETRIEVAL = f"{messages.INIT_ERROR}execution resource retrieval failed: "
_NO_KEY = "AccessDeniedException: Access to KMS is not allowed"


def secret_errors(task: Task) -> Iterator[str | None]:
    """Yield for each secret why it cannot be read, or None if it can."""
    for definition in task.launch.definition.container_definitions:
        for entry in definition.get("secrets") or []:
            yield _error(task, entry["valueFrom"])


def _error(task: Task, value_from: str) -> str | None:
    try:
        reference = secrets.parse(value_from, account_id=task.launch.account_id, region=task.launch.region)
        check = _parameter_error if reference.service == "ssm" else _secret_error
        reason = check(task, reference)
        if reason is None:
            secrets.read(reference)
    except secrets.NoSecretError as error:
        return f"{_RETRIEVAL}{error}"
    return reason


def _secret_error(task: Task, reference: secrets.SecretReference) -> str | None:
    fetching = f"failed to fetch secret {reference.arn} from secrets manager: "
    operation = "Secrets Manager: GetSecretValue"
    blocked = network.blocked(task, service="secretsmanager", region=reference.region)
    if blocked is not None:
        return (
            f"{messages.INIT_ERROR}unable to retrieve secret from asm: There is a connection issue between the task and AWS "
            f"Secrets Manager. Check your task network configuration. {fetching}"
            + messages.timeout(
                operation, host=f"secretsmanager.{reference.region}.amazonaws.com", blocked=blocked
            )
        )
    denial = roles.denial(task, action="secretsmanager:GetSecretValue", resource=_full_arn(reference))
    error = f"AccessDeniedException: {denial}" if denial else _key_error(task, reference)
    if error is None:
        return None
    return (
        f"{_RETRIEVAL}unable to retrieve secret from asm: service call has been retried 1 time(s): {fetching}"
        f"{messages.api_error(operation, error)}"
    )


def _parameter_error(task: Task, reference: secrets.SecretReference) -> str | None:
    operation = "SSM: GetParameters"
    blocked = network.blocked(task, service="ssm", region=reference.region)
    if blocked is not None:
        return (
            f"{messages.INIT_ERROR}unable to retrieve secrets from ssm: The task cannot pull secrets from AWS Systems "
            "Manager. There is a connection issue between the task and AWS Systems Manager Parameter Store. Check your "
            "task network configuration. "
            + messages.timeout(operation, host=f"ssm.{reference.region}.amazonaws.com", blocked=blocked)
        )
    denial = roles.denial(task, action="ssm:GetParameters", resource=reference.arn)
    error = f"AccessDeniedException: {denial}" if denial else _key_error(task, reference)
    if error is None:
        return None
    return (
        f"{_RETRIEVAL}unable to retrieve secrets from ssm: service call has been retried 1 time(s): "
        f"{messages.api_error(operation, error)}"
    )


def _full_arn(reference: secrets.SecretReference) -> str:
    return secrets.full_arn(reference) or reference.arn


def _key_error(task: Task, reference: secrets.SecretReference) -> str | None:
    """Return why the KMS key does not decrypt the secret, or None. The role and the key policy must both allow it.

    https://docs.aws.amazon.com/secretsmanager/latest/userguide/security-encryption.html
    """
    named = secrets.key_of(reference)
    if named is None:
        return None
    key = kms.usable_key(account_id=reference.account_id, region=reference.region, reference=named)
    if key is None:
        return f"{_NO_KEY}{messages.local_cause(f'the key {named} is not there')}"
    denial = roles.denial(
        task,
        action="kms:Decrypt",
        resource=key.arn,
        context={"kms:ViaService": f"{reference.service}.{reference.region}.amazonaws.com"},
    )
    if denial is None and not _key_policy_allows(task, key):
        denial = f"the policy of {key.arn} does not let {task.launch.execution_role_arn} decrypt"
    return f"{_NO_KEY}{messages.local_cause(denial)}" if denial else None


def _key_policy_allows(task: Task, key: Any) -> bool:
    account_id = task.launch.account_id
    principals = (account_id, f"arn:aws:iam::{account_id}:root", task.launch.execution_role_arn or "")
    request = IamRequest(action="kms:Decrypt", resource="*", principals=principals)
    return decide([key.policy], request) is IamDecision.ALLOWED
