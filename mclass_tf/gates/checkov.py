"""The security gate: Checkov on the plan and on the HCL that it comes from, under the project's waivers."""

from __future__ import annotations

import datetime as dt
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from mclass_tf import environment as environments
from mclass_tf.environment import Environment
from mclass_tf.gates import config, fixes, kept, scan, waivers
from mclass_tf.gates.document import addresses, for_scanner, unreadable_containers
from mclass_tf.gates.gate import Subject
from mclass_tf.gates.kept import Kept
from mclass_tf.gates.places import Place, places
from mclass_tf.gates.scan import Result, Scan
from mclass_tf.gates.serial import Serial
from mclass_tf.gates.verdict import Finding, Problem, Verdict, Waiver
from mclass_tf.gates.waivers import without_index

# Checkov's registries are global and it arms a signal when it parses on the main thread: one thread of its own serves
# every environment, in turn.
_thread: Final = Serial(name="checkov")

_Prints = tuple[tuple[str, int, int], ...]


@dataclass
class CheckovGate:
    """See `mclass_tf.gates.gate.Gate`."""

    name: str = "checkov"
    _ahead: dict[tuple[Path, str], tuple[_Prints, Future[Scan]]] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def prepare(self, *, environment: Environment, project: Path, keep: Path | None = None) -> None:
        """Read the policy, so that what is wrong with it is told before Terraform runs; import Checkov, scan the HCL.

        In the folder `keep` is the scan of the same HCL from an earlier time, and this one is kept there.
        """
        project = project.resolve()
        self._accepted(environment, project, today=dt.datetime.now(tz=dt.UTC).date())
        self._hcl(environment, project, keep=keep)

    def evaluate(self, subject: Subject, *, today: dt.date) -> Verdict:
        started = time.perf_counter()
        project, environment = subject.project.resolve(), subject.environment
        accepted = self._accepted(environment, project, today=today)
        hcl = self._hcl(environment, project)
        document = for_scanner(subject.plan.document)
        plan = _thread.submit(lambda: scan.scan_plan(project=project, document=document))
        merged = merge(plan=plan.result(), hcl=hcl.result(), existing=frozenset(_existing(subject)))
        known_places = places(plan=subject.plan.document, root=project / "terraform")
        findings = tuple(self._finding(result, project, known_places) for result in merged.failed)
        applied = waivers.apply(accepted, findings=findings, environment=environment.name, today=today)
        return Verdict(
            gate=self.name,
            checked=merged.checked,
            failed=applied.failed,
            waived=applied.waived,
            problems=(*_broken(merged), *_unjudged(subject), *applied.problems),
            seconds=time.perf_counter() - started,
        )

    def _accepted(self, environment: Environment, project: Path, *, today: dt.date) -> tuple[Waiver, ...]:
        config.check(project)
        known = environments.names(project)
        return waivers.load(project, environments={*known, environment.name}, today=today)

    def _hcl(self, environment: Environment, project: Path, *, keep: Path | None = None) -> Future[Scan]:
        """Return the scan of the HCL as it is now: the one that was started ahead, unless a file has changed since."""
        key = (project, environment.name)
        prints = tuple(_prints(project, environment))
        with self._lock:
            ahead = self._ahead.get(key)
            if ahead is None or ahead[0] != prints:
                _thread.submit(lambda: scan.load(project))  # a job of its own: what ends early need not go on
                job = _thread.submit(lambda: _scanned(environment, project, keep=keep))
                ahead = self._ahead[key] = (prints, job)
        return ahead[1]

    def _finding(self, result: Result, project: Path, known: Mapping[str, Place]) -> Finding:
        place = known.get(without_index(result.resource)) or result.place
        inside = place is not None and place.file.is_relative_to(project)
        return Finding(
            gate=self.name,
            check=result.check,
            title=result.title,
            resource=result.resource,
            file=place.file.relative_to(project).as_posix() if place and inside else "",
            line=place.line if place and inside else None,
            guideline=result.guideline or fixes.GUIDELINES,
            fix=result.fix or fixes.of(result.check, title=result.title),
        )


