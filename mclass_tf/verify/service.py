"""Checks of the cluster and the service: placement, wiring, and the protections of a deployment."""

from __future__ import annotations

from collections.abc import Iterator

from mclass_tf.verify.check import (
    Comparison,
    NotApplicableError,
    equal,
    holds,
    one_of,
    registry,
    within,
)
from mclass_tf.verify.readers.reader import Item
from mclass_tf.verify.security import ingress
from mclass_tf.verify.world import World

check = registry.group("service")

FARGATE = ("FARGATE", "FARGATE_SPOT")


@check("the cluster is active and is the one that the outputs name", hint="apply the environment again")
def cluster(world: World) -> Iterator[Comparison]:
    yield equal("status", expected="ACTIVE", actual=world.ecs.cluster["status"])
    yield equal("ARN", expected=world.outputs.cluster_arn, actual=world.ecs.cluster["clusterArn"])


@check(
    "the cluster has Container Insights as the outputs say",
    hint='setting containerInsights = "enabled" in modules/ecs-service',
)
def container_insights(world: World) -> Iterator[Comparison]:
    settings = {item["name"]: item["value"] for item in world.ecs.cluster.get("settings", [])}
    actual = settings.get("containerInsights")
    expected = world.outputs.container_insights
    yield one_of(
        "containerInsights", allowed=(expected,) if expected else ("enabled", "enhanced"), actual=actual
    )


@check(
    "the cluster offers Fargate and Fargate Spot and nothing else",
    hint="aws_ecs_cluster_capacity_providers of modules/ecs-service",
)
def capacity_providers(world: World) -> Iterator[Comparison]:
    actual = set(world.ecs.cluster.get("capacityProviders", []))
    yield equal("capacity providers", expected=set(FARGATE), actual=actual)


@check("the service is active in this cluster", hint="apply the environment again")
def active(world: World) -> Iterator[Comparison]:
    service, outputs = world.ecs.service, world.outputs
    yield equal("status", expected="ACTIVE", actual=service["status"])
    yield equal("ARN", expected=outputs.service_arn, actual=service["serviceArn"])
    yield equal("cluster", expected=outputs.cluster_arn, actual=service["clusterArn"])


@check("the service runs on Fargate", hint="launch_type FARGATE or a capacity provider strategy of Fargate")
def fargate(world: World) -> Iterator[Comparison]:
    strategy = world.ecs.service.get("capacityProviderStrategy", [])
    actual = {item["capacityProvider"] for item in strategy} or {str(world.ecs.service.get("launchType"))}
    yield within("launch type or capacity providers", allowed=FARGATE, actual=actual)


@check(
    "the service runs a revision of this environment's task definition",
    hint="point the service back at its own task definition: `rollback ENV`",
)
def family(world: World) -> Iterator[Comparison]:
    for revision in world.ecs.task_definitions:
        arn = revision["taskDefinitionArn"]
        yield equal(
            f"family of {arn}", expected=world.outputs.task_definition_family, actual=revision["family"]
        )
        yield equal(f"status of {arn}", expected="ACTIVE", actual=revision.get("status", "ACTIVE"))


@check(
    "the service keeps the minimum and maximum percent of the outputs during a deployment",
    hint="deployment in terraform.tfvars; somebody changed the service since the last apply",
)
def percentages(world: World) -> Iterator[Comparison]:
    configuration, expected = world.ecs.service["deploymentConfiguration"], world.outputs.deployment
    for what, key in (("minimum healthy", "minimumHealthyPercent"), ("maximum", "maximumPercent")):
        output = "minimum_healthy_percent" if key == "minimumHealthyPercent" else "maximum_percent"
        yield equal(f"{what} percent", expected=expected.get(output), actual=configuration.get(key))


@check(
    "a failed deployment is stopped and rolled back by the circuit breaker",
    hint="deployment_circuit_breaker with enable and rollback in modules/ecs-service",
)
def circuit_breaker(world: World) -> Iterator[Comparison]:
    breaker = world.ecs.service["deploymentConfiguration"].get("deploymentCircuitBreaker", {})
    yield equal("circuit breaker", expected=True, actual=breaker.get("enable"))
    yield equal("rollback", expected=True, actual=breaker.get("rollback"))


@check(
    "a task that starts has a grace period before its health counts",
    hint="health_check_grace_period_seconds: start time plus interval x threshold; 0 kills a slow starter",
)
def grace_period(world: World) -> Iterator[Comparison]:
    actual = world.ecs.service.get("healthCheckGracePeriodSeconds") or 0
    yield holds("grace period", actual > 0, expected="above 0 s", actual=f"{actual} s")


