"""The cloud where a command acts: AWS, another endpoint that AWS_ENDPOINT_URL names, or the local AWS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mclass_tf import local
from mclass_tf.aws import Access, partition
from mclass_tf.environment import Environment
from mclass_tf.errors import Hint, LocalAwsUnavailableError
from mclass_tf.local.access.key import AccessKey
from mclass_tf.local.loopback import ask
from mclass_tf.system import machine

# This role need not exist: the owner of the local AWS may assume any role.
_LOCAL_ROLE = "mclass-deploy"
_LOCAL_SESSION = 12 * 3600  # the longest that AWS has


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """`kind` is "aws" or "local". `identity` distinguishes local AWSs and endpoints. Only a local AWS has a `key`."""

    kind: str
    identity: str
    endpoint_url: str | None
    key: AccessKey | None = field(default=None, repr=False)

    @property
    def is_local(self) -> bool:
        return self.kind == "local"

    @property
    def label(self) -> str:
        """Return its name in messages: "AWS", or the address."""
        return f"the local AWS at {self.endpoint_url}" if self.is_local else self.endpoint_url or "AWS"

    def access(self, environment: Environment) -> Access:
        """Return the access of the first call. On AWS, the credentials come from the usual provider chain."""
        if self.key is None:
            return Access(region=environment.region, endpoint_url=self.endpoint_url)
        return Access(
            region=environment.region,
            endpoint_url=self.endpoint_url,
            access_key_id=self.key.access_key_id,
            secret_access_key=self.key.secret_access_key,
        )

    @property
    def session_seconds(self) -> int | None:
        """Return how long a role session lasts, None for AWS's default. A shell of `local env` uses its session for long."""
        return _LOCAL_SESSION if self.is_local else None

    def role_arn(self, environment: Environment) -> str | None:
        """Return the role to assume in the environment's account, None to use the given credentials."""
        if self.is_local:
            return f"arn:{partition(environment.region)}:iam::{environment.account_id}:role/{_LOCAL_ROLE}"
        return environment.role_arn


def local_home(home: Path) -> Path:
    """Return the folder of the local AWS in the home folder."""
    return home / "local"


def find(env: Mapping[str, str], *, use_local: bool, home: Path) -> Cloud:
    """Return the cloud: the local AWS (started if needed) for `use_local` or if AWS_ENDPOINT_URL is its address, else AWS."""
    endpoint = env.get("AWS_ENDPOINT_URL")
    if use_local:
        return of_local(start_local(home))
    running = local.status(home=local_home(home)) if endpoint else None
    if running is not None and running.url == (endpoint or "").rstrip("/"):
        return of_local(running)
    return Cloud(kind="aws", identity=endpoint or "aws", endpoint_url=endpoint)


def of_local(running: local.LocalAws) -> Cloud:
    return Cloud(
        kind="local", identity=f"local {running.instance_id}", endpoint_url=running.url, key=running.key
    )


def start_local(
    home: Path,
    *,
    port: int | None = None,
    speed: float | None = None,
    tasks: str = "",
    client_address: str | None = None,
    session_seconds: float | None = None,
    snapshot: Path | None = None,
) -> local.LocalAws:
    """Return the local AWS, started if needed. None, and "" for `tasks`, keep the current setting."""
    try:
        return local.up(
            home=local_home(home),
            port=port,
            speed=speed,
            tasks=tasks,
            client_address=client_address,
            session_seconds=session_seconds,
            snapshot=snapshot and snapshot.absolute(),
        )
    except local.LocalAwsError as error:
        raise LocalAwsUnavailableError(error.message, hint=Hint(*error.hint)) from None


def seed_certificate(cloud: Cloud, environment: Environment, *, arn: str) -> None:
    """Create the certificate `arn`, self-signed, in the local AWS: the environment requires that it exists."""
    body = {
        "account_id": environment.account_id,
        "region": environment.region,
        "arn": arn,
        "domain_name": f"{environment.name}.mclass.test",
    }
    url = f"{cloud.endpoint_url}/_mclass/acm/certificates"
    try:
        ask(url, seconds=30, key=cloud.key, method="PUT", body=body)
    except (OSError, ValueError) as error:
        raise machine.shortage(error) or LocalAwsUnavailableError(
            f"{cloud.label} did not take the certificate {arn}: {error}",
            hint=Hint("look at its log; ", ("local", "status"), " says where"),
        ) from None
