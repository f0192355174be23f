"""ACM: certificates that exist before Terraform does, under the ARN that the environment names."""

from __future__ import annotations

from moto.acm.models import CertBundle, acm_backends


def put_certificate(*, account_id: str, region: str, arn: str, domain_name: str) -> None:
    """Makes an issued, self-signed certificate exist under that very ARN; an existing one stays as it is.

    ACM chooses the ARN itself and validates by DNS, so there is no API call that a bootstrap could use.
    """
    expected = f":acm:{region}:{account_id}:certificate/"
    if expected not in arn:
        raise ValueError(
            f"the ARN of a certificate in account {account_id}, region {region} contains {expected}"
        )
    certificates = acm_backends[account_id][region]._certificates  # noqa: SLF001
    if arn in certificates:
        return
    bundle = CertBundle.generate_cert(domain_name=domain_name, account_id=account_id, region=region)
    bundle.arn = arn
    bundle.status = "ISSUED"
    certificates[arn] = bundle
