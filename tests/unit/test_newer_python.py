"""`.ci/newer-python` prints the newest Python that `.ci/run` tests besides the one that runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci" / "newer-python"

PRETENDED = """#!/bin/sh
exec {python} -c 'import sys; sys.version_info = (3, {minor}, 0); {more}exec(sys.argv[1])' "$2"
"""
SHIM = "#!/bin/sh\necho 'pyenv: command not found' >&2\nexit 127\n"


class Machine:
    """Programs on PATH, and pyenv's versions."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "bin"
        self.pyenv = folder / "pyenv"
        self.pretend(self.path / "python3", minor=11)

    def pretend(self, program: Path, *, minor: int, more: str = "") -> Path:
        """Make a program that runs code as Python 3.`minor` would, after the statements in `more`."""
        return self.program(program, PRETENDED.format(python=sys.executable, minor=minor, more=more))

    def program(self, program: Path, text: str) -> Path:
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(text, encoding="utf-8")
        program.chmod(0o755)
        return program

    def of_pyenv(self, version: str) -> Path:
        return self.pyenv / "versions" / version / "bin" / f"python{version.rpartition('.')[0]}"

    def newer(self) -> str | None:
        """Return what the script prints, or None where it fails."""
        done = subprocess.run(
            ["/bin/bash", str(SCRIPT)],
            env={"PATH": str(self.path), "PYENV_ROOT": str(self.pyenv), "HOME": "/nowhere"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr == ""
        assert (done.returncode == 0) is bool(done.stdout)
        return done.stdout.strip() or None


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_newest_of_those_on_the_path_is_taken(machine: Machine) -> None:
    machine.pretend(machine.path / "python3.12", minor=12)
    machine.pretend(machine.path / "python3.13", minor=13)

    assert machine.newer() == "python3.13"


def test_without_a_newer_one_the_script_fails_and_prints_nothing(machine: Machine) -> None:
    machine.pretend(machine.path / "python3.11", minor=11)

    assert machine.newer() is None


@pytest.mark.parametrize("minor", [13, 14])
def test_none_is_taken_that_is_not_newer_than_python3(machine: Machine, minor: int) -> None:
    machine.pretend(machine.path / "python3", minor=minor)
    machine.pretend(machine.path / "python3.12", minor=12)
    machine.pretend(machine.path / "python3.13", minor=13)

    assert machine.newer() is None


def test_a_shim_of_pyenv_that_does_not_run_is_passed_over_for_the_version_itself(machine: Machine) -> None:
    machine.program(machine.path / "python3.13", SHIM)
    python = machine.pretend(machine.of_pyenv("3.13.0"), minor=13)

    assert machine.newer() == str(python)


def test_a_shim_without_a_version_behind_it_leaves_the_next_newest(machine: Machine) -> None:
    machine.program(machine.path / "python3.13", SHIM)
    machine.pretend(machine.path / "python3.12", minor=12)

    assert machine.newer() == "python3.12"


def test_a_python_that_cannot_make_a_virtual_environment_is_passed_over(machine: Machine) -> None:
    machine.pretend(machine.path / "python3.13", minor=13, more='sys.modules["ensurepip"] = None; ')
    machine.pretend(machine.path / "python3.12", minor=12)

    assert machine.newer() == "python3.12"
