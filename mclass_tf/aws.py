"""Access to AWS: credentials of the right account, typed clients, and AWS's errors.

This is the only module that imports boto3. It imports late, since the import takes a quarter of a second.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from mclass_tf.credentials import Endpoint, RoleSession, actor, job
from mclass_tf.errors import (
    AccountMismatchError,
    ConfigurationError,
    CredentialsError,
    CredentialsExpiredError,
    Hint,
    IncompleteAnswerError,
    MclassError,
    UnreachableError,
)
from mclass_tf.system import machine

if TYPE_CHECKING:
    from botocore.exceptions import ClientError
    from mypy_boto3_acm import ACMClient
    from mypy_boto3_application_autoscaling import ApplicationAutoScalingClient
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ecr import ECRClient
    from mypy_boto3_ecs import ECSClient
    from mypy_boto3_elbv2 import ElasticLoadBalancingv2Client
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sts import STSClient


_CONNECT_SECONDS = 10
_READ_SECONDS, _ATTEMPTS = 60, 5
# (read timeout, attempts) by service. Watching a rollout must not wait for metrics: it reads them again later.
_SHORT_TIMEOUTS = {"cloudwatch": (5, 2)}
_ECS_SECONDS = 20
_FIRST_ERROR_STATUS = 300
_CLOCK_TOLERANCE = dt.timedelta(seconds=2)
"""The difference that two correct clocks may show: the Date header has whole seconds."""
_FIRST_SERVER_ERROR = 500
_REQUEST = "mclass_tf_request"
"""The key of a call's context under which its request is kept for the observer."""
# Error codes after which a retry may succeed.
_THROTTLED = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestTimeout",
        "ServerException",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)


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


# AWS's codes for a session that has ended, by protocol.
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html (RequestExpired)
# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html (ExpiredToken, TokenRefreshRequired)
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"})
_RENEWED = "mclass_renewed"


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


@cache
def _models(path: str | None) -> Any:
    """Return the shared loader of service models, also from the user's `path`.

    Each client has its own session, since sessions are not thread-safe. They share this loader, since reading a model takes
    most of the time of making a client (0.04 to 0.2 s, against 0.01 s).
    """
    from botocore.loaders import create_loader  # noqa: PLC0415

    return create_loader(path)


def _overridden(access: Access) -> dict[str, tuple[Any, Any, Any, Any]]:
    """Return the session variables that botocore must read neither from environment variables nor from the user's files."""
    from botocore.session import Session  # noqa: PLC0415

    if not access.has_credentials:
        return {}
    if not access.is_complete:
        # The profile in AWS_PROFILE is not used: it need not exist.
        return {"profile": (None, None, None, None)}
    variables = Session.SESSION_VARIABLES.items()
    defaults = {name: (None, None, default, convert) for name, (_, _, default, convert) in variables}
    files = dict.fromkeys(("config_file", "credentials_file"), (None, None, os.devnull, None))
    return {**defaults, **files}


Observe = Callable[[str, str, Mapping[str, Any], Mapping[str, Any]], None]
"""Takes a call: the service, the operation, the request, and the answer, with `Error` if it was refused."""


