"""Where AWS calls go and as whom: region, endpoint, credentials, and the variables that give them to a child."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from mclass_tf.credentials import Endpoint, RoleSession

_PARTITIONS = (
    ("cn-", "aws-cn"),
    ("eusc-", "aws-eusc"),
    ("us-gov-", "aws-us-gov"),
    ("us-iso-", "aws-iso"),
    ("us-isob-", "aws-iso-b"),
    ("eu-isoe-", "aws-iso-e"),
    ("us-isof-", "aws-iso-f"),
)
"""The partitions of AWS by the names of their regions, as in partitions.json of botocore."""


def partition(region: str) -> str:
    """Return the partition of a region: the second part of every ARN there, "aws" but in China and some others."""
    return next((name for prefix, name in _PARTITIONS if region.startswith(prefix)), "aws")


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class RoleCredentials:
    """Credentials of a role that last as long as this process. `keys` are botocore's, shared by all clients.

    `settings` are the variables of the user's AWS settings that matter to TLS and to the choice of an endpoint.
    """

    session: RoleSession
    keys: Any
    settings: Mapping[str, str]

    @cached_property
    def endpoint(self) -> Endpoint:
        from mclass_tf.local.access.peers import is_trusted_peer  # noqa: PLC0415  # only a role needs it

        return Endpoint(self._document, admits=is_trusted_peer)

    def _document(self) -> dict[str, str]:
        """Return credentials with at least half of their life left: a child may outlive this process, and its endpoint."""
        if self.session.is_past_half:
            self.session.refuse(self.keys.get_frozen_credentials().access_key)
        frozen = self.keys.get_frozen_credentials()
        return {
            "AccessKeyId": frozen.access_key,
            "SecretAccessKey": frozen.secret_key,
            "Token": frozen.token,
            "Expiration": f"{self.session.ends_at:%Y-%m-%dT%H:%M:%SZ}",
        }


@dataclass(frozen=True, kw_only=True)
class Access:
    """An endpoint and credentials: a key, those of a `role`, or without either what botocore finds.

    Secrets stay out of `repr`; `variables()` passes them to a child process.
    """

    region: str
    endpoint_url: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    role: RoleCredentials | None = field(default=None, repr=False, compare=False)

    @property
    def has_credentials(self) -> bool:
        return self.access_key_id is not None or self.role is not None

    @property
    def is_plain(self) -> bool:
        """Return whether calls use no TLS, and so need no CA bundle."""
        return (self.endpoint_url or "").startswith("http://")

    @property
    def is_complete(self) -> bool:
        """Return whether calls need none of the user's AWS settings: no profile, no certificates, no endpoint."""
        return self.has_credentials and self.is_plain

    def lasting(self) -> Access:
        """Return this access with a key instead of a role, for a shell that outlives this process. The key is not renewed."""
        if self.role is None:
            return self
        frozen = self.role.keys.get_frozen_credentials()
        return replace(
            self,
            role=None,
            access_key_id=frozen.access_key,
            secret_access_key=frozen.secret_key,
            session_token=frozen.token,
        )

    def variables(self) -> dict[str, str]:
        """Return the environment variables by which the AWS CLI, an SDK and Terraform's provider use this access.

        A role's credentials are fetched from an endpoint of this process, which renews them. SDKs ask there last, so they must
        not find others in the user's files.
        """
        values: dict[str, str | None] = {
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_SESSION_TOKEN": self.session_token,
        }
        if self.role is not None:
            values |= {**self.role.settings, **self.role.endpoint.variables()}
            values |= {"AWS_EC2_METADATA_DISABLED": "true"}
        if self.is_complete or self.role is not None:
            # The user's AWS settings are not needed, so errors in them must not matter.
            values |= {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
        if self.endpoint_url is not None:
            # Otherwise the provider waits seconds for an instance metadata service that does not exist.
            values["AWS_EC2_METADATA_DISABLED"] = "true"
        return {key: value for key, value in values.items() if value is not None}
