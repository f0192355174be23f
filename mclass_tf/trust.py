"""Which certificate a load balancer must show: the one that its listener was given, itself."""

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
    """What a server must show, and have the key of; `name` is the certificate's in messages.

    One of `certificates` (PEM), itself, be it self-signed or not: the URL has the load balancer's name, the certificate the
    service's. Or one for `domain` that an authority which this machine trusts has signed: after a renewal ACM and the load
    balancer do not change at the same moment. With neither, nothing is trusted.
    """

    name: str = "of an authority that this machine trusts"
    certificates: tuple[str, ...] = ()
    domain: str = ""

    def ways(self, server_name: str) -> Iterator[Way]:
        """Yield what to try one after the other; `server_name` is the one that the load balancer shows its own certificate for."""
        if self.certificates:
            exactly = frozenset(map(ssl.PEM_cert_to_DER_cert, self.certificates))
            yield Way(context=pinned(self.certificates), server_name=server_name, exactly=exactly)
        if self.domain:
            yield Way(context=ssl.create_default_context(), server_name=self.domain)


@dataclass(frozen=True, kw_only=True)
class Way:
    """How to connect: the server's name to ask for, and the certificates (DER) that may be shown, any that `context` verifies where
    there are none.
    """

    context: ssl.SSLContext
    server_name: str
    exactly: frozenset[bytes] = frozenset()

    def wrap(self, plain: socket.socket) -> ssl.SSLSocket:
        """Return the connection; raise SSLCertVerificationError where another certificate is shown."""
        wrapped = self.context.wrap_socket(plain, server_hostname=self.server_name)
        # What is pinned may be an authority of its own: what it has signed is still another certificate.
        if self.exactly and wrapped.getpeercert(binary_form=True) not in self.exactly:
            wrapped.close()
            raise ssl.SSLCertVerificationError(1, "another certificate")
        return wrapped


def pinned(certificates: tuple[str, ...]) -> ssl.SSLContext:
    """Return a context that trusts these certificates, in date, and no authority of this machine."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata="\n".join(certificates))
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def trust_in(acm: Any, arn: str, *, report: Callable[[str], None]) -> Trust:
    """Return what a listener with the certificate `arn` must show.

    Who may not read the certificate (acm:GetCertificate) learns its domain (acm:DescribeCertificate), for which an authority
    must vouch. Raises EndpointError where neither is to be had: nobody is trusted then.
    """
    certificate, unread = _read(lambda: str(acm.get_certificate(CertificateArn=arn)["Certificate"]))
    domain, unknown = _read(
        lambda: str(acm.describe_certificate(CertificateArn=arn)["Certificate"].get("DomainName") or "")
    )
    if not certificate and not domain:
        raise EndpointError(
            f"the identity of what answers cannot be verified: the certificate {arn} cannot be read: {unread or unknown}",
            hint="allow acm:GetCertificate on it, or at least acm:DescribeCertificate; nothing is asked meanwhile",
        )
    if not certificate:
        report(f"the certificate {arn} cannot be read ({unread}): an authority must vouch for {domain}")
    return Trust(
        name=arn,
        certificates=(certificate,) if certificate else (),
        # A wildcard is asked for by a name that it is for.
        domain=domain.replace("*", "www", 1),
    )


def _read(get: Callable[[], str]) -> tuple[str, str]:
    """Return what was read, or why AWS did not give it."""
    try:
        return get(), ""
    except Exception as error:
        if not error_code(error) and not is_transient(error):
            raise
        return "", error_message(error)