class Calls:
    """Tells an observer each call of AWS, in the thread that makes it."""

    def __init__(self) -> None:
        self._observe: Observe | None = None

    def observe(self, observe: Observe) -> None:
        """Have every call from now on told to `observe`."""
        self._observe = observe

    def register(self, client: Any) -> None:
        """Have the calls of a client of boto3's told."""
        client.meta.events.register("before-parameter-build", self._keep_request)
        client.meta.events.register("after-call", self._after_call)

    def tell(self, service: str, action: str, request: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        if self._observe is not None:
            self._observe(service, action, request, answer)

    def _keep_request(self, params: Mapping[str, Any], context: dict[str, Any], **_: Any) -> None:
        context[_REQUEST] = params

    def _after_call(
        self, parsed: Mapping[str, Any], model: Any = None, context: Mapping[str, Any] | None = None, **_: Any
    ) -> None:
        if model is not None:
            request = (context or {}).get(_REQUEST) or {}
            self.tell(model.service_model.service_name, model.name, request, parsed)


class Aws:
    """Typed clients over one `Access`; each is made when first used."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self._epoch: float | None = None  # AWS's time when this machine's monotonic clock was 0
        self._lock = threading.Lock()
        self._elsewhere: dict[str, S3Client] = {}
        self._keys: Any = None if access.role is None else access.role.keys
        self.calls = Calls()

    def now(self) -> dt.datetime:
        """Return AWS's time, from its responses, or this machine's if both agree or no response has come yet.

        Use it for times that are compared with AWS's or another machine's: this machine's clock may be minutes off.
        """
        here = dt.datetime.now(dt.UTC)
        if self._epoch is None:
            return here
        there = dt.datetime.fromtimestamp(self._epoch + time.monotonic(), dt.UTC)
        return here if abs(here - there) <= _CLOCK_TOLERANCE else there

    def _learn_time(self, parsed: Mapping[str, Any], **_: Any) -> None:
        date = parsed.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
        with suppress(TypeError, ValueError):  # no Date header, or not a date
            epoch = parsedate_to_datetime(date).timestamp() - time.monotonic()
            # Responses arrive with a delay, so the latest estimate is the most accurate.
            self._epoch = epoch if self._epoch is None else max(self._epoch, epoch)

    def _session(self) -> Any:
        import boto3  # noqa: PLC0415
        import botocore.session  # noqa: PLC0415

        access = self.access
        below = botocore.session.Session(session_vars=_overridden(access))
        below.register_component("data_loader", _models(below.get_config_variable("data_path")))
        if access.access_key_id is None:
            self._share_credentials(below)
        return boto3.session.Session(
            botocore_session=below,
            aws_access_key_id=access.access_key_id,
            aws_secret_access_key=access.secret_access_key,
            aws_session_token=access.session_token,
            region_name=access.region,
        )

    def _share_credentials(self, session: Any) -> None:
        """Let all clients use the same credentials, which renew themselves: a user is asked for an MFA code only once."""
        from botocore.credentials import CredentialResolver  # noqa: PLC0415

        with self._lock:
            if self._keys is None:
                self._keys = session.get_credentials()
            keys = self._keys
        if keys is not None:
            given: Any = _Given(keys)
            session.register_component("credential_provider", CredentialResolver([given]))

    def _renew_refused(self, response: Any, request_dict: Mapping[str, Any], **_: Any) -> float | None:
        """Retry a call once with new credentials if AWS takes those of the role as expired: it knows best.

        botocore signs each retry anew.
        """
        role, context = self.access.role, request_dict["context"]
        parsed = response[1] if response is not None else {}
        if role is None or parsed.get("Error", {}).get("Code") not in _EXPIRED or context.get(_RENEWED):
            return None
        context[_RENEWED] = True
        role.session.refuse(role.keys.get_frozen_credentials().access_key)
        return 0.0

    def _client(self, service: str) -> Any:
        from botocore.config import Config  # noqa: PLC0415

        access = self.access
        has_endpoint = access.endpoint_url is not None
        seconds, attempts = _SHORT_TIMEOUTS.get(service, (_READ_SECONDS, _ATTEMPTS))
        config = Config(
            retries={"mode": "standard", "max_attempts": attempts},
            connect_timeout=min(_CONNECT_SECONDS, seconds),
            read_timeout=seconds,
            # A custom endpoint is reached directly, not over the proxy for the internet.
            proxies={} if has_endpoint else None,
        )
        make: Any = (
            self._session().client
        )  # untyped, since the name is a variable; the properties below have the types
        client = make(
            service,
            endpoint_url=access.endpoint_url,
            config=config,
            verify=False if access.is_plain else None,
        )
        client.meta.events.register("after-call", self._learn_time)
        self.calls.register(client)
        client.meta.events.register("needs-retry", self._renew_refused)
        return client

    def call_ecs(self, action: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Call an action of ECS; return its response as JSON, with times in seconds since the epoch.

        ECS uses AWS's JSON 1.1 protocol. The botocore that Checkov pins lacks newer actions and fields (docs/adr/0011), so
        this call uses no model. It raises botocore's errors, and does not retry.
        """
        try:
            return self._ecs_client.call(action, request)
        except Exception as error:
            role = self.access.role
            if role is None or error_code(error) not in _EXPIRED:
                raise
            role.session.refuse(role.keys.get_frozen_credentials().access_key)
        return self._ecs_client.call(action, request)

    @cached_property
    def _ecs_client(self) -> _JsonClient:
        from botocore.httpsession import URLLib3Session  # noqa: PLC0415
        from botocore.utils import get_environ_proxies  # noqa: PLC0415

        session = self._session()
        url = str(self.ecs.meta.endpoint_url)
        bundle = session._session.get_config_variable("ca_bundle")  # noqa: SLF001  # boto3 has no public access to it
        return _JsonClient(
            url=url,
            prefix="AmazonEC2ContainerServiceV20141113",
            service="ecs",
            region=self.access.region,
            credentials=session.get_credentials(),
            http=URLLib3Session(
                verify=False if self.access.is_plain else bundle or True,
                proxies={} if self.access.endpoint_url else get_environ_proxies(url),
                timeout=_ECS_SECONDS,
            ),
            calls=self.calls,
        )

    def settings(self) -> dict[str, str]:
        """Return the user's settings that a child needs which reads none of the user's files; none for an endpoint without TLS."""
        if self.access.is_plain:
            return {}
        session = self._session()._session  # noqa: SLF001  # boto3 has no public access to it
        bundle = session.get_config_variable("ca_bundle")
        switches = {
            name: "true"
            for name in ("AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT")
            if session.get_config_variable(name.removeprefix("AWS_").lower())
        }
        return {"AWS_CA_BUNDLE": str(bundle), **switches} if bundle else switches

    def warm(self) -> None:
        """Create every client in the background: reading their models takes a second, better spent while waiting."""

        def make() -> None:
            for name, value in vars(type(self)).items():
                if isinstance(value, cached_property):
                    getattr(self, name)

        threading.Thread(target=make, name="clients", daemon=True).start()

    @cached_property
    def acm(self) -> ACMClient:
        client: ACMClient = self._client("acm")
        return client

    @cached_property
    def autoscaling(self) -> ApplicationAutoScalingClient:
        client: ApplicationAutoScalingClient = self._client("application-autoscaling")
        return client

    @cached_property
    def cloudwatch(self) -> CloudWatchClient:
        client: CloudWatchClient = self._client("cloudwatch")
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

    def s3_in(self, region: str) -> S3Client:
        """Return the client for a bucket of that region: a region answers for its own buckets only."""
        if region == self.access.region:
            return self.s3
        with self._lock:
            if region not in self._elsewhere:
                self._elsewhere[region] = self._related(region).s3
            return self._elsewhere[region]

    def _related(self, region: str) -> Aws:
        """Return clients of another region with the same credentials."""
        other = Aws(replace(self.access, region=region))
        other._keys = self._keys
        return other

    @cached_property
    def sts(self) -> STSClient:
        client: STSClient = self._client("sts")
        return client


class _Given:
    """A provider of credentials, as botocore's resolver asks for them."""

    METHOD = CANONICAL_NAME = "given"

    def __init__(self, keys: Any) -> None:
        self._keys = keys

    def load(self) -> Any:
        return self._keys


@dataclass(frozen=True, kw_only=True)
class _JsonClient:
    """A client of AWS's JSON 1.1 protocol; botocore signs and sends, without service models.

    https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html
    """

    url: str
    prefix: str
    service: str
    region: str
    credentials: Any = field(repr=False)
    http: Any = field(repr=False)
    calls: Calls

    def call(self, action: str, request: Mapping[str, Any]) -> dict[str, Any]:
        from botocore.auth import SigV4Auth  # noqa: PLC0415
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415
        from botocore.exceptions import NoCredentialsError  # noqa: PLC0415

        if self.credentials is None:
            raise NoCredentialsError
        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"{self.prefix}.{action}"}
        unsigned = AWSRequest(method="POST", url=self.url, data=json.dumps(request).encode(), headers=headers)
        SigV4Auth(self.credentials, self.service, self.region).add_auth(unsigned)
        answer = self.http.send(unsigned.prepare())
        try:
            document: dict[str, Any] = json.loads(answer.content)
        except ValueError:
            document = {}
        if answer.status_code >= _FIRST_ERROR_STATUS:
            error = _client_error(action, status=answer.status_code, document=document)
            self.calls.tell(self.service, action, request, {"Error": error.response["Error"]})
            raise error
        self.calls.tell(self.service, action, request, document)
        return document


