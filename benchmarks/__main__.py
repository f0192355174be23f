"""`python -m benchmarks`: runs benchmarks, prints a table, and writes JSON."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from benchmarks import (
    app_requests,
    balancer,
    build_push,
    help_text,
    hostile,
    idle,
    local_up,
    machine,
    module_tests,
    plan_by_hand,
    promote,
    rollback,
    side_by_side,
    snapshot,
    tasks,
)
from benchmarks.figure import Result, table

BENCHMARKS: dict[str, Callable[[int], Result]] = {
    "app": app_requests.measure,
    "balancer": balancer.measure,
    "build-push": build_push.measure,
    "help": help_text.measure,
    "hostile": hostile.measure,
    "idle": idle.measure,
    "local-up": local_up.measure,
    "plan": plan_by_hand.measure,
    "promote": promote.measure,
    "rollback": rollback.measure,
    "side-by-side": side_by_side.measure,
    "snapshot": snapshot.measure,
    "module-tests": module_tests.measure,
    "tasks": tasks.measure,
}


def main() -> int:
    """Run the benchmarks; return 1 if a promise is not kept."""
    arguments = _arguments()
    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # so that started processes are stopped and files removed
    facts = machine.facts()
    results = []
    for name in arguments.benchmarks or BENCHMARKS:
        print(f"measuring {name}, load {machine.load()}", file=sys.stderr, flush=True)
        results.append(BENCHMARKS[name](arguments.rounds))
    facts["load at the end"] = machine.load()
    print(", ".join(f"{key} {value}" for key, value in facts.items()), end="\n\n")
    print(table(results))
    if arguments.json is not None:
        document = {"machine": facts, "rounds": arguments.rounds, "results": [asdict(r) for r in results]}
        arguments.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return int(any(figure.holds is False for result in results for figure in result.figures))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure the promised figures, each against a peer or a floor in the same run.",
    )
    parser.add_argument("benchmarks", nargs="*", metavar="NAME", help=f"{', '.join(BENCHMARKS)} (all)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="medians are over so many (3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single run here")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.benchmarks if name not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
