"""Checks of the cluster and the service: placement, wiring, and what protects a deployment."""

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
from mclass_tf.verify.security import ingress
from mclass_tf.verify.world import Item, World

check = registry.group("service")

FARGATE = ("FARGATE", "FARGATE_SPOT")


@check("the cluster is active and is the one that the outputs name", hint="apply the environment again")
def cluster(world: World) -> Iterator[Comparison]:
    yield equal("status", expected="ACTIVE", found=world.cluster["status"])
    yield equal("ARN", expected=world.outputs.cluster_arn, found=world.cluster["clusterArn"])


@check(
    "the cluster has Container Insights as the outputs say",
    hint='setting containerInsights = "enabled" in modules/ecs-service',
)
def container_insights(world: World) -> Iterator[Comparison]:
    settings = {item["name"]: item["value"] for item in world.cluster.get("settings", [])}
    found = settings.get("containerInsights")
    said = world.outputs.container_insights
    yield one_of("containerInsights", allowed=(said,) if said else ("enabled", "enhanced"), found=found)


@check(
    "the cluster offers Fargate and Fargate Spot and nothing else",
    hint="aws_ecs_cluster_capacity_providers of modules/ecs-service",
)
def capacity_providers(world: World) -> Iterator[Comparison]:
    found = set(world.cluster.get("capacityProviders", []))
    yield equal("capacity providers", expected=set(FARGATE), found=found)


@check("the service is active in this cluster", hint="apply the environment again")
def active(world: World) -> Iterator[Comparison]:
    found, outputs = world.service, world.outputs
    yield equal("status", expected="ACTIVE", found=found["status"])
    yield equal("ARN", expected=outputs.service_arn, found=found["serviceArn"])
    yield equal("cluster", expected=outputs.cluster_arn, found=found["clusterArn"])


@check("the service runs on Fargate", hint="launch_type FARGATE or a capacity provider strategy of Fargate")
def fargate(world: World) -> Iterator[Comparison]:
    strategy = world.service.get("capacityProviderStrategy", [])
    found = {item["capacityProvider"] for item in strategy} or {str(world.service.get("launchType"))}
    yield within("launch type or capacity providers", allowed=FARGATE, found=found)


@check(
    "the service runs a revision of this environment's task definition",
    hint="point the service back at its own task definition: `rollback ENV`",
)
def family(world: World) -> Iterator[Comparison]:
    for revision in world.task_definitions:
        arn = revision["taskDefinitionArn"]
        yield equal(
            f"family of {arn}", expected=world.outputs.task_definition_family, found=revision["family"]
        )
        yield equal(f"status of {arn}", expected="ACTIVE", found=revision.get("status", "ACTIVE"))


@check(
    "the service keeps the minimum and maximum percent of the outputs during a deployment",
    hint="deployment in terraform.tfvars; somebody changed the service since the last apply",
)
def percentages(world: World) -> Iterator[Comparison]:
    found, expected = world.service["deploymentConfiguration"], world.outputs.deployment
    for what, key in (("minimum healthy", "minimumHealthyPercent"), ("maximum", "maximumPercent")):
        output = "minimum_healthy_percent" if key == "minimumHealthyPercent" else "maximum_percent"
        yield equal(f"{what} percent", expected=expected.get(output), found=found.get(key))


@check(
    "a failed deployment is stopped and rolled back by the circuit breaker",
    hint="deployment_circuit_breaker with enable and rollback in modules/ecs-service",
)
def circuit_breaker(world: World) -> Iterator[Comparison]:
    breaker = world.service["deploymentConfiguration"].get("deploymentCircuitBreaker", {})
    yield equal("circuit breaker", expected=True, found=breaker.get("enable"))
    yield equal("rollback", expected=True, found=breaker.get("rollback"))


@check(
    "a task that starts has a grace period before its health counts",
    hint="health_check_grace_period_seconds: start time plus interval x threshold; 0 kills a slow starter",
)
def grace_period(world: World) -> Iterator[Comparison]:
    found = world.service.get("healthCheckGracePeriodSeconds") or 0
    yield holds("grace period", found > 0, expected="above 0 s", found=f"{found} s")


