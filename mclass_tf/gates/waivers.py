"""The waivers of policy/waivers.toml, which accept findings for a limited time, with a reason."""

from __future__ import annotations

import datetime as dt
import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from mclass_tf.errors import ConfigurationError
from mclass_tf.gates.image_waivers import CVE, SCAN_STATUS, WAIVABLE_STATUSES, ImageWaiver
from mclass_tf.gates.verdict import Finding, Problem, WaivedFinding, Waiver
from mclass_tf.lines import line_of, parse_toml

FILE: Final = "waivers.toml"

MAX_DURATION: Final = dt.timedelta(days=366)

_KEYS_OF_ALL: Final = ("environments", "reason", "expires")
_KEYS: Final = ("check", "resource", *_KEYS_OF_ALL)
_CHECK: Final = re.compile(r"[A-Z]+[A-Z0-9]*(_[A-Z0-9]+)*_\d+")
_RESOURCE: Final = re.compile(r"[a-z0-9_.*?-]*[a-z0-9]_[a-z0-9_]*\.[a-z0-9_*?-]+", re.IGNORECASE)
_INDEX: Final = re.compile(r'\[(?:\d+|"(?:[^"\\]|\\.)*")\]')
_MIN_REASON_WORDS: Final = 4
# Ids of advisories: CVE-2026-1234, GHSA-xxxx-xxxx-xxxx, ALAS2023-2026-001.
_IMAGE_KINDS: Final[Mapping[str, re.Pattern[str]]] = {
    CVE: re.compile(r"[A-Za-z][A-Za-z0-9]*(-[A-Za-z0-9.:]+)+"),
    SCAN_STATUS: re.compile("|".join(WAIVABLE_STATUSES)),
}
_OTHER_KINDS: Final = "; of an image: cve or scan_status in place of check and resource"


def without_index(address: str) -> str:
    """Return a resource address as waivers name it: `module.a.aws_b.c["d"]` is `module.a.aws_b.c`."""
    return _INDEX.sub("", address)


def load(project: Path, *, environments: Iterable[str], today: dt.date) -> tuple[Waiver, ...]:
    """Read the waivers of plans. A missing file means none. Raise ConfigurationError with file, line and key."""
    read = _load(project, environments=environments, today=today)
    return tuple(waiver for waiver in read if isinstance(waiver, Waiver))


def load_image_waivers(
    project: Path, *, environments: Iterable[str], today: dt.date
) -> tuple[ImageWaiver, ...]:
    """Read the waivers of images. A missing file means none. Raise ConfigurationError with file, line and key."""
    read = _load(project, environments=environments, today=today)
    return tuple(waiver for waiver in read if isinstance(waiver, ImageWaiver))


def _load(project: Path, *, environments: Iterable[str], today: dt.date) -> tuple[Waiver | ImageWaiver, ...]:
    file = project / "policy" / FILE
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot be read: {error}", file=file) from None
    document = parse_toml(text, file=file)
    known = frozenset(environments)
    reader = _WaiverParser(file=file, text=text, known=known, today=today)
    return reader.read(document)


