"""A process that outlives its command completes, and the next command finds out whether it runs, and its output."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mclass_tf.system import runs
from mclass_tf.system.runs import RunFolder, members, start_time
from tests.flows.killed import until

# The command. Its child waits for a file, writes more than a pipe can contain, and then reports its end.
COMMAND = """
import os, sys
from pathlib import Path
from mclass_tf.system import process
from mclass_tf.system.runs import RunFolder

child = '''
import pathlib, signal, sys, time
signal.signal(signal.SIGINT, lambda *_: (print("interrupted", flush=True), sys.exit(1)))
print("begun", flush=True)
while not pathlib.Path(sys.argv[1]).exists():
    time.sleep(0.01)
for number in range(20_000):
    print("line", number)
print("ended", flush=True)
print("a warning", file=sys.stderr)
'''
go, folder = sys.argv[1:]
command = process.Command(
    argv=(sys.executable, "-c", child, go),
    cwd=Path("/"),
    env=dict(os.environ),
    name="apply",
    run_folder=RunFolder(path=Path(folder)),
)
with process.interruptible():
    process.run(command, on_stdout=lambda line: print(line, flush=True))
"""


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(path=tmp_path / "run")


@contextmanager
def working(folder: RunFolder, go: Path) -> Iterator[subprocess.Popen[str]]:
    """The command while its child works, which it does until the file `go` exists."""
    argv = [sys.executable, "-c", COMMAND, str(go), str(folder.path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as command:
        try:
            assert command.stdout is not None
            assert command.stdout.readline() == "begun\n"
            yield command
        finally:
            command.kill()
            go.touch()
            until(lambda: not is_running(folder), "the end of the child")


def is_running(folder: RunFolder) -> bool:
    run = folder.left()
    return run is not None and run.is_running


def test_a_child_whose_command_is_killed_comes_to_its_end_and_all_it_said_is_there(
    folder: RunFolder, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    with working(folder, go) as command:
        command.kill()
        command.wait()
        run = folder.left()
        assert run is not None
        assert (run.what, run.is_running) == ("apply", True)
        assert Path(f"/proc/{run.pid}").exists() or start_time(run.pid)

        go.touch()
        until(lambda: not is_running(folder), "the end of the child")

    run = folder.left()
    assert run is not None
    assert (run.is_running, run.pid) == (False, 0)
    assert run.stdout.splitlines()[-2:] == ["line 19999", "ended"]
    assert run.stderr == "a warning\n"


def test_a_child_whose_command_is_stopped_by_the_terminal_that_closes_ends_in_order(
    folder: RunFolder, tmp_path: Path
) -> None:
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-c", COMMAND, str(tmp_path / "go"), str(folder.path)]
    with subprocess.Popen(
        argv, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as command:
        os.close(theirs)
        assert os.read(ours, 100).strip() == b"begun"
        os.close(ours)  # the terminal is gone: writes to it now fail
        command.send_signal(signal.SIGHUP)
        command.wait(60)

    run = folder.left()
    assert run is not None
    assert not run.is_running
    assert run.stdout.splitlines()[-1] == "interrupted"


def test_a_child_that_was_never_noted_is_known_to_run_by_its_lock(folder: RunFolder, tmp_path: Path) -> None:
    with working(folder, tmp_path / "go") as command:
        command.kill()
        command.wait()
        record = folder.path / "record.json"
        record.write_text('{"what": "apply", "since": "2026-11-23 01:02:03 UTC"}')

        run = folder.left()

    assert run is not None
    assert (run.is_running, run.pid) == (True, 0)


def test_an_id_that_another_process_has_got_since_is_not_taken_for_the_childs(folder: RunFolder) -> None:
    with folder.opened("apply"):
        pass
    folder.note(os.getpid())
    record = folder.path / "record.json"
    record.write_text(record.read_text().replace(start_time(os.getpid()), "17"))

    run = folder.left()

    assert run is not None
    assert (run.is_running, run.pid) == (False, 0)


def test_half_a_record_of_a_machine_that_went_down_is_a_run_that_has_ended(folder: RunFolder) -> None:
    with folder.opened("apply"):
        pass
    (folder.path / "record.json").write_text('{"what": "app')

    run = folder.left()

    assert run is not None
    assert not run.is_running


def test_what_was_told_leaves_nothing_behind(folder: RunFolder) -> None:
    with folder.opened("apply"):
        assert {file.stat().st_mode & 0o777 for file in folder.path.iterdir()} == {0o600}
        assert folder.path.stat().st_mode & 0o777 == 0o700
    folder.clear()

    assert folder.left() is None
    assert list(folder.path.iterdir()) == []


@pytest.mark.parametrize("source", ["/proc", "ps"])
def test_start_times_and_groups_are_known_with_and_without_proc(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if source == "ps":
        if shutil.which("ps") is None:
            pytest.skip("there is no ps on this machine")
        monkeypatch.setattr(runs, "_PROC", tmp_path)
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as child:
        try:
            assert start_time(child.pid)
            until(lambda: members(child.pid) == {child.pid: "sleep 600"}, "it is sleep by now")
        finally:
            child.kill()

    assert start_time(child.pid) == ""
    assert members(child.pid) == {}
