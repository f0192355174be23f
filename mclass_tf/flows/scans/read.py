"""Reads the scan of an image: all pages of its findings, after a scan that is still running has ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mclass_tf.aws import error_code
from mclass_tf.flows.scans.index import ScannedImage
from mclass_tf.flows.scans.result import LISTS, SCANNING

_FIRST_WAIT, _LONGEST_WAIT, _GROWTH = 5.0, 30.0, 1.5  # seconds
_MOST_PAGES: Final = 1000


def _ignore(_: str) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class ScanPatience:
    """How long a running scan is waited for. A basic scan takes seconds; a first enhanced one takes minutes."""

    seconds: float = 600.0
    sleep: Callable[[float], None] = time.sleep
    report: Callable[[str], None] = _ignore

    def wait_for(self, image: ScannedImage, read: Callable[[], Mapping[str, Any] | None]) -> Any:
        """Return the answer of `read` when the scan has ended, or the last one after `seconds`."""
        answer, waited, pause = read(), 0.0, _FIRST_WAIT
        while _is_running(answer) and waited < self.seconds:
            if not waited:
                self.report(f"waiting for the scan of {image}, at most {self.seconds:g} s")
            self.sleep(pause)
            waited += pause
            pause = min(pause * _GROWTH, _LONGEST_WAIT)
            answer = read()
        return answer


def _is_running(answer: Mapping[str, Any] | None) -> bool:
    return answer is not None and (answer.get("imageScanStatus") or {}).get("status") in SCANNING


def read_scan(ecr: Any, image: ScannedImage) -> Mapping[str, Any] | None:
    """Return ECR's answer with the findings of all pages, None if the image was never scanned."""
    request = {"repositoryName": image.repository, "imageId": {"imageDigest": image.image}}
    try:
        answer = dict(ecr.describe_image_scan_findings(**request))
        pages = [answer]
        while (token := pages[-1].get("nextToken")) and len(pages) < _MOST_PAGES:
            pages.append(ecr.describe_image_scan_findings(**request, nextToken=token))
    except Exception as error:
        if error_code(error) != "ScanNotFoundException":
            raise
        return None
    if len(pages) > 1:
        found = [page.get("imageScanFindings") or {} for page in pages]
        joined = {key: [each for own in found for each in own.get(key) or ()] for key in LISTS}
        answer["imageScanFindings"] = {**found[0], **joined}
    return answer
