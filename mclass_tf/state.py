"""The Terraform state of an environment, as far as this package reads it: its identity and its outputs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mclass_tf.aws import Aws
from mclass_tf.environment import Backend
from mclass_tf.errors import BackendMissingError


@dataclass(frozen=True, kw_only=True)
class State:
    """Lineage and serial tell one version of a state from every other; `outputs` maps name to value.

    `sensitive` are the names of the outputs that are shown to nobody who does not ask for them by name.
    """

    lineage: str
    serial: int
    outputs: Mapping[str, Any]
    sensitive: frozenset[str] = frozenset()

    @property
    def shown(self) -> Mapping[str, Any]:
        """The outputs, None in the place of every secret: as `terraform apply -json` tells them."""
        return {name: None if name in self.sensitive else value for name, value in self.outputs.items()}


EMPTY = State(lineage="", serial=0, outputs={})


def read(aws: Aws, backend: Backend, *, environment: str) -> State:
    """Return the state, EMPTY before the first apply; raise BackendMissingError where its bucket is missing."""
    try:
        body = aws.s3.get_object(Bucket=backend.bucket, Key=backend.key)["Body"].read()
    except aws.s3.exceptions.NoSuchKey:
        return EMPTY
    except aws.s3.exceptions.ClientError as error:
        code = error.response["Error"]["Code"]
        if code == "NoSuchBucket":
            raise BackendMissingError(
                f"the state bucket {backend.bucket} does not exist",
                hint=f"make it: `bootstrap {environment}`",
                file=backend.file,
                key="bucket",
            ) from None
        raise BackendMissingError(
            f"the state s3://{backend.bucket}/{backend.key} cannot be read: {error}",
            hint="the credentials need s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket there",
            file=backend.file,
        ) from None
    document = json.loads(body)
    outputs = document.get("outputs", {})
    return State(
        lineage=document.get("lineage", ""),
        serial=document.get("serial", 0),
        outputs={name: output["value"] for name, output in outputs.items()},
        sensitive=frozenset(name for name, output in outputs.items() if output.get("sensitive")),
    )


def lock(aws: Aws, backend: Backend) -> str | None:
    """Return the id of the lock on the state, None where it is free.

    Terraform's S3 backend locks by an object beside the state (`use_lockfile`) that says who holds it.
    """
    try:
        body = aws.s3.get_object(Bucket=backend.bucket, Key=f"{backend.key}.tflock")["Body"].read()
    except (aws.s3.exceptions.NoSuchKey, aws.s3.exceptions.NoSuchBucket):
        return None
    return str(json.loads(body)["ID"])
