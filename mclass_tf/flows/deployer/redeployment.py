"""Waits for the redeployment of what runs that an apply starts: until it ends, ECS refuses another strategy or wiring.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/update-rolling-to-bluegreen.html
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/update-bluegreen-to-rolling.html
"""

from __future__ import annotations

from mclass_tf.flows.attempt import Attempt
from mclass_tf.flows.deployer.deploy import Deployer, WatchOptions
from mclass_tf.plan import Action, Plan
from mclass_tf.service import ServiceDeployment

_SERVICE = "aws_ecs_service"
# The provider updates the service for any other change in place, and forces a deployment with it, as modules/ecs-service asks.
# https://github.com/hashicorp/terraform-provider-aws/blob/main/internal/service/ecs/service.go (resourceServiceUpdate)
_WITHOUT_UPDATE = ("force_delete", "tags", "tags_all")
_LISTED_WITHIN = 60.0  # seconds; ECS lists a deployment some time after UpdateService
_PAUSE = 1.0


def redeploys(plan: Plan) -> bool:
    """Return whether an apply of the plan makes ECS redeploy what the service runs."""
    return any(
        attribute.path.split(".")[0].split("[")[0] not in _WITHOUT_UPDATE
        for change in plan.resources
        if change.type == _SERVICE and change.action is Action.UPDATE
        for attribute in change.attributes
    )


def known_deployments(deployer: Deployer) -> frozenset[str]:
    """Return the ARNs of the service deployments so far."""
    return frozenset(each.arn for each in deployer.patience(deployer.ecs.service_deployments))


def await_listing(deployer: Deployer, *, known: frozenset[str]) -> None:
    """Return as soon as ECS lists a service deployment that is not known, or after a minute.

    The answers of ECS are consistent only eventually: a service looks at rest just after UpdateService.
    """
    patience = deployer.patience
    began = patience.clock()
    while known_deployments(deployer) <= known and patience.clock() - began < _LISTED_WITHIN:
        patience.wait(_PAUSE)


def await_redeployment(
    deployer: Deployer,
    current: ServiceDeployment,
    watching: WatchOptions,
    *,
    task_definition_arn: str,
) -> None:
    """Return when a redeployment of the old version has succeeded; raise RolloutError or a subclass if it does not.

    It is not part of the attempt: the ledger does not record it.
    """
    deployer.session.report("waiting for the end of the redeployment that the apply has started")
    aside = Attempt(record="", digest="", revision="", started_at=deployer.session.aws.now())
    started = deployer.adopt(current.arn, task_definition_arn=task_definition_arn)
    end = deployer.follow(started, watching, aside, reset_to=None, is_compared=False)
    deployer.require_success(end, watching, task_definition_arn=task_definition_arn, reset_to=None)
