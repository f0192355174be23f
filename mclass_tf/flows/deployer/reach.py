"""Finds out, before a change, whether this machine can test a new version over the production listener.

The header of the outputs selects the test rule. Any HTTP answer proves that the load balancer can be reached; a timeout, a refusal
and another certificate do not. The rules are compared with what was applied, because the answer does not say which rule sent it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from mclass_tf import verify
from mclass_tf.errors import ConfigurationError, EndpointError, Hint
from mclass_tf.flows.endpoints import locate
from mclass_tf.load_balancer_endpoint import USER_AGENT, Endpoint, UntrustedError, get
from mclass_tf.session import Session

_SECONDS = 5.0  # timeout of one request
_WITHIN = 15.0  # seconds within which the load balancer must answer
_RULES_WITHIN = (
    60.0  # seconds within which a listed rule must be the applied one: ELB is eventually consistent
)
_PAUSE = 1.0


def is_tested(session: Session) -> bool:
    """Return whether the environment's new versions get a smoke test."""
    release = session.environment.release
    return release.strategy.shifts and release.smoke != ()


def awaited_reachability_problem(session: Session, outputs: verify.Outputs) -> str:
    """Return why the production listener does not answer this machine, "" if it does.

    An internal load balancer is asked once: from outside its network, it never answers.
    """
    within = 0.0 if is_internal(session, outputs) else _WITHIN
    return _settled(lambda: reachability_problem(session, outputs), within=within)


def require_reach(session: Session, outputs: verify.Outputs, *, desired: int) -> str:
    """Return why the load balancer does not answer this machine, "" if it does; raise if a new version must be tested over it.

    A service that runs no task gets its first version without a test.
    """
    shifts = session.environment.release.strategy.shifts and desired > 0
    if shifts:
        for rule in other_actions(session, outputs):
            session.report(f"ECS may refuse to shift traffic beside a rule that does not forward: {rule}")
    if is_tested(session) and desired > 0:
        return require_test_traffic(session, outputs)
    return reachability_problem(session, outputs)


def require_test_traffic(session: Session, outputs: verify.Outputs) -> str:
    """Raise EndpointError or ConfigurationError unless a new version can be tested. Return the problem of an internal load balancer.

    If the load balancer is internal and cannot be reached from here, there is no test.
    """
    problem = awaited_reachability_problem(session, outputs)
    if problem and is_internal(session, outputs):
        return problem
    if problem:
        raise _unreachable(session, outputs, problem)
    paths = smoke_paths(session)
    problem = _settled(lambda: _rule_problem(session, outputs, paths), within=_RULES_WITHIN)
    if problem:
        name = session.environment.name
        raise ConfigurationError(
            f"the new version could not be tested in {name}: {problem}; nothing was released",
            hint=Hint(
                ("plan", name),
                ", then ",
                ("apply", name),
                ", restore the rules of modules/alb. A rule that was added elsewhere needs a priority after the test rule's",
            ),
        )
    return ""


def smoke_paths(session: Session) -> list[str]:
    """Return the paths that the smoke test requests, the version path first."""
    release = session.environment.release
    return list(dict.fromkeys([release.version_path, *(release.smoke or ())]))


def header_of(outputs: verify.Outputs) -> Mapping[str, str]:
    """Return the header that selects test traffic."""
    header = outputs.test_header
    return {} if header is None else {header["name"]: header["value"]}


def _unreachable(session: Session, outputs: verify.Outputs, problem: str) -> EndpointError:
    name = session.environment.name
    own = (
        "local up --client-address says which address clients have on the local AWS"
        if session.cloud.is_local
        else "https://checkip.amazonaws.com names the address that this machine has on the internet"
    )
    return EndpointError(
        f"the new version could not be tested in {name}: {outputs.url} does not answer this machine: {problem}; "
        "nothing was released, and the service still serves what it did",
        hint=Hint(
            f"allow this machine's address in alb.ingress_cidr_blocks of {session.environment.variables_file} ({own}) and ",
            ("apply", name),
            f"; or release from a machine whose address is allowed; or set smoke = [] in environments/{name}/environment.toml "
            "to release without the test",
        ),
    )


def _settled(find_problem: Callable[[], str], *, within: float) -> str:
    """Return "" as soon as there is no problem, else the problem after `within` seconds."""
    deadline = time.monotonic() + within
    while (problem := find_problem()) and time.monotonic() < deadline:
        time.sleep(_PAUSE)
    return problem


