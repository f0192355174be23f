"""Load balancers: their prerequisites are checked, and deletion protection holds."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import pytest
from botocore.exceptions import ClientError

from mclass_tf.cloud import Cloud
from mclass_tf.errors import EndpointError
from mclass_tf.load_balancer_endpoint import UntrustedError, get, resolve
from mclass_tf.local import LocalAws
from mclass_tf.trust import trust_in
from tests.callers import ask
from tests.local.conftest import REGION, Account, Network, make_network

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Elb:
    account: Account
    client: Any
    network: Network
    arn: str
    blue: str
    green: str

    def listen(self, **changes: Any) -> str:
        request = {"LoadBalancerArn": self.arn, "Port": 80, "Protocol": "HTTP", "DefaultActions": [_NOTHING]}
        made = self.client.create_listener(**{**request, **changes})
        return str(made["Listeners"][0]["ListenerArn"])

    def used_by(self, group: str) -> list[str]:
        found = self.client.describe_target_groups(TargetGroupArns=[group])["TargetGroups"][0]
        return list(found["LoadBalancerArns"])

    def set(self, **attributes: str) -> None:
        entries = [{"Key": name.replace("__", "."), "Value": value} for name, value in attributes.items()]
        self.client.modify_load_balancer_attributes(LoadBalancerArn=self.arn, Attributes=entries)


_NOTHING = {
    "Type": "fixed-response",
    "FixedResponseConfig": {"StatusCode": "404", "ContentType": "text/plain"},
}

_EVERYTHING = {"Field": "path-pattern", "PathPatternConfig": {"Values": ["/*"]}}
_ROUTING = "target_group_health.unhealthy_state_routing.minimum_healthy_targets"


def _forward(blue: str, green: str) -> dict[str, Any]:
    groups = [{"TargetGroupArn": blue, "Weight": 100}, {"TargetGroupArn": green, "Weight": 0}]
    return {"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}


@pytest.fixture
def elb(fresh: Account, network: Network) -> Elb:
    return _made(fresh, network)


@pytest.fixture(scope="module")
def untouched(standing: Account) -> Elb:
    """A load balancer and groups for calls that are refused."""
    return _made(standing, make_network(standing))


def _made(account: Account, network: Network) -> Elb:
    client = account.client("elbv2")
    anyone = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 443, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    account.client("ec2").authorize_security_group_ingress(GroupId=network.group_id, IpPermissions=[anyone])
    made = client.create_load_balancer(
        Name="web", Subnets=network.subnet_ids, SecurityGroups=[network.group_id]
    )
    groups = [
        client.create_target_group(
            Name=name, Port=3000, Protocol="HTTP", TargetType="ip", VpcId=network.vpc_id
        )["TargetGroups"][0]["TargetGroupArn"]
        for name in ("blue", "green")
    ]
    return Elb(
        account=account,
        client=client,
        network=network,
        arn=made["LoadBalancers"][0]["LoadBalancerArn"],
        blue=groups[0],
        green=groups[1],
    )


def test_a_load_balancer_is_active_from_the_first_answer(fresh: Account, network: Network) -> None:
    made = fresh.client("elbv2").create_load_balancer(Name="web", Subnets=network.subnet_ids)
    assert made["LoadBalancers"][0]["State"]["Code"] == "active"
    assert made["LoadBalancers"][0]["CanonicalHostedZoneId"] == "ZWKZPGTI48KDX"


def test_a_load_balancer_without_groups_gets_the_default_security_group(
    fresh: Account, network: Network
) -> None:
    made = fresh.client("elbv2").create_load_balancer(Name="web", Subnets=network.subnet_ids)
    group_ids = made["LoadBalancers"][0]["SecurityGroups"]
    found = fresh.client("ec2").describe_security_groups(GroupIds=group_ids)["SecurityGroups"]
    assert [(network.vpc_id, "default")] == [(group["VpcId"], group["GroupName"]) for group in found]


def test_attributes_have_defaults(elb: Elb) -> None:
    found = elb.client.describe_load_balancer_attributes(LoadBalancerArn=elb.arn)["Attributes"]
    values = {entry["Key"]: entry["Value"] for entry in found}
    assert values["idle_timeout.timeout_seconds"] == "60"
    assert values["routing.http.drop_invalid_header_fields.enabled"] == "false"


def test_a_name_is_unique(elb: Elb) -> None:
    with pytest.raises(ClientError, match="DuplicateLoadBalancerName"):
        elb.client.create_load_balancer(Name="web", Subnets=elb.network.subnet_ids)


@pytest.mark.parametrize("name", ["internal-web", "-web", "web-", "w" * 33, "web_1"])
def test_an_invalid_name_is_refused(untouched: Elb, name: str) -> None:
    with pytest.raises(ClientError, match="ValidationError"):
        untouched.client.create_load_balancer(
            Name=name,
            Subnets=list(untouched.network.subnet_ids),
            SecurityGroups=[untouched.network.group_id],
        )


def test_one_zone_is_not_enough(elb: Elb) -> None:
    with pytest.raises(ClientError, match="two different Availability Zones"):
        elb.client.create_load_balancer(Name="other", Subnets=elb.network.subnet_ids[:1])
    names = [entry["LoadBalancerName"] for entry in elb.client.describe_load_balancers()["LoadBalancers"]]
    assert names == ["web"]


def test_an_internet_facing_load_balancer_needs_an_internet_gateway(fresh: Account) -> None:
    ec2 = fresh.client("ec2")
    vpc_id = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc_id, CidrBlock=f"10.9.{number}.0/24", AvailabilityZone=f"{REGION}{zone}")[
            "Subnet"
        ]["SubnetId"]
        for number, zone in enumerate("ab")
    ]
    client = fresh.client("elbv2")
    with pytest.raises(ClientError, match="has no internet gateway"):
        client.create_load_balancer(Name="web", Subnets=subnets)
    made = client.create_load_balancer(Name="web", Subnets=subnets, Scheme="internal")
    assert made["LoadBalancers"][0]["DNSName"].startswith("internal-web-")


def test_deletion_protection_holds_until_it_is_turned_off(elb: Elb) -> None:
    elb.set(deletion_protection__enabled="true")
    with pytest.raises(ClientError, match="OperationNotPermitted"):
        elb.client.delete_load_balancer(LoadBalancerArn=elb.arn)
    assert elb.client.describe_load_balancers(LoadBalancerArns=[elb.arn])["LoadBalancers"]
    elb.set(deletion_protection__enabled="false")
    elb.client.delete_load_balancer(LoadBalancerArn=elb.arn)
    with pytest.raises(ClientError, match="LoadBalancerNotFound"):
        elb.client.describe_load_balancers(LoadBalancerArns=[elb.arn])


def test_access_logs_need_a_bucket_that_exists(elb: Elb) -> None:
    logs = {"access_logs__s3__enabled": "true", "access_logs__s3__bucket": f"logs-{elb.account.account_id}"}
    with pytest.raises(ClientError, match="Access Denied for bucket"):
        elb.set(**logs)
    elb.account.client("s3").create_bucket(
        Bucket=logs["access_logs__s3__bucket"], CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    elb.set(**logs)


def test_https_needs_a_certificate_that_exists(elb: Elb) -> None:
    arn = f"arn:aws:acm:{REGION}:{elb.account.account_id}:certificate/00000000-0000-4000-8000-000000000001"
    https: dict[str, Any] = {"Port": 443, "Protocol": "HTTPS"}
    with pytest.raises(ClientError, match="certificate must be specified"):
        elb.listen(**https)
    with pytest.raises(ClientError, match="CertificateNotFound"):
        elb.listen(**https, Certificates=[{"CertificateArn": arn}])
    put_certificate(elb.account, arn=arn)
    elb.listen(**https, Certificates=[{"CertificateArn": arn}])


def test_a_certificate_is_created_with_the_given_arn(fresh: Account) -> None:
    arn = f"arn:aws:acm:{REGION}:{fresh.account_id}:certificate/00000000-0000-4000-8000-000000000001"
    put_certificate(fresh, arn=arn)
    acm = fresh.client("acm")
    first = acm.get_certificate(CertificateArn=arn)["Certificate"]
    put_certificate(fresh, arn=arn)
    assert acm.get_certificate(CertificateArn=arn)["Certificate"] == first
    described = acm.describe_certificate(CertificateArn=arn)["Certificate"]
    assert (described["Status"], described["DomainName"]) == ("ISSUED", "mclass.example")


def test_a_listener_with_another_certificate_than_the_applied_one_is_detected(elb: Elb) -> None:
    prefix = f"arn:aws:acm:{REGION}:{elb.account.account_id}:certificate/00000000-0000-4000-8000-00000000000"
    applied, other = f"{prefix}1", f"{prefix}2"
    for arn in (applied, other):
        put_certificate(elb.account, arn=arn)
    listener = elb.listen(Port=443, Protocol="HTTPS", Certificates=[{"CertificateArn": applied}])
    found = elb.client.describe_load_balancers(LoadBalancerArns=[elb.arn])["LoadBalancers"][0]
    server = elb.account.server
    where = Cloud(kind="local", identity="local", endpoint_url=server.url, key=server.key)
    acm = elb.account.client("acm")

    def status(arn: str) -> int:
        place = until(lambda: resolve(where, f"https://{found['DNSName']}"))
        trust = trust_in(acm, arn, report=lambda _: None)
        return get(replace(place, trust=trust), "/", seconds=10).status

    assert status(applied) == 404
    with pytest.raises(UntrustedError, match=f"does not show the certificate {other}"):
        status(other)
    elb.client.modify_listener(ListenerArn=listener, Certificates=[{"CertificateArn": other}])

    def noticed() -> bool:
        try:
            status(applied)
        except UntrustedError:
            return True
        raise EndpointError("the load balancer shows the earlier certificate still")

    assert until(noticed)


def until(look: Callable[[], T]) -> T:
    """Return the result of `look` as soon as the load balancer process listens."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return look()
        except EndpointError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def put_certificate(account: Account, *, arn: str) -> None:
    body = {
        "account_id": account.account_id,
        "region": REGION,
        "arn": arn,
        "domain_name": "mclass.example",
    }
    assert ask(account.server, "acm/certificates", body) == {"arn": arn}


