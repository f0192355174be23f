"""The admin endpoint `/_mclass/…`: health, clock, traffic, and prerequisites of Terraform that no AWS API call creates."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import re
import urllib.parse
from collections.abc import Callable, Mapping
from http import HTTPStatus
from ipaddress import IPv4Address
from typing import Any

from mclass_tf.local import documents
from mclass_tf.local.access.registry_tokens import Principal
from mclass_tf.local.aws import roles, sts
from mclass_tf.local.aws.api.dispatch import AwsApi
from mclass_tf.local.aws.api.injected_errors import InjectedError
from mclass_tf.local.aws.ecr import backend as ecr
from mclass_tf.local.aws.ecs.tasks import spot
from mclass_tf.local.aws.elbv2 import reports, snapshot
from mclass_tf.local.balancer.report import Listening
from mclass_tf.local.clock import FASTEST, SLOWEST
from mclass_tf.local.http.server import TOO_LARGE, Reply, json_reply
from mclass_tf.local.live import live
from mclass_tf.local.record import LocalAws
from mclass_tf.local.snapshots.instance import SaveResult

PREFIX = "/_mclass/"
_ACCOUNT = re.compile(r"[0-9]{12}")
LARGEST_BODY = 4 * 1024 * 1024
_LONGEST_LIFETIME = 30 * 24 * 3600.0  # seconds that a token may be valid; ECR's are valid for 12 hours


class Admin:
    """Answers requests below `/_mclass/` and passes on all others."""

    def __init__(
        self,
        *,
        record: LocalAws,
        aws: AwsApi,
        problems: Callable[[], list[str]],
        save: Callable[[], SaveResult],
        reset: Callable[[], None] | None = None,
    ) -> None:
        """`reset` is None unless the local AWS was started for tests that need it empty: otherwise no call may delete everything."""
        self._record = record
        self._save = save
        self._aws = aws
        self._problems = problems
        self._routes: dict[tuple[str, str], Callable[[Any], Reply]] = {
            ("GET", "health"): self._health,
            ("PUT", "acm/certificates"): self._put_certificate,
            ("PUT", "ecr/scan-findings"): self._put_scan_findings,
            ("PUT", "ecr/token-lifetime"): self._put_token_lifetime,
            ("PUT", "ecs/interruptions"): self._put_interruption,
            ("PUT", "iam/propagation"): self._put_propagation,
            ("PUT", "sessions"): self._put_session_limit,
            ("PUT", "snapshot"): self._put_snapshot,
            ("PUT", "troubles"): self._put_injected_error,
            ("GET", "clock"): self._clock,
            ("PUT", "clock"): self._put_clock,
            ("GET", "client"): self._client,
            ("PUT", "client"): self._put_client,
            ("GET", "load-balancers"): self._load_balancers,
            ("GET", "failures"): self._failures,
            ("GET", "requests"): self._requests,
        }
        if reset is not None:
            self._routes["PUT", "reset"] = lambda _body: _reset(reset)

    def precheck(self, environ: dict[str, Any]) -> Reply | None:
        """Refuse requests that are not from the owner of this instance."""
        if self._record.key.authorizes(str(environ.get("HTTP_AUTHORIZATION", ""))):
            return None
        words = "the admin endpoint is open to the owner of this instance alone"
        return json_reply(HTTPStatus.FORBIDDEN, {"error": words})

    def answer(self, environ: dict[str, Any]) -> Reply | None:
        path = str(environ["PATH_INFO"])
        if not path.startswith(PREFIX):
            return None
        refusal = self.precheck(environ)
        if refusal is not None:
            return refusal
        route = self._routes.get((environ["REQUEST_METHOD"], path.removeprefix(PREFIX)))
        if route is None:
            return json_reply(HTTPStatus.NOT_FOUND, {"error": f"no {environ['REQUEST_METHOD']} {path} here"})
        return _call_route(route, environ)

    def _health(self, _body: Any) -> Reply:
        health = {
            "status": "ok",
            "instance_id": self._record.instance_id,
            "started_at": self._record.started_at,
            "version": _version(),
            "unsupported": self._aws.refused,
            "problems": [*self._problems(), *live.problems],
        }
        return json_reply(HTTPStatus.OK, health)

    def _put_certificate(self, body: Any) -> Reply:
        self._aws.put_certificate(
            account_id=_account_id(body),
            region=str(body["region"]),
            arn=str(body["arn"]),
            domain_name=str(body["domain_name"]),
        )
        return json_reply(HTTPStatus.OK, {"arn": body["arn"]})

    def _put_scan_findings(self, body: Any) -> Reply:
        """Set the answer of the image scanner for one image or, without a digest, for a whole repository."""
        status = str(body.get("status") or "")
        if status not in ecr.SCAN_STATUSES:
            raise ValueError(
                f"status must be one of {', '.join(sorted(ecr.SCAN_STATUSES - {''}))}, not {status[:40]!r}"
            )
        findings = ecr.Findings(
            repository=str(body["repository"]),
            digest=None if body.get("digest") is None else str(body["digest"]),
            findings=tuple({**one, "severity": str(one["severity"])} for one in body.get("findings", ())),
            status=status,
            description=str(body.get("description") or ""),
            is_enhanced=bool(body.get("enhanced")),
        )
        with self._aws.exclusive():
            owner = Principal(account_id=_account_id(body), region=str(body["region"]))
            ecr.backend_of(owner).report_findings(findings)
        return json_reply(HTTPStatus.OK, {"findings": len(findings.findings)})

    def _put_interruption(self, body: Any) -> Reply:
        """Interrupt a Fargate Spot task."""
        with self._aws.exclusive():
            task = spot.interrupt(
                account_id=_account_id(body), region=str(body["region"]), task=str(body["task"])
            )
        return json_reply(HTTPStatus.OK, {"task": task.arn})

    def _put_token_lifetime(self, body: Any) -> Reply:
        """Set the lifetime of ECR authorization tokens that are issued from now on."""
        seconds = float(body["seconds"])
        if not -_LONGEST_LIFETIME <= seconds <= _LONGEST_LIFETIME:
            raise ValueError(
                f"seconds must be from {-_LONGEST_LIFETIME:g} to {_LONGEST_LIFETIME:g}, not {seconds:g}"
            )
        ecr.tokens.valid_seconds = seconds
        return json_reply(HTTPStatus.OK, {"seconds": ecr.tokens.valid_seconds})

    def _put_propagation(self, body: Any) -> Reply:
        """Set how many seconds a new role stays unknown to everything but IAM."""
        seconds = float(body["seconds"])
        if not 0 <= seconds <= _LONGEST_LIFETIME:
            raise ValueError(f"seconds must be from 0 to {_LONGEST_LIFETIME:g}, not {seconds:g}")
        roles.propagation.seconds = seconds
        return json_reply(HTTPStatus.OK, {"seconds": seconds})

    def _put_session_limit(self, body: Any) -> Reply:
        """Set how long role sessions of clients live at most, in real seconds, from now on; None for AWS's own limits."""
        seconds = None if body["seconds"] is None else float(body["seconds"])
        if seconds is not None and not sts.SHORTEST_LIMIT <= seconds <= _LONGEST_LIFETIME:
            raise ValueError(
                f"seconds must be from {sts.SHORTEST_LIMIT:g} to {_LONGEST_LIFETIME:g}, not {seconds:g}"
            )
        sts.sessions.limit = seconds
        return json_reply(HTTPStatus.OK, {"seconds": seconds})

    def _put_injected_error(self, body: Any) -> Reply:
        """Make a service throttle, or answer with server errors, for some seconds."""
        trouble = InjectedError(
            service=str(body["service"]),
            code=str(body.get("code", "ThrottlingException")),
            status=int(body.get("status", HTTPStatus.BAD_REQUEST)),
            seconds=float(body["seconds"]),
        )
        self._aws.injected_errors.put(trouble)
        return json_reply(HTTPStatus.OK, dataclasses.asdict(trouble))

    def _put_snapshot(self, _body: Any) -> Reply:
        """Write the state into the home folder for a snapshot. If something is under way, report that instead."""
        saved = self._save()
        return json_reply(
            HTTPStatus.CONFLICT if saved.under_way else HTTPStatus.OK, dataclasses.asdict(saved)
        )

    def _clock(self, _body: Any) -> Reply:
        return json_reply(HTTPStatus.OK, {"speed": live.clock.speed})

    def _put_clock(self, body: Any) -> Reply:
        """Set how much faster than AWS's the timers of the control plane run."""
        speed = float(body["speed"])
        if not SLOWEST <= speed <= FASTEST:
            raise ValueError(f"speed must be from {SLOWEST:g} to {FASTEST:g}, not {speed:g}")
        live.clock.speed = speed
        live.changed("elbv2")
        return self._clock(body)

    def _client(self, _body: Any) -> Reply:
        return json_reply(HTTPStatus.OK, {"address": live.client_address})

    def _put_client(self, body: Any) -> Reply:
        """Set the address in AWS of clients that are no tasks. Connections that are open keep theirs."""
        live.client_address = str(IPv4Address(str(body["address"])))
        live.changed("elbv2")
        return self._client(body)

    def _load_balancers(self, _body: Any) -> Reply:
        """Return the load balancers' addresses on this machine, and the certificates that TLS clients must trust."""
        listening = live.traffic.listening
        with self._aws.exclusive():
            balancers = [_load_balancer(owned, listening) for owned in snapshot.load_balancers()]
        return json_reply(HTTPStatus.OK, {"load_balancers": balancers})

    def _requests(self, _body: Any) -> Reply:
        """Return the number of requests by each listener rule to each target group since the start."""
        counts = [
            {"rule_arn": rule, "target_group_arn": group, "count": count}
            for (rule, group), count in live.traffic.requests.items()
        ]
        return json_reply(HTTPStatus.OK, {"requests": counts})

    def _failures(self, body: Any) -> Reply:
        """Return the requests that load balancers answered with their own error, or cut off."""
        failures = []
        for failure in live.traffic.failures(since=float(body.get("since", 0))):
            account_id, region = reports.owner(failure.load_balancer_arn)
            failures.append({**dataclasses.asdict(failure), "account_id": account_id, "region": region})
        return json_reply(HTTPStatus.OK, {"failures": failures})


