"""Hints name commands as data: they read as text, and name only commands and options that there are."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from mclass_tf.cli.command_table import COMMANDS, SHARED, Argument, Command, OneOf
from mclass_tf.errors import Hint, UsageError

PACKAGE = Path(__file__).parents[2] / "mclass_tf"
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")}


def calls() -> Iterator[ast.Call]:
    """Yield every call of the code but those of verify's checks, which show their hints as they are."""
    trees = (tree for path, tree in TREES.items() if path.parent.name != "verify")
    return (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call))


def commands_of_hints() -> Iterator[list[str]]:
    """Yield the words of each command that a hint of the code names, without those that are computed."""
    for call in calls():
        if isinstance(call.func, ast.Name) and call.func.id == "Hint":
            for piece in call.args:
                if isinstance(piece, ast.Tuple):
                    yield [str(word.value) for word in piece.elts if isinstance(word, ast.Constant)]


def options(command: Command) -> set[str]:
    every = (
        each for item in command.arguments for each in (item.options if isinstance(item, OneOf) else (item,))
    )
    return {argument.name for argument in (*SHARED, *every) if isinstance(argument, Argument)}


def test_a_hint_reads_as_text_with_its_commands_quoted_for_a_shell() -> None:
    assert Hint("plan again: ", ("plan", "a b")) == "plan again: `plan 'a b'`"


def test_a_hint_within_another_and_that_of_an_error_keep_their_commands() -> None:
    inner = Hint("see ", ("status", "dev"))

    assert UsageError("no", hint=Hint("or ", inner)).hint.pieces == ("or ", "see ", ("status", "dev"))


def test_hints_name_commands_and_options_of_the_command_line() -> None:
    known = {command.name: command for command in COMMANDS}
    known |= {f"local {command.name}": command for command in known["local"].commands}
    named = list(commands_of_hints())

    assert len(named) > 50
    for words in named:
        command = known[" ".join(words[:2]) if words[0] == "local" else words[0]]
        assert {word for word in words if word.startswith("--")} <= options(command), words


def test_no_hint_has_a_command_in_its_text() -> None:
    """What stands there as text is not spelled out for its reader."""
    names = "|".join(command.name for command in COMMANDS)
    hints = [each.value for call in calls() for each in call.keywords if each.arg == "hint"]
    texts = [node for hint in hints for node in ast.walk(hint) if isinstance(node, ast.Constant)]

    assert len(texts) > 100
    assert [text.value for text in texts if re.search(rf"`({names}) ", str(text.value))] == []
