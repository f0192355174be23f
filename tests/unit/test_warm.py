"""Commands that are forked from a process with their imports: what a test sees of them is what it sees of one from nothing."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.commands import ROOT, CommandLine, CommandResult, warm


def cold(commands: CommandLine, *arguments: str) -> CommandResult:
    done = subprocess.run(
        commands.argv(*arguments),
        env=commands.variables(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return CommandResult(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    "arguments", [("--help",), ("status", "nonesuch", "--local"), ("local", "status"), ("nonesuch",)]
)
def test_it_says_and_ends_as_one_from_nothing_does(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    commands = CommandLine(project=ROOT, home=tmp_path / "home")
    assert warm().differs(commands.variables()) == set()
    assert commands.run(*arguments) == cold(commands, *arguments)


def test_where_a_variable_may_change_what_is_imported_it_is_one_from_nothing(tmp_path: Path) -> None:
    commands = CommandLine(project=ROOT, home=tmp_path / "home")
    assert warm().differs(commands.variables(CKV_SOMETHING="1")) == {"CKV_SOMETHING"}
    fewer = commands.variables()
    del fewer["PATH"]
    assert warm().differs(fewer) == {"PATH"}


def test_each_has_the_folder_and_the_home_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    commands = CommandLine(project=Path("nowhere"), home=tmp_path / "home")
    done = commands.run("plan", "dev", "--local")
    assert done.status != 0
    assert str(tmp_path) in done.stderr


def test_one_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    commands = CommandLine(project=ROOT, home=tmp_path / "home")
    with pytest.raises(subprocess.TimeoutExpired) as expired:
        warm().run(["--help"], env=commands.variables(), seconds=0)
    assert expired.value.timeout == 0
