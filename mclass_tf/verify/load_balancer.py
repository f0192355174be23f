"""Checks of the load balancer: its settings, its security group, and the forwarding of its rules."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from mclass_tf.verify.check import Comparison, NotApplicableError, equal, holds, registry, within
from mclass_tf.verify.readers.reader import Item, MissingError
from mclass_tf.verify.security import Opening, egress, ingress
from mclass_tf.verify.world import World

check = registry.group("load balancer")

COLOURS = ("blue", "green")
INTERNET_FACING = "internet-facing"

# The predefined policies without protocols older than TLS 1.2.
# https://docs.aws.amazon.com/elasticloadbalancing/latest/application/describe-ssl-policies.html
_MODERN_TLS = re.compile(r"ELBSecurityPolicy-(TLS13-1-[23]-|TLS-1-2-|FS-1-2-).+")


@check(
    "the load balancer is active, an application load balancer, and has the name of the outputs",
    hint="look at its state and reason code in the EC2 console, then apply again",
)
def active(world: World) -> Iterator[Comparison]:
    balancer = world.elbv2.load_balancer
    yield equal("state", expected="active", actual=balancer["State"]["Code"])
    yield equal("type", expected="application", actual=balancer["Type"])
    yield equal("DNS name", expected=world.outputs.alb_dns_name, actual=balancer["DNSName"])


@check(
    "the load balancer is in this VPC, in subnets that fit its scheme, in at least two zones",
    hint="an internet-facing load balancer belongs in the public subnets, an internal one in the private ones",
)
def placement(world: World) -> Iterator[Comparison]:
    balancer, outputs = world.elbv2.load_balancer, world.outputs
    public = balancer["Scheme"] == INTERNET_FACING
    zones = {zone["ZoneName"] for zone in balancer["AvailabilityZones"]}
    subnets = {zone["SubnetId"] for zone in balancer["AvailabilityZones"]}
    expected = set(outputs.public_subnet_ids if public else outputs.private_subnet_ids)
    yield equal("VPC", expected=outputs.vpc_id, actual=balancer["VpcId"])
    yield equal(f"subnets ({balancer['Scheme']})", expected=expected, actual=subnets)
    yield holds("zones", len(zones) > 1, expected="at least two", actual=zones)


@check(
    "the load balancer drops requests with invalid headers",
    hint="drop_invalid_header_fields = true in modules/alb",
)
def invalid_headers(world: World) -> Iterator[Comparison]:
    yield _attribute(world, "routing.http.drop_invalid_header_fields.enabled", expected="true")


@check(
    "the load balancer closes idle connections after a bounded time",
    hint="idle_timeout of modules/alb, 1 to 4000 seconds; the service's keep-alive must exceed it",
)
def idle_timeout(world: World) -> Iterator[Comparison]:
    actual = world.elbv2.load_balancer_attributes.get("idle_timeout.timeout_seconds", "")
    bounded = actual.isdigit() and 1 <= int(actual) <= 4000  # noqa: PLR2004
    yield holds("idle timeout", bounded, expected="1 to 4000 seconds", actual=actual)


@check(
    "the load balancer writes its access log to the bucket of the outputs",
    hint="access_logs_bucket in terraform.tfvars; the bucket's policy must let the load balancer write",
)
def access_logs(world: World) -> Iterator[Comparison]:
    bucket = world.outputs.access_logs_bucket
    if bucket is None:
        raise NotApplicableError("the environment has no access-log bucket (access_logs_bucket is null)")
    yield _attribute(world, "access_logs.s3.enabled", expected="true")
    yield _attribute(world, "access_logs.s3.bucket", expected=bucket)


@check(
    "the load balancer is protected from deletion as the outputs say",
    hint="deletion_protection of modules/alb; somebody changed it since the last apply",
)
def deletion_protection(world: World) -> Iterator[Comparison]:
    expected = world.outputs.deletion_protection
    if expected is None:
        raise NotApplicableError("the outputs do not say whether it should be")
    yield _attribute(world, "deletion_protection.enabled", expected="true" if expected else "false")


@check(
    "the load balancer has exactly its own security group",
    hint="security_groups of the load balancer: the one in alb_security_group_id alone",
)
def own_security_group(world: World) -> Iterator[Comparison]:
    expected = {world.outputs.alb_security_group_id}
    yield equal("security groups", expected=expected, actual=set(world.elbv2.load_balancer["SecurityGroups"]))


@check(
    "clients reach the load balancer on the port of the url",
    hint="the load balancer's security group needs ingress on the production listener's port",
)
def production_port(world: World) -> Iterator[Comparison]:
    port = _port(world.outputs.url)
    openings = [rule for rule in _ingress(world) if rule.covers(port)]
    yield holds(f"ingress on {port}", bool(openings), expected="at least one client", actual=openings)


@check(
    "the internet reaches the load balancer only on its production and redirect ports",
    hint="remove the other ingress rules with 0.0.0.0/0 or ::/0 from the load balancer's security group",
)
def internet_ports(world: World) -> Iterator[Comparison]:
    allowed = {str(_port(world.outputs.url))}
    if world.outputs.redirect_listener_arn is not None:
        allowed.add(str(world.elbv2.listener(world.outputs.redirect_listener_arn)["Port"]))
    open_ports = {f"{o.first}-{o.last}" for o in _ingress(world) if o.is_internet and o.first != o.last}
    open_ports |= {str(o.first) for o in _ingress(world) if o.is_internet and o.first == o.last}
    yield within("ports open to the internet", allowed=allowed, actual=open_ports)


@check(
    "the load balancer may reach the tasks on the container port",
    hint="the load balancer's security group needs egress to the service's security group on the container port",
)
def reaches_tasks(world: World) -> Iterator[Comparison]:
    port, tasks = world.outputs.container_port, world.outputs.service_security_group_id
    group = world.ec2.security_group(world.outputs.alb_security_group_id)
    openings = [rule for rule in egress(group) if rule.covers(port)]
    reached = any(rule.peer == tasks or rule.holds_network(world.ec2.vpc["CidrBlock"]) for rule in openings)
    yield holds(f"egress on {port}", reached, expected=f"tcp {port} with {tasks}", actual=openings)


@check(
    "the production listener speaks the protocol and has the port of the url",
    hint="with certificate_arn the production listener is HTTPS on 443, without it HTTP on 80",
)
def production_listener(world: World) -> Iterator[Comparison]:
    listener, url = world.elbv2.listener(world.outputs.production_listener_arn), urlsplit(world.outputs.url)
    yield equal("protocol", expected=url.scheme.upper(), actual=listener["Protocol"])
    yield equal("port", expected=_port(world.outputs.url), actual=listener["Port"])
    yield equal("host of the url", expected=world.outputs.alb_dns_name, actual=url.hostname)
    if world.outputs.certificate_arn is not None:
        yield equal("protocol, with a certificate", expected="HTTPS", actual=listener["Protocol"])


@check(
    "the production listener has the certificate of the outputs, issued and in date",
    hint="certificate_arn in terraform.tfvars names a certificate in ACM that is ISSUED",
)
def certificate(world: World) -> Iterator[Comparison]:
    arn = _certificate_arn(world)
    listener = world.elbv2.listener(world.outputs.production_listener_arn)
    actual = {item["CertificateArn"] for item in listener.get("Certificates", [])}
    yield equal("certificates of the listener", expected={arn}, actual=actual)
    yield equal("status of the certificate", expected="ISSUED", actual=world.certificate["Status"])


@check(
    "the HTTPS listeners accept only TLS 1.2 or later",
    hint='ssl_policy = "ELBSecurityPolicy-TLS13-1-2-2021-06" in modules/alb',
)
def modern_tls(world: World) -> Iterator[Comparison]:
    _certificate_arn(world)
    secure = [item for item in world.elbv2.listeners.values() if item["Protocol"] == "HTTPS"]
    for listener in secure:
        actual = str(listener.get("SslPolicy", ""))
        modern = _MODERN_TLS.fullmatch(actual) is not None
        expected = "a policy of TLS 1.2 or 1.3"
        yield holds(f"policy on port {listener['Port']}", modern, expected=expected, actual=actual)


@check(
    "plain HTTP on port 80 is permanently redirected to HTTPS",
    hint="the redirect listener answers 301 to HTTPS on the port of the url",
)
def redirect(world: World) -> Iterator[Comparison]:
    _certificate_arn(world)
    arn = world.outputs.redirect_listener_arn
    if arn is None:
        raise MissingError("there is a certificate, but the outputs name no redirect listener")
    listener = world.elbv2.listener(arn)
    actions = listener["DefaultActions"]
    target = actions[0].get("RedirectConfig", {}) if actions else {}
    yield equal("listener", expected="HTTP 80", actual=f"{listener['Protocol']} {listener['Port']}")
    yield equal("actions", expected=["redirect"], actual=[action["Type"] for action in actions])
    actual = (target.get("Protocol"), target.get("Port"), target.get("StatusCode"))
    expected = ("HTTPS", str(_port(world.outputs.url)), "HTTP_301")
    yield equal("redirect", expected=expected, actual=actual)


@check(
    "the production rule forwards to the blue and the green target group, and not all weights are 0",
    hint="a rollout was interrupted, or somebody edited the rule: give the target group that serves a weight of 100",
)
def production_rule(world: World) -> Iterator[Comparison]:
    outputs = world.outputs
    yield from _forwards(world, outputs.production_listener_rule_arn, of=outputs.production_listener_arn)


@check(
    "the test rule forwards to the blue and the green target group",
    hint="the rule of test traffic must forward to both target groups; apply the environment again",
)
def test_rule(world: World) -> Iterator[Comparison]:
    outputs = world.outputs
    yield from _forwards(world, outputs.test_listener_rule_arn, of=outputs.production_listener_arn)


@check(
    "test traffic has a rule of its own, before the production rule, for the header of the outputs alone",
    hint="somebody edited the rules of the production listener; apply the environment again",
)
def test_traffic(world: World) -> Iterator[Comparison]:
    outputs = world.outputs
    production, test = (
        world.elbv2.rule(arn, of=outputs.production_listener_arn)
        for arn in (outputs.production_listener_rule_arn, outputs.test_listener_rule_arn)
    )
    differ = production["RuleArn"] != test["RuleArn"]
    yield holds("rules of production and test", differ, expected="two", actual={production["RuleArn"]})
    priorities = (str(test["Priority"]), str(production["Priority"]))
    comes_first = all(map(str.isdigit, priorities)) and int(priorities[0]) < int(priorities[1])
    yield holds("priorities of test and production", comes_first, expected="test first", actual=priorities)
    header = outputs.test_header
    if header is None:
        raise MissingError("the outputs name no header of test traffic")
    headers = [each["HttpHeaderConfig"] for each in test["Conditions"] if each["Field"] == "http-header"]
    names = [str(each["HttpHeaderName"]) for each in headers]
    yield equal("headers of the test rule", expected=[header["name"]], actual=names)
    is_value = [list(each["Values"]) for each in headers] == [[header["value"]]]
    yield holds("value of the header", is_value, expected="that of the outputs", actual="another one")


@check(
    "the production listener has no action but forward",
    hint="by some versions of AWS's page, a deployment that shifts traffic fails beside other actions: move such a rule to another listener",
)
def only_forwards(world: World) -> Iterator[Comparison]:
    arn = world.outputs.production_listener_arn
    defaults = world.elbv2.listener(arn)["DefaultActions"]
    yield equal("default actions", expected=["forward"], actual=[action["Type"] for action in defaults])
    kinds = {action["Type"] for rule in world.elbv2.rules(arn) for action in rule["Actions"]}
    yield within("actions of its rules", allowed={"forward"}, actual=kinds)


@check(
    "blue and green are two target groups of IP addresses in this VPC",
    hint='target_type = "ip", which Fargate needs, and the vpc_id of this environment',
)
def target_groups(world: World) -> Iterator[Comparison]:
    yield equal("target groups", expected=set(COLOURS), actual=set(world.elbv2.target_groups))
    yield equal("different ARNs", expected=2, actual=len(set(world.outputs.target_group_arns.values())))
    for colour, group in world.elbv2.target_groups.items():
        actual = (group["TargetType"], group["Protocol"], group["VpcId"])
        yield equal(f"{colour}", expected=("ip", "HTTP", world.outputs.vpc_id), actual=actual)


@check(
    "both target groups check the same health check path on the tasks' own port",
    hint="health_check of modules/alb: enabled, a path, port traffic-port",
)
def health_checks(world: World) -> Iterator[Comparison]:
    paths: set[str] = set()
    for colour, group in _both(world.elbv2.target_groups):
        path = str(group.get("HealthCheckPath", ""))
        paths.add(path)
        yield equal(f"health checks of {colour}", expected=True, actual=group.get("HealthCheckEnabled"))
        yield equal(f"port of {colour}", expected="traffic-port", actual=group.get("HealthCheckPort"))
        yield holds(f"path of {colour}", path.startswith("/"), expected="a path", actual=path)
    yield equal("different paths", expected=1, actual=len(paths))


@check(
    "both target groups let requests in flight finish before a task is stopped",
    hint="deregistration_delay of modules/alb: as long as the longest request, 1 to 3600 seconds",
)
def draining(world: World) -> Iterator[Comparison]:
    for colour, attributes in _both(world.elbv2.target_group_attributes):
        actual = attributes.get("deregistration_delay.timeout_seconds", "")
        drains = actual.isdigit() and int(actual) > 0
        yield holds(f"deregistration delay of {colour}", drains, expected="above 0 s", actual=actual)


def _both(by_colour: Mapping[str, Item]) -> Sequence[tuple[str, Item]]:
    return [(colour, by_colour.get(colour, {})) for colour in COLOURS]


def _forwards(world: World, arn: str, *, of: str) -> Iterator[Comparison]:
    actions = world.elbv2.rule(arn, of=of)["Actions"]
    yield equal("actions", expected=["forward"], actual=[action["Type"] for action in actions])
    weights = _weights(actions)
    yield equal("target groups", expected=set(world.outputs.target_group_arns.values()), actual=set(weights))
    actual = ", ".join(f"{arn.split('/')[-2]} {weight}" for arn, weight in weights.items())
    yield holds("weights", sum(weights.values()) > 0, expected="a sum above 0", actual=actual)


def _weights(actions: Sequence[Item]) -> Mapping[str, int]:
    groups = [
        group for action in actions for group in action.get("ForwardConfig", {}).get("TargetGroups", [])
    ]
    return {group["TargetGroupArn"]: int(group.get("Weight", 0)) for group in groups}


def _certificate_arn(world: World) -> str:
    if world.outputs.certificate_arn is None:
        raise NotApplicableError("no certificate is given (certificate_arn is null)")
    return world.outputs.certificate_arn


def _attribute(world: World, key: str, *, expected: str) -> Comparison:
    return equal(key, expected=expected, actual=world.elbv2.load_balancer_attributes.get(key))


def _ingress(world: World) -> tuple[Opening, ...]:
    return ingress(world.ec2.security_group(world.outputs.alb_security_group_id))


def _port(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)
