"""ACM: a requested certificate is pending until its records are published."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.local import elb_world, in_process


@pytest.fixture
def account() -> str:
    return in_process.new_account()


def _request(account: str, domain: str = "www.mclass.example") -> str:
    acm = in_process.client(account, "acm")
    return str(acm.request_certificate(DomainName=domain, ValidationMethod="DNS")["CertificateArn"])


def _described(account: str, arn: str) -> dict[str, Any]:
    acm = in_process.client(account, "acm")
    found: dict[str, Any] = acm.describe_certificate(CertificateArn=arn)["Certificate"]
    return found


def _publish(account: str, record: dict[str, str]) -> None:
    route53 = in_process.client(account, "route53")
    zone = route53.create_hosted_zone(Name="mclass.example", CallerReference="1")["HostedZone"]["Id"]
    change = {
        "Name": record["Name"],
        "Type": record["Type"],
        "TTL": 60,
        "ResourceRecords": [{"Value": record["Value"]}],
    }
    route53.change_resource_record_sets(
        HostedZoneId=zone,
        ChangeBatch={"Changes": [{"Action": "UPSERT", "ResourceRecordSet": change}]},
    )


def test_a_certificate_is_pending_until_its_record_is_in_a_hosted_zone(account: str) -> None:
    arn = _request(account)
    acm = in_process.client(account, "acm")
    pending = _described(account, arn)
    assert pending["Status"] == "PENDING_VALIDATION"
    assert "IssuedAt" not in pending
    with pytest.raises(ClientError, match="RequestInProgressException"):
        acm.get_certificate(CertificateArn=arn)

    _publish(account, pending["DomainValidationOptions"][0]["ResourceRecord"])

    assert _described(account, arn)["Status"] == "ISSUED"
    assert acm.get_certificate(CertificateArn=arn)["Certificate"]


@pytest.mark.filterwarnings("ignore:Exception.*UnsupportedCertificate")  # the API's model does not name it
def test_a_listener_cannot_use_a_certificate_that_is_pending() -> None:
    world = elb_world.make()
    arn = _request(world.account_id)
    with pytest.raises(ClientError, match=r"UnsupportedCertificate.*must have a fully-qualified domain name"):
        world.forward(port=443, Protocol="HTTPS", Certificates=[{"CertificateArn": arn}])
    _publish(
        world.account_id, _described(world.account_id, arn)["DomainValidationOptions"][0]["ResourceRecord"]
    )
    listener = world.forward(port=443, Protocol="HTTPS", Certificates=[{"CertificateArn": arn}])
    other = _request(world.account_id, "other.mclass.example")
    with pytest.raises(ClientError, match="UnsupportedCertificate"):
        world.client("elbv2").modify_listener(ListenerArn=listener, Certificates=[{"CertificateArn": other}])


def test_an_address_is_no_domain_name(account: str) -> None:
    with pytest.raises(ClientError, match=r"ValidationException.*domainName"):
        _request(account, "10.0.0.1")
