"""ACM: certificates that exist before the first apply, under the ARN that the environment names."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from moto.acm import models, urls
from moto.acm.exceptions import AWSValidationException
from moto.acm.models import AWSCertificateManagerBackend, CertBundle, acm_backends
from moto.acm.responses import AWSCertificateManagerResponse
from moto.core.exceptions import AWSError
from moto.route53 import route53_backends

from mclass_tf.local.aws.extend import use_backend, use_responses
from mclass_tf.local.aws.in_use import certificate_users

# As in ACM: https://docs.aws.amazon.com/acm/latest/userguide/acm-certificate-characteristics.html
_VALIDITY = dt.timedelta(days=395)
_ACCOUNT = 4  # its index in an ARN
_PENDING = "PENDING_VALIDATION"
_DOMAIN = re.compile(r"(\*\.)?(((?!-)[A-Za-z0-9-]{0,62}[A-Za-z0-9])\.)+((?!-)[A-Za-z0-9-]{1,62}[A-Za-z0-9])")
_CLOCK_SKEW = dt.timedelta(minutes=5)


def put_certificate(*, account_id: str, region: str, arn: str, domain_name: str) -> None:
    """Create an issued, self-signed certificate with the given ARN, unless it exists.

    No API call can do this: ACM chooses ARNs itself and validates by DNS.
    """
    expected = f":acm:{region}:{account_id}:certificate/"
    if expected not in arn:
        raise ValueError(
            f"the ARN of a certificate in account {account_id}, region {region} contains {expected}"
        )
    certificates = acm_backends[account_id][region]._certificates  # noqa: SLF001
    if arn in certificates:
        return
    bundle = Bundle.generate_cert(domain_name=domain_name, account_id=account_id, region=region)
    bundle.arn = arn
    bundle.status = "ISSUED"
    certificates[arn] = bundle


def is_pending(arn: str, *, account_id: str, region: str) -> bool:
    """Return whether the certificate waits for its validation."""
    certificate = acm_backends[account_id][region]._certificates.get(arn)  # noqa: SLF001
    if certificate is None:
        return False
    certificate.check()
    return bool(certificate.status == _PENDING)


class Bundle(CertBundle):  # type: ignore[misc]  # moto is not typed for us
    """A self-signed certificate. Those of moto name Amazon as their issuer, so that no client could trust them."""

    status: str

    @classmethod
    def generate_cert(
        cls,
        domain_name: str,
        account_id: str,
        region: str,
        sans: list[str] | None = None,
        cert_authority_arn: str | None = None,
    ) -> Bundle:
        certificate, key = self_signed([domain_name, *(sans or [])])
        return cls(
            certificate=certificate,
            private_key=key,
            cert_type="PRIVATE" if cert_authority_arn is not None else "AMAZON_ISSUED",
            cert_status="ISSUED" if cert_authority_arn is not None else _PENDING,
            cert_authority_arn=cert_authority_arn,
            account_id=account_id,
            region=region,
        )

    def check(self) -> None:
        """Issue a pending certificate once its records are in a hosted zone. moto issues it after a minute.

        https://docs.aws.amazon.com/acm/latest/userguide/dns-validation.html
        """
        if self.status != _PENDING:
            super().check()
        elif _are_published(self):
            self.status = "ISSUED"

    def describe(self) -> dict[str, Any]:
        described: dict[str, Any] = super().describe()
        if self.status == _PENDING:
            described["Certificate"].pop("IssuedAt", None)
        return described


def _are_published(certificate: Bundle) -> bool:
    """Return whether a hosted zone of the same account has the records: moto's are the same in every account."""
    options = certificate.describe()["Certificate"]["DomainValidationOptions"]
    records = [option["ResourceRecord"] for option in options]
    published = {
        (record.name.rstrip("."), value.rstrip("."))
        for backend in tuple(route53_backends[certificate.arn.split(":")[_ACCOUNT]].values())
        for zone in backend.zones.values()
        for record in zone.rrsets
        if record.type == "CNAME"
        for value in record.records
    }
    return all((record["Name"].rstrip("."), record["Value"].rstrip(".")) in published for record in records)


class ResourceInUseError(AWSError):  # type: ignore[misc]
    TYPE = "ResourceInUseException"


class RequestInProgressError(AWSError):  # type: ignore[misc]
    TYPE = "RequestInProgressException"


class LocalAcmBackend(AWSCertificateManagerBackend):  # type: ignore[misc]
    def request_certificate(self, domain_name: str, *rest: Any, **named: Any) -> Any:
        """Reject what is not a domain name, such as an address.

        https://docs.aws.amazon.com/acm/latest/APIReference/API_RequestCertificate.html
        """
        if not _DOMAIN.fullmatch(domain_name):
            raise AWSValidationException(
                f"1 validation error detected: Value '{domain_name}' at 'domainName' failed to satisfy constraint: "
                f"Member must satisfy regular expression pattern: {_DOMAIN.pattern}"
            )
        return super().request_certificate(domain_name, *rest, **named)

    def delete_certificate(self, arn: str) -> None:
        """Reject the deletion of a certificate that a listener uses.

        https://docs.aws.amazon.com/acm/latest/APIReference/API_DeleteCertificate.html
        """
        if certificate_users(arn, account_id=self.account_id, region=self.region_name):
            raise ResourceInUseError(f"Certificate {arn} in account {self.account_id} is in use.")
        super().delete_certificate(arn)


class LocalAcmResponses(AWSCertificateManagerResponse):  # type: ignore[misc]
    def get_certificate(self) -> Any:
        """Reject the call for a certificate that is not issued yet.

        https://docs.aws.amazon.com/acm/latest/APIReference/API_GetCertificate.html
        """
        arn = self._get_param("CertificateArn")
        certificate = self.acm_backend.get_certificate(arn) if arn else None
        if certificate is not None:
            certificate.check()
            if certificate.status == _PENDING:
                raise RequestInProgressError(f"The certificate request for {arn} is in progress.")
        return super().get_certificate()


def self_signed(names: list[str]) -> tuple[bytes, bytes]:
    """Return a self-signed server certificate for the names and its private key, in PEM format."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
    now = dt.datetime.now(dt.UTC)
    usage = x509.KeyUsage(
        digital_signature=True,
        key_encipherment=True,
        key_cert_sign=True,
        crl_sign=False,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + _VALIDITY)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(entry) for entry in dict.fromkeys(names)]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    return (
        builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        ),
    )


def install() -> None:
    models.CertBundle = Bundle
    use_backend(backends=acm_backends, urls=urls, backend=LocalAcmBackend)
    use_responses(urls=urls, responses=LocalAcmResponses)
