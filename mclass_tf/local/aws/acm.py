"""ACM: certificates that exist before the first apply, under the ARN that the environment names."""

from __future__ import annotations

import datetime as dt

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from moto.acm import models, urls
from moto.acm.models import AWSCertificateManagerBackend, CertBundle, acm_backends
from moto.core.exceptions import AWSError

from mclass_tf.local.aws.extend import use_backend
from mclass_tf.local.aws.in_use import certificate_users

# As in ACM: https://docs.aws.amazon.com/acm/latest/userguide/acm-certificate-characteristics.html
_VALIDITY = dt.timedelta(days=395)
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


class Bundle(CertBundle):  # type: ignore[misc]  # moto is not typed for us
    """A self-signed certificate. Those of moto name Amazon as their issuer, so that no client could trust them."""

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
            cert_status="ISSUED",
            cert_authority_arn=cert_authority_arn,
            account_id=account_id,
            region=region,
        )


class ResourceInUseError(AWSError):  # type: ignore[misc]
    TYPE = "ResourceInUseException"


class LocalAcmBackend(AWSCertificateManagerBackend):  # type: ignore[misc]
    def delete_certificate(self, arn: str) -> None:
        """Reject the deletion of a certificate that a listener uses.

        https://docs.aws.amazon.com/acm/latest/APIReference/API_DeleteCertificate.html
        """
        if certificate_users(arn, account_id=self.account_id, region=self.region_name):
            raise ResourceInUseError(f"Certificate {arn} in account {self.account_id} is in use.")
        super().delete_certificate(arn)


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
