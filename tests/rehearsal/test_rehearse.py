"""Rehearsals for real: dev on a local AWS, two versions, traffic; and each fault and each missing protection."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mclass_tf.rehearsal import names
from tests.conftest import ROOT, CommandLine, Done, interrupted

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("rehearsal")]


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """A local AWS with dev applied; the rehearsals below share it, one after the other."""
    own = CommandLine(project=ROOT, home=tmp_path_factory.mktemp("rehearsal"))
    own.ok("local", "up", "--port", "0")
    try:
        own.ok("plan", "dev", "--local")
        own.ok("apply", "dev", "--local")
        yield own
    finally:
        own.ok("local", "down")


def told(done: Done) -> str:
    return f"exit {done.status}\n{done.stdout[-6000:]}\n{done.stderr[-3000:]}"


def rehearsed(commands: CommandLine, *arguments: str) -> Any:
    """Rehearse what must pass; return the document. At half the rate: the tests may share the machine with others."""
    done = commands.run("rehearse", "dev", "--json", "--rate", "100", "--seconds", "20", *arguments)
    assert done.status == 0, told(done)
    return done.document


def nothing_is_left_changed(commands: CommandLine) -> None:
    """What Terraform wrote is what is there; a scenario that changed something has put it back."""
    planned = commands.ok("plan", "dev", "--local", "--json").document
    assert planned["resources"] == []


def test_a_release_drops_no_request(commands: CommandLine, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    found = rehearsed(commands, "--report", str(page))

    assert found["verdict"] == "passed"
    assert found["requests"]["failed"] == 0
    assert found["requests"]["sent"] >= 2000
    assert found["release"]["outcome"] == "released"
    assert found["latency"]["during"]["p99"] > 0
    assert {found["release"]["old_version"][-2:], found["release"]["new_version"][-2:]} == {"-a", "-b"}
    assert any("steady state" in event["message"] for event in found["events"])
    # Old tasks are told to stop when the release ends, and go on for their lame duck.
    staying = [task for task in found["tasks"] if task["stopping_at"] is None]
    assert {task["revision"] for task in staying} == {max(task["revision"] for task in found["tasks"])}
    assert json.dumps(found["requests"]["sent"]) in page.read_text(encoding="utf-8")
    nothing_is_left_changed(commands)


@pytest.mark.parametrize("fault", names.FAULTS)
def test_a_fault_ends_as_is_promised(commands: CommandLine, fault: str) -> None:
    found = rehearsed(commands, "--fault", fault)

    assert found["verdict"] == "passed"
    assert found["requests"]["failed"] == found["requests"]["killed"]
    if fault not in {"task-killed", "spot-interruption", "slow-start-interrupted"}:
        assert found["requests"]["failed"] == 0
        assert found["release"]["exit_code"] == 6
        assert found["release"]["cause"]
    nothing_is_left_changed(commands)


@pytest.mark.parametrize("protection", names.PROTECTIONS)
def test_a_protection_that_is_taken_away_is_missed_and_named(commands: CommandLine, protection: str) -> None:
    found = rehearsed(commands, "--without", protection)

    assert found["requests"]["failed"] > 0
    assert found["diagnosis"][0]["cause"] == protection
    assert found["diagnosis"][0]["failed"] > 0
    nothing_is_left_changed(commands)


def test_an_interrupt_puts_back_what_was_changed(commands: CommandLine) -> None:
    done = interrupted(commands, "rehearse", "dev", "--without", "grace-period", at="requests a second")

    assert done.status == 130
    assert "putting back autoscaling" in done.stderr
    nothing_is_left_changed(commands)
