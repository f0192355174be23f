"""Judges the scans of an image. What nobody knows is refused: an unknown answer is not a clean one."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mclass_tf.environment import SEVERITIES, PromotionSettings
from mclass_tf.errors import PromotionRefusedError
from mclass_tf.flows.scans.index import ImageIndex, ScannedImage
from mclass_tf.flows.scans.read import ScanPatience, read_scan
from mclass_tf.flows.scans.report import Decision, JudgedFinding, ScanReport
from mclass_tf.flows.scans.result import NOT_SCANNED, SCANNED, SCANNING, Fix, ScanFinding, ScanResult
from mclass_tf.gates.image_waivers import CVE, SCAN_STATUS, WAIVABLE_STATUSES, ImageWaiver, ImageWaivers

_MOST_NAMED = 10
# What to do about scans that ended without a result.
# https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-scanning-troubleshooting.html
# https://docs.aws.amazon.com/inspector/latest/user/scanning-ecr.html
_REMEDIES: Mapping[str, str] = {
    "FAILED": "scan it again",
    "FINDINGS_UNAVAILABLE": "the findings are gone or not there yet: try again, or scan it again",
    "IMAGE_ARCHIVED": "an archived image is not scanned: restore it (aws ecr update-image-storage-class), then scan it again",
    "LIMIT_EXCEEDED": "the registry's limit of scans is reached: try again tomorrow, or ask AWS for a higher one",
    "SCAN_ELIGIBILITY_EXPIRED": "its time under continuous scanning is over: extend it in Amazon Inspector, or push the image again",
    "UNSUPPORTED_IMAGE": "ECR cannot scan its operating system or package manager: use a base image that it can, or enhanced scanning",
}


@dataclass(frozen=True, kw_only=True)
class ScanGate:
    """The requirements of a promotion. `waivers` are those of the environment that the image goes to."""

    settings: PromotionSettings
    waivers: ImageWaivers = field(default_factory=ImageWaivers)
    patience: ScanPatience = field(default_factory=ScanPatience)

    def require_clean(self, ecr: Any, images: Iterable[ScannedImage]) -> ScanReport:
        """Return the report if the scan of every image is acceptable; raise PromotionRefusedError otherwise."""
        judgements = []
        for image in images:
            answer = self.patience.wait_for(image, lambda: read_scan(ecr, image))  # noqa: B023  # called at once
            judgements.append(self.judge(ScanResult.parse(answer), image))
        return self.conclude(judgements)

    def judge(self, result: ScanResult, image: ScannedImage) -> _Judgement:
        if result.status in SCANNING:
            raise _refused(f"the scan of {image} is not over", "promote when it is", image)
        if result.status not in SCANNED or result.findings is None:
            return self._unjudged(result, image)
        counted = [each for each in result.findings if self._counts(each.severity)]
        unlisted = {name: count for name, count in result.unlisted.items() if self._counts(name)}
        findings = tuple(self._decide(each, image) for each in counted)
        return _Judgement(image=image, findings=findings, unlisted=unlisted)

    def _counts(self, severity: str) -> bool:
        return SEVERITIES.index(severity) >= SEVERITIES.index(self.settings.refuse_findings)

    def _decide(self, finding: ScanFinding, image: ScannedImage) -> JudgedFinding:
        waiver = self.waivers.valid(CVE, finding.cve)
        is_accepted = finding.fix is Fix.NONE and not self.settings.refuse_unfixed
        decision = Decision.WAIVED if waiver else Decision.UNFIXED if is_accepted else Decision.REFUSED
        return JudgedFinding(image=image.image, finding=finding, decision=decision, waiver=waiver)

    def _unjudged(self, result: ScanResult, image: ScannedImage) -> _Judgement:
        """Return the waiver of a scan without a result; raise PromotionRefusedError without one."""
        status = result.status
        waiver = self.waivers.valid(SCAN_STATUS, status) if status in WAIVABLE_STATUSES else None
        if waiver is not None:
            return _Judgement(image=image, unjudged=waiver)
        said = f"{status} {result.description}".strip()
        if status == NOT_SCANNED:
            problem = f"{image} was not scanned"
        elif status in SCANNED:
            problem = f"the scan of {image} is {status}, and ECR gives no findings, not even an empty list"
        else:
            problem = f"the scan of {image} failed: {said or 'ECR gives no status'}"
        remedy = _REMEDIES.get(status, "scan it")
        accept = (
            f", accept it for a time ({_waiver_of(SCAN_STATUS, status)})"
            if status in WAIVABLE_STATUSES
            else ""
        )
        raise _refused(
            f"{problem}; what is in it is not known",
            f"{remedy} (`{_aws('start-image-scan', image)}`){accept}, or ask for no scan: "
            'refuse_findings = "NONE" in environment.toml',
            image,
        )

    def conclude(self, judgements: list[_Judgement]) -> ScanReport:
        findings = tuple(each for judgement in judgements for each in judgement.findings)
        report = ScanReport(
            findings=findings,
            unjudged=tuple((str(each.image), each.unjudged) for each in judgements if each.unjudged),
        )
        bad = next((each for each in judgements if each.refused), None)
        if bad is not None:
            raise self._refusal(bad, report)
        used = [
            *(waiver for each in findings for waiver in self.waivers.matching(CVE, each.finding.cve)),
            *(waiver for _, waiver in report.unjudged),
        ]
        problems = self.waivers.problems(used)
        blocking = next((problem for problem in problems if problem.blocking), None)
        if blocking is not None and judgements:
            raise _refused(blocking.message, blocking.fix, judgements[0].image, report)
        warnings = tuple(f"{problem.message}: {problem.fix}" for problem in problems)
        return ScanReport(findings=findings, unjudged=report.unjudged, warnings=warnings)

    def _refusal(self, judgement: _Judgement, report: ScanReport) -> PromotionRefusedError:
        refused = judgement.refused_findings
        total = Counter(finding.severity for finding in refused) + Counter(judgement.unlisted)
        counts = ", ".join(f"{total[name]} {name}" for name in reversed(SEVERITIES) if total[name])
        named = sorted({str(finding) for finding in refused})
        more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
        listed = f"; {', '.join(named[:_MOST_NAMED])}{more}" if named else ""
        expired = next(iter(self._expired(refused)), None)
        late = f"; {expired} expired on {expired.expires}" if expired else ""
        unfixed = sum(finding.fix is Fix.NONE for finding in refused)
        without = f"; no fix is available for {unfixed} of them" if unfixed else ""
        example = refused[0].cve if refused else "CVE-2026-1234"
        return _refused(
            f"the scan of {judgement.image} has findings of {self.settings.refuse_findings} or above: "
            f"{counts}{without}{listed}{late}",
            f"fix them and release again, or accept one for a time ({_waiver_of(CVE, example)}); "
            f"`{_aws('describe-image-scan-findings', judgement.image)}` lists them",
            judgement.image,
            report,
        )

    def _expired(self, findings: Iterable[ScanFinding]) -> Iterable[ImageWaiver]:
        return (waiver for each in findings for waiver in self.waivers.matching(CVE, each.cve))


@dataclass(frozen=True, kw_only=True)
class _Judgement:
    """The decisions about one image. `unlisted` counts refused findings that ECR did not list, so that no waiver applies."""

    image: ScannedImage
    findings: tuple[JudgedFinding, ...] = ()
    unlisted: Mapping[str, int] = field(default_factory=dict)
    unjudged: ImageWaiver | None = None

    @property
    def refused_findings(self) -> list[ScanFinding]:
        return [each.finding for each in self.findings if each.decision is Decision.REFUSED]

    @property
    def refused(self) -> bool:
        return bool(self.refused_findings or self.unlisted)


def require_clean_scans(
    ecr: Any,
    *,
    digest: str,
    repository: str,
    environment: str,
    settings: PromotionSettings,
    waivers: ImageWaivers | None = None,
    patience: ScanPatience | None = None,
) -> ScanReport:
    """Return the report if every image that `digest` may resolve to has an acceptable scan; raise PromotionRefusedError."""
    gate = ScanGate(settings=settings, waivers=waivers or ImageWaivers(), patience=patience or ScanPatience())
    index = ImageIndex(ecr=ecr, digest=digest, repository=repository, environment=environment)
    return gate.require_clean(ecr, index.images())


def require_clean(
    scan: Mapping[str, Any] | None, image: ScannedImage, *, settings: PromotionSettings
) -> None:
    """Raise PromotionRefusedError if the scan found too much, failed or is missing. `scan` is ECR's answer or None."""
    gate = ScanGate(settings=settings)
    gate.conclude([gate.judge(ScanResult.parse(scan), image)])


def _waiver_of(kind: str, value: str) -> str:
    return f'`{kind} = "{value}"` in a [[waiver]] of policy/waivers.toml'


def _aws(action: str, image: ScannedImage) -> str:
    return (
        f"aws ecr {action} --repository-name {shlex.quote(image.repository)} "
        f"--image-id imageDigest={shlex.quote(image.image)}"
    )


def _refused(
    message: str, hint: str, image: ScannedImage, report: ScanReport | None = None
) -> PromotionRefusedError:
    findings = report.to_document() if report is not None else []
    return PromotionRefusedError(message, hint=hint, digest=image.digest, findings=findings)
