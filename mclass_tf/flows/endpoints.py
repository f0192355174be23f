"""The network endpoint of a load balancer's URL, and the certificate that it must present."""

from __future__ import annotations

from dataclasses import replace

from mclass_tf.errors import EndpointError, Hint
from mclass_tf.load_balancer_endpoint import Endpoint, resolve
from mclass_tf.session import Session
from mclass_tf.trust import trust_in


def locate(session: Session, url: str, *, certificate_arn: str | None) -> Endpoint:
    """Return the endpoint of a URL. An https endpoint must present the applied certificate.

    Raises EndpointError if there is no endpoint, or no certificate was applied for https.
    """
    endpoint = resolve(session.cloud, url)
    if endpoint.scheme != "https":
        return endpoint
    if certificate_arn is None:
        raise EndpointError(
            f"{url} is of TLS, but no certificate was applied: the identity of what answers cannot be verified",
            hint=Hint(("verify", session.environment.name), " compares the listeners with what was applied"),
        )
    return replace(endpoint, trust=trust_in(session.aws.acm, certificate_arn, report=session.report))
