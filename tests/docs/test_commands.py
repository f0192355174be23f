"""The commands that the documents name exist: our command line parses them, and nox has the sessions."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from mclass_tf.cli.grammar import parser

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])

_BLOCK = re.compile(r"^```(?:bash|sh|console)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
_OURS = re.compile(r"""(?:python3? -m mclass_tf|(?<![\w/-])mclass-tf)(?= |$)([^\n|)#;&>]*)""")
_SESSION = re.compile(r"\bnox -s ([\w ]+?)(?= --| #|$)", flags=re.MULTILINE)


def blocks(text: str) -> Iterator[str]:
    """Yield the shell blocks of a Markdown text, with continued lines joined."""
    for block in _BLOCK.findall(text):
        yield block.replace("\\\n", " ")


def our_commands(text: str) -> list[str]:
    """Return the arguments of every call of our command line in the shell blocks of a text."""
    return [found.strip().rstrip('"') for block in blocks(text) for found in _OURS.findall(block)]


def sessions(text: str) -> list[str]:
    return [name for block in blocks(text) for names in _SESSION.findall(block) for name in names.split()]


COMMANDS = [
    pytest.param(command, id=f"{document.name}: {command}")
    for document in DOCUMENTS
    for command in dict.fromkeys(our_commands(document.read_text(encoding="utf-8")))
]


def test_calls_of_our_command_line_are_found_wherever_they_stand_in_a_line() -> None:
    text = (
        '```bash\neval "$(python -m mclass_tf local env prod)"\nmclass-tf plan dev \\\n  --local # why\n```\n'
    )
    assert our_commands(text) == ["local env prod", "plan dev    --local"]
    assert our_commands("`mclass-tf plan dev`") == []


@pytest.mark.parametrize("command", COMMANDS)
def test_our_command_line_takes_what_the_documents_say(command: str) -> None:
    arguments = shlex.split(command)
    try:
        parser().parse_args(arguments)
    except SystemExit as stopped:
        # --help and --version end the parser too, but well.
        if stopped.code not in (0, None):
            pytest.fail(f"mclass-tf {command} is not understood")


def test_nox_has_every_session_that_the_documents_name() -> None:
    source = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    known = set(re.findall(r"@nox\.session(?:\([^)]*\))?\ndef (\w+)", source))
    named = {name for document in DOCUMENTS for name in sessions(document.read_text(encoding="utf-8"))}
    assert known
    assert named <= known
