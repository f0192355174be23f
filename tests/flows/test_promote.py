"""Promotions from dev to prod, in two accounts, of real tasks behind real load balancers; all tests of this file share them."""

from __future__ import annotations

import json
import ssl
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.conftest import ROOT, CommandLine, Done
from tests.flows.released import Dev

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("promote")]


@dataclass(frozen=True)
class Both:
    """dev and prod, applied, on a local AWS of their own; dev is where versions come from."""

    commands: CommandLine
    dev: Dev

    def promote(self) -> Done:
        return self.commands.run("promote", "dev->prod", "--local", "--yes", "--json")

    def serves(self) -> str:
        """Return the version that prod's load balancer answers with."""
        address = self.commands.ok("status", "prod", "--local", "--json").document["address"]
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusting)
        )
        with opener.open(f"{address}/version", timeout=30) as answer:
            return str(json.load(answer)["version"])

    def history(self, name: str) -> list[Any]:
        found: list[Any] = self.commands.ok("history", name, "--local", "--json").document["attempts"]
        return found


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    commands = CommandLine(project=ROOT, home=tmp_path_factory.mktemp("promote"))
    commands.ok("local", "up", "--port", "0", "--speed", "10")
    try:
        commands.ok("plan", "--all", "--local")
        commands.ok("apply", "--all", "--local")
        yield Both(commands, Dev(commands))
    finally:
        commands.ok("local", "down")


def test_what_dev_has_proven_serves_in_prod_and_again_nothing_is_to_do(both: Both) -> None:
    digest = both.dev.version("1.0.0")
    both.dev.released(digest)

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
