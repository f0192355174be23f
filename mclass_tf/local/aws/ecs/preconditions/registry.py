"""Checks pulls from ECR: token, manifest and layers, each by role, repository policy and network.

https://docs.aws.amazon.com/AmazonECR/latest/userguide/ECR_on_ECS.html
https://docs.aws.amazon.com/AmazonECR/latest/userguide/vpc-endpoints.html
"""

from __future__ import annotations

from moto.ecr.models import ecr_backends

from mclass_tf.local.aws.ecs.model import images
from mclass_tf.local.aws.ecs.model.task import Container, Task
from mclass_tf.local.aws.ecs.preconditions import messages, network, roles
from mclass_tf.local.aws.policies import IamDecision, IamRequest, decide

_TOKEN = "ecr:GetAuthorizationToken"  # noqa: S105  an action, no secret
_PULL = "CannotPullContainerError: "


def token_error(task: Task) -> str | None:
    """Return why the task gets no authorization token, or None; without an image in ECR it needs no token."""
    reference = next((entry for entry in map(_reference, task.containers) if entry is not None), None)
    if reference is None:
        return None
    blocked = network.blocked(task, service="ecr.api", region=reference.region)
    if blocked is not None:
        return (
            f"{messages.INIT_ERROR}The task cannot pull registry auth from Amazon ECR: There is a connection issue between "
            "the task and Amazon ECR. Check your task network configuration. "
            + messages.timeout(
                "ECR: GetAuthorizationToken",
                host=f"api.ecr.{reference.region}.amazonaws.com",
                blocked=blocked,
            )
        )
    denial = roles.denial(task, action=_TOKEN)
    if denial is None:
        return None
    error = messages.api_error("ECR: GetAuthorizationToken", f"AccessDeniedException: {denial}")
    return (
        f"{messages.INIT_ERROR}execution resource retrieval failed: unable to retrieve ecr registry auth: service call has "
        f"been retried 1 time(s): {error}"
    )


def manifest_error(task: Task, reference: images.ImageReference) -> str | None:
    """Return why the manifest cannot be pulled, or None."""
    blocked = network.blocked(task, service="ecr.dkr", region=reference.region)
    if blocked is not None:
        return (
            f"{_PULL}The task cannot pull '{reference.text}' from the Amazon ECR repository "
            f"'{reference.host}/{reference.repository}'. There is a connection issue between the task and Amazon ECR. "
            f"Check your task network configuration. failed to do request: Head "
            f'"https://{reference.host}/v2/{reference.repository}/manifests/{reference.version}": '
            f"dial tcp {blocked.address}:443: i/o timeout{messages.local_cause(blocked.cause)}"
        )
    denial = _denial(task, reference, action="ecr:BatchGetImage")
    if denial is None:
        return None
    return (
        f"{_PULL}pull image manifest has been retried 1 time(s): failed to resolve ref {reference.text}: pulling from "
        f"host {reference.host} failed with status code [manifests {reference.version}]: 403 Forbidden"
        f"{messages.local_cause(denial)}"
    )


def layers_error(task: Task, reference: images.ImageReference) -> str | None:
    """Return why the layers cannot be pulled, or None. ECR redirects to S3 for them."""
    copying = f"{_PULL}ref pull has been retried {{}} time(s): failed to copy: httpReadSeeker: failed open: "
    denial = _denial(task, reference, action="ecr:GetDownloadUrlForLayer")
    if denial is not None:
        url = f"https://{reference.host}/v2/{reference.repository}/blobs/"
        return f"{copying.format(1)}unexpected status code {url}: 403 Forbidden{messages.local_cause(denial)}"
    blocked = network.blocked(task, service="s3", region=reference.region)
    if blocked is None:
        return None
    return (
        f"{copying.format(5)}failed to do request: Get {reference.text}: dial tcp {blocked.address}:443: i/o timeout"
        f"{messages.local_cause(blocked.cause)}"
    )


def _reference(container: Container) -> images.ImageReference | None:
    try:
        return images.parse(container.image)
    except images.UnresolvedImageError:
        return None


def _denial(task: Task, reference: images.ImageReference, *, action: str) -> str | None:
    """Return why the role is denied, or None. A repository of another account must also allow it in its policy.

    https://docs.aws.amazon.com/AmazonECR/latest/userguide/repository-policies.html
    """
    denial = roles.denial(task, action=action, resource=reference.repository_arn)
    repository = ecr_backends[reference.account_id][reference.region].repositories.get(reference.repository)
    if denial is not None or repository is None:
        return denial
    account_id = task.launch.account_id
    role_arn = task.launch.execution_role_arn or ""
    request = IamRequest(
        action=action,
        resource=reference.repository_arn,
        principals=(account_id, f"arn:aws:iam::{account_id}:root", role_arn, roles.caller(task)),
    )
    decision = decide([repository.policy] if repository.policy else [], request)
    if decision is IamDecision.ALLOWED or (
        decision is IamDecision.NOT_ALLOWED and reference.account_id == account_id
    ):
        return None
    cause = "with an explicit deny in a resource-based policy"
    if decision is IamDecision.NOT_ALLOWED:
        cause = f"because no resource-based policy allows the {action} action"
    return (
        f"User: {roles.caller(task)} is not authorized to perform: {action} on resource: "
        f"{reference.repository_arn} {cause}"
    )
