"""Removes protections one at a time, and tells which tests notice: `python -m tests.mutations [NAME...]`."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.mutations.catalogue import CatalogueError, Mutation, read
from tests.mutations.trial import FAST, SLOW, Copy, Outcome, Result, copied

ROOT = Path(__file__).parents[2]
_ALL_DETECTED, _NOT_ALL, _WRONG = 0, 1, 2


def main(argv: Sequence[str]) -> int:
    """Return 0 where every removal was detected, 1 where not, 2 where nothing could be tried."""
    options = _parser().parse_args(argv)
    try:
        chosen = _chosen(read(), options.names, slow=options.slow)
    except CatalogueError as error:
        _say(str(error))
        return _WRONG
    mark = SLOW if options.slow else FAST
    if options.list:
        for each in chosen:
            _say(f"{each.name:<40} {each.kind:<14} {each.promise}")
        return _ALL_DETECTED
    with copied(ROOT) as copy:
        if not options.trust and not _passes(copy, chosen, mark):
            return _WRONG
        results = [_tried(copy, each, mark) for each in chosen]
    detected = sum(result.outcome is Outcome.DETECTED for result in results)
    _say(f"{detected} of {len(results)} removals were detected")
    return _ALL_DETECTED if detected == len(results) else _NOT_ALL


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument("names", metavar="NAME", nargs="*", help="an entry or a kind; without: all")
    parser.add_argument("--slow", action="store_true", help="run the slow tests of the entries, not the fast")
    parser.add_argument("--list", action="store_true", help="list the entries, and run nothing")
    parser.add_argument(
        "--trust", action="store_true", help="do not run the tests first on the project as it is: they pass"
    )
    return parser


def _chosen(entries: Sequence[Mutation], names: Sequence[str], *, slow: bool) -> tuple[Mutation, ...]:
    """Return the entries of these names or kinds that have such tests; raise CatalogueError where there are none."""
    unknown = set(names) - {each.name for each in entries} - {each.kind for each in entries}
    if unknown:
        raise CatalogueError(f"no such entry: {', '.join(sorted(unknown))}; --list shows what there is")
    wanted = [each for each in entries if not names or each.name in names or each.kind in names]
    found = tuple(each for each in wanted if _tests(each, SLOW if slow else FAST))
    if not found:
        raise CatalogueError(f"no such test is named there: try {'without' if slow else 'with'} --slow")
    return found


def _tests(mutation: Mutation, mark: str) -> tuple[str, ...]:
    return mutation.slow if mark == SLOW else mutation.fast


def _passes(copy: Copy, chosen: Sequence[Mutation], mark: str) -> bool:
    """Tell whether the tests pass on the project as it is: what fails anyway detects nothing."""
    tests = list(dict.fromkeys(test for each in chosen for test in _tests(each, mark)))
    _say(f"running {len(tests)} selections on the project as it is")
    result = copy.run(tests, mark=mark, options=("-n", "auto", "--dist", "loadgroup"))
    if result.outcome is not Outcome.SURVIVED:
        _say(f"they do not pass, so nothing was removed: {result.detail}")
    return result.outcome is Outcome.SURVIVED


def _tried(copy: Copy, mutation: Mutation, mark: str) -> Result:
    result = copy.without(mutation, _tests(mutation, mark), mark=mark)
    detail = mutation.promise if result.outcome is Outcome.SURVIVED else result.detail
    _say(f"{result.outcome.value:<9} {result.seconds:6.1f} s  {mutation.name:<40} {detail}")
    return result


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201  (it is a command line)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # to end is to clean up
    sys.exit(main(sys.argv[1:]))
