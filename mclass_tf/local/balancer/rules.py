"""Listener rules: matches requests to rules, and models the actions.

https://docs.aws.amazon.com/elasticloadbalancing/latest/application/rule-condition-types.html
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/rule-action-types.html
"""

from __future__ import annotations

import ipaddress
import logging
import re
import string
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from mclass_tf.local.balancer import snapshot
from mclass_tf.local.balancer.groups import GroupState
from mclass_tf.local.balancer.messages.request import ClientRequest
from mclass_tf.local.wildcards import expression

_log = logging.getLogger(__name__)
_URL = string.punctuation  # characters of a Location header that are not percent-encoded

Condition = Callable[[ClientRequest, str], bool]
"""Returns whether a request from the given client address matches."""


@dataclass(kw_only=True, slots=True)
class Share:
    """A target group's weight in a forward action. `credit` accumulates until its next turn (weighted round robin)."""

    group: GroupState
    weight: int
    credit: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Forward:
    """Distributes requests to the groups in proportion to their weights. `sticky_seconds` 0: no group stickiness."""

    shares: tuple[Share, ...]
    sticky_seconds: int = 0

    def choose(self) -> GroupState | None:
        """Return the group for the next request; None if all weights are 0."""
        shares = self.shares
        if len(shares) == 1:
            return shares[0].group
        best = None
        for share in shares:
            share.credit += share.weight
            if share.weight and (best is None or share.credit > best.credit):
                best = share
        if best is None:
            return None
        best.credit -= sum(share.weight for share in shares)
        return best.group

    def find(self, arn: str) -> GroupState | None:
        """Return the group with this ARN if it still gets traffic."""
        return next((share.group for share in self.shares if share.weight and share.group.arn == arn), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Redirect:
    """Parts of the URL, with placeholders such as `#{host}` for the original parts."""

    protocol: str
    host: str
    port: str
    path: str
    query: str
    status: int

    def location(self, request: ClientRequest, *, protocol: str, port: str) -> str:
        host = (request.host or b"").partition(b":")[0].decode(errors="surrogateescape")
        known = {
            "protocol": protocol.lower(),
            "host": host,
            "port": port,
            "path": request.path[1:].decode(errors="surrogateescape"),
            "query": request.query.decode(errors="surrogateescape"),
        }

        def fill(text: str) -> str:
            return re.sub(r"#\{(\w+)\}", lambda match: known.get(match[1], match[0]), text)

        query = fill(self.query)
        location = (
            f"{fill(self.protocol).lower()}://{fill(self.host)}:{fill(self.port)}{fill(self.path)}"
            f"{'?' if query else ''}{query}"
        )
        return quote(location, safe=_URL, errors="surrogateescape")


@dataclass(frozen=True, kw_only=True, slots=True)
class FixedResponse:
    """An answer that the load balancer sends without a target."""

    status: int
    content_type: str | None
    body: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Unsupported:
    """An action that is not modelled: answered with 500, AWS's error for a failed action."""

    kind: str


Action = Forward | Redirect | FixedResponse | Unsupported


@dataclass(frozen=True, kw_only=True, slots=True)
class CompiledRule:
    """`priority` is 0 for the listener's default."""

    arn: str
    priority: int
    conditions: tuple[Condition, ...]
    action: Action


def compile_rule(rule: snapshot.Rule, groups: Mapping[str, GroupState]) -> CompiledRule:
    """Compile a rule. Of several actions the last one answers; the others would only authenticate."""
    actions = sorted(rule.actions, key=lambda action: int(action.get("Order", 1)))
    return CompiledRule(
        arn=rule.arn,
        priority=rule.priority or 0,
        conditions=compile_conditions(rule.conditions),
        action=_action(actions, groups),
    )


def compile_conditions(conditions: Iterable[Mapping[str, Any]]) -> tuple[Condition, ...]:
    """Compile the conditions of a rule; raise ValueError for an invalid value."""
    return tuple(_condition(condition) for condition in conditions)


def match(rules: Iterable[CompiledRule], request: ClientRequest, source: str) -> CompiledRule:
    """Return the first rule with all conditions met. The default rule is last and has none."""
    for rule in rules:
        for condition in rule.conditions:
            if not condition(request, source):
                break
        else:
            return rule
    raise LookupError("a listener without a default rule")


def group_arns(rules: Iterable[snapshot.Rule]) -> Iterable[str]:
    """Yield the target groups that the rules name, including those of weight 0."""
    for rule in rules:
        for action in rule.actions:
            yield from (entry["TargetGroupArn"] for entry in _listed_groups(action))


def _action(actions: list[Mapping[str, Any]], groups: Mapping[str, GroupState]) -> Action:
    make: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, GroupState]], Action]] = {
        "forward": _forward,
        "redirect": _redirect,
        "fixed-response": _fixed,
    }
    unknown = [str(action["Type"]) for action in actions if action["Type"] not in make]
    if unknown:
        _log.error("The action %s is not modelled: such requests get a 500.", unknown[0])
        return Unsupported(kind=unknown[0])
    return make[actions[-1]["Type"]](actions[-1], groups)


