"""Runs moto's tests against the local AWS and compares them with the list: `python -m tests.foreign ARCHIVE PYTHON [SERVICE...]`.

`nox -s foreign` prepares both.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.foreign import expectations, moto_suite
from tests.foreign.expectations import Result

ROOT = Path(__file__).parents[2]
_AS_LISTED, _DEVIATES, _WRONG = 0, 1, 2
_AT_ONCE = 2
_KEPT = ROOT / ".mclass" / "foreign"


def main(argv: Sequence[str]) -> int:
    """Return 0 if every test ended as the list says, 1 if one did not, 2 if the tests could not be run."""
    options = _parser().parse_args(argv)
    try:
        listed = expectations.read()
        results = _run(options.archive, options.python, options.services)
    except (expectations.ExpectationError, moto_suite.SuiteError) as error:
        _say(str(error))
        return _WRONG
    if options.results:
        document = {test: dataclasses.asdict(result) for test, result in sorted(results.items())}
        options.results.write_text(json.dumps(document, indent=1), encoding="utf-8")
    found = expectations.deviations(results, listed, services=options.services)
    for line in found:
        _say(line)
    counts = {outcome: _count(results, outcome) for outcome in ("passed", "failed", "skipped")}
    _say(
        f"{len(results)} tests: {counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} were skipped; "
        f"{len(found)} deviate from {expectations.EXPECTED.relative_to(ROOT)}"
    )
    return _DEVIATES if found else _AS_LISTED


def _parser() -> argparse.ArgumentParser:
    known = (*moto_suite.SERVICES, *moto_suite.FILES)
    parser = argparse.ArgumentParser(prog="python -m tests.foreign", description=__doc__)
    parser.add_argument("archive", type=Path, help="moto's source distribution")
    parser.add_argument("python", type=Path, help="the Python that runs its tests")
    parser.add_argument(
        "services", metavar="SERVICE", nargs="*", default=known, help=f"of {', '.join(known)}"
    )
    parser.add_argument("--results", type=Path, metavar="FILE", help="also write every result there, as JSON")
    return parser


def _run(archive: Path, python: Path, services: Sequence[str]) -> dict[str, Result]:
    """Run the services two at a time, each against a local AWS of its own."""
    suite = moto_suite.unpack(archive, into=_KEPT)

    def run(service: str) -> dict[str, Result]:
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="foreign-") as home:
            results = moto_suite.run(service, suite=suite, python=python, home=Path(home))
        _say(f"{service:<24} {len(results):4} tests {time.monotonic() - started:6.0f} s")
        return results

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        parts = list(pool.map(run, services))
    return {test: result for part in parts for test, result in part.items()}


def _count(results: dict[str, Result], outcome: str) -> int:
    return sum(result.outcome == outcome for result in results.values())


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
