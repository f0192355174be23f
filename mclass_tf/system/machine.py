"""Turns errors of a machine that is short of resources into MachineErrors with a cause and a remedy."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from mclass_tf.errors import DiskFullError, MachineError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)
_FILES = (errno.EMFILE, errno.ENFILE)
_LITTLE = 1 << 20
_FILES_NEEDED = 64
_THREADS_NEEDED = 32
_NO_THREAD = "can't start new thread"
_NOTHING_LOST = "what was done before stays done, and the same command may be run again"


def shortage(error: BaseException) -> MachineError | None:
    """Return a MachineError if `error`, or an error that it wraps, comes from a lack of resources; else None."""
    return next((reason for each in _chain(error) if (reason := _shortage(each)) is not None), None)


def require_room(folder: Path) -> None:
    """Raise MachineError if an apply would run out of resources midway, where it can lose its state.

    Terraform and the provider need dozens of threads and descriptors, under the same limits as this process (Go raises the soft
    limit of descriptors to the hard limit), and disk space for the state.
    """
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files not in (resource.RLIM_INFINITY, -1) and files < _FILES_NEEDED:
        raise MachineError(
            f"a process may open {files} files here, and Terraform needs {_FILES_NEEDED}; nothing was applied",
            hint="raise the limit: ulimit -Hn 1024",
        )
    free = shutil.disk_usage(folder).free
    if free < _LITTLE:
        raise DiskFullError(
            f"{free >> 10} KiB are free on the disk of {folder}, too few to leave a state in; nothing was applied",
            hint="free some space (df -h)",
        )
    _require_threads(_THREADS_NEEDED)


def _require_threads(count: int) -> None:
    """Start `count` threads for a moment: nothing else shows the limits of the user and the cgroup."""
    over = threading.Event()
    threads = [threading.Thread(target=over.wait, daemon=True) for _ in range(count)]
    started: list[threading.Thread] = []
    try:
        for thread in threads:
            thread.start()
            started.append(thread)
    except RuntimeError:
        error = _no_process("thread")
        raise MachineError(
            f"{error.message}: Terraform needs {count}; nothing was applied", hint=error.hint
        ) from None
    finally:
        over.set()
        for thread in started:
            thread.join()


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)


def _shortage(error: BaseException) -> MachineError | None:
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return MachineError(
            "this machine has no memory left for the command", hint=f"free some memory; {_NOTHING_LOST}"
        )
    if isinstance(error, RuntimeError) and _NO_THREAD in str(error):
        return _no_process("thread")
    return _system_error(error) if isinstance(error, OSError) else None


def _system_error(error: OSError) -> MachineError | None:
    where = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else ""
    if error.errno in _FULL:
        return DiskFullError(
            f"no space left {f'for {where}' if where else f'on the disk of {_full_folders()}'}: {error.strerror}",
            hint=f"free some space, also below $TMPDIR (df -h, df -i, quota); {_NOTHING_LOST}",
        )
    if error.errno in _FILES:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return MachineError(
            f"no more files can be opened: {error.strerror} (this process may open {limit})",
            hint=f"raise the limit: ulimit -n 1024; {_NOTHING_LOST}",
        )
    if error.errno == errno.EAGAIN and not where:
        return _no_process("process")
    if error.errno in _FORBIDDEN and where:
        return MachineError(
            f"{where} cannot be written or read: {error.strerror}",
            hint=f"fix its permissions, or name another folder: MCLASS_TF_HOME, TMPDIR; {_NOTHING_LOST}",
        )
    return None


def _full_folders() -> str:
    """Return the folders on a full disk among those that commands write to, because a write error does not name its file."""
    named = (os.environ.get("MCLASS_TF_HOME") or ".mclass", tempfile.gettempdir())
    folders = (next(p for p in (path, *path.parents) if p.exists()) for path in map(_absolute, named))
    full = [str(folder) for folder in folders if shutil.disk_usage(folder).free < _LITTLE]
    return " and of ".join(full or [str(_absolute(name)) for name in named[:1]])


def _absolute(name: str) -> Path:
    return Path(name).absolute()


def _no_process(kind: str) -> MachineError:
    limit, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    allowed = "" if limit == resource.RLIM_INFINITY else f" (its user may have {limit})"
    return MachineError(
        f"no further {kind} can be started on this machine{allowed}",
        hint=f"end some processes, or raise the limit: ulimit -u, pids.max of its cgroup; {_NOTHING_LOST}",
    )
