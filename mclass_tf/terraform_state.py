"""Read the Terraform state of an environment: its identity, outputs and lock."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mclass_tf import stored
from mclass_tf.aws import Aws
from mclass_tf.environment import Backend
from mclass_tf.errors import BackendMissingError, DamagedObjectError, Hint


@dataclass(frozen=True, kw_only=True)
class State:
    """A state. Lineage and serial identify its version. `outputs` maps name to value.

    `sensitive` are the names of the outputs that are shown only on request by name.
    """

    lineage: str
    serial: int
    outputs: Mapping[str, Any]
    sensitive: frozenset[str] = frozenset()

    @property
    def shown(self) -> Mapping[str, Any]:
        """Return the outputs with None for every sensitive one, as in `terraform apply -json`."""
        return {name: None if name in self.sensitive else value for name, value in self.outputs.items()}


EMPTY = State(lineage="", serial=0, outputs={})


@dataclass(frozen=True, kw_only=True)
class _Output:
    value: Any
    sensitive: bool = False


@dataclass(frozen=True, kw_only=True)
class _File:
    """The parts of a state file, format 4, that this package reads."""

    version: int
    lineage: str
    serial: int
    outputs: Mapping[str, _Output] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Lock:
    ID: str


def read(aws: Aws, backend: Backend, *, environment: str) -> State:
    """Return the state, EMPTY before the first apply.

    Raise BackendMissingError if its bucket is missing or unreadable, DamagedObjectError if the object is not a state.
    """
    url = f"s3://{backend.bucket}/{backend.key}"
    s3 = aws.s3_in(backend.region)
    try:
        body = stored.body(s3.get_object(Bucket=backend.bucket, Key=backend.key), url=url)
    except s3.exceptions.NoSuchKey:
        return EMPTY
    except s3.exceptions.ClientError as error:
        code = error.response["Error"]["Code"]
        if code == "NoSuchBucket":
            raise BackendMissingError(
                f"the state bucket {backend.bucket} does not exist",
                hint=Hint("make it: ", ("bootstrap", environment)),
                file=backend.file,
                key="bucket",
            ) from None
        raise BackendMissingError(
            f"the state {url} cannot be read: {error}",
            hint="the credentials need s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket there",
            file=backend.file,
        ) from None
    document = stored.parsed(body, _File, url=url)
    return State(
        lineage=document.lineage,
        serial=document.serial,
        outputs={name: output.value for name, output in document.outputs.items()},
        sensitive=frozenset(name for name, output in document.outputs.items() if output.sensitive),
    )


def lineage_of(file: Path) -> str:
    """Return the lineage of a state file, "" if it is not a state."""
    try:
        return stored.parsed(file.read_bytes(), _File, url=str(file)).lineage
    except (OSError, DamagedObjectError):
        return ""


def lock(aws: Aws, backend: Backend) -> str | None:
    """Return the id of the lock on the state, None if it is free; raise DamagedObjectError if the object is not a lock.

    Terraform's S3 backend locks with an object beside the state (`use_lockfile`) that names the holder.
    """
    key = f"{backend.key}.tflock"
    url = f"s3://{backend.bucket}/{key}"
    s3 = aws.s3_in(backend.region)
    try:
        body = stored.body(s3.get_object(Bucket=backend.bucket, Key=key), url=url)
        return stored.parsed(body, _Lock, url=url).ID
    except (s3.exceptions.NoSuchKey, s3.exceptions.NoSuchBucket):
        return None
    except DamagedObjectError as error:
        hint = f"Terraform takes the state for locked; where nobody works there, remove it: `aws s3 rm {shlex.quote(url)}`"
        raise DamagedObjectError(url, error.reason, hint=hint) from None
