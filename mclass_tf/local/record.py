"""The record of the running local AWS: `server.json` in its home, readable by its owner alone."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mclass_tf.local import documents
from mclass_tf.local.access.key import AccessKey


@dataclass(frozen=True, kw_only=True)
class LocalAws:
    """A running local AWS. `started_at` is ISO 8601 in UTC. `tasks` is what runs tasks ("": chosen by the image).

    `key` signs the owner's calls, and authorizes requests to the admin endpoint.
    """

    url: str
    port: int
    pid: int
    instance_id: str
    started_at: str
    tasks: str = ""
    key: AccessKey = field(repr=False)

    @property
    def document(self) -> dict[str, Any]:
        """Return all fields except the secret key."""
        return {name: value for name, value in asdict(self).items() if name != "key"}


def record_path(home: Path) -> Path:
    return home / "server.json"


def read_record(home: Path) -> LocalAws | None:
    """Return the record; None if it is missing or malformed."""
    try:
        fields = documents.parse_object(record_path(home).read_bytes())
        record = LocalAws(
            url=str(fields["url"]),
            port=int(fields["port"]),
            pid=int(fields["pid"]),
            instance_id=str(fields["instance_id"]),
            started_at=str(fields["started_at"]),
            tasks=str(fields.get("tasks", "")),
            key=_key(fields.get("key") or {}),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None
    # They identify our process: every command line contains the empty id.
    return record if record.instance_id and record.pid > 0 else None


def _key(fields: Mapping[str, Any]) -> AccessKey:
    """Return the key. It is empty in records of versions without keys: such an instance can only be stopped."""
    return AccessKey(
        access_key_id=str(fields.get("access_key_id", "")),
        secret_access_key=str(fields.get("secret_access_key", "")),
    )


def write_record(*, home: Path, record: LocalAws) -> None:
    """Write the record atomically."""
    draft = home / f"server.json.{os.getpid()}"
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(asdict(record), file)
    draft.replace(record_path(home))


def remove_record(*, home: Path, instance_id: str | None) -> None:
    """Remove the record of an instance (None: of any)."""
    record = read_record(home)
    if instance_id is not None and record is not None and record.instance_id != instance_id:
        return
    with contextlib.suppress(FileNotFoundError):
        record_path(home).unlink()
