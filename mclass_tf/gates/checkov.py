"""The security gate: Checkov on the plan and on its HCL, under the project's waivers."""

from __future__ import annotations

import datetime as dt
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
from mclass_tf.gates import config, fixes, scan_cache, waivers
from mclass_tf.gates.document import addresses, for_scanner, to_json, unreadable_containers
from mclass_tf.gates.gate import Subject
from mclass_tf.gates.places import SourceLocation, places
from mclass_tf.gates.scan import CHECKS, Scan, ScanResult
from mclass_tf.gates.scan_cache import ScanCache
from mclass_tf.gates.scanner import Scanner, ScannerError
from mclass_tf.gates.serial import SerialWorker
from mclass_tf.gates.variables import variables_file
from mclass_tf.gates.verdict import Finding, Problem, Verdict, Waiver
from mclass_tf.gates.waivers import without_index

_FileStats = tuple[tuple[str, int, int], ...]


@dataclass(kw_only=True)
class CheckovGate:
    """See `mclass_tf.gates.gate.Gate`."""

    name: str = "checkov"
    scanner: Scanner = field(default_factory=Scanner)
    _prepared: dict[tuple[Path, str], tuple[_FileStats, Future[Scan]]] = field(
        default_factory=dict, repr=False
    )
    _pending: set[tuple[Path, str]] = field(default_factory=set, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    # One scanner serves every environment, in turn.
    _thread: SerialWorker = field(default_factory=lambda: SerialWorker(name="checkov"), repr=False)

    def prepare(self, *, environment: Environment, project: Path, cache: Path | None = None) -> None:
        """Read the policy, start Checkov and scan the HCL. A mistake in the policy is reported before Terraform runs.

        The folder `cache` stores HCL scans: an earlier scan of the same HCL is read from it, and a new one is written.
        """
        project = project.resolve()
        self._waivers(environment, project, today=dt.datetime.now(tz=dt.UTC).date())
        with self._lock:
            self._pending.add((project, environment.name))
        self._hcl_scan(environment, project, cache=cache)

    def evaluate(self, subject: Subject, *, today: dt.date) -> Verdict:
        started = time.perf_counter()
        project, environment = subject.project.resolve(), subject.environment
        accepted = self._waivers(environment, project, today=today)
        try:
            merged = self._merged_scan(subject, project)
        except ScannerError as error:
            return self._failed_verdict(error, environment, seconds=time.perf_counter() - started)
        known_places = places(plan=subject.plan.document, root=project / "terraform")
        findings = tuple(self._finding(result, project, known_places) for result in merged.failed)
        applied = waivers.apply(accepted, findings=findings, environment=environment.name, today=today)
        return Verdict(
            gate=self.name,
            checked=merged.checked,
            failed=applied.failed,
            waived=applied.waived,
            problems=(*_scan_problems(merged), *_unjudged_containers(subject), *applied.problems),
            seconds=time.perf_counter() - started,
        )

    def _failed_verdict(self, error: ScannerError, environment: Environment, *, seconds: float) -> Verdict:
        problem = Problem(
            message=str(error),
            fix="plan again; where it ends so each time, Checkov itself shows why: `checkov --config-file policy/checkov.yaml "
            f"-d terraform --var-file environments/{environment.name}/{environment.variables_file.name}`",
            blocking=True,
        )
        return Verdict(gate=self.name, checked=0, failed=(), waived=(), problems=(problem,), seconds=seconds)

    def _merged_scan(self, subject: Subject, project: Path) -> MergedScan:
        """Return the merged findings of both scans. Raise ScannerError if Checkov did not finish."""
        environment = subject.environment
        try:
            hcl = self._hcl_scan(environment, project).result()
            text = to_json(for_scanner(subject.plan.document))
            plan = self._thread.submit(lambda: self.scanner.plan(project=project, text=text)).result()
        except ScannerError:
            with self._lock:
                self._prepared.pop((project, environment.name), None)
            raise
        finally:
            self._close_idle_scanner(environment, project)
        return merge(plan=plan, hcl=hcl, existing=frozenset(_existing_addresses(subject)))

    def _close_idle_scanner(self, environment: Environment, project: Path) -> None:
        """Stop the scanner when no other plan is pending: the next steps may take long, and it uses 170 MB."""
        with self._lock:
            self._pending.discard((project, environment.name))
            if self._pending:
                return
        self._thread.submit(self.scanner.close)

    def _waivers(self, environment: Environment, project: Path, *, today: dt.date) -> tuple[Waiver, ...]:
        config.check(project)
        known = environments.names(project)
        return waivers.load(project, environments={*known, environment.name}, today=today)

    def _hcl_scan(
        self, environment: Environment, project: Path, *, cache: Path | None = None
    ) -> Future[Scan]:
        """Return the scan of the present HCL: the prepared one, unless a file has changed since."""
        key = (project, environment.name)
        stats = tuple(_file_stats(project, environment))
        with self._lock:
            prepared = self._prepared.get(key)
            if prepared is None or prepared[0] != stats:
                job = self._thread.submit(lambda: self._scan_hcl(environment, project, cache=cache))
                prepared = self._prepared[key] = (stats, job)
        return prepared[1]

    def _scan_hcl(self, environment: Environment, project: Path, *, cache: Path | None) -> Scan:
        """Return the scan of the HCL: the cached one if all its inputs are the same, else a new one."""
        scans = ScanCache(folder=cache, project=project) if cache else None
        key = scan_cache.cache_key(project=project, environment=environment)
        known = scans.read(key) if scans else None
        parser_folder = scans.parser_folder if scans else None
        if known is not None:
            self.scanner.load(project=project, cache=parser_folder)
            return known
        with variables_file(environment) as variables:
            scan = self.scanner.hcl(project=project, variables_file=variables, cache=parser_folder)
        # If a file changed during the scan, the result mixes both versions: do not cache it.
        if scans and key == scan_cache.cache_key(project=project, environment=environment):
            scans.write(key, scan)
        return scan

    def _finding(self, result: ScanResult, project: Path, known: Mapping[str, SourceLocation]) -> Finding:
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
            fix=result.fix or fixes.fix_for(result.check, title=result.title),
        )