@dataclass(frozen=True, kw_only=True)
class _WaiverParser:
    file: Path
    text: str
    known: frozenset[str]
    today: dt.date

    def read(self, document: Mapping[str, Any]) -> tuple[Waiver | ImageWaiver, ...]:
        for key in document:
            if key != "waiver":
                self._reject(
                    key, "is not known here", "the file is a list of [[waiver]] tables", line=self._line(key)
                )
        entries = document.get("waiver", [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            self._reject(
                "waiver",
                "is not a list of tables",
                "start each one with [[waiver]]",
                line=self._line("waiver"),
            )
        starts = [n for n, line in enumerate(self._lines, 1) if re.match(r"\s*\[\[\s*waiver\s*\]\]", line)]
        return tuple(
            self._waiver(entry, starts[index] if index < len(starts) else 1)
            for index, entry in enumerate(entries)
        )

    def _waiver(self, entry: Mapping[str, Any], start: int) -> Waiver | ImageWaiver:
        kind = next((kind for kind in _IMAGE_KINDS if kind in entry), "")
        keys = (kind, *_KEYS_OF_ALL) if kind else _KEYS
        for key in entry:
            if key not in keys:
                self._reject(
                    key,
                    f"is not a key of a waiver{f' of {kind}' if kind else ''}",
                    f"keys: {', '.join(keys)}{'' if kind else _OTHER_KINDS}",
                    line=self._line(key, start),
                )
        for key in keys:
            if key not in entry:
                self._reject(key, "is missing", _RULES[key], line=start)
        return self._image_waiver(entry, kind, start) if kind else self._plan_waiver(entry, start)

    def _image_waiver(self, entry: Mapping[str, Any], kind: str, start: int) -> ImageWaiver:
        return ImageWaiver(
            kind=kind,
            value=self._matching(entry, kind, _IMAGE_KINDS[kind], start),
            environments=self._environments(entry, start),
            reason=self._reason(entry, start),
            expires=self._expires(entry, start),
            file=f"policy/{self.file.name}",
            line=start,
        )

    def _plan_waiver(self, entry: Mapping[str, Any], start: int) -> Waiver:
        return Waiver(
            check=self._matching(entry, "check", _CHECK, start),
            resource=self._matching(entry, "resource", _RESOURCE, start),
            environments=self._environments(entry, start),
            reason=self._reason(entry, start),
            expires=self._expires(entry, start),
            file=f"policy/{self.file.name}",
            line=start,
        )

    def _matching(self, entry: Mapping[str, Any], key: str, pattern: re.Pattern[str], start: int) -> str:
        value = entry[key]
        if not isinstance(value, str) or not pattern.fullmatch(value):
            self._reject_value(key, value, start)
        return value

    def _environments(self, entry: Mapping[str, Any], start: int) -> tuple[str, ...]:
        value = entry["environments"]
        if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
            self._reject_value("environments", value, start)
        for name in value:
            if name not in self.known:
                known = ", ".join(sorted(self.known)) or "none"
                self._reject(
                    "environments",
                    f"names {name!r}, which is no environment",
                    f"known environments: {known}",
                    line=self._line("environments", start),
                )
        return tuple(value)

    def _reason(self, entry: Mapping[str, Any], start: int) -> str:
        value = entry["reason"]
        if not isinstance(value, str) or len(value.split()) < _MIN_REASON_WORDS:
            self._reject_value("reason", value, start)
        return value.strip()

    def _expires(self, entry: Mapping[str, Any], start: int) -> dt.date:
        value = entry["expires"]
        if not isinstance(value, dt.date) or isinstance(value, dt.datetime):
            self._reject_value("expires", value, start)
        if value > self.today + MAX_DURATION:
            self._reject(
                "expires",
                f"is {value}, more than twelve months ahead",
                f"a waiver is looked at again every year: at most {self.today + MAX_DURATION}",
                line=self._line("expires", start),
            )
        return value

    @property
    def _lines(self) -> list[str]:
        return self.text.splitlines()

    def _line(self, key: str, start: int | None = None) -> int:
        """Return the line of `key`, in the table that begins at `start` if given; `start` if it is not found."""
        return line_of(self.text, key, table=start) or start or 1

    def _reject_value(self, key: str, value: object, start: int) -> NoReturn:
        self._reject(key, f"is {value!r}", _RULES[key], line=self._line(key, start))

    def _reject(self, key: str, problem: str, hint: str, *, line: int) -> NoReturn:
        raise ConfigurationError(f"{key} {problem}", hint=hint, file=self.file, line=line, key=key)


_RULES: Final[Mapping[str, str]] = {
    CVE: 'cve is the id of one vulnerability, as the scan names it, such as "CVE-2026-1234"',
    SCAN_STATUS: f"scan_status is the end of a scan that gave no result: one of {', '.join(WAIVABLE_STATUSES)}",
    "check": 'check is the id of one rule, such as "CKV_AWS_91" or "CKV2_MCLASS_1"',
    "resource": (
        "resource is an address without index that names a resource type; * stands for any text: "
        '"module.alb.aws_lb.this" or "*aws_lb_target_group.*"'
    ),
    "environments": 'environments is a list of at least one environment: ["dev"]',
    "reason": "reason is a sentence that says why the finding is acceptable there",
    "expires": "expires is a date without quotes, at most twelve months ahead: 2027-06-30",
}


@dataclass(frozen=True, kw_only=True)
class AppliedWaivers:
    failed: tuple[Finding, ...]
    waived: tuple[WaivedFinding, ...]
    problems: tuple[Problem, ...]


def apply(
    waivers: Sequence[Waiver], *, findings: Iterable[Finding], environment: str, today: dt.date
) -> AppliedWaivers:
    """Sort findings into failed and waived. An expired waiver excuses nothing and blocks; an unused one is a warning."""
    here = [waiver for waiver in waivers if environment in waiver.environments]
    used: set[Waiver] = set()
    failed: list[Finding] = []
    waived: list[WaivedFinding] = []
    for finding in findings:
        matching = [waiver for waiver in here if _matches(waiver, finding)]
        used.update(matching)
        valid = next((waiver for waiver in matching if waiver.expires >= today), None)
        if valid is None:
            failed.append(finding)
        else:
            waived.append(WaivedFinding(finding=finding, waiver=valid))
    problems = [_expired(waiver, used=waiver in used) for waiver in here if waiver.expires < today]
    problems += [_unused(waiver) for waiver in here if waiver.expires >= today and waiver not in used]
    return AppliedWaivers(failed=tuple(failed), waived=tuple(waived), problems=tuple(problems))


def _matches(waiver: Waiver, finding: Finding) -> bool:
    return waiver.check == finding.check and fnmatch.fnmatchcase(
        without_index(finding.resource), waiver.resource
    )


def _expired(waiver: Waiver, *, used: bool) -> Problem:
    todo = (
        "fix the finding and delete the waiver, or give it a new reason and date"
        if used
        else "it matches nothing any more: delete it"
    )
    return Problem(
        message=f"{waiver.file}:{waiver.line}: the waiver of {waiver.check} on {waiver.resource} "
        f"expired on {waiver.expires}",
        fix=todo,
        blocking=True,
    )


def _unused(waiver: Waiver) -> Problem:
    return Problem(
        message=f"{waiver.file}:{waiver.line}: the waiver of {waiver.check} on {waiver.resource} matches nothing",
        fix="delete it, or remove this environment from it",
        blocking=False,
    )