def _listed_groups(action: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    listed = action.get("ForwardConfig", {}).get("TargetGroups") or []
    if not listed and action.get("TargetGroupArn"):
        return [{"TargetGroupArn": action["TargetGroupArn"]}]
    return list(listed)


def _forward(action: Mapping[str, Any], groups: Mapping[str, GroupState]) -> Forward:
    stickiness = action.get("ForwardConfig", {}).get("TargetGroupStickinessConfig") or {}
    is_sticky = str(stickiness.get("Enabled", False)).lower() == "true"
    return Forward(
        shares=tuple(
            Share(group=groups[entry["TargetGroupArn"]], weight=int(entry.get("Weight", 1)))
            for entry in _listed_groups(action)
            if entry["TargetGroupArn"] in groups
        ),
        sticky_seconds=int(stickiness.get("DurationSeconds", 3600)) if is_sticky else 0,
    )


def _redirect(action: Mapping[str, Any], _: Mapping[str, GroupState]) -> Redirect:
    config = action["RedirectConfig"]
    return Redirect(
        protocol=config.get("Protocol") or "#{protocol}",
        host=config.get("Host") or "#{host}",
        port=config.get("Port") or "#{port}",
        path=config.get("Path") or "/#{path}",
        query=config.get("Query", "#{query}"),
        status=int(config["StatusCode"].removeprefix("HTTP_")),
    )


def _fixed(action: Mapping[str, Any], _: Mapping[str, GroupState]) -> FixedResponse:
    config = action["FixedResponseConfig"]
    kind = config.get("ContentType") or "text/plain"
    body = (config.get("MessageBody") or "").encode()
    return FixedResponse(status=int(config["StatusCode"]), content_type=f"{kind}; charset=utf-8", body=body)


def _condition(condition: Mapping[str, Any]) -> Condition:
    make = {
        "host-header": _host,
        "path-pattern": _path,
        "http-header": _header,
        "http-request-method": _method,
        "query-string": _query,
        "source-ip": _source,
    }.get(condition["Field"])
    if make is None or "RegexValues" in str(condition):
        _log.error("The condition %s is not modelled: it never holds.", condition)
        return lambda _, __: False
    return make(condition)


def _values(condition: Mapping[str, Any], config: str) -> list[Any]:
    """Return the values from the condition's config object, or from the older `Values` of the condition itself."""
    return list(condition.get(config, {}).get("Values") or condition.get("Values") or ())


def _pattern(values: Iterable[str], *, flags: int = 0, escapes: bool = False) -> re.Pattern[bytes]:
    """`*` matches any characters, `?` exactly one. With `escapes`, a backslash makes them literal."""
    meant = "|".join(f"(?:{expression(value, escapes=escapes)})" for value in values)
    return re.compile(meant.encode(), flags | re.DOTALL)


def _host(condition: Mapping[str, Any]) -> Condition:
    matches = _pattern(_values(condition, "HostHeaderConfig"), flags=re.IGNORECASE).fullmatch
    return lambda request, _: matches((request.host or b"").partition(b":")[0]) is not None


def _path(condition: Mapping[str, Any]) -> Condition:
    values = _values(condition, "PathPatternConfig")
    if "/*" in values or "*" in values:
        return lambda request, _: request.path[:1] == b"/"
    matches = _pattern(values).fullmatch
    return lambda request, _: matches(request.path) is not None


def _header(condition: Mapping[str, Any]) -> Condition:
    name = condition["HttpHeaderConfig"]["HttpHeaderName"].lower().encode()
    matches = _pattern(_values(condition, "HttpHeaderConfig"), flags=re.IGNORECASE).fullmatch
    return lambda request, _: any(matches(value) for value in request.values(name))


def _method(condition: Mapping[str, Any]) -> Condition:
    methods = frozenset(value.encode() for value in _values(condition, "HttpRequestMethodConfig"))
    return lambda request, _: request.method in methods


def _query(condition: Mapping[str, Any]) -> Condition:
    expressions = [
        (_optional(value.get("Key")), _optional(value["Value"]))
        for value in condition["QueryStringConfig"]["Values"]
    ]

    def holds(request: ClientRequest, _: str) -> bool:
        pairs = [pair.partition(b"=")[::2] for pair in request.query.split(b"&") if pair]
        return any(
            (key is None or key.fullmatch(name)) and (value is None or value.fullmatch(given))
            for name, given in pairs
            for key, value in expressions
        )

    return holds


def _optional(text: str | None) -> re.Pattern[bytes] | None:
    return None if text is None else _pattern([text], flags=re.IGNORECASE, escapes=True)


def _source(condition: Mapping[str, Any]) -> Condition:
    networks = [_network(value) for value in _values(condition, "SourceIpConfig")]
    return lambda _, source: any(ipaddress.ip_address(source) in network for network in networks)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"The 'source-ip' value '{text}' must be in CIDR format") from None
