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
    """Lineage and serial tell one version of a state from every other; `outputs` maps name to value."""

    lineage: str
    serial: int
    outputs: Mapping[str, Any]


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
    outputs = {name: output["value"] for name, output in document.get("outputs", {}).items()}
    return State(lineage=document.get("lineage", ""), serial=document.get("serial", 0), outputs=outputs)


def lock(aws: Aws, backend: Backend) -> str | None:
    """Return the id of the lock on the state, None where it is free.

    Terraform's S3 backend locks by an object beside the state (`use_lockfile`) that says who holds it.
    """
    try:
        body = aws.s3.get_object(Bucket=backend.bucket, Key=f"{backend.key}.tflock")["Body"].read()
    except aws.s3.exceptions.NoSuchKey:
        return None
    return str(json.loads(body)["ID"])
