"""What the new version is asked on the test listener, and what counts as an answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from mclass_tf import verify
from mclass_tf.endpoint import Answer, Endpoint
from mclass_tf.environment import ReleaseSettings
from mclass_tf.flows import probe
from mclass_tf.ledger import Smoke
from mclass_tf.session import Session

ENDPOINT = Endpoint(scheme="http", host="127.0.0.1", port=1, host_header="test", server_name="test")
OUTPUTS = cast("verify.Outputs", SimpleNamespace(test_url="http://test:8080"))


def asked(
    monkeypatch: pytest.MonkeyPatch, statuses: dict[str, int], *smoke: str, revision: str = "new"
) -> tuple[Smoke, ...]:
    """Ask a version that answers so, and names its revision "new"."""
    now = [0.0]

    def get(_: Endpoint, path: str, *, seconds: float) -> Answer:
        assert seconds
        return Answer(status=statuses[path], body=b'{"revision": "new"}')

    def wait(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(probe, "get", get)
    monkeypatch.setattr(probe, "resolve", lambda *_: ENDPOINT)
    monkeypatch.setattr(probe, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=wait))
    settings = ReleaseSettings(smoke=smoke or None)
    session = SimpleNamespace(target=None, environment=SimpleNamespace(release=settings))
    return probe.smoke_test(cast("Session", session), OUTPUTS, revision=revision)


def test_the_version_path_and_every_path_that_is_named_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    found = asked(monkeypatch, {"/version": 200, "/orders": 204}, "/orders")

    assert found == (Smoke(path="/version"), Smoke(path="/orders"))


def test_what_comes_after_a_path_that_fails_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    found = asked(monkeypatch, {"/version": 200, "/orders": 500}, "/orders", "/never")

    assert found == (Smoke(path="/version"), Smoke(path="/orders", problem="/orders answers with 500"))


def test_a_redirect_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = asked(monkeypatch, {"/version": 302})

    assert found.problem == "/version answers with 302"


def test_another_revision_on_the_version_path_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = asked(monkeypatch, {"/version": 200}, revision="newer")

    assert "revision new, not newer" in found.problem
