"""The command of a real Terraform apply is killed: nothing it created is lost, and the next command reports it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.commands import CommandLine
from tests.flows.killed import until
from tests.flows.test_flows import change, is_locked
from tests.time_limits import seconds_left

pytestmark = pytest.mark.slow

# Made after the role and before a log group: while it waits, the apply is in the middle of its work, and more is to come.
_SLOW = """
resource "terraform_data" "slow" {{
  depends_on = [aws_iam_role.this]
  provisioner "local-exec" {{ command = "while ! test -e '{go}'; do sleep 0.1; done" }}
}}

resource "aws_iam_role" "second" {{
  name               = "small-second"
  assume_role_policy = aws_iam_role.this.assume_role_policy
  depends_on         = [terraform_data.slow]
}}

output "second" {{ value = aws_iam_role.second.name }}

output "role_name\""""


def _kill_in_mid_apply(commands: CommandLine) -> None:
    """Start an apply, and kill its command with SIGKILL while Terraform waits."""
    with subprocess.Popen(
        commands.argv("apply", "dev", "--local", "--yes"),
        env=commands.variables(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stderr is not None
        assert any("terraform_data.slow: Creating" in line for line in running.stderr)
        running.kill()
        running.communicate(timeout=seconds_left())


def test_terraform_goes_on_when_its_command_is_killed_and_the_next_commands_say_what_became_of_it(
    small: CommandLine, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    change(small, "terraform/main.tf", 'output "role_name"', _SLOW.format(go=go))
    try:
        _kill_in_mid_apply(small)
        read = small.run("output", "dev", "--local")
        planned = small.run("plan", "dev", "--local")
    finally:
        go.touch()

    assert "is still running" in read.stderr
    assert planned.status == 4
    found = re.search(r"still running \(process (\d+), since 2", planned.stderr)
    assert found, planned.stderr
    assert "planning" not in planned.stderr
    until(lambda: not Path(f"/proc/{found[1]}").exists(), "Terraform ends", within=seconds_left())
    assert not is_locked(small)
    told = small.ok("output", "dev", "second", "--local")
    assert told.stdout == "small-second\n"
    assert "went on to its end, and it went well: Apply complete! Resources: 3 added" in told.stderr

    again = small.ok("apply", "dev", "--local", "--yes", "--json")

    assert not again.document["changed"], "what it made is in the state"
    assert "went on to its end" not in again.stderr, "it is told once"
