"""What Terraform says becomes the error that tells a person most."""

from __future__ import annotations

import json
import shlex

from mclass_tf.errors import StateLockedError
from mclass_tf.terraform import messages

LOCKED = """Error message: operation error S3: PutObject, StatusCode: 412
Lock Info:
  ID:        5b1c7a52-8f4b-4c1f-9d5e-3b5f4d8f5a11
  Path:      mclass-tfstate/mclass.tfstate
  Operation: OperationTypeApply
  Who:       kim@laptop
  Version:   1.11.4
  Created:   2026-11-23 01:02:03.4 +0000 UTC
  Info:
"""


def line(summary: str, detail: str, **extra: object) -> str:
    diagnostic = {"severity": "error", "summary": summary, "detail": detail, **extra}
    return json.dumps({"type": "diagnostic", "@message": summary, "diagnostic": diagnostic})


def said(*lines: str) -> list[messages.Message]:
    parsed = [messages.parse(text) for text in lines]
    return [message for message in parsed if message is not None]


def failure(*lines: str, stderr: str = "") -> Exception:
    reported = messages.diagnostics(said(*lines))
    return messages.failure(command="plan", status=1, reported=reported, stderr=stderr, environment="prod")


def test_a_locked_state_is_told_by_whom_since_when_and_how_to_unlock() -> None:
    error = failure(line("Error acquiring the state lock", LOCKED))

    assert isinstance(error, StateLockedError)
    assert error.exit_code == 4
    assert error.who == "kim@laptop"
    assert error.since == "2026-11-23 01:02:03.4 +0000 UTC"
    assert error.operation == "Apply"
    assert "kim@laptop" in str(error)
    assert "unlock prod 5b1c7a52-8f4b-4c1f-9d5e-3b5f4d8f5a11" in error.hint


def test_a_lock_that_could_not_be_released_is_no_lock_of_somebody_else() -> None:
    """What was applied is applied: "nothing was done, wait for it to end" would be wrong."""
    error = failure(line("Error releasing the state lock", "Error message: failed to retrieve lock info"))

    assert not isinstance(error, StateLockedError)


def test_an_error_is_told_with_its_file_and_line() -> None:
    place = {"filename": "main.tf", "start": {"line": 12, "column": 3}}

    error = failure(line("Unsupported argument", 'Not expected: "nmae".', range=place))

    assert "Unsupported argument (main.tf:12)" in str(error)
    assert "terraform plan failed in prod" in str(error)


def test_every_error_is_told_and_no_warning() -> None:
    warning = json.dumps(
        {"type": "diagnostic", "diagnostic": {"severity": "warning", "summary": "Deprecated"}}
    )

    error = failure(warning, line("First", ""), line("Second", ""))

    assert "First" in str(error)
    assert "Second" in str(error)
    assert "Deprecated" not in str(error)


def test_a_failure_without_a_diagnostic_tells_standard_error() -> None:
    assert "panic: no memory" in str(failure(stderr="panic: no memory\n"))
    assert "without a word" in str(failure())


def test_a_line_that_is_no_message_is_passed_over() -> None:
    assert messages.parse("provider says hello") is None
    assert messages.parse("[1, 2]") is None
    assert messages.parse("{}") is None


def test_neither_a_tick_of_the_clock_nor_a_read_is_news() -> None:
    read = {"action": "read"}
    done, tick, reading = said(
        json.dumps({"type": "apply_complete", "@message": "aws_vpc.this: Creation complete"}),
        json.dumps({"type": "apply_progress", "@message": "aws_lb.this: Still creating... [10s elapsed]"}),
        json.dumps(
            {"type": "apply_start", "@message": "data.aws_region.current: Refreshing...", "hook": read}
        ),
    )

    assert done.is_news
    assert not tick.is_news
    assert not reading.is_news


def test_a_lock_id_that_somebody_made_up_is_one_word_of_the_command_that_is_told() -> None:
    error = failure(
        line("Error acquiring the state lock", LOCKED.replace("5b1c7a52-8f4b", "x; touch /tmp/owned; y"))
    )

    assert isinstance(error, StateLockedError)
    command = error.hint.split("`")[1]
    assert shlex.split(command) == ["unlock", "prod", "x; touch /tmp/owned; y-4c1f-9d5e-3b5f4d8f5a11"]
