"""The verdict on a rehearsal: whether it kept the scenario's promise. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from mclass_tf.rehearsal.causes import KILLED, attribute
from mclass_tf.rehearsal.diagnosis import Diagnosis, diagnose
from mclass_tf.rehearsal.result import COMPARED, Exposure, Rehearsal

PASSED = "passed"
FAILED = "failed"
INCONCLUSIVE = "inconclusive"

NONE = "none"
IN_FLIGHT = "in flight on a task that died"
SOME = "some"
NEW_VERSION = "answered by the new version"

NOBODY = "nobody"
BOUNDED = "bounded"

# A phase with fewer requests proves little.
_MIN_REQUESTS = 20
# Kinds of failure that a slow sender may have caused itself.
_SENDERS_OWN = frozenset(["timeout", "not_sent"])


@dataclass(frozen=True, kw_only=True)
class Expected:
    """The required result of a rehearsal.

    `release`: "released", "failed", or "" if nothing is released. `failed_requests`: NONE, IN_FLIGHT, SOME or NEW_VERSION.
    `met_by` is who may reach a version that was rolled back: NOBODY, or no more than the strategy allows (BOUNDED). `causes`:
    alternatives, one of which the message of the failed release must contain. `finding`: the cause that must be named first.
    `replaced`: a lost task must have been replaced.
    """

    release: str = "released"
    failed_requests: str = NONE
    causes: tuple[str, ...] = ()
    finding: str = ""
    replaced: bool = False
    met_by: str = ""


@dataclass(frozen=True, kw_only=True)
class RehearsalVerdict:
    """`outcome` is PASSED, FAILED or INCONCLUSIVE. `reasons` explain why it did not pass.

    `killed` separately counts the failed requests on a task that died.
    """

    outcome: str
    reasons: tuple[str, ...]
    findings: tuple[Diagnosis, ...]
    killed: int

    @property
    def passed(self) -> bool:
        return self.outcome == PASSED


def judge(rehearsal: Rehearsal, expected: Expected) -> RehearsalVerdict:
    """Return the verdict."""
    findings = diagnose(rehearsal)
    killed = attribute(rehearsal).count(KILLED)
    missing = tuple(_missing(rehearsal, expected, findings=findings, killed=killed))
    doubts = tuple(_doubts(rehearsal, expected))
    if missing and not (doubts and _only_senders_own(rehearsal, expected)):
        outcome, reasons = FAILED, missing
    elif doubts:
        outcome, reasons = INCONCLUSIVE, doubts
    else:
        outcome, reasons = PASSED, ()
    return RehearsalVerdict(outcome=outcome, reasons=reasons, findings=findings, killed=killed)


def _missing(
    rehearsal: Rehearsal, expected: Expected, *, findings: tuple[Diagnosis, ...], killed: int
) -> Iterator[str]:
    yield from _missing_release(rehearsal, expected)
    failures = rehearsal.load.failures
    if expected.failed_requests == NONE and failures:
        yield f"{failures:,} of {rehearsal.load.sent:,} requests failed, and none was to fail"
    if expected.failed_requests == IN_FLIGHT and failures > killed:
        yield f"{failures - killed} requests failed that were not in flight on the task that died"
    yield from _missing_exposure(rehearsal, expected)
    yield from _false_statements(rehearsal)
    if expected.failed_requests == SOME and not failures:
        yield "no request failed: the protection was not missed"
    if expected.finding and (not findings or findings[0].cause != expected.finding):
        named = findings[0].cause if findings else "nothing"
        yield f"the diagnosis names {named}, not {expected.finding}"
    if expected.replaced and not _was_replaced(rehearsal):
        yield "the task that was lost was not replaced"


def _missing_exposure(rehearsal: Rehearsal, expected: Expected) -> Iterator[str]:
    exposure, failures = rehearsal.exposure, rehearsal.load.failures
    if exposure is None:
        return
    if expected.failed_requests == NEW_VERSION and failures > exposure.failed:
        yield f"{failures - exposure.failed} requests failed that the new version did not answer"
    if expected.met_by == NOBODY and (exposure.requests or exposure.balancer_requests):
        yield f"{max(exposure.requests, exposure.balancer_requests or 0)} production requests reached the new version"
    if expected.met_by == BOUNDED:
        if not exposure.failed:
            yield "no user met an error of the new version: it was not seen under traffic"
        if exposure.share > _max_share(exposure):
            yield f"{exposure.share:.1%} of the requests met the new version, the strategy gives it {exposure.limit:.1%}"


def _false_statements(rehearsal: Rehearsal) -> Iterator[str]:
    """False statements by the command that resumed a killed one."""
    killed = rehearsal.killed
    if killed is None:
        return
    if not killed.serves_what_it_says:
        yield f"`release --resume` says {killed.outcome!r}, and something else serves"
    if not killed.record_is_true:
        yield "the ledger does not say that the attempt was cut off, and what came of it"
    if not killed.is_plan_empty:
        yield "Terraform's plan is not empty after it"


def _max_share(exposure: Exposure) -> float:
    """Return the largest share explained by chance: the limit, three standard deviations, and one request."""
    if not exposure.sent:
        return 1.0
    deviation = math.sqrt(exposure.limit * (1 - exposure.limit) / exposure.sent)
    return exposure.limit + 3 * deviation + 1 / exposure.sent


def _missing_release(rehearsal: Rehearsal, expected: Expected) -> Iterator[str]:
    release = rehearsal.release
    if not expected.release or release is None:
        return
    if release.outcome != expected.release:
        cause = f": {release.cause or release.error}" if release.cause or release.error else ""
        yield f"the release {_OUTCOME_WORDS.get(release.outcome, release.outcome)}{cause}"
    elif expected.causes and not any(
        words.lower() in f"{release.cause} {release.error}".lower() for words in expected.causes
    ):
        yield f"the release does not name its cause ({expected.causes[0]}): {release.cause or 'it names none'}"
    if release.outcome == "released" and release.verified is False:
        yield "the new version serves, and the environment is not as its outputs say: it is not proven"
    if release.outcome == "failed" and expected.release == "failed" and not _old_serves(rehearsal):
        yield "the old version does not serve any more"


_OUTCOME_WORDS = {"released": "succeeded", "failed": "failed", "unchanged": "had nothing to do"}


def _old_serves(rehearsal: Rehearsal) -> bool:
    release = rehearsal.release
    last = next((sample for sample in reversed(rehearsal.load.samples) if sample.versions), None)
    return last is not None and release is not None and set(last.versions) == {release.old_version}


def _was_replaced(rehearsal: Rehearsal) -> bool:
    if not rehearsal.incidents:
        return False
    since = min(incident.at for incident in rehearsal.incidents)
    return any(task.created_at >= since and task.healthy_at is not None for task in rehearsal.tasks)


def _doubts(rehearsal: Rehearsal, expected: Expected) -> Iterator[str]:
    load = rehearsal.load
    if load.sender.is_behind and expected.failed_requests != SOME:
        yield f"the load was not sent as it should have been: {load.sender.why}; the machine is too busy for this rate"
    for name in COMPARED:
        phase = load.phase(name)
        if phase is None or phase.sent < _MIN_REQUESTS:
            yield f"too few requests in the phase {name!r}: {0 if phase is None else phase.sent}"
    release = rehearsal.release
    if expected.release == "released" and release is not None and release.outcome == "released":
        seen = {version for sample in load.samples for version in sample.versions}
        if release.new_version not in seen:
            yield f"no answer came from the new version ({release.new_version})"


def _only_senders_own(rehearsal: Rehearsal, expected: Expected) -> bool:
    release = rehearsal.release
    released = release is None or not expected.release or release.outcome == expected.release
    return (
        released
        and rehearsal.load.sender.is_behind
        and expected.failed_requests in {NONE, NEW_VERSION}
        and set(rehearsal.load.by_kind) <= _SENDERS_OWN | _own_errors(rehearsal, expected)
    )


def _own_errors(rehearsal: Rehearsal, expected: Expected) -> set[str]:
    """The failure kinds that occurred only at the new version, if failures of it are expected."""
    release = rehearsal.release
    if expected.failed_requests != NEW_VERSION or release is None:
        return set()
    own = {request.kind for request in rehearsal.load.failed if request.version == release.new_version}
    others = {request.kind for request in rehearsal.load.failed if request.version != release.new_version}
    return own - others
