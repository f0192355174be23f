"""What Terraform warns of in a plan, where a warning is not enough."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mclass_tf.errors import ConfigurationError
from mclass_tf.system.process import Command, Completed
from mclass_tf.terraform import Engine, Terraform

VARIABLES = Path("/p/terraform.tfvars")


def terraform(*diagnostics: dict[str, str]) -> Terraform:
    """Terraform that plans without changes and says so."""

    def run(command: Command, *, on_stdout: Callable[[str], None] | None = None) -> Completed:
        assert on_stdout is not None
        for each in diagnostics:
            on_stdout(json.dumps({"type": "diagnostic", "@message": each["summary"], "diagnostic": each}))
        return Completed(status=0, stdout="", stderr="", interrupted=False)

    return Terraform(
        engine=Engine(argv=("terraform",), version="1.11.4"),
        root=Path("/p"),
        env={},
        environment="dev",
        run=run,
        progress=lambda _: None,
        run_folder=None,
    )


@pytest.mark.parametrize(
    ("summary", "detail", "key"),
    [
        (
            "Value for undeclared variable",
            'The root module does not declare a variable named "kyes" but a value was found in file "x".',
            "kyes",
        ),
        ("Values for undeclared variables", "In addition to the other similar warnings shown", None),
    ],
)
def test_a_variable_that_terraform_takes_for_undeclared_is_refused(
    summary: str, detail: str, key: str | None
) -> None:
    warning = {"severity": "warning", "summary": summary, "detail": detail}

    with pytest.raises(ConfigurationError, match="no variable of terraform/") as caught:
        terraform(warning).plan(out=Path("/p/plan"), var_file=VARIABLES)

    assert (caught.value.file, caught.value.key) == (VARIABLES, key)


def test_any_other_warning_is_told_and_refuses_nothing() -> None:
    warning = {"severity": "warning", "summary": "Deprecated attribute", "detail": ""}

    assert not terraform(warning).plan(out=Path("/p/plan"), var_file=VARIABLES)