def ecs_items(
    call: Callable[[str, Mapping[str, Any]], Mapping[str, Any]],
    action: str,
    request: Mapping[str, Any],
    key: str,
) -> Iterator[Any]:
    """Yield the items of every page of a list call of ECS. A page may be short, or empty with others after it."""
    position: dict[str, str] = {}
    while True:
        page = call(action, {**request, **position})
        yield from page.get(key) or ()
        if not page.get("nextToken"):
            return
        position = {"nextToken": page["nextToken"]}


def _client_error(action: str, *, status: int, document: Mapping[str, Any]) -> ClientError:
    from botocore.exceptions import ClientError  # noqa: PLC0415

    code = str(document.get("__type") or status).rpartition("#")[2]
    message = str(document.get("message") or document.get("Message") or "")
    answer: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(answer, action)


def error_code(error: Exception) -> str:
    """Return AWS's code of an error, such as "AccessDeniedException", or "" if AWS did not answer."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, Mapping) else ""


def error_message(error: Exception) -> str:
    """Return AWS's message of an error, or the text of the exception."""
    response = getattr(error, "response", None)
    message = response.get("Error", {}).get("Message", "") if isinstance(response, Mapping) else ""
    return str(message or error)


def is_transient(error: Exception) -> bool:
    """Return whether a retry may succeed: after throttling, a server error, a lost connection or an incomplete answer."""
    from botocore.exceptions import ConnectionError, HTTPClientError, SSLError  # noqa: A004, PLC0415

    if isinstance(error, (ConnectionError, HTTPClientError)):
        return not isinstance(error, SSLError)
    if isinstance(error, IncompleteAnswerError):
        return True
    response = getattr(error, "response", None)
    if not isinstance(response, Mapping):
        return False
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return int(status) >= _FIRST_SERVER_ERROR or error_code(error) in _THROTTLED