@check(
    "the service registers its tasks in the blue or the green target group, on the container port",
    hint="a changed container.name or container.port takes effect with `release ENV`; the service is reached on that of what runs",
)
def wiring(world: World) -> Iterator[Comparison]:
    outputs, balancers = world.outputs, world.ecs.service.get("loadBalancers", [])
    yield equal("load balancers of the service", expected=1, actual=len(balancers))
    for item in balancers:
        groups = outputs.target_group_arns.values()
        yield one_of("target group", allowed=tuple(groups), actual=item.get("targetGroupArn"))
        actual = f"{item.get('containerName')}:{item.get('containerPort')}"
        yield one_of("container", allowed=_listening(world.ecs.task_definitions[-1]), actual=actual)


@check(
    "the service rebalances its tasks over the zones after the loss of one, as the outputs say",
    hint='availability_zone_rebalancing = "ENABLED" in modules/ecs-service',
)
def rebalancing(world: World) -> Iterator[Comparison]:
    expected = "DISABLED" if world.outputs.availability_zone_rebalancing is False else "ENABLED"
    actual = world.ecs.service.get("availabilityZoneRebalancing")
    yield equal("availability zone rebalancing", expected=expected, actual=actual)


@check(
    "nobody can open a shell in a task, unless the outputs say so",
    hint="enable_execute_command = false, and deploy again: running tasks keep what they started with",
)
def execute_command(world: World) -> Iterator[Comparison]:
    expected = world.outputs.execute_command_enabled or False
    yield equal(
        "execute command", expected=expected, actual=world.ecs.service.get("enableExecuteCommand", False)
    )


@check(
    "the tasks are in the private subnets, without public addresses",
    hint="subnets and assign_public_ip of the service's network configuration",
)
def private_tasks(world: World) -> Iterator[Comparison]:
    if not world.outputs.private_subnet_ids:
        raise NotApplicableError("the environment has no private subnets")
    network = _network(world)
    private = set(world.outputs.private_subnet_ids)
    yield equal("subnets of the tasks", expected=private, actual=set(network.get("subnets", [])))
    actual = network.get("assignPublicIp", "DISABLED")
    yield equal("public addresses", expected="DISABLED", actual=actual)


@check(
    "the tasks have exactly the service's own security group",
    hint="security_groups of the service: the one in service_security_group_id alone",
)
def own_security_group(world: World) -> Iterator[Comparison]:
    actual = set(_network(world).get("securityGroups", []))
    yield equal("security groups", expected={world.outputs.service_security_group_id}, actual=actual)


@check(
    "the service's security group admits only the load balancer, on the container port",
    hint="ingress of the service's security group: the load balancer's security group on the container port",
)
def admits_load_balancer(world: World) -> Iterator[Comparison]:
    outputs = world.outputs
    openings = ingress(world.ec2.security_group(outputs.service_security_group_id))
    expected = f"tcp {outputs.container_port} with {outputs.alb_security_group_id}"
    own = [rule for rule in openings if rule.peer == outputs.alb_security_group_id and rule.protocol == "tcp"]
    is_open = any(rule.covers(outputs.container_port) for rule in own)
    yield holds("ingress", is_open, expected=expected, actual={str(rule) for rule in openings})
    others = {str(rule) for rule in openings if rule not in own}
    yield equal("ingress of others", expected=set(), actual=others)


@check(
    "the service has 0 tasks before its first image, and is within the scaling bounds after its first release",
    hint="`release ENV` raises the service; `status ENV` shows what holds it",
)
def task_count(world: World) -> Iterator[Comparison]:
    desired, bounds = int(world.ecs.service["desiredCount"]), world.outputs.autoscaling
    if world.outputs.image_digest is None:
        yield equal("desired count", expected=0, actual=desired)
    elif bounds is None or desired == 0:
        expected = f"{world.outputs.desired_count}, or 0 before the first release"
        yield holds(
            "desired count", desired in (0, world.outputs.desired_count), expected=expected, actual=desired
        )
    else:
        low, high = bounds["min"] or 0, bounds["max"] or 0
        yield holds("desired count", low <= desired <= high, expected=f"{low} to {high}", actual=desired)


def _listening(task_definition: Item) -> tuple[str, ...]:
    return tuple(
        f"{container['name']}:{mapping['containerPort']}"
        for container in task_definition.get("containerDefinitions", [])
        for mapping in container.get("portMappings", [])
    )


def _network(world: World) -> Item:
    network: Item = world.ecs.service.get("networkConfiguration", {}).get("awsvpcConfiguration", {})
    return network
