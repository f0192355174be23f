"""Rules match requests, and actions choose groups and locations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from mclass_tf.local.balancer.groups import GroupState
from mclass_tf.local.balancer.messages.request import ClientRequest
from mclass_tf.local.balancer.rules import Forward, Redirect, compile_rule, group_arns, match
from tests.local.data_plane import fixed, forward, group, rule


def request(
    path: str = "/", *, method: str = "GET", headers: Mapping[str, str] | None = None
) -> ClientRequest:
    made = ClientRequest(received_at=0, started=0)
    made.add_target(path.encode())
    for name, value in {"Host": "example.com", **(headers or {})}.items():
        made.add_header(name.encode(), value.encode())
    made.complete(method=method.encode(), version="1.1", keeps_alive=True, has_upgrade=False)
    return made


def holds(condition: Mapping[str, Any], asked: ClientRequest, *, source: str = "127.0.0.1") -> bool:
    rules = [
        compile_rule(rule(fixed(200), condition, priority=1), {}),
        compile_rule(rule(fixed(404)), {}),
    ]
    return match(rules, asked, source).priority == 1


@pytest.mark.parametrize(
    ("value", "host", "expected"),
    [
        ("example.com", "example.com", True),
        ("example.com", "EXAMPLE.com:8080", True),
        ("*.example.com", "test.example.com", True),
        ("*.example.com", "example.com", False),
        ("EXAMPLE.COM", "example.com", True),
        ("example?com", "example.com", True),
        ("example.com", "exampleXcom", False),
    ],
)
def test_hosts_match_regardless_of_case_and_port(value: str, host: str, *, expected: bool) -> None:
    asked = request(headers={"Host": host})
    assert holds({"Field": "host-header", "HostHeaderConfig": {"Values": [value]}}, asked) is expected


@pytest.mark.parametrize(
    ("value", "path", "expected"),
    [
        ("/img/*", "/img/a/b.png", True),
        ("/img/*", "/img", False),
        ("/img/*", "/IMG/a.png", False),
        ("/a?c", "/abc", True),
        ("/a?c", "/ac", False),
        ("/a.c", "/abc", False),
        ("/search", "/search?q=1", True),
        ("/*", "/", True),
    ],
)
def test_paths_match_with_their_case_and_without_the_query(value: str, path: str, *, expected: bool) -> None:
    assert (
        holds({"Field": "path-pattern", "PathPatternConfig": {"Values": [value]}}, request(path)) is expected
    )


def test_values_may_be_in_the_condition_itself() -> None:
    assert holds({"Field": "path-pattern", "Values": ["/a", "/b"]}, request("/b"))


def test_one_of_a_headers_values_is_enough() -> None:
    condition = {
        "Field": "http-header",
        "HttpHeaderConfig": {"HttpHeaderName": "user-agent", "Values": ["*Chrome*", "*safari*"]},
    }
    assert holds(condition, request(headers={"User-Agent": "Mobile SAFARI 7"}))
    assert not holds(condition, request(headers={"User-Agent": "curl"}))
    assert not holds(condition, request())


def test_methods_match_with_their_case() -> None:
    condition = {"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": ["POST"]}}
    assert holds(condition, request(method="POST"))
    assert not holds(condition, request(method="GET"))


@pytest.mark.parametrize(
    ("value", "query", "expected"),
    [
        ({"Key": "version", "Value": "v1"}, "a=b&VERSION=V1", True),
        ({"Key": "version", "Value": "v1"}, "version=v2", False),
        ({"Value": "example"}, "anything=example", True),
        ({"Key": "q", "Value": "a*"}, "q=abc", True),
        ({"Key": "q", "Value": "a\\*"}, "q=abc", False),
        ({"Key": "q", "Value": "a\\*"}, "q=a*", True),
        ({"Value": "example"}, "", False),
    ],
)
def test_query_strings_match_by_key_and_value(value: dict[str, str], query: str, *, expected: bool) -> None:
    condition = {"Field": "query-string", "QueryStringConfig": {"Values": [value]}}
    assert holds(condition, request(f"/?{query}")) is expected


def test_the_source_ip_is_that_of_the_connection_and_not_of_a_header() -> None:
    condition = {"Field": "source-ip", "SourceIpConfig": {"Values": ["192.0.2.0/24", "2001:db8::/32"]}}
    asked = request(headers={"X-Forwarded-For": "192.0.2.1"})
    assert holds(condition, asked, source="192.0.2.7")
    assert holds(condition, asked, source="2001:db8::1")
    assert not holds(condition, asked, source="127.0.0.1")


def test_all_conditions_of_a_rule_must_hold() -> None:
    both = (
        {"Field": "path-pattern", "Values": ["/a"]},
        {"Field": "host-header", "Values": ["example.com"]},
    )
    rules = [compile_rule(rule(fixed(200), *both, priority=5), {}), compile_rule(rule(fixed(404)), {})]
    assert match(rules, request("/a"), "").priority == 5
    assert match(rules, request("/a", headers={"Host": "other.com"}), "").priority == 0


def test_a_condition_that_is_not_modelled_never_holds() -> None:
    condition = {"Field": "path-pattern", "PathPatternConfig": {"RegexValues": ["^/a"]}}
    assert not holds(condition, request("/a"))


def test_weights_are_exact_to_the_request() -> None:
    groups = {name: GroupState(group(name), now=lambda: 0.0) for name in ("blue", "green", "none")}
    action = compile_rule(rule(forward(("blue", 95), ("green", 5), ("none", 0))), groups).action
    assert isinstance(action, Forward)
    chosen = Counter(found.arn for _ in range(1000) if (found := action.choose()))
    assert chosen == {"blue": 950, "green": 50}


def test_weights_that_are_all_0_choose_nothing() -> None:
    groups = {name: GroupState(group(name), now=lambda: 0.0) for name in ("blue", "green")}
    action = compile_rule(rule(forward(("blue", 0), ("green", 0))), groups).action
    assert isinstance(action, Forward)
    assert action.choose() is None


def test_groups_of_weight_0_are_in_use() -> None:
    named = group_arns(
        [rule(forward(("blue", 100), ("green", 0))), rule({"Type": "forward", "TargetGroupArn": "red"})]
    )
    assert set(named) == {"blue", "green", "red"}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"Protocol": "HTTPS", "Port": "443"}, "https://example.com:443/a/b?c=d"),
        ({"Path": "/new/#{path}", "Query": ""}, "http://example.com:80/new/a/b"),
        (
            {"Host": "www.#{host}", "Query": "from=#{path}&#{query}"},
            "http://www.example.com:80/a/b?from=a/b&c=d",
        ),
    ],
)
def test_redirects_keep_unspecified_parts(config: dict[str, str], expected: str) -> None:
    action = compile_rule(
        rule({"Type": "redirect", "RedirectConfig": {"StatusCode": "HTTP_301", **config}}), {}
    ).action
    assert isinstance(action, Redirect)
    asked = request("/a/b?c=d", headers={"Host": "example.com:8080"})
    assert action.location(asked, protocol="HTTP", port="80") == expected
