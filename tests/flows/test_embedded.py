"""The embedded engine does what the binary does, where there is no binary."""

from __future__ import annotations

import pytest

from tests.commands import CommandLine, run_interrupted

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
    stopped = run_interrupted(
        small,
        *("apply", "dev", "--local", "--json"),
        at="terraform_data.slow: Creating",
        MCLASS_TF_TERRAFORM=EMBEDDED,
    )

    assert stopped.status == 130
    assert stopped.document["error"]["exit_code"] == 130
    small.ok("plan", "dev", "--local")  # which it could not, were the state locked
