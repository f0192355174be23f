"""The lease on an environment's service: it lets one command at a time release there, across machines.

The lease is one object beside the state, `<folder of the state's key>/releases/<environment>.lease`. Every write of it is
conditional: that no object exists (If-None-Match), or that it is still the one that was read (If-Match). The holder renews the
lease. A lease that was not renewed for its lifetime is free. Its age is measured by S3's clock, not by that of a machine.
If a response gets lost, the client retries a write that was already stored, and the retry fails on its own condition. So
after a failed condition the writer first reads who holds the lease.

A holder on a machine that slept may have lost the lease without noticing. So it reads the lease again before each call that
changes the service (`HeldLease.require`), and stops if the lease is no longer its own.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
"""

from __future__ import annotations

import datetime as dt
import json
import os
import secrets
import socket
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from mclass_tf import stored
from mclass_tf.aws import Aws, error_code, error_message, has_lapsed
from mclass_tf.environment import Backend
from mclass_tf.errors import DamagedObjectError, Hint, LeaseHeldError, LeaseLostError, LedgerError

LIFETIME = 90.0
"""Seconds after which a lease that was not renewed is free."""
_RENEWED_EVERY = LIFETIME / 4
_TRIES = 5
# NoSuchKey: somebody has deleted the lease in between.
_LOST = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey"})


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who holds a lease, since when, and for which command. `digest` is "" if no image is chosen yet."""

    id: str
    who: str
    host: str
    machine: str
    pid: int
    command: str
    digest: str
    since: str
    is_held: bool = True

    @classmethod
    def here(cls, *, who: str, command: str, digest: str) -> Holder:
        return cls(
            id=secrets.token_hex(8),
            who=who,
            host=socket.gethostname(),
            machine=_machine(),
            pid=os.getpid(),
            command=command,
            digest=digest,
            since=f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M:%S} UTC",
        )


@dataclass(frozen=True, kw_only=True)
class _StoredLease:
    """The lease in S3. `age` is in seconds since the last write. An unreadable lease counts as held until it expires."""

    holder: Holder | DamagedObjectError
    etag: str
    age: float

    @property
    def is_free(self) -> bool:
        if self.age > LIFETIME:
            return True
        return isinstance(self.holder, Holder) and (not self.holder.is_held or _is_dead(self.holder))

    def is_of(self, holder: Holder) -> bool:
        return isinstance(self.holder, Holder) and self.holder.id == holder.id


def lease_key(backend: Backend, *, environment: str) -> str:
    """Return the key of the lease, in the folder of the state."""
    folder = backend.key.rpartition("/")[0]
    return "/".join(filter(None, [folder, "releases", f"{environment}.lease"]))


class Lease:
    """The lease on one environment."""

    def __init__(self, aws: Aws, backend: Backend, *, environment: str) -> None:
        self._s3 = aws.s3_in(backend.region)
        self._bucket = backend.bucket
        self._environment = environment
        self._key = lease_key(backend, environment=environment)

    def holder(self) -> Holder | None:
        """Return the current holder, None if the lease is free or unreadable."""
        current = self._read()
        if current is None or current.is_free or not isinstance(current.holder, Holder):
            return None
        return current.holder

    @contextmanager
    def held(
        self,
        holder: Holder,
        *,
        report: Callable[[str], object] = lambda _: None,
        renewed_every: float = _RENEWED_EVERY,
    ) -> Iterator[HeldLease]:
        """Hold the lease inside the context; raise LeaseHeldError at once, with the holder, if somebody else has it.

        Report a renewal that fails, once until one succeeds: the lease ends, and others may take it.
        """
        held = HeldLease(self, holder, etag=self._take(holder))
        over = threading.Event()

        def renew() -> None:
            is_reported = False
            while not over.wait(renewed_every):
                # A failed renewal is tried again next time. A lease that somebody has taken stays theirs.
                try:
                    held.renew()
                    is_reported = False
                except Exception as error:  # noqa: BLE001  (the command stops before its next change, if it has lost the lease)
                    if not is_reported:
                        is_reported = True
                        report(self._not_renewed(error))

        renewal = threading.Thread(target=renew, name="lease", daemon=True)
        renewal.start()
        try:
            yield held
        finally:
            over.set()
            renewal.join()
            with suppress(Exception):  # the lease expires anyway; an error here must not hide one from inside
                held.free()

    def _not_renewed(self, error: Exception) -> str:
        why = "the credentials have expired" if has_lapsed(error) else error_message(error)
        return f"the lease on {self._environment} cannot be renewed, and ends within {LIFETIME:.0f} s: {why}"

    def _take(self, holder: Holder) -> str:
        current: _StoredLease | None = None
        for _ in range(_TRIES):
            condition = {"IfNoneMatch": "*"} if current is None else {"IfMatch": current.etag}
            try:
                return self._write(holder, condition=condition)
            except self._s3.exceptions.ClientError as error:
                if error_code(error) not in _LOST:
                    raise LedgerError(
                        f"the lease on the releases of {self._environment} could not be written: {error}",
                        hint=f"the credentials need s3:PutObject on s3://{self._bucket}/{self._key}",
                    ) from None
            current = self._read()
            if current is not None and current.is_of(holder) and not current.is_free:
                return current.etag  # the write was stored, and its response got lost
            if current is not None and not current.is_free:
                break
        raise self._held_error(current)

    def _rewrite(self, holder: Holder, *, etag: str) -> str:
        """Overwrite our own lease; return its ETag. Raise ClientError if somebody else has it."""
        try:
            return self._write(holder, condition={"IfMatch": etag})
        except self._s3.exceptions.ClientError as error:
            current = self._read() if error_code(error) in _LOST else None
            if current is None or not current.is_of(holder):
                raise
        # Ours, by a write whose response got lost: this write, or an earlier one with other content.
        if current.holder == holder:
            return current.etag
        return self._write(holder, condition={"IfMatch": current.etag})

    def _held_error(self, current: _StoredLease | None) -> LeaseHeldError:
        name = self._environment
        if current is None:
            return LeaseHeldError(f"others take the lease on {name} all the time", hint="try again")
        held = current.holder
        if isinstance(held, DamagedObjectError):
            return LeaseHeldError(
                f"the lease on {name} cannot be read, and may be somebody's: {held.message}; nothing was changed",
                hint=f"try again: it ends {LIFETIME:.0f} s after it was written, {max(0, LIFETIME - current.age):.0f} s from now",
            )
        what = f" of {held.digest}" if held.digest else ""
        return LeaseHeldError(
            f"{held.who} is at work in {name} since {held.since}: {held.command}{what} "
            f"({held.host}, process {held.pid}); nothing was changed",
            hint=Hint(
                "wait for it to end (",
                ("status", name),
                "), or roll it back: ",
                ("rollback", name),
                f"; if it is dead, its lease ends within {LIFETIME:.0f} s, and ",
                ("release", name, "--resume"),
                " resumes what it began",
            ),
            holder=held.who,
            since=held.since,
            digest=held.digest,
        )

    def _lost_error(self, current: _StoredLease | None) -> LeaseLostError:
        name = self._environment
        return LeaseLostError(
            f"this command has lost the lease on {name} and has stopped: {_describe_taker(current)}",
            hint=Hint(
                ("status", name),
                " shows what runs and what is under way; ",
                ("release", name, "--resume"),
                " resumes what this command began, once no other command is at work there",
            ),
        )

    def _read(self) -> _StoredLease | None:
        try:
            answer = self._s3.get_object(Bucket=self._bucket, Key=self._key)
        except self._s3.exceptions.NoSuchKey:
            return None
        return _StoredLease(
            holder=_holder(answer, url=f"s3://{self._bucket}/{self._key}"),
            etag=answer["ETag"],
            age=(_now(answer) - answer["LastModified"]).total_seconds(),
        )

    def _write(self, holder: Holder, *, condition: Mapping[str, str]) -> str:
        put: Callable[..., Mapping[str, Any]] = self._s3.put_object
        # Equal bytes would have equal ETags, and If-Match would not notice a renewal in between.
        document = {**asdict(holder), "written": secrets.token_hex(8)}
        body = json.dumps(document, indent=2, ensure_ascii=False).encode()
        answer = put(
            Bucket=self._bucket, Key=self._key, Body=body, ContentType="application/json", **condition
        )
        return str(answer["ETag"])


class HeldLease:
    """A lease that this process holds."""

    def __init__(self, lease: Lease, holder: Holder, *, etag: str) -> None:
        self._lease = lease
        self._holder = holder
        self._etag = etag
        self._writing = threading.Lock()

    def renew(self) -> None:
        self._write(self._holder)

    def free(self) -> None:
        self._write(replace(self._holder, is_held=False))

    def require(self) -> None:
        """Read the lease again; raise LeaseLostError if it is no longer its holder's.

        Renew it if it is near its end, or expired and still free: the next call takes time too.
        """
        current = self._lease._read()  # noqa: SLF001  (one module)
        if current is None or not current.is_of(self._holder):
            raise self._lease._lost_error(current)  # noqa: SLF001
        if current.age < LIFETIME / 2:
            return
        try:
            self.renew()
        except self._lease._s3.exceptions.ClientError as error:  # noqa: SLF001
            if error_code(error) not in _LOST:
                raise
            raise self._lease._lost_error(self._lease._read()) from None  # noqa: SLF001

    def _write(self, holder: Holder) -> None:
        with self._writing:
            self._etag = self._lease._rewrite(holder, etag=self._etag)  # noqa: SLF001


def _describe_taker(current: _StoredLease | None) -> str:
    if current is None:
        return "somebody has removed it"
    held = current.holder
    if isinstance(held, DamagedObjectError):
        return f"somebody has written over it: {held.message}"
    what = f"{held.command} of {held.digest}" if held.digest else held.command
    verb = "is" if held.is_held else "was"
    return f"{held.who} {verb} at work there since {held.since}: {what} ({held.host}, process {held.pid})"


def _holder(answer: Mapping[str, Any], *, url: str) -> Holder | DamagedObjectError:
    try:
        return stored.parsed(stored.body(answer, url=url), Holder, url=url)
    except DamagedObjectError as error:
        return error


def _now(answer: Mapping[str, Any]) -> dt.datetime:
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    return parsedate_to_datetime(date) if date else dt.datetime.now(dt.UTC)


def _machine(*, proc: Path = Path("/proc")) -> str:
    """Return an identifier shared by exactly the processes that see each other's process ids.

    A host name is not enough: containers on their host's network have its name and address, but process ids of their own.
    On Linux it also has the PID namespace, whose numbers start alike at every boot of every host, and the boot id.
    """
    identifiers = [socket.gethostname(), f"{uuid.getnode():012x}"]
    with suppress(OSError):
        identifiers.append(str((proc / "self/ns/pid").readlink()))
    with suppress(OSError):
        identifiers.append((proc / "sys/kernel/random/boot_id").read_text().strip())
    return "/".join(identifiers)


def _is_dead(holder: Holder) -> bool:
    """Return whether the holder was a process of this machine that has ended; False for one of another machine."""
    if holder.machine != _machine():
        return False
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False  # another user's process, which is alive, or not a valid process id
    return False
