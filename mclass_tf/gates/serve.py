"""The scanner process: it answers requests in order until its command closes the channel."""

from __future__ import annotations

import gc
import itertools
import os
import resource
import shutil
import socket
import sys
import threading
from dataclasses import replace
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final, NoReturn

from mclass_tf.gates import scan, wire
from mclass_tf.gates.scan import Scan
from mclass_tf.gates.wire import ScanRequest
from mclass_tf.system.private import temporary_files_in

if TYPE_CHECKING:
    from mclass_tf.gates.engine import Engine

# Audit events (https://docs.python.org/3/library/audit_events.html) of network access and of starting a program.
_REFUSED: Final = frozenset(
    {
        "os.exec",
        "os.posix_spawn",
        "os.spawn",
        "os.system",
        "socket.bind",
        "socket.connect",
        "socket.getaddrinfo",
        "socket.gethostbyaddr",
        "socket.gethostbyname",
        "socket.getnameinfo",
        "socket.sendto",
        "subprocess.Popen",
    }
)

_numbers = itertools.count(1)


def serve(channel: socket.socket) -> NoReturn:
    """Answer on `channel` until it closes; then delete the private folder (the current directory) and exit."""
    folder = Path.cwd()
    _confine()
    requests: SimpleQueue[bytes] = SimpleQueue()
    # Work on another thread, so that this one notices at once when the command exits. Checkov sets a signal on the main one.
    threading.Thread(target=_answer, args=(requests, channel, folder), daemon=True).start()
    try:
        while True:
            requests.put(wire.receive(channel))
    except (EOFError, OSError):
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)  # whatever is being scanned, no command waits for it


def _confine() -> None:
    """Confine this process to scanning: no network, no other program, no files that others can read, no core dump with a plan."""
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.addaudithook(_refuse)


def _refuse(event: str, _arguments: object) -> None:
    if event in _REFUSED:
        raise PermissionError(f"{event}: a scanner neither runs programs nor uses the network")


def _answer(requests: SimpleQueue[bytes], channel: socket.socket, folder: Path) -> None:
    while True:
        request = ScanRequest.from_json(requests.get())
        project = _alias(Path(request.project), folder)
        try:
            made = _scan(request, project=project)
        except BaseException as error:  # noqa: BLE001  (Checkov may raise SystemExit: that is a failed scan as well)
            made = Scan(results=(), errors=(f"Checkov failed: {type(error).__name__}: {error}",))
        errors = tuple(error.replace(f"{project}/", "") for error in made.errors)
        wire.send(channel, scan.to_json(replace(made, errors=errors), project=project))


def _scan(request: ScanRequest, *, project: Path) -> Scan:
    checkov = import_checkov(request.cache)
    if request.kind == "hcl":
        file = Path(request.variables_file)
        if file.is_relative_to(request.project):
            file = project / file.relative_to(request.project)
        return checkov.hcl(project=project, variables_file=file)
    if request.kind == "plan":
        return checkov.plan(project=project, text=request.plan, folder=project.parent)
    return checkov.load(project)


def import_checkov(cache: str) -> Engine:
    """Return the engine of this process. The folder `cache` speeds up the next start."""
    from mclass_tf.gates import engine  # noqa: PLC0415  # late, so that the command hears of a failed import

    # lark pickles hcl2's parser, which takes 3 s to build, into the temporary folder. Whoever can write there can execute code
    # here, so this process has a temporary folder of its own, deleted with it.
    with temporary_files_in(Path(cache or os.environ["TMPDIR"])):
        made = engine.engine()
    # What Checkov has created so far stays alive: keep it out of garbage collections.
    gc.freeze()
    gc.enable()
    return made


@cache
def _alias(project: Path, folder: Path) -> Path:
    """Return a pure ASCII path to the project: Checkov fails on bytes that are not UTF-8 and skips some names."""
    link = Path(os.path.realpath(folder), f"project-{next(_numbers)}")
    link.symlink_to(project, target_is_directory=True)
    return link