def test_a_certificate_that_a_listener_uses_cannot_be_deleted(elb: Elb) -> None:
    arn = f"arn:aws:acm:{REGION}:{elb.account.account_id}:certificate/00000000-0000-4000-8000-000000000001"
    put_certificate(elb.account, arn=arn)
    acm, iam = elb.account.client("acm"), elb.account.client("iam")
    pem = acm.get_certificate(CertificateArn=arn)["Certificate"]
    uploaded = iam.upload_server_certificate(
        ServerCertificateName="web", CertificateBody=pem, PrivateKey="a key"
    )["ServerCertificateMetadata"]["Arn"]
    listeners = [
        elb.listen(Port=port, Protocol="HTTPS", Certificates=[{"CertificateArn": certificate}])
        for port, certificate in ((443, arn), (8443, uploaded))
    ]
    with pytest.raises(ClientError, match="ResourceInUseException"):
        acm.delete_certificate(CertificateArn=arn)
    with pytest.raises(ClientError, match="DeleteConflict"):
        iam.delete_server_certificate(ServerCertificateName="web")
    for listener in listeners:
        elb.client.delete_listener(ListenerArn=listener)
    acm.delete_certificate(CertificateArn=arn)
    iam.delete_server_certificate(ServerCertificateName="web")


def test_a_port_has_one_listener(elb: Elb) -> None:
    elb.listen()
    with pytest.raises(ClientError, match="DuplicateListener"):
        elb.listen()


