"""What the system says when the machine is short of something, as an error with its cause and what to do."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator

from mclass_tf.errors import DiskFullError, MachineError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)
_FILES = (errno.EMFILE, errno.ENFILE)
_NO_THREAD = "can't start new thread"
_NOTHING_LOST = "what was done before stays done, and the same command may be run again"


def shortage(error: BaseException) -> MachineError | None:
    """Return what the machine is short of where that is why `error` came, by itself or wrapped in a library's own; else None."""
    return next((found for each in _chain(error) if (found := _shortage(each)) is not None), None)


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
    return _of_the_system(error) if isinstance(error, OSError) else None


def _of_the_system(error: OSError) -> MachineError | None:
    where = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else ""
    if error.errno in _FULL:
        return DiskFullError(
            f"no space left for {where or 'what the command writes'}: {error.strerror}",
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
            hint=f"mend its permissions, or name another folder: MCLASS_TF_HOME, TMPDIR; {_NOTHING_LOST}",
        )
    return None


def _no_process(kind: str) -> MachineError:
    limit, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    allowed = "" if limit == resource.RLIM_INFINITY else f" (its user may have {limit})"
    return MachineError(
        f"no further {kind} can be started on this machine{allowed}",
        hint=f"end some processes, or raise the limit: ulimit -u, pids.max of its cgroup; {_NOTHING_LOST}",
    )
