"""Checkov as a library: scans of HCL and of a plan, without network, output or effects on the process."""

from __future__ import annotations

import functools
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mclass_tf.gates.document import to_json
from mclass_tf.gates.places import Place
from mclass_tf.gates.quiet import quiet

CHECKS: Final = Path("policy", "checks")


@dataclass(frozen=True, kw_only=True)
class Result:
    """One check on one block. `resource` is the address that Checkov gives; `place` is where the HCL has it."""

    check: str
    title: str
    guideline: str
    fix: str
    passed: bool
    resource: str
    place: Place | None


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What a scan found, and `errors`: what it could not read or evaluate."""

    results: tuple[Result, ...]
    errors: tuple[str, ...]


def scan_hcl(*, project: Path, variables_file: Path) -> Scan:
    """Scan terraform/ with the variables of one environment; local modules are rendered, skip comments not heeded."""
    with _checkov(project) as engine:
        return engine.hcl(root=project / "terraform", variables_file=variables_file)


def scan_plan(*, project: Path, document: Mapping[str, Any]) -> Scan:
    """Scan a plan. It stands on disk only until Checkov has read it, in a folder that only its owner may enter."""
    with _checkov(project) as engine, tempfile.TemporaryDirectory(prefix="mclass-gate-") as folder:
        file = Path(folder, "plan.json")
        file.touch(mode=0o600)
        file.write_text(to_json(document), encoding="utf-8")
        return engine.plan(file)


def load(project: Path) -> None:
    """Import Checkov and its rules and the project's own; scans do this themselves, it takes a second or two."""
    with _checkov(project):
        pass


@contextmanager
def _checkov(project: Path) -> Iterator[_Engine]:
    """Enter Checkov, with the checks of this project in force. Not for two threads at a time: its registries are global."""
    with quiet(library="checkov", folders=_folders(project)) as logged:
        engine = _engine()
        engine.enter(project / CHECKS, logged)
        yield engine


@functools.cache
def _engine() -> _Engine:
    return _Engine()


def _folders(project: Path) -> tuple[Path, ...]:
    from importlib.util import find_spec  # noqa: PLC0415

    spec = find_spec("checkov")
    found = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    return (*found, project / CHECKS)