def test_a_target_group_lists_the_load_balancers_that_use_it(elb: Elb) -> None:
    listener = elb.listen()
    assert elb.used_by(elb.green) == []
    rule = elb.client.create_rule(
        ListenerArn=listener,
        Priority=1,
        Conditions=[{"Field": "path-pattern", "PathPatternConfig": {"Values": ["/*"]}}],
        Actions=[_forward(elb.blue, elb.green)],
    )["Rules"][0]
    assert elb.used_by(elb.green) == [elb.arn]
    assert [group["Weight"] for group in rule["Actions"][0]["ForwardConfig"]["TargetGroups"]] == [100, 0]
    elb.client.delete_rule(RuleArn=rule["RuleArn"])
    assert elb.used_by(elb.green) == []


def test_a_deleted_listener_uses_no_target_group(elb: Elb) -> None:
    listener = elb.listen(DefaultActions=[{"Type": "forward", "TargetGroupArn": elb.blue}])
    assert elb.used_by(elb.blue) == [elb.arn]
    elb.client.delete_listener(ListenerArn=listener)
    assert elb.used_by(elb.blue) == []
    elb.client.delete_target_group(TargetGroupArn=elb.blue)


def test_a_target_group_serves_one_load_balancer(elb: Elb) -> None:
    elb.listen(DefaultActions=[{"Type": "forward", "TargetGroupArn": elb.blue}])
    made = elb.client.create_load_balancer(Name="other", Subnets=elb.network.subnet_ids)
    other = made["LoadBalancers"][0]["LoadBalancerArn"]
    forward = {"Type": "forward", "TargetGroupArn": elb.blue}
    with pytest.raises(ClientError, match="TargetGroupAssociationLimit"):
        elb.listen(LoadBalancerArn=other, DefaultActions=[forward])
    listener = elb.listen(LoadBalancerArn=other)
    with pytest.raises(ClientError, match="TargetGroupAssociationLimit"):
        elb.client.modify_listener(ListenerArn=listener, DefaultActions=[forward])
    with pytest.raises(ClientError, match="TargetGroupAssociationLimit"):
        elb.client.create_rule(
            ListenerArn=listener,
            Priority=1,
            Conditions=[{"Field": "path-pattern", "PathPatternConfig": {"Values": ["/*"]}}],
            Actions=[_forward(elb.blue, elb.green)],
        )


