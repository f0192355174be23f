"""Which certificate a load balancer must show: exactly that of its listener."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from mclass_tf.aws import error_code, error_message, is_transient
from mclass_tf.errors import EndpointError


@dataclass(frozen=True, kw_only=True)
class Trust:
    """The certificates that a server may show. `name` is the certificate's name in messages.

    A server may show exactly one of `certificates` (PEM), self-signed or not: the URL has the load balancer's name, and the
    certificate has the service's. Or it may show a certificate for `domain` from an authority that this machine trusts, since
    ACM and the load balancer do not renew at the same moment. Without both, nothing is trusted.
    """

    name: str = "of an authority that this machine trusts"
    certificates: tuple[str, ...] = ()
    domain: str = ""

    def handshakes(self, server_name: str) -> Iterator[Handshake]:
        """Yield the TLS handshakes to try in turn; for `server_name`, the load balancer shows its own certificate."""
        if self.certificates:
            allowed = frozenset(map(ssl.PEM_cert_to_DER_cert, self.certificates))
            yield Handshake(context=pinned(self.certificates), server_name=server_name, allowed=allowed)
        if self.domain:
            yield Handshake(context=ssl.create_default_context(), server_name=self.domain)


@dataclass(frozen=True, kw_only=True)
class Handshake:
    """The server name to send, and the `allowed` certificates (DER); if empty, any that `context` verifies."""

    context: ssl.SSLContext
    server_name: str
    allowed: frozenset[bytes] = frozenset()

    def wrap(self, plain: socket.socket) -> ssl.SSLSocket:
        """Return the TLS connection; raise SSLCertVerificationError if the server shows another certificate."""
        wrapped = self.context.wrap_socket(plain, server_hostname=self.server_name)
        # A pinned certificate may be a CA. The certificates that it signed are still not allowed.
        if self.allowed and wrapped.getpeercert(binary_form=True) not in self.allowed:
            wrapped.close()
            raise ssl.SSLCertVerificationError(1, "another certificate")
        return wrapped


def pinned(certificates: tuple[str, ...]) -> ssl.SSLContext:
    """Return a context that trusts only these certificates, while they are valid, and no authority of this machine."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata="\n".join(certificates))
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def trust_in(acm: Any, arn: str, *, report: Callable[[str], None]) -> Trust:
    """Return the trust for a listener with the certificate `arn`.

    If the certificate cannot be read (acm:GetCertificate), use its domain (acm:DescribeCertificate), for which a trusted
    authority must vouch. Raise EndpointError if neither can be read: then nothing is trusted.
    """
    certificate, refusal = _read(lambda: str(acm.get_certificate(CertificateArn=arn)["Certificate"]))
    domain, domain_refusal = _read(
        lambda: str(acm.describe_certificate(CertificateArn=arn)["Certificate"].get("DomainName") or "")
    )
    if not certificate and not domain:
        raise EndpointError(
            f"the identity of what answers cannot be verified: the certificate {arn} cannot be read: {refusal or domain_refusal}",
            hint="allow acm:GetCertificate on it, or at least acm:DescribeCertificate; no request was sent",
        )
    if not certificate:
        report(f"the certificate {arn} cannot be read ({refusal}): an authority must vouch for {domain}")
    return Trust(
        name=arn,
        certificates=(certificate,) if certificate else (),
        # A wildcard certificate needs a concrete server name.
        domain=domain.replace("*", "www", 1),
    )


def _read(get: Callable[[], str]) -> tuple[str, str]:
    """Return the value, or "" and why AWS refused it."""
    try:
        return get(), ""
    except Exception as error:
        if not error_code(error) and not is_transient(error):
            raise
        return "", error_message(error)
