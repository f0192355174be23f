"""Logs in to ECR. Credentials come from GetAuthorizationToken and stay in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from mclass_tf.aws import Aws
from mclass_tf.errors import CredentialsError


@dataclass(frozen=True, kw_only=True)
class Login:
    """Credentials of a registry. `host` is host[:port]. `repr` omits the password."""

    host: str
    is_tls: bool
    user: str
    password: str = field(repr=False)


def log_in(aws: Aws) -> Login:
    """Get a token from ECR. A custom endpoint also serves the registry, whatever ECR answers as its address."""
    import base64  # noqa: PLC0415

    try:
        authorization = aws.ecr.get_authorization_token()["authorizationData"][0]
        address = urlsplit(aws.access.endpoint_url or authorization["proxyEndpoint"])
        user, _, password = base64.b64decode(authorization["authorizationToken"]).decode().partition(":")
    except aws.ecr.exceptions.ClientError as error:
        raise CredentialsError(
            f"ECR gives no authorization token: {error}",
            hint="the credentials need ecr:GetAuthorizationToken; sign in again if they have expired",
        ) from None
    except (LookupError, ValueError) as error:
        raise CredentialsError(
            f"ECR gives no authorization token that can be read: {error!r}",
            hint="try again; is the endpoint one of AWS (AWS_ENDPOINT_URL)?",
        ) from None
    return Login(host=address.netloc, is_tls=address.scheme == "https", user=user, password=password)