def test_a_listener_forwards_only_to_existing_target_groups(elb: Elb) -> None:
    listener = elb.listen()
    missing = elb.blue.replace("/blue/", "/gone/")
    with pytest.raises(ClientError, match="TargetGroupNotFound"):
        elb.client.modify_listener(
            ListenerArn=listener, DefaultActions=[{"Type": "forward", "TargetGroupArn": missing}]
        )


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("idle_timeout.timeout_seconds", "60s", "must be between '1-4000' inclusive"),
        ("idle_timeout.timeout_seconds", "0", "must be between '1-4000' inclusive"),
        ("idle_timeout.timeout_seconds", "5000", "must be between '1-4000' inclusive"),
        ("client_keep_alive.seconds", "59", "must be between '60-604800' inclusive"),
        ("routing.http.xff_header_processing.mode", "add", "must be one of"),
        ("routing.http.preserve_host_header.enabled", "yes", "must be one of"),
    ],
)
def test_an_invalid_load_balancer_attribute_is_refused(
    untouched: Elb, key: str, value: str, words: str
) -> None:
    with pytest.raises(ClientError, match=f"ValidationError.*'{key}' value '{value}' {words}"):
        untouched.client.modify_load_balancer_attributes(
            LoadBalancerArn=untouched.arn, Attributes=[{"Key": key, "Value": value}]
        )


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("slow_start.duration_seconds", "abc", "must be between '30-900' inclusive"),
        ("slow_start.duration_seconds", "29", "must be between '30-900' inclusive"),
        ("deregistration_delay.timeout_seconds", "3601", "must be between '0-3600' inclusive"),
        ("deregistration_delay.timeout_seconds", "-1", "must be between '0-3600' inclusive"),
        ("stickiness.lb_cookie.duration_seconds", "0", "must be between '1-604800' inclusive"),
        ("load_balancing.algorithm.type", "random", "must be one of"),
        (f"{_ROUTING}.percentage", "101", "must be between '1-100' inclusive"),
        ("slow_start.seconds", "30", "is not recognized"),
    ],
)
def test_an_invalid_target_group_attribute_is_refused(
    untouched: Elb, key: str, value: str, words: str
) -> None:
    with pytest.raises(ClientError, match=f"ValidationError.*'{key}'.* {words}"):
        untouched.client.modify_target_group_attributes(
            TargetGroupArn=untouched.blue, Attributes=[{"Key": key, "Value": value}]
        )


def test_attributes_are_accepted_up_to_their_bounds(elb: Elb) -> None:
    elb.set(idle_timeout__timeout_seconds="4000", client_keep_alive__seconds="604800")
    wanted = {
        "deregistration_delay.timeout_seconds": "3600",
        "slow_start.duration_seconds": "900",
        "stickiness.app_cookie.duration_seconds": "604800",
        f"{_ROUTING}.percentage": "off",
    }
    entries = [{"Key": key, "Value": value} for key, value in wanted.items()]
    elb.client.modify_target_group_attributes(TargetGroupArn=elb.blue, Attributes=entries)
    found = elb.client.describe_target_group_attributes(TargetGroupArn=elb.blue)["Attributes"]
    assert wanted.items() <= {entry["Key"]: entry["Value"] for entry in found}.items()


