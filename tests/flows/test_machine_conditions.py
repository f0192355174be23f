"""On a machine in bad condition, each command names the problem, exits as documented, and starts no second local AWS."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.commands import ROOT, CommandLine, CommandResult
from tests.conditions import (
    fill,
    make_read_only,
    small_disk,
    with_descriptors,
    with_processes,
    without_proc,
)
from tests.flows.released import Dev
from tests.snapshots import SHIFTING, Snapshots, copied_project
from tests.time_limits import seconds_left

_BUG = "this is a bug"
WRITING = (
    ("local", "up", "--port", "0"),
    ("plan", "dev", "--local"),
    ("history", "dev", "--local"),
    ("build", "--builder", "builtin", "--tag", "t"),
)


def run(commands: CommandLine, made: Callable[[Sequence[str]], list[str]], *arguments: str) -> CommandResult:
    """Run a command from nothing, in a condition."""
    done = subprocess.run(
        made(commands.argv(*arguments)),
        env=commands.variables(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds_left(),
    )
    assert _BUG not in done.stderr, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return CommandResult(done.returncode, done.stdout, done.stderr)


def servers(home: Path) -> list[str]:
    """Return the servers of a home, whatever its record says."""
    argv = ["ps", "-A", "-ww", "-o", "command="]
    listed = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in listed if "mclass_tf.local.server" in line and str(home) in line]


@pytest.mark.parametrize("arguments", WRITING, ids=lambda words: " ".join(words[:2]))
def test_on_a_full_disk_a_command_says_so_and_leaves_nothing_running(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        commands = CommandLine(project=ROOT, home=disk / "home")
        fill(disk)

        done = run(commands, list, *arguments)

        assert done.status == 3
        assert "no space left" in done.stderr
        assert str(disk) in done.stderr
        assert servers(commands.home) == []


@pytest.mark.parametrize("arguments", WRITING, ids=lambda words: " ".join(words[:2]))
def test_in_a_home_that_cannot_be_written_a_command_says_so_and_names_a_way_out(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        commands = CommandLine(project=ROOT, home=disk / "home")
        (commands.home / "local").mkdir(parents=True)
        make_read_only(disk)

        done = run(commands, list, *arguments)

        assert done.status == 3
        assert "Read-only file system" in done.stderr
        assert str(commands.home) in done.stderr
        assert "MCLASS_TF_HOME" in done.stderr
        assert servers(commands.home) == []


def test_a_local_aws_whose_disk_is_full_is_neither_replaced_nor_lost(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", size="8m") as disk:
        commands = CommandLine(project=ROOT, home=disk / "home")
        commands.ok("local", "up", "--port", "0")
        try:
            up = commands.ok("local", "status", "--json").document
            fill(disk)

            assert run(commands, list, "local", "up").status == 0
            saved = run(commands, list, "local", "save", str(disk / "snapshot"))
            planned = run(commands, list, "plan", "dev", "--local")

            assert commands.ok("local", "status", "--json").document == up
            assert (saved.status, planned.status) == (3, 3)
            assert "o space left" in saved.stderr
            assert "no space left" in planned.stderr
            assert not (disk / "snapshot").exists()
            assert len(servers(commands.home)) == 1

            (disk / "filler").unlink()
            commands.ok("local", "save", str(disk / "snapshot"))
        finally:
            commands.ok("local", "down")


@pytest.mark.slow
def test_on_a_full_disk_releases_and_rollbacks_fail_with_that_cause_and_what_serves_goes_on(
    snapshots: Snapshots, tmp_path: Path
) -> None:
    project = copied_project(tmp_path / "project")
    with (
        small_disk(tmp_path / "disk", size="1g") as disk,
        snapshots.started(SHIFTING, home=disk / "home", project=project, speed=20) as commands,
    ):
        dev = Dev(commands, snapshots.versions())
        serves = dev.answers()["version"]
        other = dev.version("1.0.0" if serves == "2.0.0" else "2.0.0")
        fill(disk)

        released = run(commands, list, "release", "dev", "--local", "--yes", "--image", other)
        serves_then = dev.answers()["version"]
        rolled_back = run(commands, list, "rollback", "dev", "--local")  # no task can be unpacked there
        (disk / "filler").unlink()

        assert released.status == 3, released.stderr
        assert "no space left" in released.stderr
        assert rolled_back.status == 6, rolled_back.stderr
        assert "No space left on device" in rolled_back.stderr
        assert serves_then == dev.answers()["version"] == serves
        assert run(commands, list, "rollback", "dev", "--local").status == 0
        assert dev.status()["digest"] == other


def test_without_proc_the_local_aws_is_found_kept_and_stopped(tmp_path: Path) -> None:
    commands = CommandLine(project=ROOT, home=tmp_path / "home")
    up = run(commands, without_proc, "local", "up", "--port", "0", "--json").document
    try:
        again = run(commands, without_proc, "local", "up", "--json").document
        seen = commands.ok("local", "status", "--json").document

        assert again["instance_id"] == up["instance_id"] == seen["instance_id"]
        assert len(servers(commands.home)) == 1
        assert run(commands, without_proc, "local", "down", "--json").document["stopped"]["pid"] == up["pid"]
        assert servers(commands.home) == []
        assert not run(commands, without_proc, "local", "status", "--json").document["up"]
    finally:
        commands.ok("local", "down")


@pytest.mark.xdist_group("idle")
@pytest.mark.parametrize("number", [5, 7, 8, 10])
def test_with_few_descriptors_a_plan_is_not_made_and_says_why(idle: CommandLine, number: int) -> None:
    done = run(idle, lambda argv: with_descriptors(number, argv), "plan", "dev", "--local")

    assert done.status in (3, 4)
    assert "too many open files" in done.stderr.lower() or "no more files can be opened" in done.stderr
    assert "ulimit -n" in done.stderr
    assert len(servers(idle.home)) == 1


@pytest.mark.xdist_group("idle")
@pytest.mark.parametrize("number", [5, 6, 8])
def test_with_few_descriptors_the_local_aws_that_is_up_stays_the_one(idle: CommandLine, number: int) -> None:
    before = idle.ok("local", "status", "--json").document

    done = run(idle, lambda argv: with_descriptors(number, argv), "local", "up")

    assert done.status in (0, 3)
    assert done.status == 0 or "ulimit -n" in done.stderr
    assert idle.ok("local", "status", "--json").document == before


@pytest.mark.xdist_group("idle")
@pytest.mark.parametrize("number", [0, 3])
def test_where_no_process_can_be_started_a_plan_says_so(idle: CommandLine, number: int) -> None:
    done = run(idle, lambda argv: with_processes(number, argv), "plan", "dev", "--local")

    assert done.status in (3, 4)
    assert "ulimit -u" in done.stderr
    assert len(servers(idle.home)) == 1


def test_where_no_process_can_be_started_the_local_aws_is_not_started(tmp_path: Path) -> None:
    commands = CommandLine(project=ROOT, home=tmp_path / "home")

    done = run(commands, lambda argv: with_processes(0, argv), "local", "up", "--port", "0")

    assert done.status == 3
    assert "no further process can be started" in done.stderr
    assert servers(commands.home) == []
