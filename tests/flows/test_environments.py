"""The project's own environments: applied for real from nothing, and started from a snapshot."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands import ROOT, CommandLine
from tests.flows.released import Dev
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


def test_what_is_damaged_in_the_bucket_is_named_and_stops_nothing_else(
    snapshots: Snapshots, tmp_path: Path
) -> None:
    with snapshots.started(RELEASED, home=tmp_path / "home") as commands:
        dev = Dev(commands, snapshots.versions())
        bucket, s3 = "mclass-tfstate-111111111111", dev.client("s3")
        foreign = "mclass/releases/dev/29990101T000000.000Z-00000000/started.json"
        for key in (foreign, "mclass/releases/dev.lease"):
            s3.put_object(Bucket=bucket, Key=key, Body=b"<html>503</html>")

        told, attempts = commands.ok("history", "dev", "--local"), dev.history()
        status = commands.ok("status", "dev", "--local", "--json")
        refused = dev.rollback()

        s3.put_object(Bucket=bucket, Key="mclass/terraform.tfstate", Body=b'{"outputs": null}')
        env = commands.ok("local", "env", "dev")
        output = commands.run("output", "dev", "--local")

    assert f"s3://{bucket}/{foreign} cannot be read: JSON is malformed" in told.stdout
    assert [each["outcome"] for each in attempts] == ["unreadable", "released"]
    assert "an attempt is left out" in status.stderr
    assert status.document["digest"] == snapshots.versions()["1.0.0"]
    assert refused.status == 5, refused.stderr
    assert "dev.lease cannot be read" in refused.stderr
    assert "export AWS_ENDPOINT_URL=" in env.stdout
    assert f"s3://{bucket}/mclass/terraform.tfstate cannot be read" in env.stderr
    assert output.status == 3
    assert "list-object-versions" in output.stderr
