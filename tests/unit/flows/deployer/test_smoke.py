"""The requests to a new version through the load balancer, before and after the shift, and the accepted answers."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import cast

import pytest

from mclass_tf import verify
from mclass_tf.cloud import Cloud
from mclass_tf.environment import ReleaseSettings
from mclass_tf.errors import EndpointError, NotServingError
from mclass_tf.flows.attempt import Attempt
from mclass_tf.flows.deployer import deploy, smoke
from mclass_tf.flows.endpoints import locate
from mclass_tf.ledger import SmokeResult
from mclass_tf.load_balancer_endpoint import Endpoint, HttpResponse
from mclass_tf.rollout import Patience
from mclass_tf.service import Ecs
from mclass_tf.session import Session
from mclass_tf.trust import Trust
from tests.unit.fake_service import BEGAN, DIGEST, NEW, FakeEcs, deployment, service, task

ENDPOINT = Endpoint(scheme="http", host="127.0.0.1", port=1, host_header="test", server_name="test")
HEADER = {"name": "X-Test-Traffic", "value": "0f0e0d0c-0b0a-4908-8706-050403020100"}
OUTPUTS = cast("verify.Outputs", SimpleNamespace(url="http://test", test_header=HEADER, certificate_arn=None))


def answering(monkeypatch: pytest.MonkeyPatch, statuses: dict[str, int]) -> list[dict[str, str]]:
    """Fake the load balancer's answers of a version that names its revision "new", without waiting; return the headers sent."""
    now = [0.0]
    sent: list[dict[str, str]] = []

    def get(
        _: Endpoint, path: str, *, seconds: float, headers: Mapping[str, str] | None = None
    ) -> HttpResponse:
        assert seconds
        sent.append(dict(headers or {}))
        return HttpResponse(status=statuses[path], body=b'{"revision": "new"}')

    def wait(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(smoke, "get", get)
    monkeypatch.setattr(smoke, "locate", lambda *_, **__: ENDPOINT)
    monkeypatch.setattr(smoke, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=wait))
    return sent


def asked(
    monkeypatch: pytest.MonkeyPatch, statuses: dict[str, int], *paths: str, revision: str = "new"
) -> tuple[SmokeResult, ...]:
    """Run the smoke test. It must send the header of test traffic with each request."""
    sent = answering(monkeypatch, statuses)
    settings = ReleaseSettings(smoke=paths or None)
    session = SimpleNamespace(cloud=None, environment=SimpleNamespace(release=settings))
    results = smoke.smoke_test(cast("Session", session), OUTPUTS, revision=revision)
    assert sent
    assert all(headers == {HEADER["name"]: HEADER["value"]} for headers in sent)
    return results


def test_the_version_path_and_every_path_that_is_named_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    found = asked(monkeypatch, {"/version": 200, "/orders": 204}, "/orders")

    assert found == (SmokeResult(path="/version"), SmokeResult(path="/orders"))


def test_what_comes_after_a_path_that_fails_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    found = asked(monkeypatch, {"/version": 200, "/orders": 500}, "/orders", "/never")

    assert found == (
        SmokeResult(path="/version"),
        SmokeResult(path="/orders", problem="/orders answers with 500"),
    )


def test_a_redirect_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = asked(monkeypatch, {"/version": 302})

    assert found.problem == "/version answers with 302"


def test_another_revision_on_the_version_path_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = asked(monkeypatch, {"/version": 200}, revision="newer")

    assert "revision new, not newer" in found.problem


def proven(monkeypatch: pytest.MonkeyPatch, *, revision: str) -> bool:
    """Prove a release that ECS reports as successful; return whether the environment was verified."""
    answering(monkeypatch, {"/version": 200})
    monkeypatch.setattr(deploy, "verify_environment", lambda _: SimpleNamespace(ok=True))
    monkeypatch.setattr(deploy, "settling_seconds", lambda *_: 0.0)
    ecs = FakeEcs(service(deployment(NEW, status="PRIMARY")))
    ecs.running = [task("a", address="10.0.0.1"), task("b", address="10.0.0.2")]
    ecs.states = {"10.0.0.1": "healthy", "10.0.0.2": "healthy"}
    balancers = {"LoadBalancers": [{"Scheme": "internet-facing"}]}
    session = SimpleNamespace(
        cloud=None,
        environment=SimpleNamespace(release=ReleaseSettings()),
        aws=SimpleNamespace(elbv2=SimpleNamespace(describe_load_balancers=lambda **_: balancers)),
        report=lambda _: None,
    )
    outputs = SimpleNamespace(
        url="http://test", alb_arn="alb", certificate_arn=None, container_name="mclass-server"
    )
    attempt = Attempt(record="", digest=DIGEST, revision=revision, started_at=BEGAN, task_definition_arn=NEW)
    deployer = deploy.Deployer(
        session=cast("Session", session),
        outputs=cast("verify.Outputs", outputs),
        ecs=cast("Ecs", ecs),
        patience=Patience(report=print),
    )
    deployer.prove(attempt, digest=DIGEST)
    return attempt.is_verified


def test_a_release_is_proven_by_answers_of_its_own_revision_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert proven(monkeypatch, revision="new")

    with pytest.raises(NotServingError, match="answers with revision new, not newer"):
        proven(monkeypatch, revision="newer")


def test_the_load_balancer_must_present_the_applied_certificate_over_tls() -> None:
    class Acm:
        def get_certificate(self, **_: str) -> dict[str, str]:
            return {"Certificate": "PEM"}

        def describe_certificate(self, **_: str) -> dict[str, dict[str, str]]:
            return {"Certificate": {"DomainName": "dev.mclass.test"}}

    aws = Cloud(kind="aws", identity="aws", endpoint_url=None)
    session = cast(
        "Session",
        SimpleNamespace(
            cloud=aws,
            aws=SimpleNamespace(acm=Acm()),
            report=print,
            environment=SimpleNamespace(name="dev"),
        ),
    )

    found = locate(session, "https://alb.test", certificate_arn="arn:one")

    assert Trust(name="arn:one", certificates=("PEM",), domain="dev.mclass.test") == found.trust
    assert Trust() == locate(session, "http://alb.test", certificate_arn=None).trust
    with pytest.raises(EndpointError, match="no certificate was applied"):
        locate(session, "https://alb.test", certificate_arn=None)
