"""`render` and `status`: the read-only commands on the task definition and the service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mclass_tf import load_balancer_endpoint, rollout, verify
from mclass_tf.errors import EndpointError
from mclass_tf.flows.deployer.deploy import Deployer
from mclass_tf.flows.environments import applied_state
from mclass_tf.flows.history import PastAttempt, unfinished_attempt
from mclass_tf.flows.image_in_force import image_in_force
from mclass_tf.rollout import DeploymentTasks
from mclass_tf.service import ServiceDeployment, registrable
from mclass_tf.session import Session
from mclass_tf.terraform_state import State


@dataclass(frozen=True, kw_only=True)
class ServiceStatus:
    """What runs. `digest` is the image digest of the service's task definition, "" before the first release.

    `targets` counts the load balancer's targets by state. `address` is the actual address of the URL on the local AWS.
    `deployment` is the service deployment under way, `attempt` the last attempt if it has no end.
    """

    environment: str
    digest: str
    task_definition_arn: str
    desired: int
    running: int
    pending: int
    deployments: tuple[DeploymentTasks, ...]
    targets: Mapping[str, int]
    url: str
    address: str
    deployment: ServiceDeployment | None
    attempt: PastAttempt | None


def render(session: Session, *, digest: str | None = None) -> dict[str, Any]:
    """Return the applied task definition in the format of `aws ecs register-task-definition --cli-input-json`.

    `digest` replaces the digest of the service's image. Without it, the image in force replaces a withdrawn image.
    """
    state = applied_state(session)
    deployer = Deployer.of(session, verify.Outputs.parse(state.outputs))
    outputs = deployer.outputs
    if digest is None:
        digest = _replacement(session, state)
    document = registrable(deployer.ecs.task_definition(outputs.task_definition_arn))
    for container in document["containerDefinitions"]:
        if digest is not None and container["name"] == outputs.container_name:
            container["image"] = f"{outputs.repository_url}@{digest}"
    return document


def _replacement(session: Session, state: State) -> str | None:
    """Return the digest of the image in force, None if the state names it already."""
    chosen = image_in_force(session, state)
    if not chosen.differs:
        return None
    session.report(f"the image is {chosen}")
    return chosen.digest or verify.PLACEHOLDER


def status(session: Session) -> ServiceStatus:
    """Return what runs now."""
    deployer = Deployer.of(session, verify.Outputs.parse(applied_state(session).outputs))
    outputs, ecs = deployer.outputs, deployer.ecs
    service, current = deployer.service(), deployer.ongoing()
    states = ecs.target_states(service.target_group_arns)
    counted = list(states.values())
    image = deployer.image_of(service.task_definition_arn).rpartition("@")[2]
    return ServiceStatus(
        environment=session.environment.name,
        digest="" if image == verify.PLACEHOLDER else image,
        task_definition_arn=service.task_definition_arn,
        desired=service.desired,
        running=service.running,
        pending=service.pending,
        deployments=rollout.tasks_of(
            service,
            running=ecs.tasks(),
            target_states=states,
            task_definition_arn=service.task_definition_arn,
        ),
        targets={state: counted.count(state) for state in sorted(set(counted))},
        url=outputs.url,
        address=_address(session, outputs.url),
        deployment=current and deployer.describe_service_deployment(current),
        attempt=unfinished_attempt(session),
    )


def _address(session: Session, url: str) -> str:
    """Return the address of the URL on this machine; "" on AWS, where the URL itself works."""
    if not session.cloud.is_local:
        return ""
    try:
        endpoint = load_balancer_endpoint.resolve(session.cloud, url)
    except EndpointError:
        return ""
    return f"{endpoint.scheme}://{endpoint.address}"
