"""Every answer that ECR may give about a scan has a verdict, asked of the local AWS. What nobody knows is not clean."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mclass_tf.environment import PromotionSettings
from mclass_tf.errors import ConfigurationError, PromotionRefusedError
from mclass_tf.flows.scans import ScanPatience, ScanReport, require_clean_scans
from mclass_tf.gates.image_waivers import WAIVABLE_STATUSES, ImageWaiver, ImageWaivers
from mclass_tf.gates.waivers import load, load_image_waivers
from mclass_tf.local.access.registry_tokens import Principal
from mclass_tf.local.aws.ecr import backend
from tests.local import in_process
from tests.local.in_process import REGION
from tests.local.task_world import make_manifest, push

TODAY = dt.date(2026, 11, 29)
REPOSITORY = "mclass-server"


def waiver(kind: str, value: str, *, until: dt.date = TODAY, line: int = 1) -> ImageWaiver:
    return ImageWaiver(
        kind=kind,
        value=value,
        environments=("prod",),
        reason="Nothing calls that function here.",
        expires=until,
        file="policy/waivers.toml",
        line=line,
    )


@dataclass
class Registry:
    """A repository of the local AWS with one image that is scanned on push."""

    account_id: str = field(default_factory=in_process.new_account)
    digest: str = ""
    slept: list[float] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ecr.create_repository(repositoryName=REPOSITORY, imageScanningConfiguration={"scanOnPush": True})
        self.digest = push(
            self.account_id,
            make_manifest().replace("application/tar", "application/vnd.oci.image.layer.v1.tar"),
        )

    @property
    def ecr(self) -> Any:
        return in_process.client(self.account_id, "ecr")

    def says(self, *findings: Mapping[str, Any], **answer: Any) -> None:
        """Make the scanner answer so."""
        told = backend.Findings(
            repository=REPOSITORY, digest=None, findings=tuple(map(dict, findings)), **answer
        )
        with in_process.aws().exclusive():
            backend.backend_of(Principal(account_id=self.account_id, region=REGION)).report_findings(told)

    def judge(self, *waivers: ImageWaiver, sleep: Any = None, **settings: Any) -> ScanReport:
        return require_clean_scans(
            self.ecr,
            digest=self.digest,
            repository=REPOSITORY,
            environment="dev",
            settings=PromotionSettings(**settings),
            waivers=ImageWaivers.of(waivers, environment="prod", today=TODAY),
            patience=ScanPatience(sleep=sleep or self.slept.append, report=self.said.append),
        )

    def refused(self, *waivers: ImageWaiver, **settings: Any) -> PromotionRefusedError:
        with pytest.raises(PromotionRefusedError) as caught:
            self.judge(*waivers, **settings)
        return caught.value


def basic(cve: str = "CVE-2026-1", severity: str = "CRITICAL") -> Mapping[str, Any]:
    attributes = [{"key": "package_name", "value": "openssl"}]
    return {"name": cve, "severity": severity, "attributes": attributes}


def enhanced(
    cve: str = "CVE-2026-1", severity: str = "CRITICAL", fix: str = "NO", status: str = "ACTIVE"
) -> Mapping[str, Any]:
    packages = [{"name": "libc6", "version": "2.36"}]
    return {
        "severity": severity,
        "status": status,
        "fixAvailable": fix,
        "type": "PACKAGE_VULNERABILITY",
        "title": f"{cve} - libc6",
        "packageVulnerabilityDetails": {"vulnerabilityId": cve, "vulnerablePackages": packages},
    }


def test_a_clean_scan_of_either_kind_passes() -> None:
    there = Registry()

    assert there.judge() == ScanReport()
    there.says(status="ACTIVE", is_enhanced=True)
    assert there.judge() == ScanReport()
    there.says(basic(severity="HIGH"), basic(severity="UNDEFINED"))
    assert there.judge() == ScanReport()


@pytest.mark.parametrize("status", WAIVABLE_STATUSES)
def test_a_scan_that_gave_no_result_is_refused_and_may_be_waived(status: str) -> None:
    there = Registry()
    there.says(status=status, description="so it is")

    error = there.refused()
    assert "what is in it is not known" in error.message
    assert status == "NOT_SCANNED" or f"failed: {status} so it is" in error.message
    assert f'`scan_status = "{status}"` in a [[waiver]] of policy/waivers.toml' in error.hint
    assert 'refuse_findings = "NONE"' in error.hint

    accepted = waiver("scan_status", status)
    report = there.judge(accepted)
    assert [each for _, each in report.unjudged] == [accepted]
    assert "Nothing calls that function here." in report.lines()[0]
    other = next(each for each in WAIVABLE_STATUSES if each != status)
    assert there.refused(waiver("scan_status", other)).message == error.message


def test_a_status_that_nobody_knows_is_refused_and_cannot_be_waived() -> None:
    there = Registry()
    there.says(status="POSTPONED")

    error = there.refused(waiver("scan_status", "POSTPONED"))

    assert "failed: POSTPONED; what is in it is not known" in error.message
    assert "waiver" not in error.hint


@pytest.mark.parametrize("status", ["IN_PROGRESS", "PENDING"])
def test_a_running_scan_is_waited_for_politely(status: str) -> None:
    there = Registry()
    there.says(status=status)

    def sleep(seconds: float) -> None:
        there.slept.append(seconds)
        if len(there.slept) == 3:
            there.says(basic(), status="COMPLETE")

    with pytest.raises(PromotionRefusedError, match="1 CRITICAL"):
        there.judge(sleep=sleep)

    assert there.slept == sorted(there.slept)
    assert min(there.slept) >= 5
    (line,) = there.said
    assert "waiting for the scan of" in line


def test_a_scan_that_does_not_end_is_refused_after_a_while() -> None:
    there = Registry()
    there.says(status="PENDING")

    error = there.refused(waiver("scan_status", "PENDING"))

    assert "is not over" in error.message
    assert 600 <= sum(there.slept) <= 630
    assert max(there.slept) <= 30


def test_findings_on_later_pages_count_and_each_is_named() -> None:
    there = Registry()
    many = [basic(f"CVE-2026-{number}", "LOW") for number in range(250)]
    there.says(*many, basic("CVE-2026-LAST"))

    first = there.ecr.describe_image_scan_findings(
        repositoryName=REPOSITORY, imageId={"imageDigest": there.digest}
    )
    assert len(first["imageScanFindings"]["findings"]) == 100
    assert "CVE-2026-LAST (CRITICAL, openssl)" in there.refused().message
    assert there.judge(waiver("cve", "CVE-2026-LAST")).findings[0].finding.cve == "CVE-2026-LAST"


def test_findings_that_ecr_counts_and_does_not_list_are_refused_whatever_the_waivers() -> None:
    class Counting:
        """ECR, whose answers count one critical finding more than they list."""

        def __init__(self, ecr: Any) -> None:
            self.batch_get_image = ecr.batch_get_image
            self.ecr = ecr

        def describe_image_scan_findings(self, **request: Any) -> Any:
            answer = self.ecr.describe_image_scan_findings(**request)
            answer["imageScanFindings"]["findingSeverityCounts"] = {"CRITICAL": 2}
            return answer

    there = Registry()
    there.says(basic())

    with pytest.raises(PromotionRefusedError, match=r"findings of CRITICAL or above: 1 CRITICAL$"):
        require_clean_scans(
            Counting(there.ecr),
            digest=there.digest,
            repository=REPOSITORY,
            environment="dev",
            settings=PromotionSettings(),
            waivers=ImageWaivers.of([waiver("cve", "CVE-2026-1")], environment="prod", today=TODAY),
        )


def test_a_completed_scan_without_findings_is_not_taken_for_a_clean_one() -> None:
    class Silent:
        def __init__(self, ecr: Any) -> None:
            self.batch_get_image = ecr.batch_get_image

        def describe_image_scan_findings(self, **_: Any) -> Any:
            return {"imageScanStatus": {"status": "COMPLETE"}}

    there = Registry()
    with pytest.raises(PromotionRefusedError, match="gives no findings, not even an empty list"):
        require_clean_scans(
            Silent(there.ecr),
            digest=there.digest,
            repository=REPOSITORY,
            environment="dev",
            settings=PromotionSettings(),
        )


@pytest.mark.parametrize(
    ("fix", "told"), [("NO", "none"), ("YES", "available"), ("PARTIAL", "available"), ("", "unknown")]
)
def test_enhanced_findings_say_whether_a_fix_exists(fix: str, told: str) -> None:
    there = Registry()
    there.says(enhanced(fix=fix), status="ACTIVE", is_enhanced=True)

    error = there.refused()

    assert [(each["cve"], each["package"], each["fix"], each["decision"]) for each in error.findings] == [
        ("CVE-2026-1", "libc6", told, "refused")
    ]
    assert ("no fix is available for 1 of them" in error.message) == (told == "none")


def test_findings_without_a_fix_are_released_by_a_waiver_or_by_a_setting_and_reported_both_times() -> None:
    there = Registry()
    unfixed, fixed = enhanced(), enhanced("CVE-2026-2", fix="YES")
    there.says(unfixed, status="ACTIVE", is_enhanced=True)

    assert there.refused().exit_code == 5
    by_setting = there.judge(refuse_unfixed=False)
    by_waiver = there.judge(waiver("cve", "CVE-2026-1"))
    assert [each.decision.value for each in by_setting.findings] == ["unfixed"]
    assert by_setting.lines() == [
        "scan: CVE-2026-1 (CRITICAL, libc6, no fix available) is accepted: no fix is available, and refuse_unfixed = false"
    ]
    assert [(each["decision"], each["waiver"]) for each in by_waiver.to_document()] == [
        ("waived", "policy/waivers.toml:1")
    ]

    there.says(unfixed, fixed, status="ACTIVE", is_enhanced=True)
    error = there.refused(refuse_unfixed=False)
    assert "1 CRITICAL; CVE-2026-2" in error.message
    there.says(basic())
    assert "1 CRITICAL" in there.refused(refuse_unfixed=False).message, (
        "basic scanning does not know of fixes"
    )


def test_what_was_remediated_does_not_count_and_what_a_rule_of_inspector_hides_does() -> None:
    there = Registry()
    there.says(enhanced(status="CLOSED", severity="LOW"), status="ACTIVE", is_enhanced=True)
    assert there.judge() == ScanReport()
    there.says(enhanced(status="SUPPRESSED"), status="ACTIVE", is_enhanced=True)
    assert "CVE-2026-1" in there.refused().message


def test_an_expired_waiver_excuses_nothing_and_an_unused_one_is_a_warning() -> None:
    there = Registry()
    yesterday = TODAY - dt.timedelta(days=1)
    there.says(basic())

    refused = there.refused(waiver("cve", "CVE-2026-1", until=yesterday))
    assert (
        f"1 CRITICAL; CVE-2026-1 (CRITICAL, openssl); policy/waivers.toml:1: the waiver of CVE-2026-1 expired on {yesterday}"
        in (refused.message)
    )
    assert [(each["decision"], each["waiver"]) for each in refused.findings] == [("refused", None)]
    assert "1 CRITICAL" in there.refused(waiver("cve", "CVE-2026-2")).message
    there.says()
    assert there.judge(waiver("cve", "CVE-2026-1", line=7)).warnings == (
        "policy/waivers.toml:7: the waiver of CVE-2026-1 matches nothing: delete it, or take this environment out of it",
    )
    expired = there.refused(waiver("cve", "CVE-2026-1", until=yesterday))
    assert (f"expired on {yesterday}" in expired.message, expired.hint) == (
        True,
        "it matches nothing any more: delete it",
    )


def test_a_waiver_of_another_environment_excuses_nothing() -> None:
    there = Registry()
    there.says(basic())
    waivers = ImageWaivers.of([waiver("cve", "CVE-2026-1")], environment="dev", today=TODAY)

    assert waivers.waivers == ()


_ENTRY = """
[[waiver]]
{key}
environments = ["prod"]
reason       = "Nothing calls that function here."
expires      = 2026-12-31
"""


def _write(folder: Path, key: str) -> Path:
    (folder / "policy").mkdir()
    (folder / "policy" / "waivers.toml").write_text(_ENTRY.format(key=key))
    return folder


@pytest.mark.parametrize(
    ("key", "kind", "value"),
    [
        ('cve = "CVE-2026-1234"', "cve", "CVE-2026-1234"),
        ('cve = "GHSA-jfh8-c2jp-5v3q"', "cve", "GHSA-jfh8-c2jp-5v3q"),
        ('scan_status = "UNSUPPORTED_IMAGE"', "scan_status", "UNSUPPORTED_IMAGE"),
    ],
)
def test_waivers_of_images_stand_beside_those_of_plans(
    tmp_path: Path, key: str, kind: str, value: str
) -> None:
    project = _write(tmp_path, key)

    (read,) = load_image_waivers(project, environments=["prod"], today=TODAY)

    assert (read.kind, read.value, read.line) == (kind, value, 2)
    assert load(project, environments=["prod"], today=TODAY) == ()


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ('cve = "CVE-2026-*"', "cve is 'CVE-2026-*'"),
        ('cve = "CRITICAL"', "cve is 'CRITICAL'"),
        ("cve = 1", "cve is 1"),
        ('scan_status = "COMPLETE"', "scan_status is 'COMPLETE'"),
        ('scan_status = "PENDING"', "scan_status is 'PENDING'"),
        ('cve = "CVE-2026-1"\nresource = "a.b"', "resource is not a key of a waiver of cve"),
        ('cve = "CVE-2026-1"\nscan_status = "FAILED"', "scan_status is not a key of a waiver of cve"),
    ],
)
def test_a_waiver_of_an_image_names_one_thing(tmp_path: Path, key: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(told)):
        load_image_waivers(_write(tmp_path, key), environments=["prod"], today=TODAY)
