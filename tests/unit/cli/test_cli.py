"""The command line's grammar, and what it prints where nothing need be running."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mclass_tf.cli import main
from mclass_tf.cli.command_table import COMMANDS
from mclass_tf.cli.grammar import parser
from mclass_tf.cli.outcome import CommandOutcome
from mclass_tf.errors import Hint, UsageError
from tests.commands import CommandResult

ROOT = Path(__file__).parents[3]


Run = Callable[..., CommandResult]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command line in this process; what only a process of its own can show is shown by `process`."""
    monkeypatch.chdir(ROOT)

    def called(*arguments: str) -> CommandResult:
        try:
            status = main(arguments)
        except SystemExit as ended:  # --help
            status = int(ended.code or 0)
        said = capsys.readouterr()
        return CommandResult(status, said.out, said.err)

    return called


def process(*arguments: str) -> CommandResult:
    argv = [sys.executable, "-m", "mclass_tf", *arguments]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    return CommandResult(done.returncode, done.stdout, done.stderr)


PROGRAM = f"{shlex.quote(sys.executable)} -m mclass_tf"


def shell(script: str, *, home: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "MCLASS_TF_HOME": str(home)}
    argv = ["bash", "-c", script]
    return subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize(
    "argv",
    [
        ["--local", "--json", "--project", "/p", "plan", "dev"],
        ["plan", "dev", "--local", "--json", "--project", "/p"],
        ["--local", "plan", "--project", "/p", "dev", "--json"],
    ],
)
def test_shared_options_stand_before_or_after_the_command(argv: list[str]) -> None:
    parsed = parser().parse_args(argv)

    assert (parsed.local, parsed.json, parsed.project) == (True, True, "/p")
    assert parsed.environment == "dev"


def test_without_options_a_command_acts_on_aws_here_and_asks() -> None:
    parsed = parser().parse_args(["apply", "dev"])

    assert (parsed.local, parsed.json, parsed.project, parsed.yes, parsed.all) == (
        False,
        False,
        ".",
        False,
        False,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("pln", "dev"),
        ("plan",),
        ("plan", "dev", "--all"),
        ("plan", "dev", "--image", "latest"),
        ("plan", "--all", "--out", "plan.tfplan"),
        ("plan", "--all", "--jobs", "0"),
        ("apply", "--all", "--plan", "plan.tfplan"),
        ("destroy", "dev"),
        ("local", "up", "--port", "70000"),
        ("local",),
    ],
)
def test_a_command_line_that_makes_no_sense_ends_with_2(arguments: tuple[str, ...], run: Run) -> None:
    done = run(*arguments)

    assert done.status == 2, done.stderr
    assert done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


def test_the_exit_code_is_that_of_the_process() -> None:
    done = process("pln")

    assert done.status == 2
    assert done.stderr.startswith("usage: mclass-tf")
    assert not done.stdout


@pytest.mark.parametrize(
    "command", ["bootstrap", "init", "plan", "apply", "output", "destroy", "verify", "unlock", "local"]
)
def test_every_command_explains_itself(command: str, run: Run) -> None:
    done = run(command, "--help")

    assert done.status == 0
    assert done.stdout.startswith("usage: mclass-tf")


@pytest.mark.parametrize("command", [command.name for command in COMMANDS if not command.passes_on])
def test_a_hint_spells_out_the_commands_that_it_names(command: str) -> None:
    hint = Hint((command, "x"), ", ", ("build",), ", `aws x`")
    outcome = CommandOutcome.failed(UsageError("no", hint=hint), use_local=True)

    option = "" if command == "local" else " --local"
    assert outcome.document["error"]["hint"] == (
        f"`python -m mclass_tf {command} x{option}`, `python -m mclass_tf build --local`, `aws x`"
    )


def test_an_unknown_environment_ends_with_3_and_names_the_known_ones() -> None:
    done = process("plan", "staging")

    assert done.status == 3
    assert "unknown environment 'staging'" in done.stderr
    assert "dev, prod" in done.stderr


def test_with_json_an_error_is_one_document_too(run: Run) -> None:
    done = run("plan", "staging", "--json")

    error = json.loads(done.stdout)["error"]
    assert error["type"] == "UnknownEnvironmentError"
    assert error["exit_code"] == done.status == 3
    assert "dev, prod" in error["hint"]


@pytest.mark.parametrize("arguments", [("plan", "dev", "--bogus"), ("pln",), ("plan", "dev", "--jobs", "0")])
def test_with_json_a_command_line_that_makes_no_sense_is_told_as_a_document_too(
    arguments: tuple[str, ...], run: Run
) -> None:
    done = run("--json", *arguments)

    error = json.loads(done.stdout)["error"]
    assert (error["type"], error["exit_code"]) == ("UsageError", 2)
    assert done.status == 2
    assert done.stderr.startswith("usage: mclass-tf")


def test_half_the_name_of_an_option_is_no_option(run: Run) -> None:
    done = run("apply", "dev", "--ye")

    assert done.status == 2
    assert "--ye" in done.stderr


def test_outside_a_project_the_command_line_says_so(tmp_path: Path, run: Run) -> None:
    done = run("plan", "dev", "--project", str(tmp_path))

    assert done.status == 3
    assert "not in a project" in done.stderr


def test_inside_a_project_any_folder_will_do(run: Run) -> None:
    done = run("plan", "staging", "--project", str(ROOT / "terraform"))

    assert "dev, prod" in done.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_changes_no_exit_code(closed: str, tmp_path: Path) -> None:
    done = shell(f"{PROGRAM} local status --json {closed}", home=tmp_path)

    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert ">&-" in closed.replace("2>&-", "") or not json.loads(done.stdout)["up"]


def test_an_answer_that_cannot_be_written_is_no_success(tmp_path: Path) -> None:
    done = shell(f"{PROGRAM} local status > /dev/full", home=tmp_path)

    assert done.returncode == 3
    assert "standard output cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_has_gone_is_no_failure(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    argv = [*shlex.split(PROGRAM), "local", "status"]
    env = {**os.environ, "MCLASS_TF_HOME": str(tmp_path)}
    try:
        done = subprocess.run(argv, cwd=ROOT, env=env, stdout=writing, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(writing)

    assert done.returncode == 0
    assert not done.stderr


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from mclass_tf.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'boto3', 'checkov', 'hcl2', 'moto', 'python_terraform', 'tree_sitter'} & set(sys.modules)), file=sys.stderr)"
    )

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stderr == "[]\n"
