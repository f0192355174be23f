"""The project's tasks: `nox -s plan -- dev`, `nox -s apply -- dev`, `nox -s tests`; `nox -l` lists them.

All sessions share one virtual environment, rebuilt when pyproject.toml or constraints.txt has changed: Checkov and moto are
large, and a plan should not wait for pip. `--force-python 3.13` uses an environment of that Python instead.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import nox
from nox.command import CommandFailed

nox.options.sessions = ["lint", "tests"]
nox.options.default_venv_backend = "none"

HERE = Path(__file__).parent
SHARED = HERE / ".nox" / "shared"
TOOLS = HERE / ".nox" / "tools"
FOREIGN = HERE / ".nox" / "foreign"
LOCK = "constraints.txt"
TOOLS_LOCK = ".ci/tools.txt"
FOREIGN_LOCK = ".ci/foreign.txt"
JAVASCRIPT_LOCK = ".ci/foreign-javascript/package-lock.json"
APP_LOCK = "app/requirements.txt"


def _interpreter(session: nox.Session) -> str:
    """Return the Python for the environment: the one in --force-python, by default the one that runs nox."""
    if not session.python:
        return sys.executable
    name = str(session.python)
    return name if "python" in name else f"python{name}"


def _environment(session: nox.Session) -> Path:
    """Return the environment's folder. A Python in --force-python has its own: `.nox/shared-3.13`."""
    if not session.python:
        return SHARED
    return SHARED.with_name(f"shared-{Path(_interpreter(session)).name.removeprefix('python')}")


def _python(session: nox.Session) -> str:
    return str(_environment(session) / "bin" / "python")


def _ready(session: nox.Session) -> None:
    """Create or update the shared environment."""
    with _made(session, _environment(session), sources=("pyproject.toml", LOCK)) as make:
        if make:
            # Source distributions are built with the locked setuptools: pip would download an unchecked one. This package comes
            # before the rest, since setuptools uses the installed `packaging`, and Checkov's is too old for it.
            _install(session, LOCK, only="setuptools")
            pip = (_python(session), "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation")
            session.run(*pip, "--editable", ".", external=True)
            _install(session, LOCK)


@contextmanager
def _made(session: nox.Session, folder: Path, *, sources: tuple[str, ...]) -> Iterator[bool]:
    """Yield whether the environment in `folder` was created empty and must be filled; record its sources afterwards."""
    version = str(session.run(_interpreter(session), "-VV", external=True, silent=True, log=False))
    read = b"".join((HERE / name).read_bytes() for name in (*sources, "noxfile.py"))
    digest = hashlib.sha256(read + version.encode()).hexdigest()
    stamp = folder / "made-from.sha256"
    if stamp.is_file() and stamp.read_text(encoding="ascii") == digest:
        yield False
        return
    session.run(_interpreter(session), "-m", "venv", "--clear", str(folder), external=True)
    yield True
    stamp.write_text(digest, encoding="ascii")


def _install(session: nox.Session, lock: str, *, python: str = "", only: str = "") -> None:
    """Install the packages of the lock file `lock`, or only one of them, with their digests checked."""
    text = (HERE / lock).read_text(encoding="utf-8")
    if only:
        text = next(entry for entry in _entries(text) if entry.startswith(f"{only}=="))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "lock.txt")
        file.write_text(text, encoding="utf-8")
        options = (
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "--require-hashes",
            "--requirement",
            str(file),
        )
        session.run(python or _python(session), "-m", "pip", "install", *options, external=True)


def _entries(lock: str) -> Iterator[str]:
    return (f"{entry}\n" for entry in re.split(r"\n(?! )", lock) if entry and not entry.startswith("#"))


def _mclass_tf(session: nox.Session, *arguments: str) -> None:
    session.run(_python(session), "-m", "mclass_tf", *arguments, external=True)


@nox.session
def plan(session: nox.Session) -> None:
    """Plan and gate: `nox -s plan -- dev`, with --local on the local AWS. Without an environment: all of them."""
    _ready(session)
    _mclass_tf(session, "plan", *(session.posargs or ["--all"]))


@nox.session
def apply(session: nox.Session) -> None:
    """Apply the approved plan: `nox -s apply -- dev`. Without an environment: all of them, after asking."""
    _ready(session)
    _mclass_tf(session, "apply", *(session.posargs or ["--all"]))


@nox.session
def checkov(session: nox.Session) -> None:
    """The security gate without an AWS account, on a plan against a local AWS of its own: `nox -s checkov -- prod`."""
    _ready(session)
    with _local_aws(session, "checkov"):
        _mclass_tf(session, "plan", "--local", *(session.posargs or ["--all"]))