def reachability_problem(session: Session, outputs: verify.Outputs) -> str:
    """Ask the production listener once; return why it does not answer this machine, "" if it does."""
    try:
        endpoint: Endpoint = locate(session, outputs.url, certificate_arn=outputs.certificate_arn)
        get(endpoint, session.environment.release.version_path, seconds=_SECONDS, headers=header_of(outputs))
    except UntrustedError as error:
        return str(error)
    except EndpointError as error:
        return error.message
    except TimeoutError:
        return f"no answer within {_SECONDS:g} s, as if a security group let nothing through"
    except OSError as error:
        return str(error)
    return ""


def is_internal(session: Session, outputs: verify.Outputs) -> bool:
    """Return whether the load balancer has private addresses only."""
    answer = session.aws.elbv2.describe_load_balancers(LoadBalancerArns=[outputs.alb_arn])
    return bool(answer["LoadBalancers"][0]["Scheme"] == "internal")


# ---- the rules of the production listener


def _rule_problem(session: Session, outputs: verify.Outputs, paths: Sequence[str]) -> str:
    """Return why the test rule would not take the requests of the smoke test, "" if it would."""
    rules = sorted(_rules(session, outputs.production_listener_arn), key=_priority)
    own = next((rule for rule in rules if rule["RuleArn"] == outputs.test_listener_rule_arn), None)
    if own is None:
        return f"the production listener has no rule {outputs.test_listener_rule_arn}"
    host = urlsplit(outputs.url).hostname or ""
    for path in paths:
        request = _Request(host=host, path=path, headers=header_of(outputs))
        first = next((rule for rule in rules if request.matches(rule)), None)
        if first is None or not request.matches(own):
            return f"the test rule does not take {path} with the header of the outputs"
        if _Request(host=host, path=path, headers={}).matches(own):
            return f"the test rule takes {path} without the header, too"
        if first is not own:
            return f"the rule {first['RuleArn']} (priority {first['Priority']}) takes {path} before the test rule does"
    return ""


def other_actions(session: Session, outputs: verify.Outputs) -> list[str]:
    """Return the rules of the production listener with other actions than "forward".

    In some languages, AWS's page says that deployments which shift traffic fail on such a listener. The English one does not.
    https://docs.aws.amazon.com/de_de/AmazonECS/latest/developerguide/alb-resources-for-blue-green.html
    """
    return [
        f"{rule['RuleArn']} ({action['Type']})"
        for rule in _rules(session, outputs.production_listener_arn)
        for action in rule.get("Actions", ())
        if action["Type"] != "forward"
    ]


def _rules(session: Session, listener_arn: str) -> Iterator[Mapping[str, Any]]:
    request: dict[str, Any] = {"ListenerArn": listener_arn}
    while True:
        page = session.aws.elbv2.describe_rules(**request)
        yield from page["Rules"]
        if not page.get("NextMarker"):
            return
        request["Marker"] = page["NextMarker"]


def _priority(rule: Mapping[str, Any]) -> float:
    return float("inf") if rule.get("IsDefault") or rule["Priority"] == "default" else int(rule["Priority"])


class _Request:
    """A request of the smoke test, as conditions see it.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/rule-condition-types.html
    """

    def __init__(self, *, host: str, path: str, headers: Mapping[str, str]) -> None:
        self._host = host
        self._path, _, self._query = path.partition("?")
        sent = {**headers, "user-agent": USER_AGENT, "connection": "close"}
        self._headers = {name.lower(): value for name, value in sent.items()}

    def matches(self, rule: Mapping[str, Any]) -> bool:
        """Return whether all conditions hold. One that is not known here, or that depends on this machine's address, does not."""
        return all(self._holds(condition) for condition in rule.get("Conditions", ()))

    def _holds(self, condition: Mapping[str, Any]) -> bool:
        match condition["Field"]:
            case "path-pattern":
                return _matches(_values(condition, "PathPatternConfig"), self._path)
            case "host-header":
                return _matches(_values(condition, "HostHeaderConfig"), self._host, flags=re.IGNORECASE)
            case "http-header":
                name = condition["HttpHeaderConfig"]["HttpHeaderName"].lower()
                value = self._headers.get(name)
                values = _values(condition, "HttpHeaderConfig")
                return value is not None and _matches(values, value, flags=re.IGNORECASE)
            case "http-request-method":
                return "GET" in _values(condition, "HttpRequestMethodConfig")
            case "source-ip":
                return "0.0.0.0/0" in _values(condition, "SourceIpConfig")
            case _:
                return False


def _values(condition: Mapping[str, Any], config: str) -> Sequence[str]:
    return (condition.get(config) or {}).get("Values") or condition.get("Values") or ()


def _matches(patterns: Sequence[str], text: str, *, flags: int = 0) -> bool:
    """Match as a condition does: `*` stands for any characters, `?` for one."""
    expressions = (re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".") for pattern in patterns)
    return any(re.fullmatch(expression, text, flags | re.DOTALL) for expression in expressions)