@pytest.mark.parametrize("codes", ["200,abc", "99", "200-500", "299-200", "200,"])
def test_an_invalid_matcher_is_refused(untouched: Elb, codes: str) -> None:
    matcher = {"HttpCode": codes}
    with pytest.raises(ClientError, match=r"ValidationError.*within '200-499' inclusive"):
        untouched.client.modify_target_group(TargetGroupArn=untouched.blue, Matcher=matcher)
    with pytest.raises(ClientError, match=r"ValidationError.*within '200-499' inclusive"):
        untouched.client.create_target_group(
            Name="red",
            Port=3000,
            Protocol="HTTP",
            TargetType="ip",
            VpcId=untouched.network.vpc_id,
            Matcher=matcher,
        )


def test_a_matcher_of_grpc_is_refused(elb: Elb) -> None:
    with pytest.raises(ClientError, match="does not model"):
        elb.client.create_target_group(
            Name="red",
            Port=3000,
            Protocol="HTTP",
            TargetType="ip",
            VpcId=elb.network.vpc_id,
            Matcher={"GrpcCode": "0"},
        )


def test_a_health_check_stays_on_the_traffic_port(elb: Elb) -> None:
    with pytest.raises(ClientError, match="on their traffic port alone"):
        elb.client.modify_target_group(TargetGroupArn=elb.blue, HealthCheckPort="3001")


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (
            {"Type": "redirect", "RedirectConfig": {"StatusCode": "permanent"}},
            "'permanent'.*HTTP_301, HTTP_302",
        ),
        (
            {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "twohundred"}},
            "'twohundred'",
        ),
    ],
)
def test_an_invalid_action_is_refused(elb: Elb, action: dict[str, Any], words: str) -> None:
    listener = elb.listen()
    with pytest.raises(ClientError, match=words):
        elb.client.create_rule(ListenerArn=listener, Priority=1, Conditions=[_EVERYTHING], Actions=[action])
    with pytest.raises(ClientError, match=words):
        elb.client.modify_listener(ListenerArn=listener, DefaultActions=[action])
    with pytest.raises(ClientError, match=words):
        elb.listen(Port=81, DefaultActions=[action])


def test_an_invalid_source_ip_range_is_refused(elb: Elb) -> None:
    listener = elb.listen()
    wrong = {"Field": "source-ip", "SourceIpConfig": {"Values": ["10.0.0.0/33"]}}
    with pytest.raises(ClientError, match=r"ValidationError.*10\.0\.0\.0/33"):
        elb.client.create_rule(ListenerArn=listener, Priority=1, Conditions=[wrong], Actions=[_NOTHING])
    rule = elb.client.create_rule(
        ListenerArn=listener, Priority=1, Conditions=[_EVERYTHING], Actions=[_NOTHING]
    )["Rules"][0]["RuleArn"]
    with pytest.raises(ClientError, match=r"ValidationError.*10\.0\.0\.0/33"):
        elb.client.modify_rule(RuleArn=rule, Conditions=[wrong])


def test_the_admin_endpoint_returns_the_addresses_of_listeners(elb: Elb) -> None:
    """The load balancer process reports where it listens, and clients can connect at once."""
    listener = elb.listen()
    deadline = time.monotonic() + 30
    while True:
        found = ask(elb.account.server, "load-balancers")["load_balancers"]
        (mine,) = [entry for entry in found if entry["arn"] == elb.arn]
        if mine["listeners"][0]["local_port"] is not None:
            break
        assert time.monotonic() < deadline, "nobody listens"
        time.sleep(0.05)
    place = mine["listeners"][0]
    assert (place["arn"], place["port"], place["protocol"]) == (listener, 80, "HTTP")
    assert _status(urllib.request.Request(f"http://{place['host']}:{place['local_port']}/")) == 404


def _status(request: urllib.request.Request) -> int:
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_the_clock_speed_can_be_set_and_read(server: LocalAws) -> None:
    def set_speed(speed: float) -> int:
        body = json.dumps({"speed": speed}).encode()
        url, opening = f"{server.url}/_mclass/clock", {"Authorization": server.key.authorization}
        return _status(urllib.request.Request(url, data=body, headers=opening, method="PUT"))

    def speed() -> float:
        return float(ask(server, "clock")["speed"])

    assert (set_speed(2), speed()) == (200, 2)
    assert (set_speed(0), speed()) == (400, 2)
    assert (set_speed(1), speed()) == (200, 1)