class _Engine:
    """Checkov's runners and registries, which are one of each per process."""

    def __init__(self) -> None:
        from checkov.common.checks_infra.registry import get_graph_checks_registry  # noqa: PLC0415
        from checkov.runner_filter import RunnerFilter  # noqa: PLC0415
        from checkov.terraform import plan_runner, runner  # noqa: PLC0415

        self._filter = RunnerFilter
        self._runners = {"terraform": runner.Runner, "terraform_plan": plan_runner.Runner}
        self._graph = get_graph_checks_registry("terraform")
        self._graph.load_checks()
        self._registries = tuple(runner.Runner.block_type_registries.values())
        self._own: set[str] = set()
        self._active: tuple[object, ...] = ()
        self._texts: dict[str, tuple[str, str]] = {}
        self._broken: tuple[str, ...] = ()
        self._logged: list[str] = []

    def enter(self, folder: Path, logged: list[str]) -> None:
        """Put the checks in `folder` in the place of those of another project; `logged` collects what Checkov says."""
        self._logged = logged
        state = (folder, *((path, path.stat().st_mtime_ns, path.stat().st_size) for path in _sources(folder)))
        if state != self._active:
            self._forget()
            unloaded = tuple(self._load(folder))
            # Said once, when they are loaded; it holds for every scan until the files change.
            self._broken = (*unloaded, *logged)
            logged.clear()
            self._texts = {check.id: _texts(check) for check in self._all()}
            self._active = state

    def _load(self, folder: Path) -> Iterator[str]:
        before = {id(check) for check in self._all()}
        with _imports_undone(folder):
            if folder.is_dir():
                self._registries[0].load_external_checks(str(folder))
                self._graph.load_external_checks(str(folder))
        fresh = [check for check in self._all() if id(check) not in before]
        self._own = {check.id for check in fresh}
        loaded = {type(check).__module__ for check in fresh}
        for source in _sources(folder):
            if source.suffix == ".py" and not source.name.startswith("_") and source.stem not in loaded:
                yield f"{CHECKS.as_posix()}/{source.name} registers no check (it fails to load, or its ids are taken)"

    def _forget(self) -> None:
        for registry in self._registries:
            for group in (*registry.checks.values(), *registry.wildcard_checks.values()):
                group[:] = [check for check in group if check.id not in self._own]
        self._graph.checks[:] = [check for check in self._graph.checks if check.id not in self._own]
        self._own = set()

    def _all(self) -> Iterator[Any]:
        for registry in self._registries:
            for _, check in registry.all_checks():
                yield check
        yield from self._graph.checks

    def hcl(self, *, root: Path, variables_file: Path) -> Scan:
        return self._run("terraform", root_folder=str(root), files=None, variables=[str(variables_file)])

    def plan(self, file: Path) -> Scan:
        return self._run(
            "terraform_plan", root_folder=None, files=[str(file)], variables=None, when_read=file.unlink
        )

    def _run(
        self,
        framework: str,
        *,
        root_folder: str | None,
        files: list[str] | None,
        variables: list[str] | None,
        when_read: Callable[[], None] = lambda: None,
    ) -> Scan:
        selection = self._filter(
            framework=[framework],
            show_progress_bar=False,
            download_external_modules=False,
            var_files=variables,
        )
        lost: list[str] = []
        try:
            report = _noting(self._runners[framework], lost=lost, when_read=when_read)().run(
                root_folder=root_folder, files=files, runner_filter=selection, collect_skip_comments=False
            )
        except Exception as error:  # noqa: BLE001  (Checkov's own failures are of any kind, and each is a failed gate)
            return Scan(results=(), errors=(f"Checkov failed: {type(error).__name__}: {error}",))
        unread = [f"Checkov cannot read {_plainly(path)}" for path in report.parsing_errors]
        crashed = [f"the check {check} crashed" for check in lost]
        return Scan(
            results=tuple(self._result(record) for record in (*report.passed_checks, *report.failed_checks)),
            errors=(*self._broken, *unread, *crashed, *dict.fromkeys(self._logged)),
        )

    def _result(self, record: Any) -> Result:
        guideline, fix = self._texts.get(record.check_id, ("", ""))
        file = Path(record.file_abs_path)
        return Result(
            check=record.check_id,
            title=record.check_name,
            guideline=guideline,
            fix=fix,
            passed=record.check_result["result"].name == "PASSED",
            resource=record.resource_address or record.resource,
            place=Place(file=file, line=max(int(record.file_line_range[0]), 1))
            if file.suffix == ".tf"
            else None,
        )


def _noting(runner: Any, *, lost: list[str], when_read: Callable[[], None]) -> Any:
    """Return a runner that calls `when_read` when its input is in memory, and adds to `lost` the graph checks that crash:
    Checkov drops their results without a word.
    """

    class Noting(runner):  # type: ignore[misc]  # Checkov is imported late, so its classes have no type here
        def check_tf_definition(self, *arguments: Any) -> None:
            when_read()
            super().check_tf_definition(*arguments)

        def run_graph_checks_results(self, runner_filter: Any, report_type: str, graph: Any = None) -> Any:
            results = super().run_graph_checks_results(runner_filter, report_type, graph)
            ran = {check.id for check in results}
            wanted = (
                c
                for c in self.graph_registry.checks
                if runner_filter.should_run_check(c, report_type=report_type)
            )
            lost.extend(check.id for check in wanted if check.id not in ran)
            return results

    return Noting


@contextmanager
def _imports_undone(folder: Path) -> Iterator[None]:
    """Take back what loading checks leaves behind: folders on the path, and modules of `folder` under bare names."""
    path, modules = list(sys.path), dict(sys.modules)
    try:
        yield
    finally:
        sys.path[:] = path
        for name, module in list(sys.modules.items()):
            if Path(getattr(module, "__file__", None) or "/").is_relative_to(folder):
                del sys.modules[name]
                if name in modules:
                    sys.modules[name] = modules[name]


def _plainly(path: object) -> str:
    text = str(path)
    return "the plan" if text.endswith("plan.json") else text


def _texts(check: Any) -> tuple[str, str]:
    """Return guideline and fix, as a check of the project's own states them."""
    return str(getattr(check, "guideline", None) or ""), str(getattr(check, "fix", None) or "")


def _sources(folder: Path) -> tuple[Path, ...]:
    """Return what Checkov loads checks from."""
    found = (path for path in folder.rglob("*") if path.suffix in {".py", ".yaml", ".yml", ".json"})
    return tuple(sorted(found))
