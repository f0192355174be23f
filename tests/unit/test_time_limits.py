"""A test that hangs is named, in whatever way it hangs, and the others go on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import time_limits
from tests.commands import ROOT, CommandLine
from tests.time_limits import seconds_left

_CONFTEST = """
import pytest
from tests import time_limits
time_limits._GRACE = 2.0

def pytest_configure(config):
    config.pluginmanager.register(time_limits.TimeLimits())
"""
_NO_RESTART = "--max-worker-restart=0"
_INI = "[pytest]\ntimeout = 2\ntimeout_method = signal\n"
_BESIDE = """
import pytest

@pytest.mark.parametrize("number", range(6))
@pytest.mark.xdist_group("beside")
def test_beside(number):
    pass
"""
_HANGING = """
import pathlib, time, pytest
from tests import time_limits

def test_hangs():
    time.sleep(1000)

@pytest.fixture
def before():
    yield
    pathlib.Path("tidied-up").touch()

@pytest.fixture
def hanging(before):
    time.sleep(1000)

@pytest.mark.xdist_group("fixtures")
def test_set_up_hangs(hanging):
    pass

@pytest.fixture(scope="session")
def made():
    with time_limits.set_aside():
        assert time_limits.seconds_left() == time_limits.COMMAND_SECONDS
        time.sleep(5)  # longer than the limit and the grace

@pytest.mark.xdist_group("fixtures")
def test_waits_for_what_is_made_once(made):
    assert 0 < time_limits.seconds_left() <= 2

@pytest.mark.xdist_group("fixtures")
def test_hangs_after_what_was_made_once(made):
    time.sleep(1000)
"""
_WITH_A_CHILD = """
import pathlib, subprocess, time, pytest

@pytest.fixture(autouse=True)
def child():
    pid = subprocess.Popen(["sleep", "1000"]).pid
    with open("pids", "a") as file:
        print(pid, file=file)
"""
_HEEDS_NOTHING = """
def test_hangs():
    while True:
        try:
            time.sleep(1000)
        except BaseException:
            pass

"""
_TIDIES_UP_FOR_EVER = """
@pytest.fixture
def fixture():
    yield
    time.sleep(1000)

def test_hangs(fixture):
    assert False
"""


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A folder with tests of its own, under the same kind of limits: two seconds, and two to tidy up."""

    folder: Path

    def run(self, text: str) -> str:
        """Run the tests and some that do nothing; return what pytest says when some have failed."""
        files = {
            "conftest.py": _CONFTEST,
            "pytest.ini": _INI,
            "test_it.py": text,
            "test_beside.py": _BESIDE,
        }
        for name, content in files.items():
            (self.folder / name).write_text(content)
        alone = ("-p", "xdist", "-p", "pytest_timeout", "-p", "no:cacheprovider")
        done = subprocess.run(
            (sys.executable, "-m", "pytest", *alone, "-ra", "-n", "2", "--dist", "loadgroup", _NO_RESTART),
            cwd=self.folder,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                "COLUMNS": "200",
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds_left(),
        )
        assert done.returncode == 1, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return Suite(folder=tmp_path)


@pytest.mark.slow
def test_a_test_that_hangs_is_named_and_the_others_go_on(suite: Suite) -> None:
    """Also one whose set-up hangs; what is made once for many tests has time of its own, and they have theirs after it."""
    said = suite.run(_HANGING)

    for line in (
        "FAILED test_it.py::test_hangs - ",
        "FAILED test_it.py::test_hangs_after_what_was_made_once@fixtures - ",
        "ERROR test_it.py::test_set_up_hangs@fixtures - ",
    ):
        assert re.search(rf"^{re.escape(line)}Failed: Timeout \(>2.0s\)", said, re.MULTILINE), said
    assert "2 failed, 7 passed, 1 error" in said
    assert (suite.folder / "tidied-up").exists()


@pytest.mark.slow
@pytest.mark.parametrize("hanging", [_HEEDS_NOTHING, _TIDIES_UP_FOR_EVER], ids=["heeds-nothing", "tidies-up"])
def test_a_test_that_nothing_can_stop_ends_the_run_and_is_named(suite: Suite, hanging: str) -> None:
    """Its child, which has inherited what a child inherits, does not keep the run alive either."""
    try:
        said = suite.run(_WITH_A_CHILD + hanging)
    finally:
        children = (suite.folder / "pids").read_text().split()
        for pid in children:
            os.kill(int(pid), signal.SIGKILL)

    assert len(children) == 1
    assert re.search(r"worker 'gw\d' crashed while running 'test_it.py::test_hangs'", said), said
    assert "Timeout (0:00:0" in said  # where it hung
    assert "6 passed" in said


def test_a_command_that_hangs_is_named_before_the_test_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho 'begun' >&2\nexec sleep 1000\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr("tests.commands.seconds_left", lambda: 2.0)

    with pytest.raises(AssertionError, match=r"apply dev: has not ended within 2 s\nbegun"):
        CommandLine(project=tmp_path, home=tmp_path, env={"FROM_NOTHING": "1"}).ok("apply", "dev")


def test_a_worker_that_has_crashed_is_not_replaced(request: pytest.FixtureRequest) -> None:
    """With --dist loadgroup xdist gives the test that has crashed one worker to the next, again and again."""
    assert _NO_RESTART in request.config.getini("addopts")


def test_commands_have_less_time_than_the_test_that_runs_them(request: pytest.FixtureRequest) -> None:
    limit = float(request.config.getini("timeout"))

    assert 0 < limit < 300
    assert limit - 60 < seconds_left() < limit
    assert limit > time_limits.COMMAND_SECONDS