@nox.session
def demo(session: nox.Session) -> None:
    """Release version 1 of dev on its own local AWS, then version 2 under traffic; report what users met; then delete everything.

    The applied environment is saved, and the next demonstration starts from it.
    """
    _ready(session)
    folder = HERE / ".mclass" / "demo"
    snapshot, report = folder / "applied.snapshot", folder / "report.html"
    with _local_aws(session, "demo", snapshot=snapshot):
        for command in ("plan", "apply"):
            _mclass_tf(session, command, "dev", "--local")
        _mclass_tf(session, "local", "save", str(snapshot))
        _mclass_tf(session, "rehearse", "dev", "--seconds", "30", "--report", str(report), *session.posargs)
    session.log("All is down again. The report: %s", report)


@nox.session
def environments(session: nox.Session) -> None:
    """Plan, gate, apply, verify and plan again both environments on their own local AWS."""
    _ready(session)
    with _local_aws(session, "environments"):
        for command in ("plan", "apply", "verify"):
            _mclass_tf(session, command, "--all", "--local")
        _nothing_to_do(session)


@contextmanager
def _local_aws(session: nox.Session, name: str, *, snapshot: Path | None = None) -> Iterator[None]:
    """Run a local AWS separate from the user's, from `snapshot` if that exists; delete it at the end."""
    session.env["MCLASS_TF_HOME"] = str(HERE / ".mclass" / name)
    _up(session, snapshot)
    try:
        yield
    finally:
        _mclass_tf(session, "local", "down")


def _up(session: nox.Session, snapshot: Path | None) -> None:
    if snapshot is not None and snapshot.is_file():
        with suppress(CommandFailed):  # the snapshot is of another version: the command reports it
            _mclass_tf(session, "local", "up", "--port", "0", "--from", str(snapshot))
            return
    _mclass_tf(session, "local", "up", "--port", "0")


def _nothing_to_do(session: nox.Session) -> None:
    command = (_python(session), "-m", "mclass_tf", "plan", "--all", "--local", "--json")
    answer = json.loads(str(session.run(*command, external=True, silent=True, stderr=None)))
    if answer["has_changes"]:
        session.error(f"a plan right after the apply is not empty: {json.dumps(answer, indent=2)}")
    session.log("Planned again: no changes in %s", " and ".join(answer["environments"]))


@nox.session
def tests(session: nox.Session) -> None:
    """Run the fast tests; with `-- -m slow` those with the real provider, with `-- -m ''` all. Takes pytest's arguments."""
    _ready(session)
    session.run(
        _python(session), "-m", "pytest", "-n", "auto", "--dist", "loadgroup", *session.posargs, external=True
    )


@nox.session
def mutations(session: nox.Session) -> None:
    """Remove protections one by one, and require that a test fails: `nox -s mutations -- lock`; `-- --slow` adds slow tests."""
    _ready(session)
    session.run(_python(session), "-m", "tests.mutations", *session.posargs, external=True)


@nox.session
def rehearsals(session: nox.Session) -> None:
    """Run all rehearsals with every strategy in parallel: every night, since it takes an hour. Takes pytest's arguments."""
    _ready(session)
    several = ("-n", "auto", "--dist", "loadgroup", "-m", "nightly")
    session.run(
        *(_python(session), "-m", "pytest", *several),
        *("tests/rehearsal", "tests/flows/test_short_sessions.py", *session.posargs),
        external=True,
    )


@nox.session
def foreign(session: nox.Session) -> None:
    """Run moto's own tests, and clients of others mid-release, against the local AWS: every night. Takes services: `-- ecs`."""
    _ready(session)
    python = _foreign(session)
    archive = _moto_sources(session)
    session.run(
        *(_python(session), "-m", "tests.foreign", str(archive), python, *session.posargs), external=True
    )
    session.run(
        *(_python(session), "-m", "pytest", "-m", "slow", "tests/foreign"),
        env={"MCLASS_TF_FOREIGN": str(FOREIGN / "bin")},
        external=True,
    )


def _foreign(session: nox.Session) -> str:
    """Create or update the environment of the clients of others; return its Python."""
    python = str(FOREIGN / "bin" / "python")
    with _made(session, FOREIGN, sources=(FOREIGN_LOCK, JAVASCRIPT_LOCK)) as make:
        if make:
            _install(session, FOREIGN_LOCK, python=python, only="setuptools")
            _install(session, FOREIGN_LOCK, python=python)
            # The JavaScript SDK is optional: its test is skipped without it. npm checks the digests of the lock file.
            if shutil.which("npm") is not None:
                folder = shutil.copytree((HERE / JAVASCRIPT_LOCK).parent, FOREIGN / "javascript")
                command = ("npm", "ci", "--silent", "--ignore-scripts", "--no-audit", "--prefix", str(folder))
                session.run(*command, external=True, success_codes=range(256))
    return python