def connect(
    base: Access,
    *,
    account_id: str,
    role_arn: str | None,
    session_seconds: int | None = None,
    env: Mapping[str, str] | None = None,
) -> Aws:
    """Return clients for `account_id`, through `role_arn` if given.

    A session of the role lasts `session_seconds`, by default an hour, as AWS sets it; another follows it. Its name is that of the
    CI job in `env`, else of the user.

    Raise CredentialsError if there are no credentials or AWS refuses them, AccountMismatchError if they belong to another account.
    """
    variables = os.environ if env is None else env
    _require_botocore()
    with _readable_errors(base):
        aws = Aws(base)
        if role_arn is not None:
            aws = Aws(_assume(aws, role_arn, seconds=session_seconds, env=variables))
        identity = aws.sts.get_caller_identity()
    if identity["Account"] != account_id:
        raise AccountMismatchError(
            f"the credentials are of account {identity['Account']} ({identity['Arn']}), the environment is in {account_id}",
            hint="use credentials of that account (AWS_PROFILE, or role_arn in environment.toml), or correct account_id",
        )
    return aws


_OLDEST_BOTOCORE = (1, 35, 69)
"""The first version whose PutObject has both IfNoneMatch (1.35.2) and IfMatch, by which the lease and the ledger are written."""


def _require_botocore() -> None:
    """Refuse a botocore that lacks a parameter of ours: it would fail in the middle of a release."""
    import botocore  # noqa: PLC0415

    version = str(botocore.__version__)
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    if numbers < _OLDEST_BOTOCORE:
        oldest = ".".join(map(str, _OLDEST_BOTOCORE))
        raise ConfigurationError(
            f"botocore {version} is too old: it lacks the conditional writes to S3 by which the lease and the ledger are kept",
            hint=f"install a newer one: python -m pip install 'botocore>={oldest}'",
        )


def _assume(base: Aws, role_arn: str, *, seconds: int | None, env: Mapping[str, str]) -> Access:
    from botocore.credentials import RefreshableCredentials  # noqa: PLC0415

    caller_arn = "" if job(env) else base.sts.get_caller_identity()["Arn"]
    session = RoleSession(
        base.sts.assume_role,
        role_arn=role_arn,
        name=actor(env, caller_arn=caller_arn),
        seconds=seconds,
        now=base.now,
        code_of=error_code,
    )
    first = session.renew()
    advisory, mandatory = session.margins
    keys: Any = RefreshableCredentials(
        access_key=first["access_key"],
        secret_key=first["secret_key"],
        token=first["token"],
        expiry_time=session.ends_at,
        refresh_using=session.renew,
        method="assume-role",
        time_fetcher=session.now,
        advisory_timeout=advisory,
        mandatory_timeout=mandatory,
    )
    return Access(
        region=base.access.region,
        endpoint_url=base.access.endpoint_url,
        role=RoleCredentials(session=session, keys=keys, settings=base.settings()),
    )


