"""Starts, finds, saves and stops the one local AWS of a home folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.error import HTTPError

import mclass_tf
from mclass_tf.local import documents
from mclass_tf.local.clock import FASTEST, SLOWEST
from mclass_tf.local.errors import (
    MissingDependencyError,
    PortInUseError,
    SnapshotError,
    StartError,
    StopError,
)
from mclass_tf.local.loopback import ask
from mclass_tf.local.process import can_tell, is_instance, listener_on, stop_instance
from mclass_tf.local.record import LocalAws, read_record, remove_record
from mclass_tf.local.registry.store import blobs_in, registry_in

if TYPE_CHECKING:
    from mclass_tf.local.snapshots.file import SnapshotHeader

DEFAULT_PORT = 4566
HOST = "127.0.0.1"

_START_SECONDS = 60.0  # far above a normal start, for a busy machine
_STOP_SECONDS = 5.0  # after SIGTERM, and again after SIGKILL
_HEALTH_SECONDS = 30.0  # far above a normal answer, for a busy machine
_LOG_LINES_SHOWN = 20
_BACKLOG = 1024  # connections that wait to be accepted
_ALIVE = "server.alive"
_UNRECORDED = "a local AWS of this home is there, but its record is gone: nothing can be asked of it"
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOBUFS)
_MACHINE_ERRORS = (
    *_SHORTAGES,
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM),
)
_LARGEST_ERROR = 1024 * 1024
_STATE = re.compile(r"[0-9a-f]{32}\.state")
_SAVE_SECONDS = 60.0
_IN_LOG = ("its log tells more: ", ("local", "status"), " says where it is")


def up(
    *,
    home: Path,
    port: int | None = None,
    speed: float | None = None,
    tasks: str = "",
    client_address: str | None = None,
    session_seconds: float | None = None,
    snapshot: Path | None = None,
    resettable: bool = False,
) -> LocalAws:
    """Return the running local AWS of this home. Start it if needed, from a `snapshot` if given.

    `port` None takes 4566 if it is free, else any free port; 0 takes a free port. `speed` is how much faster than AWS the timers of
    the control plane run; None keeps the current speed, initially 1. `tasks` is what runs tasks ("process", "podman", "docker"); ""
    chooses by the image. A snapshot contains both, but explicit values override it. `client_address` is the address in AWS of
    clients of load balancers that are no tasks; None keeps the current one, initially a public one. `session_seconds` is how long
    role sessions live at most, in real seconds; None keeps the current limit, initially AWS's.
    `resettable` adds the admin call that deletes everything, which suites of tests need and nobody else may have. Lists then come
    in long pages, since such suites read only the first one.
    Raises PortInUseError, StartError, SnapshotError or MissingDependencyError, and OSError if the machine runs short of resources.
    """
    if speed is not None and not SLOWEST <= speed <= FASTEST:
        raise StartError(
            f"a speed of {speed:g} is not possible", hint=f"choose one from {SLOWEST:g} to {FASTEST:g}"
        )
    home = home.absolute()
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(home):
        running = _running(home)
        if running is not None and snapshot is not None:
            raise SnapshotError(
                f"the local AWS is up already at {running.url}, and a snapshot is what one starts from",
                hint=(("local", "down"), " first: everything in it is gone then"),
            )
        if running is not None:
            return _reuse(
                running,
                speed=speed,
                tasks=tasks,
                client_address=client_address,
                session_seconds=session_seconds,
            )
        _require_none(home)
        _require_dependencies()
        with _open_snapshot(snapshot, home=home) as (header, archive), _listening_socket(port) as listener:
            if header is not None:
                speed, tasks = header.speed if speed is None else speed, tasks or header.tasks
            settings = _settings(
                speed=speed,
                tasks=tasks,
                client_address=client_address,
                archive=archive,
                resettable=resettable,
            )
            started = _start(home=home, listener=listener, settings=settings, archive=archive)
        if session_seconds is not None:
            _limit_sessions(started, session_seconds)
        return started


def save(*, home: Path, path: Path) -> int:
    """Write a snapshot of the local AWS of this home; return its size in bytes.

    Raises SnapshotError if no local AWS is up, if something is under way, or if the file cannot be written.
    """
    home = home.absolute()
    running = _running(home)
    if running is None:
        raise SnapshotError(
            "the local AWS is not up, so there is nothing to save", hint=("start it: ", ("local", "up"))
        )
    from mclass_tf.local.snapshots import file  # noqa: PLC0415  no other command needs what it imports

    saved = _save_state(running)
    state = home / str(saved.get("state"))
    if not _STATE.fullmatch(state.name) or state.parent != home:
        raise SnapshotError("the local AWS does not say where its state is", hint=_IN_LOG)
    try:
        header = file.SnapshotHeader(speed=saved["speed"], tasks=running.tasks, versions=saved["versions"])
        return file.write(path, header=header, state=state, blobs=blobs_in(registry_in(home)), home=home)
    except OSError as error:
        raise SnapshotError(
            f"{path} cannot be written: {error.strerror}", hint="choose another place for it"
        ) from error
    finally:
        state.unlink(missing_ok=True)


def down(*, home: Path) -> LocalAws | None:
    """Stop the local AWS of this home; return it, or None if none was up."""
    home = home.absolute()
    if not home.is_dir():
        return None
    with _locked(home):
        return _stop_recorded(home)


def status(*, home: Path) -> LocalAws | None:
    """Return the running local AWS of this home, or None. Removes the record of a dead process."""
    home = home.absolute()
    running = _running(home)
    if running is None and read_record(home) is not None:
        _forget_dead(home)
    return running


def problems(running: LocalAws) -> tuple[str, ...]:
    """Return problems that the local AWS reports; nothing if it does not answer."""
    try:
        health = ask(f"{running.url}/_mclass/health", seconds=_HEALTH_SECONDS, key=running.key)
    except (OSError, ValueError):
        return ()
    listed = health.get("problems") if isinstance(health, dict) else None
    return tuple(str(problem) for problem in listed) if isinstance(listed, list) else ()


def client_address(running: LocalAws) -> str:
    """Return the address in AWS of clients that are no tasks; "" if the local AWS does not answer."""
    try:
        answer = ask(f"{running.url}/_mclass/client", seconds=_HEALTH_SECONDS, key=running.key)
    except (OSError, ValueError):
        return ""
    return str(answer.get("address", "")) if isinstance(answer, dict) else ""


def _reuse(
    running: LocalAws,
    *,
    speed: float | None,
    tasks: str,
    client_address: str | None,
    session_seconds: float | None,
) -> LocalAws:
    """Return the running local AWS with the requested settings; raise StartError if it runs tasks differently."""
    if tasks and tasks != running.tasks:
        raise StartError(
            f"the local AWS is up already and runs tasks by {running.tasks or 'what the image asks for'}, not by {tasks}",
            hint="take it down first",
        )
    if speed is not None:
        _set(running, "clock", {"speed": speed}, what=f"speed {speed:g}")
    if client_address is not None:
        _set(running, "client", {"address": client_address}, what=f"client address {client_address}")
    if session_seconds is not None:
        _limit_sessions(running, session_seconds)
    return running


def _limit_sessions(running: LocalAws, seconds: float) -> None:
    _set(running, "sessions", {"seconds": seconds}, what=f"session limit of {seconds:g} s")


def _set(running: LocalAws, name: str, setting: Mapping[str, object], *, what: str) -> None:
    url = f"{running.url}/_mclass/{name}"
    try:
        ask(url, seconds=_HEALTH_SECONDS, key=running.key, method="PUT", body=setting)
    except (OSError, ValueError) as error:
        raise StartError(
            f"the local AWS did not take the {what}: {error}", hint="take it down and up again"
        ) from error


def _save_state(running: LocalAws) -> dict[str, Any]:
    """Make the server write its state into the home folder; return its answer."""
    try:
        url = f"{running.url}/_mclass/snapshot"
        saved = ask(url, seconds=_SAVE_SECONDS, key=running.key, method="PUT", body={})
        return saved if isinstance(saved, dict) else {}
    except HTTPError as error:
        answer = _refusal(error)
        if not answer.get("under_way"):
            raise SnapshotError(
                f"the local AWS cannot be saved: {answer.get('error', error)}", hint=_IN_LOG
            ) from error
        raise SnapshotError(
            f"the local AWS is not at rest: {'; '.join(map(str, answer['under_way']))}",
            hint=("save it again when that is over; ", ("status", "ENV"), " tells"),
        ) from None
    except (OSError, ValueError) as error:
        raise SnapshotError(f"the local AWS does not answer: {error}", hint=_IN_LOG) from error


def _refusal(error: HTTPError) -> dict[str, Any]:
    """Return the JSON of an error response; empty if it has none."""
    try:
        return documents.parse_object(error.read(_LARGEST_ERROR) or b"{}")
    except (OSError, ValueError, HTTPException):
        return {}


@contextlib.contextmanager
def _open_snapshot(
    snapshot: Path | None, *, home: Path
) -> Iterator[tuple[SnapshotHeader | None, IO[bytes] | None]]:
    if snapshot is None:
        yield None, None
        return
    from mclass_tf.local.snapshots import file  # noqa: PLC0415  no other command needs what it imports

    with file.verified(snapshot, home=home) as verified:
        yield verified


def _settings(
    *,
    speed: float | None,
    tasks: str,
    client_address: str | None,
    archive: IO[bytes] | None,
    resettable: bool,
) -> list[str]:
    return [
        *(["--speed", str(speed)] if speed is not None else []),
        *(["--tasks", tasks] if tasks else []),
        *(["--client-address", client_address] if client_address is not None else []),
        *(["--from-fd", str(archive.fileno())] if archive is not None else []),
        *(["--resettable"] if resettable else []),
    ]


def _running(home: Path) -> LocalAws | None:
    record = read_record(home)
    if record is None or not _is_alive(home, record):
        return None
    return record if _healthy_instance_id(record) == record.instance_id else None


def _healthy_instance_id(record: LocalAws) -> str | None:
    """Ask the server for its instance id, because the port may belong to another server now."""
    if not record.key.access_key_id:
        return None
    try:
        health = ask(f"{record.url}/_mclass/health", seconds=_HEALTH_SECONDS, key=record.key)
    except (OSError, ValueError) as error:
        if getattr(getattr(error, "reason", error), "errno", None) in _SHORTAGES:
            raise  # this process is short of resources
        return None
    return str(health.get("instance_id")) if isinstance(health, dict) else None


def _is_alive(home: Path, record: LocalAws | None) -> bool:
    """Return whether the recorded server process lives, even if hung. Without a record: whether any server lives."""
    if record is not None and is_instance(pid=record.pid, instance_id=record.instance_id):
        return True
    return _is_locked(home / _ALIVE)


def _is_locked(file: Path) -> bool:
    """Return whether a server holds the lock that it keeps for life."""
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _require_none(home: Path) -> None:
    """Remove the record of a dead server; raise StartError if the server lives but does not answer.

    Replacing it would destroy everything in it, which is the user's decision.
    """
    record = read_record(home)
    if not _is_alive(home, record):
        remove_record(home=home, instance_id=None)
        return
    if record is None:
        raise StartError(_UNRECORDED, hint=_manual_stop(home))
    raise StartError(
        f"the local AWS (pid {record.pid}) is there, but does not answer at {record.url}; no second one was started",
        hint=(
            f"try again in a while; {home / 'server.log'} tells more; ",
            ("local", "down"),
            " ends it, with everything in it",
        ),
    )


def _manual_stop(home: Path) -> str:
    return f"end it by hand: pgrep -f -- '--home {home}' finds it"


def _stop_recorded(home: Path) -> LocalAws | None:
    """Stop the recorded process, even if hung, and remove the record; return None if it was gone."""
    record = read_record(home)
    alive = _is_alive(home, record)
    if alive and record is None:
        raise StopError(_UNRECORDED, hint=_manual_stop(home))
    try:
        is_stopped = record is None or not alive or _stop_process(home, record)
    except PermissionError:
        raise StopError(
            f"the local AWS of {home} belongs to another user, and was not stopped",
            hint="let its user stop it, or name a home folder of your own",
        ) from None
    if record is not None and not is_stopped:
        raise StopError(
            f"the local AWS (pid {record.pid}) did not stop",
            hint=f"look at {home / 'server.log'}, then end that process by hand",
        )
    remove_record(home=home, instance_id=None)
    return record if alive else None


def _stop_process(home: Path, record: LocalAws) -> bool:
    if can_tell():
        return stop_instance(pid=record.pid, instance_id=record.instance_id, patience=_STOP_SECONDS)
    # Without /proc, only its own answer identifies the process.
    if _healthy_instance_id(record) != record.instance_id:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(record.pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    while _is_locked(home / _ALIVE) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not _is_locked(home / _ALIVE)


def _forget_dead(home: Path) -> None:
    """Remove the record of a dead process, unless a start or stop is under way."""
    with contextlib.suppress(BlockingIOError), _locked(home, wait=False):
        record = read_record(home)
        if record is None or not _is_alive(home, record):
            remove_record(home=home, instance_id=None)


@contextlib.contextmanager
def _locked(home: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock that serializes starts and stops of all processes and threads."""
    descriptor = os.open(home / "server.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


def _require_dependencies() -> None:
    for package in ("moto", "flask", "flask_cors"):
        if find_spec(package) is None:
            raise MissingDependencyError(package)


def _listening_socket(port: int | None) -> socket.socket:
    """Bind the socket here, not in the server: a port in use is known at once, and a free port cannot be lost again."""
    if port is None:
        try:
            return _bind(DEFAULT_PORT)
        except PortInUseError:
            return _bind(0)
    return _bind(port)


def _bind(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUseError(port=port, process=listener_on(port)) from error
        raise StartError(
            f"cannot listen on 127.0.0.1:{port}: {error.strerror}", hint="choose another port"
        ) from error
    return listener


def _start(
    *, home: Path, listener: socket.socket, settings: list[str], archive: IO[bytes] | None
) -> LocalAws:
    log = home / "server.log"
    ready_in, ready_out = os.pipe()
    with os.fdopen(ready_in, "rb") as ready, (home / _ALIVE).open("wb") as alive:
        fcntl.flock(
            alive, fcntl.LOCK_EX | fcntl.LOCK_NB
        )  # the server inherits the lock and holds it until it ends
        try:
            inherited = (
                *(listener.fileno(), ready_out, alive.fileno()),
                *([archive.fileno()] if archive else []),
            )
            child = _spawn(home=home, inherited=inherited, log=log, settings=settings)
        finally:
            os.close(ready_out)
        try:
            record = _await_record(ready=ready.fileno(), home=home, log=log)
        except BaseException:  # including interrupts: leave nothing behind
            child.kill()
            child.wait()
            remove_record(home=home, instance_id=None)
            raise
    child.returncode = 0  # it outlives us on purpose: avoid the ResourceWarning
    return record


def _await_record(*, ready: int, home: Path, log: Path) -> LocalAws:
    answer = _ready_message(ready)
    if answer.get("errno") in _MACHINE_ERRORS:
        raise OSError(answer["errno"], os.strerror(answer["errno"]), answer["filename"])
    if not answer.get("ready"):
        raise StartError(
            f"the local AWS did not start{': ' if answer else ''}{answer.get('problem', '')}; the end of {log}:\n{_end_of_log(log)}",
            hint=f"the whole log is {log}",
        )
    record = read_record(home)
    if record is None:
        raise StartError(f"the local AWS left no record in {home}", hint=f"the log is {log}")
    return record


def _spawn(
    *, home: Path, inherited: tuple[int, ...], log: Path, settings: list[str]
) -> subprocess.Popen[bytes]:
    """`inherited` are the descriptors of the listener, the start report, the lock, and a snapshot's archive."""
    command = [
        *(sys.executable, "-m", "mclass_tf.local.server"),
        *("--home", str(home)),
        *("--instance-id", str(uuid.uuid4())),
        *("--listen-fd", str(inherited[0])),
        *("--ready-fd", str(inherited[1])),
        *("--alive-fd", str(inherited[2])),
        *settings,
    ]
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=home,
            env=_child_environment(),
            pass_fds=inherited,
            start_new_session=True,  # Ctrl-C in the caller's terminal must not reach the server
        )


_NEEDED = re.compile(
    r"PATH|HOME|USER|LOGNAME|TMPDIR|TZ|LANG|LC_\w+"
    # Some builds of Python do not start without the first two; the others locate modules and bytecode.
    r"|LD_LIBRARY_PATH|DYLD_LIBRARY_PATH|PYTHONPATH|PYTHONDONTWRITEBYTECODE|PYTHONPYCACHEPREFIX|PYTHONWARNINGS"
    # Storage and connection settings of podman and docker, which run tasks.
    r"|XDG_\w+|CONTAINERS_\w+|CONTAINER_(CONNECTION|HOST|SSHKEY)|DOCKER_\w+|STORAGE_(DRIVER|OPTS)|REGISTRY_AUTH_FILE"
    r"|DBUS_SESSION_BUS_ADDRESS|SSH_AUTH_SOCK"
)
"""Environment variables that the server inherits from `local up`. It does not inherit others, such as secrets of the shell, because
it outlives the shell, and /proc/PID/environ shows them."""


def _child_environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if _NEEDED.fullmatch(name)}
    here = str(Path(mclass_tf.__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, [here, kept.get("PYTHONPATH", "")]))
    return {**kept, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def _ready_message(descriptor: int) -> Mapping[str, Any]:
    """Wait for the server's start report, a line of JSON; return an empty mapping if it dies without one."""
    deadline = time.monotonic() + _START_SECONDS
    line = b""
    while not line.endswith(b"\n"):
        readable, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        chunk = os.read(descriptor, 1 << 16) if readable else b""
        if not chunk:
            return {}
        line += chunk
    message: Mapping[str, Any] = json.loads(line)
    return message


def _end_of_log(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "(no log)"
    return "\n".join(lines[-_LOG_LINES_SHOWN:]) or "(the log is empty)"