@check(
    "the service registers its tasks in the blue or the green target group, on the container port",
    hint="load_balancer of the service: a target group of this environment, the container's name and port",
)
def wiring(world: World) -> Iterator[Comparison]:
    outputs, balancers = world.outputs, world.service.get("loadBalancers", [])
    yield equal("load balancers of the service", expected=1, found=len(balancers))
    for item in balancers:
        groups = outputs.target_group_arns.values()
        yield one_of("target group", allowed=tuple(groups), found=item.get("targetGroupArn"))
        found = f"{item.get('containerName')}:{item.get('containerPort')}"
        yield equal("container", expected=f"{outputs.container_name}:{outputs.container_port}", found=found)


@check(
    "the service spreads its tasks over the zones again after one was lost, as the outputs say",
    hint='availability_zone_rebalancing = "ENABLED" in modules/ecs-service',
)
def rebalancing(world: World) -> Iterator[Comparison]:
    expected = "DISABLED" if world.outputs.availability_zone_rebalancing is False else "ENABLED"
    found = world.service.get("availabilityZoneRebalancing")
    yield equal("availability zone rebalancing", expected=expected, found=found)


@check(
    "nobody can open a shell in a task, unless the outputs say so",
    hint="enable_execute_command = false, and deploy again: running tasks keep what they started with",
)
def execute_command(world: World) -> Iterator[Comparison]:
    expected = world.outputs.execute_command_enabled or False
    yield equal("execute command", expected=expected, found=world.service.get("enableExecuteCommand", False))


@check(
    "the tasks stand in the private subnets, without public addresses",
    hint="subnets and assign_public_ip of the service's network configuration",
)
def private_tasks(world: World) -> Iterator[Comparison]:
    if not world.outputs.private_subnet_ids:
        raise NotApplicableError("the environment has no private subnets")
    network = _network(world)
    private = set(world.outputs.private_subnet_ids)
    yield equal("subnets of the tasks", expected=private, found=set(network.get("subnets", [])))
    found = network.get("assignPublicIp", "DISABLED")
    yield equal("public addresses", expected="DISABLED", found=found)


@check(
    "the tasks have exactly the service's own security group",
    hint="security_groups of the service: the one in service_security_group_id alone",
)
def own_security_group(world: World) -> Iterator[Comparison]:
    found = set(_network(world).get("securityGroups", []))
    yield equal("security groups", expected={world.outputs.service_security_group_id}, found=found)


@check(
    "the service's security group admits the load balancer alone, on the container port",
    hint="ingress of the service's security group: the load balancer's security group on the container port",
)
def admits_load_balancer(world: World) -> Iterator[Comparison]:
    outputs = world.outputs
    group = world.security_group(outputs.service_security_group_id)
    expected = {f"tcp {outputs.container_port} with {outputs.alb_security_group_id}"}
    yield equal("ingress", expected=expected, found={str(rule) for rule in ingress(group)})


@check(
    "the service stands at 0 tasks before its first image, and within the scaling bounds after its first release",
    hint="`release ENV` raises the service; `status ENV` shows what holds it",
)
def task_count(world: World) -> Iterator[Comparison]:
    found, bounds = int(world.service["desiredCount"]), world.outputs.autoscaling
    if world.outputs.image_digest is None:
        yield equal("desired count", expected=0, found=found)
    elif bounds is None or found == 0:
        expected = f"{world.outputs.desired_count}, or 0 before the first release"
        yield holds(
            "desired count", found in (0, world.outputs.desired_count), expected=expected, found=found
        )
    else:
        low, high = bounds["min"] or 0, bounds["max"] or 0
        yield holds("desired count", low <= found <= high, expected=f"{low} to {high}", found=found)


def _network(world: World) -> Item:
    network: Item = world.service.get("networkConfiguration", {}).get("awsvpcConfiguration", {})
    return network
