"""Typed clients of AWS, which share their credentials and learn AWS's time."""

from __future__ import annotations

import datetime as dt
import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from email.utils import parsedate_to_datetime
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from mclass_tf.aws.access import Access
from mclass_tf.aws.calls import Calls, JsonClient
from mclass_tf.aws.refusals import EXPIRED, error_code

if TYPE_CHECKING:
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
_CLOCK_TOLERANCE = dt.timedelta(seconds=2)
"""The difference that two correct clocks may show: the Date header has whole seconds."""
_RENEWED = "mclass_renewed"
"""The key of a call's context that says that it was made again with a renewed session."""


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
        if role is None or parsed.get("Error", {}).get("Code") not in EXPIRED or context.get(_RENEWED):
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
            if role is None or error_code(error) not in EXPIRED:
                raise
            role.session.refuse(role.keys.get_frozen_credentials().access_key)
        return self._ecs_client.call(action, request)

    @cached_property
    def _ecs_client(self) -> JsonClient:
        from botocore.httpsession import URLLib3Session  # noqa: PLC0415
        from botocore.utils import get_environ_proxies  # noqa: PLC0415

        session = self._session()
        url = str(self.ecs.meta.endpoint_url)
        bundle = session._session.get_config_variable("ca_bundle")  # noqa: SLF001  # boto3 has no public access to it
        return JsonClient(
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