def refusal(error: Exception) -> MclassError | None:
    """Return the error to show if AWS refused a call or stopped answering, None if `error` is not from AWS."""
    from botocore.exceptions import (  # noqa: PLC0415
        ClientError,
        ConnectionError,  # noqa: A004
        HTTPClientError,
    )

    if isinstance(error, (ConnectionError, HTTPClientError)):
        return UnreachableError(f"AWS stopped answering: {error}", hint="look at the network, and try again")
    if has_lapsed(error):
        return CredentialsExpiredError(
            f"the credentials have expired: {error}",
            hint=Hint(
                f"{SIGN_IN}. What runs on AWS goes on: ",
                ("status", "ENV"),
                " shows it, and ",
                ("release", "ENV", "--resume"),
                " goes on with a release that this command has begun",
            ),
        )
    if isinstance(error, ClientError):
        return ConfigurationError(
            f"AWS refused a call: {error}",
            hint=_clock_hint(error)
            or "the message is AWS's own: it names the permission, the limit or the resource that is in the way",
        )
    return None


_UNKNOWN_ROLE = re.compile(r"unable to assume (the )?(service linked )?role", re.IGNORECASE)


def may_be_new_role(error: Exception) -> bool:
    """Return whether a service cannot assume a role. It may not know a new role yet: IAM is eventually consistent.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency
    ECS's words: https://github.com/hashicorp/terraform/issues/4375, https://github.com/pulumi/pulumi-awsx/issues/927
    """
    return bool(error_code(error)) and _UNKNOWN_ROLE.search(error_message(error)) is not None


SIGN_IN = "sign in again (aws sso login, aws configure, or a new job of the CI)"
"""What to do about credentials that have expired and cannot renew themselves."""


def has_lapsed(error: Exception) -> bool:
    """Return whether a call failed because the credentials have expired, or could not be renewed."""
    from botocore.exceptions import ClientError  # noqa: PLC0415

    if isinstance(error, ClientError):
        return error_code(error) in _EXPIRED and not _is_skewed(error)
    return needs_sign_in(error) or (isinstance(error, RuntimeError) and _STILL_EXPIRED in str(error))


def needs_sign_in(error: Exception) -> bool:
    """Return whether the source of the credentials cannot renew them, but will as soon as the user has signed in again.

    Credentials in environment variables are no such source: nobody can change those of a running process.
    """
    from botocore import exceptions  # noqa: PLC0415

    # The last ones are of newer versions than the one that Checkov pins.
    names = (
        "CredentialRetrievalError",
        "NoCredentialsError",
        "SSOError",
        "TokenRetrievalError",
        "LoginError",
    )
    kinds = tuple(kind for name in names if (kind := getattr(exceptions, name, None)) is not None)
    return isinstance(error, kinds)


_STILL_EXPIRED = "refreshed credentials are still expired"
_MOST_SKEW = dt.timedelta(minutes=5)


def _is_skewed(error: Exception) -> bool:
    """Return whether this machine's clock explains a RequestExpired, which EC2 also answers to an expired session."""
    response = getattr(error, "response", {})
    date = response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    try:
        there = parsedate_to_datetime(date)
    except (TypeError, ValueError):
        return error_code(error) == "RequestExpired"
    return abs(dt.datetime.now(dt.UTC) - there) > _MOST_SKEW


_SKEWED = re.compile("RequestTimeTooSkewed|RequestExpired|Signature expired|Signature not yet current")


def _clock_hint(error: Exception) -> str:
    """Return what to do if AWS refused a signature for its time, else "".

    https://docs.aws.amazon.com/IAM/latest/UserGuide/signature-v4-troubleshooting.html
    """
    if _SKEWED.search(str(error)) is None:
        return ""
    here = dt.datetime.now(dt.UTC)
    return f"this machine's clock says {here:%Y-%m-%d %H:%M:%S} UTC, minutes off AWS's own time: set it (timedatectl, NTP)"


@contextmanager
def _readable_errors(access: Access) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError, ConnectionError  # noqa: A004, PLC0415

    where = access.endpoint_url or f"AWS in {access.region}"
    try:
        yield
    except ConnectionError as error:
        if (shortage := machine.shortage(error)) is not None:
            raise shortage from None
        # An endpoint that is gone is no problem of credentials.
        raise UnreachableError(
            f"nothing answers at {where}: {error}",
            hint=Hint(
                "the local AWS: ",
                ("local", "up"),
                ", and enter it again, or unset AWS_ENDPOINT_URL; AWS: look at the network",
            ),
        ) from None
    except (BotoCoreError, ClientError) as error:
        raise CredentialsError(
            f"{where} does not accept the credentials: {error}",
            hint=_clock_hint(error) or "sign in (aws configure, aws sso login, AWS_PROFILE), or use --local",
        ) from None
