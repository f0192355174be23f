"""AWS as this package reaches it: credentials of the right account, typed clients, the state bucket.

The only module that imports boto3; the import is late, since it costs a quarter of a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mclass_tf.errors import (
    AccountMismatchError,
    ConfigurationError,
    CredentialsError,
    MclassError,
    UnreachableError,
)

if TYPE_CHECKING:
    from mypy_boto3_acm import ACMClient
    from mypy_boto3_application_autoscaling import ApplicationAutoScalingClient
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ecr import ECRClient
    from mypy_boto3_ecs import ECSClient
    from mypy_boto3_elbv2 import ElasticLoadBalancingv2Client
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sts import STSClient


@dataclass(frozen=True, kw_only=True)
class Access:
    """Where calls go and as whom. Secrets stay out of `repr`; `variables()` hands them to a child's environment."""

    region: str
    endpoint_url: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)

    def variables(self) -> dict[str, str]:
        """Return the environment variables that make the AWS CLI, an SDK and Terraform's provider act so."""
        values = {
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_SESSION_TOKEN": self.session_token,
        }
        if self.endpoint_url is not None:
            # Without it the provider asks the instance metadata service, which is not there, for seconds.
            values["AWS_EC2_METADATA_DISABLED"] = "true"
        return {key: value for key, value in values.items() if value is not None}


class Aws:
    """Typed clients over one `Access`; each is made when first used."""

    def __init__(self, access: Access) -> None:
        self.access = access

    def _client(self, service: str) -> Any:
        import boto3  # noqa: PLC0415
        import botocore.session  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415

        access = self.access
        # Where the credentials are given, a profile that AWS_PROFILE names is none of our business: it need not exist.
        given = {"profile": (None, None, None, None)} if access.access_key_id is not None else None
        session = boto3.session.Session(
            botocore_session=botocore.session.Session(session_vars=given),
            aws_access_key_id=access.access_key_id,
            aws_secret_access_key=access.secret_access_key,
            aws_session_token=access.session_token,
            region_name=access.region,
        )
        named = access.endpoint_url is not None
        config = Config(
            retries={"mode": "standard", "max_attempts": 5},
            connect_timeout=10,
            # An endpoint that is named is reached directly, whatever proxy stands before the internet.
            proxies={} if named else None,
        )
        make: Any = session.client  # chosen by name here; the properties below give the type back
        # Where there is no TLS no bundle of certificates is read.
        plain = (access.endpoint_url or "").startswith("http://")
        return make(service, endpoint_url=access.endpoint_url, config=config, verify=False if plain else None)

    @cached_property
    def acm(self) -> ACMClient:
        client: ACMClient = self._client("acm")
        return client

    @cached_property
    def autoscaling(self) -> ApplicationAutoScalingClient:
        client: ApplicationAutoScalingClient = self._client("application-autoscaling")
        return client

    @cached_property
    def ec2(self) -> EC2Client:
        client: EC2Client = self._client("ec2")
        return client

    @cached_property
    def ecr(self) -> ECRClient:
        client: ECRClient = self._client("ecr")
        return client

    @cached_property
    def ecs(self) -> ECSClient:
        client: ECSClient = self._client("ecs")
        return client

    @cached_property
    def elbv2(self) -> ElasticLoadBalancingv2Client:
        client: ElasticLoadBalancingv2Client = self._client("elbv2")
        return client

    @cached_property
    def iam(self) -> IAMClient:
        client: IAMClient = self._client("iam")
        return client

    @cached_property
    def kms(self) -> KMSClient:
        client: KMSClient = self._client("kms")
        return client

    @cached_property
    def logs(self) -> CloudWatchLogsClient:
        client: CloudWatchLogsClient = self._client("logs")
        return client

    @cached_property
    def s3(self) -> S3Client:
        client: S3Client = self._client("s3")
        return client

    @cached_property
    def sts(self) -> STSClient:
        client: STSClient = self._client("sts")
        return client


def connect(base: Access, *, account_id: str, role_arn: str | None) -> Aws:
    """Return clients that act in `account_id`, by `role_arn` where one is given; refuse any other account.

    Raises CredentialsError where there are none or they are refused, AccountMismatchError where they are of another account.
    """
    with _explained(base):
        aws = Aws(base) if role_arn is None else Aws(_assume(Aws(base), role_arn))
        identity = aws.sts.get_caller_identity()
    if identity["Account"] != account_id:
        raise AccountMismatchError(
            f"the credentials are of account {identity['Account']} ({identity['Arn']}), the environment is in {account_id}",
            hint="use credentials of that account (AWS_PROFILE, or role_arn in environment.toml), or correct account_id",
        )
    return aws


def _assume(aws: Aws, role_arn: str) -> Access:
    found = aws.sts.assume_role(RoleArn=role_arn, RoleSessionName="mclass-tf")["Credentials"]
    return Access(
        region=aws.access.region,
        endpoint_url=aws.access.endpoint_url,
        access_key_id=found["AccessKeyId"],
        secret_access_key=found["SecretAccessKey"],
        session_token=found["SessionToken"],
    )


def refusal(error: Exception) -> MclassError | None:
    """Return what an answer of AWS that stopped a command tells the user; None where `error` is none of AWS's."""
    from botocore.exceptions import (  # noqa: PLC0415
        ClientError,
        ConnectionError,  # noqa: A004
        HTTPClientError,
    )

    if isinstance(error, (ConnectionError, HTTPClientError)):
        return UnreachableError(f"AWS stopped answering: {error}", hint="look at the network, and try again")
    if isinstance(error, ClientError):
        return ConfigurationError(
            f"AWS refused a call: {error}",
            hint="the message is AWS's own: it names the permission, the limit or the resource that is in the way",
        )
    return None


@contextmanager
def _explained(access: Access) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError, ConnectionError  # noqa: A004, PLC0415

    where = access.endpoint_url or f"AWS in {access.region}"
    try:
        yield
    except ConnectionError as error:
        # An endpoint that is gone is not a matter of credentials.
        raise UnreachableError(
            f"nothing answers at {where}: {error}",
            hint="the local AWS: `local up`, and enter it again, or unset AWS_ENDPOINT_URL; AWS: look at the network",
        ) from None
    except (BotoCoreError, ClientError) as error:
        raise CredentialsError(
            f"{where} does not accept the credentials: {error}",
            hint="sign in (aws configure, aws sso login, AWS_PROFILE), or use --local",
        ) from None