def _reset(reset: Callable[[], None]) -> Reply:
    reset()
    return json_reply(HTTPStatus.OK, {"reset": True})


def _load_balancer(owned: snapshot.OwnedLoadBalancer, listening: Mapping[str, Listening]) -> dict[str, Any]:
    entry = owned.load_balancer
    certificates = {
        snapshot.certificate(owned, listener.certificate)[0]
        for listener in entry.listeners.values()
        if listener.protocol == "HTTPS"
    }
    return {
        "arn": entry.arn,
        "name": entry.name,
        "dns_name": entry.dns_name,
        "account_id": owned.account_id,
        "region": owned.region,
        "listeners": [
            {
                "arn": listener.arn,
                "port": int(listener.port),
                "protocol": listener.protocol,
                "host": listening[listener.arn].host if listener.arn in listening else None,
                "local_port": listening[listener.arn].port if listener.arn in listening else None,
            }
            for listener in entry.listeners.values()
        ],
        "certificates": sorted(certificates),
    }


def _call_route(route: Callable[[Any], Reply], environ: Mapping[str, Any]) -> Reply:
    """Call a route with the query and the body of a request; refuse malformed input."""
    if TOO_LARGE in environ:
        error = f"the body has more than {LARGEST_BODY} bytes"
        return json_reply(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"error": error})
    try:
        query = dict(urllib.parse.parse_qsl(str(environ.get("QUERY_STRING", ""))))
        return route({**query, **documents.parse_object(environ["wsgi.input"].read() or b"{}")})
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        return json_reply(HTTPStatus.BAD_REQUEST, {"error": f"{type(error).__name__}: {error}"})
    except OSError as error:  # of the machine: a full disk, no descriptors left
        return json_reply(HTTPStatus.INSUFFICIENT_STORAGE, {"error": str(error)})


def _account_id(body: Mapping[str, Any]) -> str:
    """Return a valid account id, because moto accepts any string as an account."""
    account_id = str(body["account_id"])
    if not _ACCOUNT.fullmatch(account_id):
        raise ValueError(f"account_id must have twelve digits, not be {account_id[:32]!r}")
    return account_id


def _version() -> str:
    try:
        return importlib.metadata.version("mclass-tf")
    except importlib.metadata.PackageNotFoundError:
        return "0"  # run from a checkout that is not installed
