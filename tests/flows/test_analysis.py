"""A canary of real tasks under real traffic is judged by the load balancer's own metrics."""

from __future__ import annotations

import http.client
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.flows.released import Dev
from tests.snapshots import RELEASED, Snapshots, copied_project

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("analysis")]

# By the clock's factor of 10 the canary bakes for 30 s, and its whole for 6.
_RELEASE = """
[release]
strategy            = "canary"
canary_percent      = 30
canary_bake_minutes = 5
bake_minutes        = 1

[release.analysis]
min_requests          = 40
latency_floor_seconds = 60
"""
_RATE, _SENDERS = 60, 4


@pytest.fixture(scope="module")
def dev(snapshots: Snapshots, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """Dev in a copy of this project, released by canary."""
    project = copied_project(tmp_path_factory.mktemp("project"), _RELEASE)
    with snapshots.started(RELEASED, home=tmp_path_factory.mktemp("analysis"), project=project) as commands:
        yield Dev(commands, snapshots.versions())


class Traffic:
    """Requests at a constant rate over kept connections; `answers` counts them by status or error."""

    def __init__(self, url: str) -> None:
        self.answers: Counter[int | str] = Counter()
        self._parts = urllib.parse.urlsplit(url)
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(_SENDERS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _send(self) -> None:
        connection = http.client.HTTPConnection(
            str(self._parts.hostname), int(self._parts.port or 80), timeout=30
        )
        due = time.monotonic()
        while not self._over.wait(max(0.0, due - time.monotonic())):
            due += _SENDERS / _RATE
            try:
                connection.request("GET", "/")
                answer = connection.getresponse()
                answer.read()
                self.answers[answer.status] += 1
            except (OSError, http.client.HTTPException) as error:
                self.answers[type(error).__name__] += 1
                connection.close()
        connection.close()


@contextmanager
def traffic(dev: Dev) -> Iterator[Traffic]:
    """Send requests to production during this context."""
    made = Traffic(dev.address)
    made.start()
    try:
        deadline = time.monotonic() + 60
        while not made.answers:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield made
    finally:
        made.stop()


def test_a_version_that_fails_under_production_traffic_alone_is_rolled_back(dev: Dev) -> None:
    """Every tenth request fails, so that the smoke test with its three requests passes."""
    bad = dev.version("1.1.0-bad", MCLASS_FAULT_ERROR_RATE="0.1")
    dev.runs(dev.version("1.0.0"))

    with traffic(dev) as sent:
        done = dev.release(bad)

    assert done.status == 6, done.stderr
    found = done.document["analysis"]
    assert done.document["outcome"] == "rolled back"
    assert done.document["error"]["type"] == "AnalysisFailedError"
    assert "the new version was worse than the old one" in done.document["cause"]
    assert found["verdict"] == "failed"
    assert 0.05 < found["new"]["errors"] / found["new"]["requests"] < 0.2
    assert found["old"]["errors"] == 0
    begun, ended = dev.records()[-1]
    assert begun["strategy"] == "CANARY"
    assert ended["analysis"] == found
    assert [each["problem"] for each in ended["smoke"]] == [""]
    shares = {stage["production"] for stage in ended["stages"] if stage["name"] == "PRODUCTION_TRAFFIC_SHIFT"}
    assert 100 not in shares, "it never had all traffic"
    assert dev.history()[0]["analysis"] == found
    assert dev.answers()["version"] == "1.0.0"
    assert set(sent.answers) == {200, 500}
    assert sent.answers[500] < 0.1 * sent.answers[200]


def test_a_version_that_does_well_under_traffic_passes(dev: Dev) -> None:
    good = dev.version("1.2.0")
    dev.runs(dev.version("1.0.0"))

    with traffic(dev) as sent:
        done = dev.release(good)

    assert done.status == 0, done.stderr
    found = done.document["analysis"]
    assert found["verdict"] == "passed"
    assert found["new"]["requests"] >= 40
    assert found["new"]["errors"] == 0
    assert dev.records()[-1][1]["analysis"] == found
    assert set(sent.answers) == {200}
    assert dev.answers()["version"] == "1.2.0"


def test_without_traffic_nothing_is_proven_and_the_version_is_released(dev: Dev) -> None:
    new = dev.version("1.3.0")
    dev.runs(dev.version("1.0.0"))

    done = dev.release(new)

    assert done.status == 0, done.stderr
    found = done.document["analysis"]
    assert found["verdict"] == "inconclusive"
    assert found["reason"]
    assert found["new"]["requests"] < 40
    assert dev.history()[0]["analysis"] == found
    assert "analysis inconclusive" in dev.commands.ok("history", "dev", "--local").stdout
    assert dev.answers()["version"] == "1.3.0"


def test_an_alarm_that_is_not_there_is_refused_before_anything_is_changed(dev: Dev) -> None:
    settings = dev.commands.project / "environments" / "dev" / "environment.toml"
    before = settings.read_text(encoding="utf-8")
    deployments = dev.deployments()
    named = before.replace("[release]\n", '[release]\nalarms = ["no-such-alarm"]\n')
    settings.write_text(named, encoding="utf-8")
    try:
        done = dev.release(dev.version("1.4.0"))
    finally:
        settings.write_text(before, encoding="utf-8")

    assert done.status == 3, done.stderr
    assert "CloudWatch has no alarm no-such-alarm" in done.document["error"]["message"]
    assert dev.deployments() == deployments
