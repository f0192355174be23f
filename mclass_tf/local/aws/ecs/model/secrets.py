"""Parses and resolves the secret references of containers.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/specifying-sensitive-data.html
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from moto.core.exceptions import JsonRESTError, ServiceException
from moto.secretsmanager.models import secretsmanager_backends
from moto.ssm.models import ssm_backends

from mclass_tf.local import documents
from mclass_tf.local.aws import regions

_ACCOUNT = re.compile(r"[0-9]{12}")
_PARTS_OF_PARAMETER = 6  # arn:aws:ssm:region:account:parameter/name
_PARTS_OF_SECRET = 7  # arn:aws:secretsmanager:region:account:secret:name
_ALL_PARTS = 10  # … :json-key:version-stage:version-id


class NoSecretError(Exception):
    """The secret cannot be read. The message follows "unable to pull secrets or registry auth: " in ECS's reason."""


@dataclass(frozen=True, kw_only=True)
class SecretReference:
    """A parsed `valueFrom`: a secret of Secrets Manager or a parameter of Systems Manager."""

    service: str
    account_id: str
    region: str
    arn: str
    name: str
    json_key: str = ""
    version_stage: str = ""
    version_id: str = ""


def parse(value_from: str, *, account_id: str, region: str) -> SecretReference:
    """Parse `valueFrom` or raise NoSecretError. A parameter in the region of the task needs no ARN."""
    parts = value_from.split(":")
    if not value_from.startswith("arn:"):
        arn = f"arn:aws:ssm:{region}:{account_id}:parameter/{value_from.removeprefix('/')}"
        return SecretReference(service="ssm", account_id=account_id, region=region, arn=arn, name=value_from)
    if len(parts) < _PARTS_OF_PARAMETER or not regions.is_known(parts[3]) or not _ACCOUNT.fullmatch(parts[4]):
        raise NoSecretError(
            f"unable to retrieve secret: {value_from} is no ARN of a secret in a region and an account"
        )
    if parts[2] == "ssm":
        return SecretReference(
            service="ssm", account_id=parts[4], region=parts[3], arn=value_from, name=value_from
        )
    if parts[2] != "secretsmanager" or len(parts) not in {_PARTS_OF_SECRET, _ALL_PARTS}:
        raise NoSecretError(
            f"unable to retrieve secret from asm: trying to retrieve secret with value {value_from} resulted in error: "
            "an invalid ARN format for the AWS Secrets Manager secret was specified. Specify a valid ARN and try again."
        )
    json_key, stage, version = (parts[_PARTS_OF_SECRET:] + [""] * 3)[:3]
    return SecretReference(
        service="secretsmanager",
        account_id=parts[4],
        region=parts[3],
        arn=":".join(parts[:_PARTS_OF_SECRET]),
        name=parts[6],
        json_key=json_key,
        version_stage=stage,
        version_id=version,
    )


def read(reference: SecretReference) -> str:
    """Return the value or raise NoSecretError. This reads moto's state: call it under the lock."""
    return _read_parameter(reference) if reference.service == "ssm" else _read_secret(reference)


def key_of(reference: SecretReference) -> str | None:
    """Return the customer managed key that encrypts the secret; None for an AWS managed key or a missing secret."""
    if reference.service == "ssm":
        parameter = ssm_backends[reference.account_id][reference.region].get_parameter(reference.name)
        secure = parameter is not None and parameter.parameter_type == "SecureString"
        key = parameter.keyid if secure else None
    else:
        secret = secretsmanager_backends[reference.account_id][reference.region].secrets.get(reference.arn)
        key = None if secret is None else secret.kms_key_id
    return None if not key or "alias/aws/" in key else str(key)


def full_arn(reference: SecretReference) -> str | None:
    """Return the full ARN of the secret, whose reference may lack the six-character suffix; None if it is missing."""
    secret = secretsmanager_backends[reference.account_id][reference.region].secrets.get(reference.arn)
    return None if secret is None else str(secret.arn)


def _read_parameter(reference: SecretReference) -> str:
    parameters = ssm_backends[reference.account_id][reference.region].get_parameters([reference.name])
    if not parameters:
        raise NoSecretError(
            "unable to retrieve secrets from ssm: service call has been retried 1 time(s): invalid ssm parameters: "
            f"{reference.name}"
        )
    parameter = parameters[reference.name]
    return str(parameter.decrypt(parameter.value))


def _read_secret(reference: SecretReference) -> str:
    backend = secretsmanager_backends[reference.account_id][reference.region]
    try:
        answer = backend.get_secret_value(
            reference.arn, reference.version_id or None, reference.version_stage or None
        )
    except (ServiceException, JsonRESTError) as error:
        # Older moto errors have the HTTP status as code.
        code = getattr(error, "error_type", None) or error.code
        raise NoSecretError(
            f"unable to retrieve secret from asm: {_fetch_prefix(reference)}operation error Secrets Manager: GetSecretValue, "
            f"https response error StatusCode: 400, {code}: {error.message}"
        ) from None
    value = answer.get("SecretString")
    if value is None:
        raise NoSecretError(
            f"unable to retrieve secret from asm: {_fetch_prefix(reference)}secret is binary, not a string"
        )
    return _json_member(str(value), reference) if reference.json_key else str(value)


def _json_member(value: str, reference: SecretReference) -> str:
    try:
        document = documents.parse(value)
    except documents.MalformedDocumentError:
        document = None
    if not isinstance(document, dict) or reference.json_key not in document:
        raise NoSecretError(
            "unable to retrieve secret from asm: retrieved secret from Secrets Manager did not contain json key "
            f"{reference.json_key}"
        )
    member = document[reference.json_key]
    return member if isinstance(member, str) else json.dumps(member)


def _fetch_prefix(reference: SecretReference) -> str:
    return f"failed to fetch secret {reference.arn} from secrets manager: "
