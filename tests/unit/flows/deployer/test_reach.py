"""A release finds out whether its new version can be tested from here before it changes anything."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mclass_tf import verify
from mclass_tf.cloud import Cloud
from mclass_tf.environment import ReleaseSettings
from mclass_tf.errors import ConfigurationError, EndpointError
from mclass_tf.flows.deployer import reach
from mclass_tf.load_balancer_endpoint import Endpoint, HttpResponse, UntrustedError
from mclass_tf.session import Session
from mclass_tf.strategy import Strategy

TEST, PRODUCTION = "rule/test", "rule/production"
HEADER = {"name": "X-Test-Traffic", "value": "0f0e0d0c-0b0a-4908-8706-050403020100"}
OUTPUTS = cast(
    "verify.Outputs",
    SimpleNamespace(
        url="http://mclass-alb-1.elb.test",
        alb_arn="alb",
        certificate_arn=None,
        production_listener_arn="listener",
        production_listener_rule_arn=PRODUCTION,
        test_listener_rule_arn=TEST,
        test_header=HEADER,
    ),
)
ENDPOINT = Endpoint(scheme="http", host="127.0.0.1", port=1, host_header="test", server_name="test")


def condition(field: str, *values: str, header: str = "") -> dict[str, Any]:
    config = {
        "path-pattern": "PathPatternConfig",
        "host-header": "HostHeaderConfig",
        "http-header": "HttpHeaderConfig",
        "http-request-method": "HttpRequestMethodConfig",
        "source-ip": "SourceIpConfig",
    }[field]
    name = {"HttpHeaderName": header} if header else {}
    return {"Field": field, config: {**name, "Values": list(values)}}


PATH = condition("path-pattern", "/*")
BY_HEADER = condition("http-header", HEADER["value"], header="x-test-traffic")


def rule(arn: str, priority: str, *conditions: dict[str, Any], action: str = "forward") -> dict[str, Any]:
    return {
        "RuleArn": arn,
        "Priority": priority,
        "IsDefault": priority == "default",
        "Conditions": list(conditions),
        "Actions": [{"Type": action}],
    }


RULES = [
    rule("rule/default", "default"),
    rule(PRODUCTION, "100", PATH),
    rule(TEST, "99", PATH, BY_HEADER),
]


class Elbv2:
    """A load balancer whose rules come one a page, in no order."""

    def __init__(self, rules: list[dict[str, Any]], *, scheme: str) -> None:
        self.rules = rules
        self.scheme = scheme

    def describe_load_balancers(self, **_: Any) -> dict[str, Any]:
        return {"LoadBalancers": [{"Scheme": self.scheme}]}

    def describe_rules(self, **request: str) -> dict[str, Any]:
        assert request.pop("ListenerArn") == "listener"
        marker = int(request.pop("Marker", "0"))
        assert not request
        following = marker + 1
        more = {"NextMarker": str(following)} if following < len(self.rules) else {}
        return {"Rules": self.rules[marker:following], **more}


class World:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.on_wait: Callable[[], None] = lambda: None
        self.problem: OSError | None = None
        self.status = 503
        self.sent: list[tuple[str, Mapping[str, str]]] = []
        self.reports: list[str] = []
        self.elbv2 = Elbv2(copy.deepcopy(RULES), scheme="internet-facing")
        self.release = ReleaseSettings(strategy=Strategy(name="blue-green"))
        monkeypatch.setattr(reach, "get", self._get)
        monkeypatch.setattr(reach, "locate", lambda *_, **__: ENDPOINT)
        monkeypatch.setattr(reach, "time", SimpleNamespace(monotonic=lambda: self.now, sleep=self._wait))

    def _get(self, _: Endpoint, path: str, *, seconds: float, headers: Mapping[str, str]) -> HttpResponse:
        self.now += seconds if isinstance(self.problem, TimeoutError) else 0.0
        self.sent.append((path, headers))
        if self.problem is not None:
            raise self.problem
        return HttpResponse(status=self.status, body=b"")

    def _wait(self, seconds: float) -> None:
        self.now += seconds
        self.on_wait()

    def require(self, *, desired: int = 2) -> str:
        environment = SimpleNamespace(
            name="dev", release=self.release, variables_file="environments/dev/terraform.tfvars"
        )
        session = SimpleNamespace(
            cloud=Cloud(kind="aws", identity="aws", endpoint_url=None),
            environment=environment,
            aws=SimpleNamespace(elbv2=self.elbv2),
            report=self.reports.append,
        )
        return reach.require_reach(cast("Session", session), OUTPUTS, desired=desired)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_any_answer_of_the_load_balancer_proves_that_it_can_be_reached(world: World) -> None:
    assert world.require() == ""
    assert world.sent == [("/version", {HEADER["name"]: HEADER["value"]})]
    assert not world.reports


@pytest.mark.parametrize(
    "problem",
    [
        TimeoutError("timed out"),
        ConnectionRefusedError(111, "Connection refused"),
        UntrustedError("what answers does not show the certificate"),
    ],
)
def test_a_release_that_could_not_be_tested_is_refused(world: World, problem: OSError) -> None:
    world.problem = problem
    with pytest.raises(EndpointError, match="nothing was released") as refused:
        world.require()
    assert refused.value.exit_code == 3
    assert "alb.ingress_cidr_blocks" in refused.value.hint
    assert "smoke = []" in refused.value.hint
    assert HEADER["value"] not in f"{refused.value} {refused.value.hint}"


def test_a_load_balancer_that_answers_a_little_later_is_waited_for(world: World) -> None:
    world.problem = ConnectionRefusedError()

    def open_it() -> None:
        world.problem = None

    world.on_wait = open_it
    assert world.require() == ""


def test_an_internal_load_balancer_is_tested_only_if_it_answers(world: World) -> None:
    world.elbv2.scheme = "internal"
    assert world.require() == ""

    world.problem = TimeoutError()
    assert "no answer" in world.require()
    assert len(world.sent) == 2, (
        "a machine outside the network never gets an answer: it does not wait for one"
    )


@pytest.mark.parametrize(
    "release", [ReleaseSettings(), ReleaseSettings(strategy=Strategy(name="canary"), smoke=())]
)
def test_a_release_without_a_smoke_test_needs_no_answer(world: World, release: ReleaseSettings) -> None:
    world.release = release
    world.problem = TimeoutError()
    assert "no answer" in world.require()


def test_a_first_release_needs_no_answer(world: World) -> None:
    world.problem = TimeoutError()
    assert "no answer" in world.require(desired=0)


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        ([RULES[0], RULES[1]], "has no rule rule/test"),
        ([*RULES[:2], rule(TEST, "99", PATH)], "takes /version without the header"),
        ([*RULES[:2], rule(TEST, "101", PATH, BY_HEADER)], "rule/production .*takes /version before"),
        (
            [
                *RULES[:2],
                rule(TEST, "99", PATH, condition("http-header", "another", header="X-Test-Traffic")),
            ],
            "does not take /version",
        ),
        (
            [*RULES[:2], rule(TEST, "99", condition("path-pattern", "/v?"), BY_HEADER)],
            "does not take /version",
        ),
        ([*RULES, rule("other", "7", condition("path-pattern", "/or*"))], "other .*takes /orders before"),
        (
            [*RULES, rule("other", "7", condition("host-header", "*.ELB.test"))],
            "other .*takes /version before",
        ),
        ([*RULES, rule("other", "7", condition("host-header", "shop.test"))], ""),
        ([*RULES, rule("other", "7", PATH, condition("http-request-method", "POST"))], ""),
        (
            [*RULES, rule("other", "7", PATH, condition("http-request-method", "GET"))],
            "other .*takes /version",
        ),
        ([*RULES, rule("other", "7", condition("source-ip", "0.0.0.0/0"))], "other .*takes /version"),
        (
            [*RULES, rule("other", "7", condition("http-header", "mclass*", header="User-Agent"))],
            "other .*takes",
        ),
        ([*RULES, rule("other", "200", PATH)], ""),
    ],
)
def test_the_test_rule_must_take_each_request_of_the_smoke_test(
    world: World, rules: list[dict[str, Any]], problem: str
) -> None:
    world.release = ReleaseSettings(strategy=Strategy(name="linear"), smoke=("/orders",))
    world.elbv2.rules = rules
    if not problem:
        assert world.require() == ""
        return
    with pytest.raises(ConfigurationError, match=problem) as refused:
        world.require()
    assert HEADER["value"] not in str(refused.value)


def test_a_rule_that_elb_lists_a_little_later_is_waited_for(world: World) -> None:
    world.elbv2.rules = RULES[:2]

    def list_it() -> None:
        world.elbv2.rules = RULES

    world.on_wait = list_it
    assert world.require() == ""


def test_an_action_that_does_not_forward_is_reported(world: World) -> None:
    world.elbv2.rules = [
        *RULES,
        rule("maintenance", "7", condition("host-header", "shop.test"), action="redirect"),
    ]
    assert world.require() == ""
    assert world.reports == [
        "ECS may refuse to shift traffic beside a rule that does not forward: maintenance (redirect)"
    ]
