"""Checkov as a library: scans HCL and plans, in a process of its own."""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from mclass_tf.gates.places import SourceLocation
from mclass_tf.gates.scan import CHECKS, Scan, ScanResult
from mclass_tf.hcl.rewrite import in_older_forms

PLAN: Final = "plan.json"


@functools.cache
def engine() -> Engine:
    """Return the engine of this process. The first call imports Checkov and its checks, which takes two to three seconds."""
    return Engine()


class _ErrorCollector(logging.Handler):
    """Collects errors that any logger reports from a file of Checkov or of the project's checks."""

    def __init__(self, checkov: Path) -> None:
        super().__init__(level=logging.ERROR)
        self.messages: list[str] = []
        self._checkov = f"{checkov}/"
        self._prefixes: tuple[str, ...] = ()

    def start(self, folder: Path) -> None:
        """Discard the errors so far. The project's checks are in `folder`."""
        self.messages.clear()
        self._prefixes = (self._checkov, f"{folder}/")

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("checkov") or record.pathname.startswith(self._prefixes):
            self.messages.append(record.getMessage())


class _TolerantParser:
    """Checkov's parser, which Checkov uses through `load`. Values that it cannot read are rewritten into forms that it can."""

    def __init__(self, parser: Any) -> None:
        self._parser = parser

    def load(self, file: IO[str]) -> Any:
        text = file.read()
        try:
            return self._parser.loads(text)
        except Exception:
            rewritten = in_older_forms(text)
            if rewritten is None or rewritten == text:
                raise
            return self._parser.loads(rewritten)


class Engine:
    """Checkov's runners and registries. There is one of each per process, so only one thread may use them at a time."""

    def __init__(self) -> None:
        import checkov  # noqa: PLC0415  # late: nothing else of this package needs it
        from checkov.common.checks_infra.registry import get_graph_checks_registry  # noqa: PLC0415
        from checkov.runner_filter import RunnerFilter  # noqa: PLC0415
        from checkov.terraform import parser_utils, plan_runner, runner  # noqa: PLC0415

        parser_utils.hcl2 = _TolerantParser(parser_utils.hcl2)
        self._errors = _ErrorCollector(Path(checkov.__file__).parent)
        logging.getLogger().addHandler(self._errors)
        self._filter = RunnerFilter
        self._runners = {"terraform": runner.Runner, "terraform_plan": plan_runner.Runner}
        self._graph = get_graph_checks_registry("terraform")
        self._graph.load_checks()
        self._registries = tuple(runner.Runner.block_type_registries.values())
        self._own_checks: set[str] = set()
        self._active: tuple[object, ...] = ()
        self._texts: dict[str, tuple[str, str]] = {}
        self._broken: tuple[str, ...] = ()

    def load(self, project: Path) -> Scan:
        """Replace the project checks of the last scan by those of this project; return an empty scan."""
        folder = project / CHECKS
        state = (folder, *((path, path.stat().st_mtime_ns, path.stat().st_size) for path in _sources(folder)))
        if state != self._active:
            self._unload_project_checks()
            self._errors.start(folder)
            unloaded = tuple(self._load_project_checks(folder))
            # Checkov logs these errors only on load, but they hold for every scan until the files change.
            self._broken = (*unloaded, *self._errors.messages)
            self._texts = {check.id: _texts(check) for check in self.checks()}
            self._active = state
        self._errors.start(folder)
        return Scan(results=(), errors=self._broken)

    def hcl(self, *, project: Path, variables_file: Path) -> Scan:
        """Scan terraform/ with the variables of one environment. Local modules are rendered, and skip comments are ignored."""
        self.load(project)
        root = str(project / "terraform")
        return self._run("terraform", root_folder=root, files=None, variables=[str(variables_file)])

    def plan(self, *, project: Path, text: str, folder: Path) -> Scan:
        """Scan a plan, given as JSON. It is on disk only until Checkov has read it, in the private `folder`."""
        self.load(project)
        file = folder / PLAN
        file.touch(mode=0o600)
        try:
            file.write_text(text, encoding="utf-8")
            return self._run(
                "terraform_plan", root_folder=None, files=[str(file)], variables=None, when_read=file.unlink
            )
        finally:
            file.unlink(missing_ok=True)

    def _load_project_checks(self, folder: Path) -> Iterator[str]:
        before = {id(check) for check in self.checks()}
        with _isolated_imports(folder):
            if folder.is_dir():
                self._registries[0].load_external_checks(str(folder))
                self._graph.load_external_checks(str(folder))
        fresh = [check for check in self.checks() if id(check) not in before]
        self._own_checks = {check.id for check in fresh}
        loaded = {type(check).__module__ for check in fresh}
        for source in _sources(folder):
            if source.suffix == ".py" and not source.name.startswith("_") and source.stem not in loaded:
                yield f"{CHECKS.as_posix()}/{source.name} registers no check (it fails to load, or its ids are taken)"

    def _unload_project_checks(self) -> None:
        for registry in self._registries:
            for group in (*registry.checks.values(), *registry.wildcard_checks.values()):
                group[:] = [check for check in group if check.id not in self._own_checks]
        self._graph.checks[:] = [check for check in self._graph.checks if check.id not in self._own_checks]
        self._own_checks = set()

    def checks(self) -> Iterator[Any]:
        """Yield every active check, once for each kind of block that it supports."""
        for registry in self._registries:
            for _, check in registry.all_checks():
                yield check
        yield from self._graph.checks

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
            report = _observed_runner(self._runners[framework], lost=lost, when_read=when_read)().run(
                root_folder=root_folder, files=files, runner_filter=selection, collect_skip_comments=False
            )
        except Exception as error:  # noqa: BLE001  (Checkov's own failures are of any kind, and each is a failed gate)
            return Scan(results=(), errors=(f"Checkov failed: {type(error).__name__}: {error}",))
        unread = [f"Checkov cannot read {_display_name(path)}" for path in report.parsing_errors]
        crashed = [f"the check {check} crashed" for check in lost]
        return Scan(
            results=tuple(self._result(record) for record in (*report.passed_checks, *report.failed_checks)),
            errors=(*self._broken, *unread, *crashed, *dict.fromkeys(self._errors.messages)),
        )

    def _result(self, record: Any) -> ScanResult:
        guideline, fix = self._texts.get(record.check_id, ("", ""))
        file = Path(record.file_abs_path)
        return ScanResult(
            check=record.check_id,
            title=record.check_name,
            guideline=guideline,
            fix=fix,
            passed=record.check_result["result"].name == "PASSED",
            resource=record.resource_address or record.resource,
            place=SourceLocation(file=file, line=max(int(record.file_line_range[0]), 1))
            if file.suffix == ".tf"
            else None,
        )


