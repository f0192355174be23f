"""The list of foreign tests that fail is valid, and a deviation in either direction is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.foreign.expectations import Expectation, ExpectationError, Kind, Result, deviations, read
from tests.foreign.moto_suite import FILES, SERVICES

_PASSED, _SKIPPED = Result(outcome="passed"), Result(outcome="skipped")
_FAILED = Result(outcome="failed", message="AssertionError")
_CRASHED = Result(outcome="failed", message="LocalAwsInternalError: KeyError")


def _listed(*tests: str) -> list[Expectation]:
    return [Expectation(kind=Kind.NOT_MODELLED, why="no", source="", tests=tests)]


def _found(results: dict[str, Result], *listed: str, services: tuple[str, ...] = ("ecs",)) -> list[str]:
    return deviations(results, _listed(*listed), services=services)


def test_the_list_is_valid_and_names_tests_of_services_that_run() -> None:
    folders = tuple(f"test_{service}/" for service in (*SERVICES, *FILES))
    tests = [test for entry in read() for test in entry.tests]
    assert tests
    assert [test for test in tests if not test.startswith(folders)] == []
    assert len(set(tests)) == len(tests)


def test_results_as_listed_do_not_deviate() -> None:
    results = {
        "test_ecs/a.py::one": _FAILED,
        "test_ecs/a.py::two[x]": _FAILED,
        "test_ecs/a.py::three": _PASSED,
    }
    assert _found(results, "test_ecs/a.py::one", "test_ecs/a.py::two") == []


@pytest.mark.parametrize(
    ("results", "words"),
    [
        (
            {"test_ecs/a.py::one": _FAILED, "test_ecs/a.py::two": _FAILED},
            "failed unexpectedly: test_ecs/a.py::two",
        ),
        ({"test_ecs/a.py::one": _PASSED}, "passed or was skipped"),
        ({"test_ecs/a.py::one": _SKIPPED}, "passed or was skipped"),
        ({"test_ecs/a.py::one[x]": _FAILED, "test_ecs/a.py::one[y]": _PASSED}, "one[y]"),
        ({}, "there is no such test: test_ecs/a.py::one"),
        ({"test_ecs/a.py::one": _CRASHED}, "failed by a bug of the local AWS"),
    ],
    ids=["fails", "passes", "is skipped", "passes for one parameter", "is gone", "crashes"],
)
def test_a_deviation_is_found_in_either_direction(results: dict[str, Result], words: str) -> None:
    (line,) = _found(results, "test_ecs/a.py::one")
    assert words in line


def test_a_pattern_covers_only_what_it_matches() -> None:
    results = {"test_ecs/a.py::one[a-b]": _FAILED, "test_ecs/a.py::one[c]": _PASSED}
    assert _found(results, "test_ecs/a.py::one[a-*]") == []


def test_services_that_did_not_run_are_not_missed() -> None:
    assert _found({"test_ecs/a.py::one": _PASSED}, "test_s3/a.py::one") == []


@pytest.mark.parametrize(
    "entry",
    [
        'kind = "AWS refuses this"\nwhy = "w"\ntests = ["a"]',
        'kind = "not modelled"\ntests = ["a"]',
        'kind = "not modelled"\nwhy = "w"\ntests = []',
        'kind = "not modelled"\nwhy = "w"\ntests = ["a"]\nother = 1',
        'kind = "because"\nwhy = "w"\ntests = ["a"]',
    ],
    ids=["no source", "no reason", "no tests", "unknown key", "unknown kind"],
)
def test_an_entry_without_its_reason_is_refused(tmp_path: Path, entry: str) -> None:
    file = tmp_path / "expected.toml"
    file.write_text(f"[[expected]]\n{entry}\n", encoding="utf-8")
    with pytest.raises((ExpectationError, ValueError)):
        read(file)
