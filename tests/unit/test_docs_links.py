"""Links between the documents lead somewhere: to a file that is there, and to a heading in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("docs", "environments", "mclass_tf", "modules", "policy", "terraform", "tests")

_FENCED = re.compile(r"^```.*?^```", flags=re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?) *$", flags=re.MULTILINE)


def documents() -> list[Path]:
    """Return the Markdown files of the project, without those in hidden folders."""
    found = [*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))]
    return sorted(path for path in found if not any(part[0] == "." for part in path.relative_to(ROOT).parts))


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a text."""
    found = _HEADING.findall(_FENCED.sub("", text))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def links(text: str) -> list[str]:
    return [target for target in _LINK.findall(_FENCED.sub("", text)) if "://" not in target]


def broken(document: Path) -> Iterator[str]:
    for link in links(document.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        if not target.exists():
            yield f"{link}: no such file"
        elif anchor and anchor not in anchors(target.read_text(encoding="utf-8")):
            yield f"{link}: no such heading"


def test_links_and_headings_are_found_outside_of_code() -> None:
    text = "# A heading, *or* two\n[a](b.md#c) ![d](e.png) [f](https://g)\n```\n# no\n[h](i)\n```\n"

    assert links(text) == ["b.md#c", "e.png"]
    assert anchors(text) == {"a-heading-or-two"}
    assert anchors("## 상태와 잠금") == {"상태와-잠금"}


def test_a_link_to_nowhere_is_noticed(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    document.write_text("# Here\n[x](#here) [x](#there) [x](b.md) [x](a.md#here)\n")

    assert list(broken(document)) == ["#there: no such heading", "b.md: no such file"]


@pytest.mark.parametrize("document", documents(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_links_of_a_document_resolve(document: Path) -> None:
    assert list(broken(document)) == []


def test_every_decision_is_in_the_index() -> None:
    index = (ROOT / "docs/adr/README.md").read_text(encoding="utf-8")
    records = sorted(path.name for path in (ROOT / "docs/adr").glob("[0-9]*.md"))

    assert records
    assert [name for name in links(index) if name[0].isdigit()] == records


def test_the_numbers_of_decisions_are_consecutive() -> None:
    numbers = sorted(int(path.name[:4]) for path in (ROOT / "docs/adr").glob("[0-9]*.md"))

    assert numbers == list(range(1, len(numbers) + 1))
