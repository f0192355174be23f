"""The embedded engine does what the binary does, where there is no binary."""

from __future__ import annotations

import json
import signal
import subprocess

import pytest

from tests.conftest import CommandLine

pytestmark = pytest.mark.slow

EMBEDDED = "embedded"


def test_the_embedded_engine_plans_applies_and_finds_nothing_more_to_do(small: CommandLine) -> None:
    small.ok("plan", "dev", "--local", MCLASS_TF_TERRAFORM=EMBEDDED)
    small.ok("apply", "dev", "--local", MCLASS_TF_TERRAFORM=EMBEDDED)

    again = small.ok("plan", "dev", "--local", "--json", MCLASS_TF_TERRAFORM=EMBEDDED)
    assert not again.document["has_changes"]


def test_without_a_binary_on_the_path_the_embedded_engine_is_taken(small: CommandLine) -> None:
    assert small.ok("init", "dev", "--local", PATH="/nowhere").stdout == "dev is initialised\n"


def test_an_interrupt_stops_the_embedded_engine_in_order(small: CommandLine) -> None:
    main = small.project / "terraform" / "main.tf"
    slow = 'resource "terraform_data" "slow" {\n  provisioner "local-exec" { command = "sleep 600" }\n}\n'
    main.write_text(main.read_text() + slow)
    small.ok("plan", "dev", "--local", MCLASS_TF_TERRAFORM=EMBEDDED)
    with subprocess.Popen(
        small.argv("apply", "dev", "--local", "--json"),
        env=small.variables(MCLASS_TF_TERRAFORM=EMBEDDED),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as apply:
        assert apply.stderr is not None
        for line in apply.stderr:
            if "terraform_data.slow: Creating" in line:
                break
        apply.send_signal(signal.SIGINT)
        stdout, _ = apply.communicate(timeout=120)

    assert apply.returncode == 130
    assert json.loads(stdout)["error"]["exit_code"] == 130
    small.ok("plan", "dev", "--local")  # which it could not, were the state locked
