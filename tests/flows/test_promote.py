"""Promotions from dev to prod in two accounts, with real tasks and load balancers that this file's tests share."""

from __future__ import annotations

import json
import ssl
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import boto3
import pytest

from tests.commands import CommandLine, CommandResult
from tests.flows.killed import until
from tests.flows.released import CLUSTER, SERVICE, Dev
from tests.local.ecs_cluster import list_all
from tests.snapshots import RELEASED, Snapshots
from tests.time_limits import seconds_left

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("promote")]


_STATES, _LEASE = "mclass-tfstate-222222222222", "mclass/releases/prod.lease"


@dataclass
class Both:
    """dev and prod, applied on their own local AWS; versions come from dev."""

    commands: CommandLine
    dev: Dev

    def promote(self) -> CommandResult:
        return self.commands.run("promote", "dev->prod", "--local", "--yes", "--json")

    def serves(self) -> str:
        """Return the version that prod's load balancer answers."""
        address = self.commands.ok("status", "prod", "--local", "--json").document["address"]
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusting)
        )
        with opener.open(f"{address}/version", timeout=30) as answer:
            return str(json.load(answer)["version"])

    @contextmanager
    def promoting(self) -> Iterator[subprocess.Popen[str]]:
        """Start a promotion; kill it at the end if it still runs."""
        with subprocess.Popen(
            self.commands.argv("promote", "dev", "prod", "--local", "--yes", "--json"),
            env=self.commands.variables(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        ) as running:
            try:
                yield running
            finally:
                running.kill()

    @cached_property
    def prod(self) -> Callable[[str], Any]:
        """Return a factory of clients in prod's account."""
        env = self.commands.shell_environment("prod")
        make: Any = boto3.client
        return lambda service: make(
            service,
            endpoint_url=env["AWS_ENDPOINT_URL"],
            region_name=env["AWS_REGION"],
            aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
            aws_session_token=env["AWS_SESSION_TOKEN"],
        )

    def is_held(self) -> bool:
        """Return whether a command holds the lease of prod."""
        s3 = self.prod("s3")
        found = s3.list_objects_v2(Bucket=_STATES, Prefix=_LEASE).get("Contents", [])
        return bool(found) and bool(
            json.loads(s3.get_object(Bucket=_STATES, Key=_LEASE)["Body"].read())["is_held"]
        )

    def deployments(self) -> list[Any]:
        """Return prod's service deployments, latest first."""
        return list_all(self.prod("ecs"), cluster=CLUSTER, service=SERVICE)[::-1]

    def history(self, name: str) -> list[Any]:
        found: list[Any] = self.commands.ok("history", name, "--local", "--json").document["attempts"]
        return found


@pytest.fixture(scope="module")
def both(snapshots: Snapshots, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    with snapshots.started(RELEASED, home=tmp_path_factory.mktemp("promote")) as commands:
        yield Both(commands, Dev(commands, snapshots.versions()))


def test_what_dev_has_proven_serves_in_prod_and_again_nothing_is_to_do(both: Both) -> None:
    digest = both.dev.version("1.0.0")
    both.dev.serves(digest)

    done = both.promote()

    assert done.status == 0, done.stderr
    assert (done.document["digest"], done.document["outcome"], done.document["cause"]) == (
        digest,
        "released",
        "",
    )
    assert both.serves() == "1.0.0"
    proof = both.history("dev")[0]["record"]
    assert done.document["promoted_from"] == {"environment": "dev", "record": proof}
    latest = both.history("prod")[0]
    assert (latest["kind"], latest["outcome"], latest["verified"]) == ("promotion", "released", True)
    assert latest["promoted_from"]["record"] == proof
    again = both.promote()
    assert again.status == 0, again.stderr
    assert again.document["outcome"] == "unchanged"
    assert not both.commands.ok("plan", "prod", "--local", "--json").document["has_changes"]


def test_of_two_concurrent_promotions_the_second_is_refused_with_the_first_named(both: Both) -> None:
    digest = both.dev.version("2.0.0")
    both.dev.released(digest)

    with both.promoting() as first:
        until(lambda: both.is_held() or first.poll() is not None, "it begins", within=seconds_left())
        second = both.promote()
        stdout, _ = first.communicate(timeout=seconds_left())

    assert second.status == 5
    assert "is at work in prod since" in second.document["cause"]
    assert f"promote of {digest}" in second.document["cause"]
    assert (second.document["outcome"], second.document["environment"]) == ("refused", "prod")
    assert first.returncode == 0
    assert json.loads(stdout)["outcome"] == "released"
    assert both.serves() == "2.0.0"


def test_a_killed_promotion_is_adopted_by_the_same_promotion(both: Both) -> None:
    digest = both.dev.version("3.0.0")
    both.dev.released(digest)
    before = len(both.deployments())

    with both.promoting() as first:
        began = until(
            lambda: len(both.deployments()) > before or first.poll() is not None,
            "ECS begins",
            within=seconds_left(),
        )
        assert began
        assert first.poll() is None
    done = both.promote()

    assert done.status == 0, done.stderr
    # By then ECS may have brought it to its end by itself.
    assert done.document["outcome"] in ("released", "unchanged")
    assert both.serves() == "3.0.0"
    assert len(both.deployments()) == before + 1
    latest, killed = both.history("prod")[:2]
    assert (latest["digest"], latest["verified"]) == (digest, True)
    assert (killed["digest"], killed["outcome"], killed["verified"]) == (digest, "cut off", False)