@dataclass(frozen=True, kw_only=True)
class MergedScan:
    checked: int
    failed: tuple[ScanResult, ...]
    errors: tuple[str, ...]


def merge(*, plan: Scan, hcl: Scan, existing: frozenset[str]) -> MergedScan:
    """Join both scans: one finding for each check and resource.

    The plan decides wherever it has evaluated a check on a resource, since every variable, count and module is resolved there.
    The HCL adds the checks that only it can evaluate (data sources, providers). Findings of the HCL on blocks that this
    environment does not create (count = 0) are dropped.
    """
    judged = {(result.check, without_index(result.resource)) for result in plan.results}
    only_hcl = [
        result
        for result in (_with_address(result, existing) for result in hcl.results)
        if (result.check, without_index(result.resource)) not in judged
        and (without_index(result.resource) in existing or not _BLOCK.search(result.resource))
    ]
    failed: dict[tuple[str, str], ScanResult] = {}
    for result in (*plan.results, *only_hcl):
        if not result.passed:
            failed.setdefault((result.check, result.resource), result)
    of_resources = any(_BLOCK.search(result.resource) for result in plan.results)
    ordered = sorted(failed.values(), key=lambda result: (result.resource, result.check))
    errors = tuple(dict.fromkeys((*plan.errors, *hcl.errors)))
    return MergedScan(
        checked=len(plan.results) + len(only_hcl) if of_resources else 0, failed=tuple(ordered), errors=errors
    )


def _existing_addresses(subject: Subject) -> Iterator[str]:
    return (without_index(address) for address in addresses(subject.plan.document))


def _with_address(result: ScanResult, existing: frozenset[str]) -> ScanResult:
    """Give a data source Terraform's address: Checkov omits `data`."""
    data = _BLOCK.sub(r"\1data.\2", result.resource)
    known = without_index(result.resource) in existing or without_index(data) not in existing
    return result if known else replace(result, resource=data)


# Resources and data sources may be absent from a plan. Providers and module calls may not.
_BLOCK: Final = re.compile(r"(^|\.)([a-z0-9]+_[a-z0-9_]*\.[^.\[]+(?:\[.+\])?)$")


def _scan_problems(merged: MergedScan) -> Iterator[Problem]:
    for error in merged.errors:
        yield Problem(
            message=error,
            fix="a gate that cannot read or evaluate everything proves nothing: fix what it names",
            blocking=True,
        )
    if merged.checked == 0:
        yield Problem(
            message="no check was evaluated on this plan",
            fix="plan something that the checks apply to, or look at policy/checkov.yaml",
            blocking=True,
        )


def _unjudged_containers(subject: Subject) -> Iterator[Problem]:
    for address in unreadable_containers(subject.plan.document):
        yield Problem(
            message=f"{address}: its containers are known only after the apply, so no check has seen them",
            fix="build the container definitions from values that a plan knows; the next plan is judged in full",
            blocking=False,
        )


def _file_stats(project: Path, environment: Environment) -> Iterator[tuple[str, int, int]]:
    """Yield the identity, size and time of each file that the HCL scan reads, to detect a change."""
    folders = (project / "terraform", project / "modules", project / CHECKS)
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.suffix in {".tf", ".json", ".tfvars", ".py", ".yaml", ".yml"}:
                status = path.stat()
                yield str(path), status.st_mtime_ns, status.st_size
    if environment.variables_file.exists():
        status = environment.variables_file.stat()
        yield str(environment.variables_file), status.st_mtime_ns, status.st_size
