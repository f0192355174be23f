"""The project's own environments: applied for real from nothing, and started from a snapshot."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands import ROOT, CommandLine
from tests.snapshots import RELEASED, Snapshots

pytestmark = pytest.mark.slow


def test_dev_is_applied_from_nothing_stands_every_check_and_is_destroyed(tmp_path: Path) -> None:
    commands = CommandLine(project=ROOT, home=tmp_path / "home")
    commands.ok("local", "up", "--port", "0")
    try:
        planned = commands.ok("plan", "dev", "--local", "--json").document
        assert planned["approved"]

        applied = commands.ok("apply", "dev", "--local", "--json").document

        assert applied["changed"]
        assert not commands.ok("plan", "dev", "--local", "--json").document["has_changes"]
        assert commands.ok("verify", "dev", "--local", "--json").document["failed"] == 0
        assert commands.ok("destroy", "dev", "--local", "--yes", "--json").document["destroyed"]
        assert commands.run("output", "dev", "--local").status == 3
    finally:
        commands.ok("local", "down")


def test_from_a_snapshot_nothing_is_to_do_every_check_passes_and_the_version_answers(
    snapshots: Snapshots, tmp_path: Path
) -> None:
    with snapshots.started(RELEASED, home=tmp_path / "home") as commands:
        for name in ("dev", "prod"):
            assert not commands.ok("plan", name, "--local", "--json").document["has_changes"]
            assert commands.ok("verify", name, "--local", "--json").document["failed"] == 0
        status = commands.ok("status", "dev", "--local", "--json").document
        attempts = commands.ok("history", "dev", "--local", "--json").document["attempts"]

    assert status["digest"] == snapshots.versions()["1.0.0"]
    assert status["running"] == status["desired"] > 0
    assert [(each["outcome"], each["digest"]) for each in attempts] == [("released", status["digest"])]