def _moto_sources(session: nox.Session) -> Path:
    """Download moto's source distribution, in the locked version and with its digest checked; return the archive."""
    entry = next(entry for entry in _entries((HERE / LOCK).read_text("utf-8")) if entry.startswith("moto=="))
    folder = FOREIGN / "sources"
    archive = folder / f"moto-{entry.split()[0].removeprefix('moto==')}.tar.gz"
    if not archive.is_file():
        folder.mkdir(exist_ok=True)
        (folder / "moto.txt").write_text(entry, encoding="utf-8")
        options = ("--no-deps", "--no-binary", "moto", "--no-build-isolation", "--require-hashes", "--quiet")
        command = ("-m", "pip", "download", *options, "--dest", str(folder))
        session.run(_python(session), *command, "--requirement", str(folder / "moto.txt"), external=True)
    return archive


@nox.session
def conformance(session: nox.Session) -> None:
    """Record dev's life on a local AWS of its own, and compare it with what is documented; `-- AWS.json` with that file."""
    _ready(session)
    folder = HERE / ".mclass" / "conformance"
    folder.mkdir(parents=True, exist_ok=True)
    made = str(folder / "local.json")
    with _local_aws(session, "conformance"):
        _mclass_tf(session, "conform", "dev", "--local", "--out", made)
    for other in session.posargs or [str(HERE / "tests" / "conformance" / "recordings" / "documented.json")]:
        _mclass_tf(session, "conform", "--compare", other, made)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Run the fuzz tests with forty times the examples: every night. Takes pytest's arguments."""
    _ready(session)
    session.run(
        *(_python(session), "-m", "pytest", "-n", "auto", "-m", "hypothesis", "-o", "timeout=3600"),
        *session.posargs,
        env={"HYPOTHESIS_PROFILE": "nightly"},
        external=True,
    )


@nox.session
def audit(session: nox.Session) -> None:
    """Check the locked dependencies for known vulnerabilities; `-- --if-possible` tolerates an unreachable database."""
    python = _tools(session)
    session.run(
        python, ".ci/audit", *session.posargs, LOCK, APP_LOCK, TOOLS_LOCK, FOREIGN_LOCK, external=True
    )


@nox.session
def lock(session: nox.Session) -> None:
    """Lock the dependencies again, with hashes; `-- --upgrade` takes newer versions, `-- --upgrade-package NAME` of one."""
    python = _tools(session)
    options = ("--quiet", "--universal", "--python-version", "3.11", "--generate-hashes", "--no-config")
    command = f"nox -s {session.name}"
    for source, file, more in (
        ("pyproject.toml", LOCK, ("--extra", "dev", "--no-annotate")),
        ("app/requirements.in", APP_LOCK, ()),
        (".ci/tools.in", TOOLS_LOCK, ("--no-annotate",)),
        (".ci/foreign.in", FOREIGN_LOCK, ("--no-annotate",)),
    ):
        session.run(
            *(python, "-m", "uv", "pip", "compile", *options, *more, *session.posargs),
            *(source, "--output-file", file),
            env={"UV_CUSTOM_COMPILE_COMMAND": command},
            external=True,
        )
    if shutil.which("npm") is not None:
        verb = "update" if "--upgrade" in session.posargs else "install"
        # Without the addresses of the registry that this machine uses.
        without = ("--package-lock-only", "--ignore-scripts", "--omit-lockfile-registry-resolved")
        folder = str((HERE / JAVASCRIPT_LOCK).parent)
        session.run("npm", verb, "--silent", *without, "--prefix", folder, external=True)


def _tools(session: nox.Session) -> str:
    """Create or update the environment of the tools that check and lock dependencies; return its Python."""
    python = str(TOOLS / "bin" / "python")
    with _made(session, TOOLS, sources=(TOOLS_LOCK,)) as make:
        if make:
            _install(session, TOOLS_LOCK, python=python)
    return python


@nox.session
def lint(session: nox.Session) -> None:
    """Check format, lint and types of Python, and the format of HCL."""
    _ready(session)
    session.run(_python(session), "-m", "ruff", "format", "--check", ".", external=True)
    session.run(_python(session), "-m", "ruff", "check", ".", external=True)
    session.run(_python(session), "-m", "mypy", external=True)
    session.run("terraform", "fmt", "-check", "-recursive", ".", external=True)
