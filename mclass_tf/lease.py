"""The lease on an environment's service: who releases there now keeps others out, from whatever machine.

One object beside the state, `<folder of the state's key>/releases/<environment>.lease`, which is only ever written on
condition: that there is none yet (If-None-Match), or that it is still the one that was read (If-Match). Its holder
renews it; one that was not renewed for its lifetime is anybody's. Age is judged by S3's own clock, not by the machines'.
An answer may get lost, and the client then repeats by itself a write that was stored, which fails on its own condition:
whoever loses one looks whose the lease is before believing that it is somebody else's.

A holder that did not get to run for a while, on a machine that slept, may have lost the lease without knowing. So it reads the
lease again before each call that changes the service (`Held.require`), and stops where it is not its own any more.

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
from mclass_tf.aws import Aws, error_code
from mclass_tf.environment import Backend
from mclass_tf.errors import DamagedObjectError, Hint, LeaseHeldError, LeaseLostError, LedgerError

LIFETIME = 90.0
"""Seconds after which a lease that is not renewed is anybody's."""
_RENEWED_EVERY = LIFETIME / 4
_TRIES = 5
# The last: somebody has deleted it in between.
_LOST = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey"})


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who holds a lease, since when, and for what; `digest` is "" where none is chosen yet."""

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
    """The lease as S3 has it; `age` is in seconds since it was written. What cannot be read is somebody's, until it is old."""

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


class Lease:
    """The lease on one environment."""

    def __init__(self, aws: Aws, backend: Backend, *, environment: str) -> None:
        self._s3 = aws.s3
        self._bucket = backend.bucket
        self._environment = environment
        folder = backend.key.rpartition("/")[0]
        self._key = "/".join(filter(None, [folder, "releases", f"{environment}.lease"]))

    def holder(self) -> Holder | None:
        """Return who holds it now; None where nobody does, or where it cannot be read and tells of nobody."""
        current = self._read()
        if current is None or current.is_free or not isinstance(current.holder, Holder):
            return None
        return current.holder

    @contextmanager
    def held(self, holder: Holder, *, renewed_every: float = _RENEWED_EVERY) -> Iterator[Held]:
        """Hold it inside; raise LeaseHeldError at once, naming the other, where somebody else does."""
        held = Held(self, holder, etag=self._take(holder))
        over = threading.Event()

        def renew() -> None:
            while not over.wait(renewed_every):
                # What cannot be renewed now can be at the next turn; what somebody has taken stays theirs.
                with suppress(Exception):
                    held.renew()

        renewal = threading.Thread(target=renew, name="lease", daemon=True)
        renewal.start()
        try:
            yield held
        finally:
            over.set()
            renewal.join()
            with suppress(Exception):  # it ends by itself, and hides nothing of what happened inside
                held.give_back()

    def _take(self, holder: Holder) -> str:
        """Write the lease as ours; return its ETag."""
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
                return current.etag  # it was written, and the answer got lost
            if current is not None and not current.is_free:
                break
        raise self._held_by(current)

    def _rewrite(self, holder: Holder, *, etag: str) -> str:
        """Write over the lease that is ours; return its ETag. Raise ClientError where somebody else has it."""
        try:
            return self._write(holder, condition={"IfMatch": etag})
        except self._s3.exceptions.ClientError as error:
            current = self._read() if error_code(error) in _LOST else None
            if current is None or not current.is_of(holder):
                raise
        # Ours, by a write whose answer got lost: this one, or one before it that said something else.
        if current.holder == holder:
            return current.etag
        return self._write(holder, condition={"IfMatch": current.etag})

    def _held_by(self, current: _StoredLease | None) -> LeaseHeldError:
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
                "), or take its rollout back: ",
                ("rollback", name),
                f"; if it is dead, its lease ends within {LIFETIME:.0f} s, and ",
                ("release", name, "--resume"),
                " goes on with what it has begun",
            ),
            holder=held.who,
            since=held.since,
            digest=held.digest,
        )

    def _lost(self, current: _StoredLease | None) -> LeaseLostError:
        name = self._environment
        return LeaseLostError(
            f"this command has lost the lease on {name} and has stopped: {_who_has(current)}",
            hint=Hint(
                ("status", name),
                " shows what runs and what is under way; ",
                ("release", name, "--resume"),
                " goes on with what this command has begun, once nobody else is at work there",
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
        # The same bytes would have the same ETag: what was renewed meanwhile must not be taken for what was read.
        document = {**asdict(holder), "written": secrets.token_hex(8)}
        body = json.dumps(document, indent=2, ensure_ascii=False).encode()
        answer = put(
            Bucket=self._bucket, Key=self._key, Body=body, ContentType="application/json", **condition
        )
        return str(answer["ETag"])


class Held:
    """A lease as its holder has it."""

    def __init__(self, lease: Lease, holder: Holder, *, etag: str) -> None:
        self._lease = lease
        self._holder = holder
        self._etag = etag
        self._writing = threading.Lock()

    def renew(self) -> None:
        self._write(self._holder)

    def give_back(self) -> None:
        self._write(replace(self._holder, is_held=False))

    def require(self) -> None:
        """Return where the lease, read anew, is still its holder's; raise LeaseLostError where it is not.

        One that nears its end, or has run out and was taken by nobody, is renewed first: what is done next takes its time too.
        """
        current = self._lease._read()  # noqa: SLF001  (one module)
        if current is None or not current.is_of(self._holder):
            raise self._lease._lost(current)  # noqa: SLF001
        if current.age < LIFETIME / 2:
            return
        try:
            self.renew()
        except self._lease._s3.exceptions.ClientError as error:  # noqa: SLF001
            if error_code(error) not in _LOST:
                raise
            raise self._lease._lost(self._lease._read()) from None  # noqa: SLF001

    def _write(self, holder: Holder) -> None:
        with self._writing:
            self._etag = self._lease._rewrite(holder, etag=self._etag)  # noqa: SLF001


def _who_has(current: _StoredLease | None) -> str:
    """Return who has the lease that was lost, in words."""
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
    """Return what only processes have in common that see each other's ids: names alone are often the same.

    Containers on their host's network have its name and its address, but ids of their own. Linux numbers these namespaces,
    from the same number on at every boot of every host. Elsewhere there are none, and name and address are enough.
    """
    identifiers = [socket.gethostname(), f"{uuid.getnode():012x}"]
    with suppress(OSError):
        identifiers.append(str((proc / "self/ns/pid").readlink()))
    with suppress(OSError):
        identifiers.append((proc / "sys/kernel/random/boot_id").read_text().strip())
    return "/".join(identifiers)


def _is_dead(holder: Holder) -> bool:
    """Return whether it is a process of this machine that is no more; of another machine's nothing is known."""
    if holder.machine != _machine():
        return False
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False  # somebody else's process, which lives; or no number of a process
    return False
