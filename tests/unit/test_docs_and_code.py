"""What the documentation states as a contract is what the code does: codes, variables, commands, settings, JSON keys."""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from mclass_tf import environment, errors
from mclass_tf.cli.commands import plan_document
from mclass_tf.cli.grammar import parser
from mclass_tf.cli.outcome import CommandOutcome
from mclass_tf.gates import GateDecision
from mclass_tf.gates.verdict import Verdict
from mclass_tf.plan import Plan, SavedPlan

ROOT = Path(__file__).parents[2]
PAGES = (
    "getting-started.md",
    "releasing.md",
    "promoting.md",
    "rolling-back.md",
    "local-aws.md",
    "gates-and-waivers.md",
    "reference/commands.md",
    "reference/settings.md",
    "reference/exit-codes.md",
    "troubleshooting.md",
)
GUIDES = {"english": ROOT / "docs", "korean": ROOT / "docs/ko"}
TRANSLATED = (*PAGES, "architecture.md", "conformance.md", "guide-map.md", "rehearsal.md", "service.md")
# Not translated.
_ENGLISH_ONLY = frozenset({"benchmarks.md", "comparison.md"})

_BLOCK = re.compile(r"^```.*?^```", flags=re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^(#+) ", flags=re.MULTILINE)
_OUR_VARIABLE = re.compile(r"\bMCLASS_TF_[A-Z_]+\b")


@cache
def phrases() -> frozenset[str]:
    """Return the literal parts of the strings in the code, of at least two words."""
    texts = {
        node.value.strip()
        for source in ROOT.glob("mclass_tf/**/*.py")
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    return frozenset(text for text in texts if len(text) >= 10 and " " in text)


def page(language: str, name: str) -> str:
    return (GUIDES[language] / name).read_text(encoding="utf-8")


def all_pages(language: str) -> str:
    """Return the pages of a language as one text, in their order."""
    return "\n".join(page(language, name) for name in PAGES)


@pytest.fixture(params=GUIDES)
def guide(request: pytest.FixtureRequest) -> str:
    return all_pages(request.param)


def blocks(text: str) -> list[str]:
    return _BLOCK.findall(text)


def headings(text: str) -> list[str]:
    """Return the level of each heading, as number signs."""
    return _HEADING.findall(_BLOCK.sub("", text))


def rows(text: str, *, first: str) -> dict[str, list[str]]:
    """Return the rows of every table of `text` whose first cell matches `first`: that cell to the others."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if line.startswith("| ") and re.fullmatch(first, cells[0]):
            found[cells[0]] = cells[1:]
    return found


def messages(text: str) -> list[str]:
    """Return the messages that the table of refusals quotes."""
    cells = ([cell.strip() for cell in line.strip("| ").split(" | ")] for line in text.splitlines())
    return [row[2].strip("`") for row in cells if len(row) == 4 and row[1].isdigit() and row[2][0] == "`"]


def exit_codes(kind: type[errors.MclassError] = errors.MclassError) -> Iterator[int]:
    yield kind.exit_code
    for child in kind.__subclasses__():
        yield from exit_codes(child)


def variables_of_the_code() -> set[str]:
    sources = [*ROOT.glob("mclass_tf/**/*.py")]
    return {name for source in sources for name in _OUR_VARIABLE.findall(source.read_text(encoding="utf-8"))}


def commands(parser: argparse.ArgumentParser, *before: str) -> Iterator[str]:
    """Yield every command that does something, with the words before it."""
    nested = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not nested:
        yield " ".join(before)
    for action in nested:
        for name, child in action.choices.items():
            yield from commands(child, *before, name)


def keys(text: str) -> set[str]:
    return set(re.findall(r"`([a-z_0-9]+)`", text))


def test_the_guides_list_the_exit_codes_of_the_code(guide: str) -> None:
    documented = {int(code) for code in rows(guide, first=r"\d+")}

    assert documented == {0, *exit_codes()}


def test_the_codes_in_the_table_of_refusals_are_codes_that_errors_have(guide: str) -> None:
    used = {
        int(cells[1])
        for line in guide.splitlines()
        if (cells := [cell.strip() for cell in line.strip("| ").split(" | ")])
        and len(cells) == 4
        and cells[1].isdigit()
    }

    assert used
    assert used <= set(exit_codes())


def test_both_guides_quote_the_same_messages() -> None:
    english, korean = (messages(all_pages(language)) for language in GUIDES)

    assert len(english) > 30
    assert english == korean


@pytest.mark.parametrize("message", messages(all_pages("english")))
def test_a_message_that_the_guides_quote_stands_in_the_code(message: str) -> None:
    assert any(phrase in message for phrase in phrases())


def test_a_message_that_the_code_does_not_have_is_noticed() -> None:
    assert not any(phrase in "yesterday went by without notice" for phrase in phrases())


def test_the_guides_list_the_environment_variables_that_the_code_reads_and_no_others(guide: str) -> None:
    assert variables_of_the_code()
    assert set(_OUR_VARIABLE.findall(guide)) == variables_of_the_code()
    assert set(rows(guide, first=r"`MCLASS_TF_\w+`")) == {f"`{name}`" for name in variables_of_the_code()}


def test_the_guides_name_the_json_of_every_command(guide: str) -> None:
    documented = {name.strip("`") for name in rows(guide, first=r"`[a-z]+( [a-z]+)?`")}

    assert set(commands(parser())) <= documented


def test_the_guides_list_the_settings_of_an_environment(guide: str) -> None:
    known = (
        r"account_id|region|role_arn|promotes_from|stall_after|version_path|soak_minutes|refuse_findings|refuse_unfixed|allow_yes"
        r"|strategy|smoke|alarms|bake_minutes|canary_percent|canary_bake_minutes|step_percent|step_bake_minutes"
        r"|before|enabled|max_error_percent|max_latency_ratio|latency_floor_seconds|min_requests"
    )
    settings = rows(guide, first=rf"`({known})`")
    folder = Path(environment.__file__).parent
    source = "".join((folder / name).read_text(encoding="utf-8") for name in ("loading.py", "settings.py"))
    read = set(
        re.findall(r'table\.(?:required|optional|number|real|flag|whole_number|strings)\(\s*"(\w+)"', source)
    )

    assert {name.strip("`") for name in settings} == read


def test_the_guides_list_the_keys_of_a_plan(guide: str) -> None:
    planned = _planned()
    document = plan_document("dev", planned)
    documented = keys(" ".join(rows(guide, first="`plan`")["`plan`"]))

    assert set(document) <= documented
    assert {"create", "update", "replace", "delete", "forget", "move", "import"} == set(document["summary"])
    assert documented <= {
        *document,
        *_inner_keys(document),
        "address",
        "action",
        "attributes",
        "moved_from",
        "import_id",
        "deposed",
        "reason",
        "name",
        "before",
        "after",
    }


def test_the_guides_list_the_keys_of_an_error(guide: str) -> None:
    document = CommandOutcome.failed(errors.UsageError("what", hint="next"), use_local=False).document

    assert f"`error` (`{'`, `'.join(document['error'])}`)" in guide


def test_the_guides_list_every_rule_of_the_project(guide: str) -> None:
    sources = ROOT.glob("policy/checks/*.py")
    rules = {
        rule
        for source in sources
        for rule in re.findall(r'id="(CKV_MCLASS_\d+)"', source.read_text(encoding="utf-8"))
    }

    assert rules
    assert set(rows(guide, first=r"CKV_MCLASS_\d+")) == rules


@pytest.mark.parametrize("name", TRANSLATED)
def test_a_page_and_its_translation_have_the_same_code_blocks(name: str) -> None:
    assert blocks(page("korean", name)) == blocks(page("english", name))


@pytest.mark.parametrize("name", TRANSLATED)
def test_a_page_and_its_translation_have_the_same_headings(name: str) -> None:
    assert len(headings(page("korean", name))) == len(headings(page("english", name)))


def test_every_page_is_translated_but_those_that_are_english_only() -> None:
    folder = GUIDES["english"]
    found = {
        path.relative_to(folder).as_posix() for path in (*folder.glob("*.md"), *folder.glob("reference/*.md"))
    }

    assert found - _ENGLISH_ONLY == set(TRANSLATED)


def test_headings_and_code_blocks_are_told_apart() -> None:
    text = "# A\n```bash\n# a comment\n```\n## B\n"

    assert headings(text) == ["#", "##"]
    assert blocks(text) == ["```bash\n# a comment\n```"]


def _planned() -> Any:
    from mclass_tf.flows import ImageInForce, Planned  # noqa: PLC0415

    verdict = Verdict(gate="checkov", checked=1, failed=(), waived=(), problems=(), seconds=0.0)
    saved = SavedPlan(
        path=Path("plan.tfplan"),
        environment="dev",
        target="aws",
        sha256="0" * 64,
        lineage="",
        serial=0,
        has_changes=False,
        created="2026-01-01T00:00:00+00:00",
        inputs={},
        requested_image=None,
        image_in_force="",
    )
    image = ImageInForce(digest=None, applied="sha256:aa", reason="since none was proven")
    decision = GateDecision(verdicts=(verdict,), approved=None)
    return Planned(plan=Plan.parse({}), saved=saved, decision=decision, image=image)


def _inner_keys(document: Any) -> set[str]:
    if isinstance(document, dict):
        return set(document) | {key for value in document.values() for key in _inner_keys(value)}
    if isinstance(document, list):
        return {key for value in document for key in _inner_keys(value)}
    return set()
