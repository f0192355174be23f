"""The catalogue of protections fits the code, and its runner tells what notices a removal from what does not."""

from __future__ import annotations

import ast
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from mclass_tf.hcl.syntax import parse
from tests.commands import ROOT
from tests.mutations.__main__ import main
from tests.mutations.catalogue import CatalogueError, Mutation, read
from tests.mutations.trial import FAST, Copy, Outcome, copied

CATALOGUE = read()


def _hcl(text: str) -> bool:
    return parse(text.encode()).error_line is None


_PARSERS: dict[str, Callable[[str], object]] = {".py": ast.parse, ".tf": _hcl, ".toml": tomllib.loads}


@pytest.mark.parametrize("mutation", CATALOGUE, ids=lambda each: each.name)
def test_every_entry_fits_the_code_and_leaves_what_can_be_read(mutation: Mutation) -> None:
    path = ROOT / mutation.file
    text = mutation.applied_to(path.read_text(encoding="utf-8"))

    assert text != path.read_text(encoding="utf-8")
    assert _PARSERS[path.suffix](text)


@pytest.mark.parametrize("test", sorted({test for each in CATALOGUE for test in (*each.fast, *each.slow)}))
def test_every_test_that_the_catalogue_names_is_there(test: str) -> None:
    file, _, name = test.partition("::")
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    defined = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
    assert not name or name.partition("[")[0] in defined


def entry(*, old: str = "if limit", new: str = "if 0", tests: str = "tests/test_it.py") -> Mutation:
    return Mutation(
        name="limit",
        kind="limit",
        promise="A text is no longer than the limit.",
        file="shorten.py",
        old=old,
        new=new,
        fast=(tests,),
    )


CODE = """
def shortened(text, limit):
    if limit:
        return text[:limit]
    return text
"""
TESTS = """
import subprocess, sys, time
import pytest
from shorten import shortened

def test_short():
    assert shortened("ab", 3) == "ab"

def test_long():
    assert shortened("abcd", 3) == "abc"

@pytest.mark.slow
def test_slow():
    assert shortened("abcd", 3) == "abc"
"""
HANGS = """
import subprocess, sys, time

def test_hangs():
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    time.sleep(600)
"""


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Copy]:
    """A copy of a project of one function and its tests."""
    project = tmp_path / "project"
    (project / "tests").mkdir(parents=True)
    (project / "shorten.py").write_text(CODE)
    (project / "tests" / "test_it.py").write_text(TESTS)
    (project / "tests" / "test_hangs.py").write_text(HANGS)
    (project / "pytest.ini").write_text("[pytest]\nmarkers = slow\npythonpath = .\n")
    (project / ".gitignore").write_text("ignored\n")
    (project / "ignored").touch()
    subprocess.run(["git", "init", "--quiet"], cwd=project, check=True)
    with copied(project) as made:
        yield made
    assert not made.folder.exists()


def is_as_it_was(copy: Copy) -> bool:
    done = subprocess.run(
        ["git", "status", "--porcelain"], cwd=copy.root, capture_output=True, text=True, check=True
    )
    return (copy.root / "shorten.py").read_text() == CODE and "shorten" not in done.stdout


@pytest.mark.slow
def test_what_git_ignores_is_not_copied(copy: Copy) -> None:
    assert (copy.root / "shorten.py").read_text() == CODE
    assert not (copy.root / "ignored").exists()


@pytest.mark.slow
def test_a_removal_that_a_test_notices_is_detected_by_that_test_and_put_back(copy: Copy) -> None:
    first = copy.without(entry(), entry().fast, mark=FAST)
    again = copy.without(entry(), entry().fast, mark=FAST)

    assert (first.outcome, first.detail) == (Outcome.DETECTED, "tests/test_it.py::test_long")
    assert again.outcome is Outcome.DETECTED
    assert is_as_it_was(copy)
    assert copy.run(entry().fast, mark=FAST).outcome is Outcome.SURVIVED


@pytest.mark.slow
def test_a_removal_that_no_test_notices_survives(copy: Copy) -> None:
    assert copy.without(entry(), ["tests/test_it.py::test_short"], mark=FAST).outcome is Outcome.SURVIVED


@pytest.mark.slow
@pytest.mark.parametrize(
    ("new", "tests", "why"),
    [
        pytest.param("if (", "tests/test_it.py", "exited with 2", id="a module that cannot be imported"),
        pytest.param(
            "if 0", "tests/test_it.py::test_slow", "exited with 5", id="a test that was not selected"
        ),
        pytest.param("if 0", "tests/test_gone.py", "exited with 4", id="a test that is not there"),
    ],
)
def test_where_the_tests_did_not_run_nothing_was_detected(copy: Copy, new: str, tests: str, why: str) -> None:
    result = copy.without(entry(new=new), [tests], mark=FAST)

    assert result.outcome is Outcome.NO_RESULT
    assert why in result.detail


@pytest.mark.slow
def test_what_is_not_over_in_time_is_ended_with_all_that_it_has_started(copy: Copy) -> None:
    impatient = replace(copy, seconds={FAST: 2.0})

    result = impatient.without(entry(), ["tests/test_hangs.py"], mark=FAST)

    assert (result.outcome, result.detail) == (Outcome.NO_RESULT, "not over after 2 s")
    assert is_as_it_was(copy)
    assert left_running(copy) == []


def left_running(copy: Copy) -> list[int]:
    """Return the processes, those that have ended aside, that work in the copy."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if str(copy.folder) in process.environ().values() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("old", "count"), [("if unlimited", 0), ("text", 3)])
def test_an_entry_that_fits_nowhere_or_in_several_places_is_an_error_and_changes_nothing(
    copy: Copy, old: str, count: int
) -> None:
    with pytest.raises(CatalogueError, match=f"occurs {count} times in shorten.py"):
        copy.without(entry(old=old), entry().fast, mark=FAST)

    assert is_as_it_was(copy)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('fast = ["t"]\n', "missing"),
        ('name = "b"\nkind = "k"\npromise = "P."\nfile = "f"\nold = "o"\nnew = "n"\n', "no test is named"),
    ],
)
def test_an_entry_that_is_not_whole_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "catalogue.toml"
    file.write_text(f"[[mutation]]\n{text}")

    with pytest.raises(CatalogueError, match=problem):
        read(file)


def test_two_entries_of_one_name_are_refused(tmp_path: Path) -> None:
    text = '[[mutation]]\nname = "twice"\nkind = "k"\npromise = "P."\nfile = "f"\nold = "o"\nnew = "n"\nfast = ["t"]\n'
    file = tmp_path / "catalogue.toml"
    file.write_text(2 * text)

    with pytest.raises(CatalogueError, match="two entries twice"):
        read(file)


def test_a_name_that_is_not_in_the_catalogue_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["no-such-entry"]) == 2
    assert "--list" in capsys.readouterr().out


def test_the_list_tells_what_each_entry_protects(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "lock"]) == 0
    assert "Who releases in an environment keeps others out" in capsys.readouterr().out
