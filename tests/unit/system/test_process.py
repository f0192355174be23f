"""No output of a child process is lost, and an interrupt reaches it once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mclass_tf.errors import InterruptedByUserError
from mclass_tf.system import process
from mclass_tf.system.runs import RunFolder


def python(code: str, folder: RunFolder | None = None) -> process.Command:
    return process.Command(
        argv=(sys.executable, "-c", code),
        cwd=Path("/"),
        env=dict(os.environ),
        name="apply",
        run_folder=folder,
    )


@pytest.fixture(params=["pipes", "files"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> RunFolder | None:
    """Where the output goes: to pipes (None), or to files, which let the child outlive its parent."""
    return RunFolder(path=tmp_path / "run") if request.param == "files" else None


def test_status_and_both_outputs_come_back(folder: RunFolder | None) -> None:
    code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    done = process.run(python(code, folder))

    assert done.status == 3
    assert done.stdout == "out\n"
    assert done.stderr == "err\n"
    assert not done.interrupted


def test_a_full_standard_error_does_not_stop_the_child(folder: RunFolder | None) -> None:
    done = process.run(python("import sys; sys.stderr.write('x' * 1_000_000); print('end')", folder))

    assert done.stdout == "end\n"
    assert len(done.stderr) == 1_000_000


def test_lines_are_handed_on_while_the_child_runs(folder: RunFolder | None, tmp_path: Path) -> None:
    seen: list[str] = []
    heard = tmp_path / "heard"

    def listen(line: str) -> None:
        seen.append(line)
        heard.touch()

    code = (
        "import pathlib, time\n"
        "print('erste Hälfte', end='', flush=True)\n"
        "print(' 그리고', flush=True)\n"
        f"while not pathlib.Path({str(heard)!r}).exists(): time.sleep(0.01)\n"
        "print('without an end', end='')\n"
    )
    done = process.run(python(code, folder), on_stdout=listen)

    assert seen == ["erste Hälfte 그리고", "without an end"]
    assert done.stdout == "erste Hälfte 그리고\nwithout an end"


def test_the_child_has_only_the_environment_it_is_given() -> None:
    command = process.Command(
        argv=(sys.executable, "-c", "import os; print(sorted(set(os.environ) - {'LC_CTYPE'}))"),
        cwd=Path("/"),
        env={"ONLY": "this"},
    )

    assert process.run(command).stdout == "['ONLY']\n"


def test_a_listener_that_fails_does_not_leave_the_child_behind(folder: RunFolder | None) -> None:
    pids: list[int] = []

    def fail(line: str) -> None:
        pids.append(int(line))
        raise RuntimeError("listener")

    with pytest.raises(RuntimeError, match="listener"):
        process.run(
            python("import os, time; print(os.getpid(), flush=True); time.sleep(600)", folder),
            on_stdout=fail,
        )

    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_a_listener_that_fails_interrupts_the_child_and_hears_it_to_its_end(
    folder: RunFolder | None, tmp_path: Path
) -> None:
    kept = tmp_path / "state"
    code = (
        "import pathlib, signal, sys\n"
        "def save(*_):\n"
        "    print('x' * 200_000, flush=True)\n"
        f"    pathlib.Path({str(kept)!r}).write_text('saved')\n"
        "    sys.exit()\n"
        "signal.signal(signal.SIGINT, save)\n"
        "print('ready', flush=True)\n"
        "signal.pause()\n"
    )

    def fail(line: str) -> None:
        raise RuntimeError("listener")

    with pytest.raises(RuntimeError, match="listener"):
        process.run(python(code, folder), on_stdout=fail)

    assert kept.read_text() == "saved"


# The parent that gets the signals. It runs a child that counts its interrupts.
PARENT = """
import os, signal, sys
from pathlib import Path
from mclass_tf.system import process
from mclass_tf.errors import InterruptedByUserError
from mclass_tf.system.runs import RunFolder

child = '''
import os, signal, sys, time
got = []
signal.signal(signal.SIGINT, lambda *_: got.append(1))
print("ready", flush=True)
deadline = time.monotonic() + 60
while not got and time.monotonic() < deadline:
    time.sleep(0.01)
print("working", flush=True)
time.sleep(0.5)  # a second interrupt would arrive now
print(len(got), os.getsid(0) == os.getpid(), flush=True)
'''
folder = RunFolder(path=Path(sys.argv[1])) if sys.argv[1:] else None
command = process.Command(
    argv=(sys.executable, "-c", child), cwd=Path("/"), env=dict(os.environ), name="apply", run_folder=folder
)
with process.interruptible():
    done = process.run(command, on_stdout=lambda line: print(line, flush=True))
    print("interrupted", done.interrupted, flush=True)
    try:
        process.run(command)
    except InterruptedByUserError:
        print("no more", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_child_gets_one_interrupt_however_often_the_user_asks(
    number: signal.Signals, folder: RunFolder | None
) -> None:
    argv = [sys.executable, "-c", PARENT, *([] if folder is None else [str(folder.path)])]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        parent.send_signal(number)
        assert parent.stdout.readline() == "working\n"
        parent.send_signal(number)
        said = parent.stdout.read()

    assert said == "1 True\ninterrupted True\nno more\n"
    assert parent.returncode == 0


def test_with_no_child_running_an_interrupt_is_a_keyboard_interrupt() -> None:
    with pytest.raises(KeyboardInterrupt), process.interruptible():
        os.kill(os.getpid(), signal.SIGTERM)

    assert signal.getsignal(signal.SIGTERM) is not process._interrupts.handle


def test_once_interrupted_nothing_is_started() -> None:
    with process.interruptible():
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(InterruptedByUserError):
            process.run(python("print('never')"))


def test_what_comes_after_an_interrupted_command_is_started(folder: RunFolder | None) -> None:
    with pytest.raises(KeyboardInterrupt), process.interruptible():
        os.kill(os.getpid(), signal.SIGINT)

    assert process.run(python("print('again')", folder)).stdout == "again\n"


def test_an_interrupt_that_is_waited_for_raises_nothing() -> None:
    with process.interruptible(), process.deferred_interrupts() as interruption:
        assert not interruption.wait(0)

        os.kill(os.getpid(), signal.SIGINT)

        assert interruption.wait(60)
        assert not interruption.is_final


def test_an_interrupt_ends_the_wait_for_it() -> None:
    with process.interruptible(), process.deferred_interrupts() as interruption:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()

        assert interruption.wait(60)


def test_a_second_interrupt_before_the_first_was_dealt_with_is_a_keyboard_interrupt() -> None:
    with process.interruptible(), process.deferred_interrupts():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_once_it_was_dealt_with_the_next_interrupt_waits_again() -> None:
    with process.interruptible(), process.deferred_interrupts() as interruption:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            assert interruption.wait(60)
            interruption.clear()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_who_is_told_to_end_can_tell(number: signal.Signals) -> None:
    with process.interruptible(), process.deferred_interrupts() as interruption:
        os.kill(os.getpid(), number)

        assert interruption.wait(60)
        assert interruption.is_final


def test_afterwards_an_interrupt_raises_again() -> None:
    with process.interruptible():
        with process.deferred_interrupts():
            pass
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