def _observed_runner(runner: Any, *, lost: list[str], when_read: Callable[[], None]) -> Any:
    """Return a runner that calls `when_read` once it has read its input, and adds silently crashed graph checks to `lost`."""

    class ObservedRunner(runner):  # type: ignore[misc]  # Checkov is imported late, so its classes have no type here
        def check_tf_definition(self, *arguments: Any) -> None:
            when_read()
            super().check_tf_definition(*arguments)

        def run_graph_checks_results(self, runner_filter: Any, report_type: str, graph: Any = None) -> Any:
            results = super().run_graph_checks_results(runner_filter, report_type, graph)
            ran = {check.id for check in results}
            selected = (
                c
                for c in self.graph_registry.checks
                if runner_filter.should_run_check(c, report_type=report_type)
            )
            lost.extend(check.id for check in selected if check.id not in ran)
            return results

    return ObservedRunner


@contextmanager
def _isolated_imports(folder: Path) -> Iterator[None]:
    """Undo the side effects of loading checks: folders on the path, and modules of `folder` under bare names.

    Bytecode beside the checks is not read, because the digest of the policy covers only the sources.
    """
    path, modules = list(sys.path), dict(sys.modules)
    kept = sys.pycache_prefix, sys.dont_write_bytecode
    sys.pycache_prefix, sys.dont_write_bytecode = os.devnull, True
    try:
        yield
    finally:
        sys.path[:] = path
        sys.pycache_prefix, sys.dont_write_bytecode = kept
        for name, module in list(sys.modules.items()):
            if Path(getattr(module, "__file__", None) or "/").is_relative_to(folder):
                del sys.modules[name]
                if name in modules:
                    sys.modules[name] = modules[name]


def _display_name(path: object) -> str:
    return "the plan" if Path(str(path)).name == PLAN else str(path)


def _texts(check: Any) -> tuple[str, str]:
    return str(getattr(check, "guideline", None) or ""), str(getattr(check, "fix", None) or "")


def _sources(folder: Path) -> tuple[Path, ...]:
    files = (path for path in folder.rglob("*") if path.suffix in {".py", ".yaml", ".yml", ".json"})
    return tuple(sorted(files))