def _scanned(environment: Environment, project: Path, *, keep: Path | None) -> Scan:
    """Return the scan of the HCL: the one that was kept where all that it depends on is the same, else a new one."""
    key = kept.key_of(project=project, environment=environment, env=os.environ) if keep else ""
    found = Kept(folder=keep, project=project).read(key) if keep else None
    if found is not None:
        return found
    made = scan.scan_hcl(project=project, variables_file=environment.variables_file.resolve())
    # What has changed meanwhile was scanned in part only.
    if keep and key == kept.key_of(project=project, environment=environment, env=os.environ):
        Kept(folder=keep, project=project).write(key, made)
    return made


@dataclass(frozen=True, kw_only=True)
class Merged:
    checked: int
    failed: tuple[Result, ...]
    errors: tuple[str, ...]


def merge(*, plan: Scan, hcl: Scan, existing: frozenset[str]) -> Merged:
    """Join both scans: one finding for each check and resource.

    The plan's word is final wherever it has evaluated a check on a resource, since there every variable, count and
    module is resolved; the HCL adds the checks that only it can evaluate (data sources, providers).
    What the HCL says of blocks that this environment does not make (count = 0) is dropped.
    """
    judged = {(result.check, without_index(result.resource)) for result in plan.results}
    only_hcl = [
        result
        for result in (_with_address(result, existing) for result in hcl.results)
        if (result.check, without_index(result.resource)) not in judged
        and (without_index(result.resource) in existing or not _BLOCK.search(result.resource))
    ]
    failed: dict[tuple[str, str], Result] = {}
    for result in (*plan.results, *only_hcl):
        if not result.passed:
            failed.setdefault((result.check, result.resource), result)
    of_resources = any(_BLOCK.search(result.resource) for result in plan.results)
    ordered = sorted(failed.values(), key=lambda result: (result.resource, result.check))
    errors = tuple(dict.fromkeys((*plan.errors, *hcl.errors)))
    return Merged(
        checked=len(plan.results) + len(only_hcl) if of_resources else 0, failed=tuple(ordered), errors=errors
    )


def _existing(subject: Subject) -> Iterator[str]:
    return (without_index(address) for address in addresses(subject.plan.document))


def _with_address(result: Result, existing: frozenset[str]) -> Result:
    """Give a data source the address that Terraform has for it: Checkov leaves out `data`."""
    data = _BLOCK.sub(r"\1data.\2", result.resource)
    known = without_index(result.resource) in existing or without_index(data) not in existing
    return result if known else replace(result, resource=data)


# A resource or data source, which may be absent from a plan; a provider or a module call may not.
_BLOCK: Final = re.compile(r"(^|\.)([a-z0-9]+_[a-z0-9_]*\.[^.\[]+(?:\[.+\])?)$")


def _broken(merged: Merged) -> Iterator[Problem]:
    for error in merged.errors:
        yield Problem(
            message=error,
            fix="a gate that cannot read or evaluate everything proves nothing: mend what it names",
            blocking=True,
        )
    if merged.checked == 0:
        yield Problem(
            message="no check was evaluated on this plan",
            fix="plan something that the checks apply to, or look at policy/checkov.yaml",
            blocking=True,
        )


def _unjudged(subject: Subject) -> Iterator[Problem]:
    for address in unreadable_containers(subject.plan.document):
        yield Problem(
            message=f"{address}: its containers are known only after the apply, so no check has seen them",
            fix="build the container definitions from values that a plan knows; the next plan is judged in full",
            blocking=False,
        )


def _prints(project: Path, environment: Environment) -> Iterator[tuple[str, int, int]]:
    """Yield what tells one state of the files that the HCL scan reads from another."""
    folders = (project / "terraform", project / "modules", project / scan.CHECKS)
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.suffix in {".tf", ".json", ".tfvars", ".py", ".yaml", ".yml"}:
                status = path.stat()
                yield str(path), status.st_mtime_ns, status.st_size
    if environment.variables_file.exists():
        status = environment.variables_file.stat()
        yield str(environment.variables_file), status.st_mtime_ns, status.st_size
