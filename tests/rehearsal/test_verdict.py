"""The verdict: what is required, what happened, and what makes a result inconclusive."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mclass_tf.rehearsal import causes
from mclass_tf.rehearsal.result import (
    BalancerFailure,
    Incident,
    Rehearsal,
    ReleaseResult,
    TargetState,
    TaskTimeline,
    TimelineEvent,
)
from mclass_tf.rehearsal.verdict import IN_FLIGHT, SOME, Expected, judge
from tests.rehearsal import samples
from tests.rehearsal.samples import START, balancer_failure, failed_request, load, rehearsal, task

FAILED_RELEASE = ReleaseResult(
    outcome="failed",
    digest=f"sha256:{'b' * 64}",
    cause="tasks failed to start: CannotPullContainerError",
    exit_code=6,
    old_version=samples.OLD,
    new_version=samples.NEW,
)


def with_failures(*failures: BalancerFailure, tasks: tuple[TaskTimeline, ...] = ()) -> Rehearsal:
    """A rehearsal in which the load balancer reported these failures, and the sender saw each of them."""
    failed = tuple(
        failed_request(failure.at - START, kind=f"http_{failure.status}", path=failure.path)
        for failure in failures
    )
    return replace(
        rehearsal(), load=load(failed=failed), balancer_failures=failures, tasks=tasks or samples.tasks()
    )


def old_samples(found: Rehearsal) -> Rehearsal:
    """Let only the old version answer."""
    told_by_old = tuple(replace(sample, versions={samples.OLD: sample.sent}) for sample in found.load.samples)
    return replace(found, load=replace(found.load, samples=told_by_old))


def test_a_release_without_a_failed_request_passes() -> None:
    verdict = judge(rehearsal(), Expected())

    assert (verdict.outcome, verdict.reasons, verdict.findings) == ("passed", (), ())


def test_one_failed_request_is_enough_to_fail() -> None:
    verdict = judge(with_failures(balancer_failure(50, reason="closed_in_flight")), Expected())

    assert verdict.outcome == "failed"
    assert "1 of 18,000 requests failed" in verdict.reasons[0]


def test_a_failed_release_does_not_pass_even_if_no_request_failed() -> None:
    verdict = judge(replace(rehearsal(), release=FAILED_RELEASE), Expected())

    assert verdict.outcome == "failed"
    assert "CannotPullContainerError" in verdict.reasons[0]


@pytest.mark.parametrize(
    ("reason", "status", "draining", "cause"),
    [
        ("deregistration_delay", 502, True, causes.DEREGISTRATION_DELAY),
        ("idle_timeout", 504, False, causes.IDLE_TIMEOUT),
        ("closed_while_idle", 502, False, causes.KEEP_ALIVE),
        ("closed_in_flight", 502, True, causes.DEREGISTRATION_DELAY),
        ("closed_in_flight", 502, False, causes.NO_ANSWER),
        ("answer_cut_off", 200, True, causes.DEREGISTRATION_DELAY),
        ("answer_cut_off", 200, False, causes.ANSWER_CUT_OFF),
        ("connection_refused", 502, False, causes.UNKNOWN),
        ("malformed_response", 502, False, causes.SERVICE),
    ],
)
def test_a_failure_at_a_living_task_is_attributed_by_the_load_balancers_reason(
    reason: str, status: int, *, draining: bool, cause: str
) -> None:
    failure = balancer_failure(
        40, reason=reason, status=status, is_draining=draining, target="10.10.1.12:3000"
    )
    serving = (task(12),)

    assert causes.attribute(with_failures(failure, tasks=serving)) == (cause,)


@pytest.mark.parametrize(
    "reason", ["connection_refused", "closed_in_flight", "closed_while_idle", "answer_cut_off"]
)
def test_a_task_that_got_sigterm_before_it_left_the_load_balancer_lacks_a_lame_duck(reason: str) -> None:
    stopped = task(10, draining=40.2, stopping=40, stopped=40.1, stop_code="UserInitiated", exit_code=143)

    assert causes.attribute(with_failures(balancer_failure(40.1, reason=reason), tasks=(stopped,))) == (
        causes.LAME_DUCK,
    )


def test_a_task_that_the_scheduler_drained_before_it_ended_had_too_short_a_delay() -> None:
    stopped = task(10, draining=40, stopping=42, stopped=43, stop_code="ServiceSchedulerInitiated")

    found = causes.attribute(with_failures(balancer_failure(43, reason="closed_in_flight"), tasks=(stopped,)))

    assert found == (causes.DEREGISTRATION_DELAY,)


def test_what_was_at_a_task_that_was_killed_is_counted_apart() -> None:
    killed = task(10, stopping=40, stopped=40.1, stop_code="EssentialContainerExited", exit_code=137)
    replacement = task(14, created=41, healthy=48)
    found = replace(
        with_failures(
            balancer_failure(39.9, reason="closed_in_flight"),
            balancer_failure(40.2, reason="connection_refused"),
            tasks=(killed, replacement),
        ),
        incidents=(Incident(at=START + 39.9, kind="killed", task=killed.id),),
        release=None,
    )
    expected = Expected(release="", failed_requests=IN_FLIGHT, replaced=True)

    verdict = judge(found, expected)

    assert (verdict.outcome, verdict.killed) == ("passed", 2)
    assert [finding.cause for finding in verdict.findings] == [causes.KILLED]


def test_a_failure_elsewhere_is_not_excused_by_a_task_that_was_killed() -> None:
    killed = task(10, stopping=40, stopped=40.1, stop_code="EssentialContainerExited", exit_code=137)
    other = task(11)
    failures = (
        balancer_failure(39.9, reason="closed_in_flight"),
        balancer_failure(40, reason="closed_while_idle", target="10.10.1.11:3000", path="/"),
    )
    found = replace(
        with_failures(*failures, tasks=(killed, other)),
        incidents=(Incident(at=START + 39.9, kind="killed", task=killed.id),),
        release=None,
    )

    verdict = judge(found, Expected(release="", failed_requests=IN_FLIGHT, replaced=True))

    assert verdict.outcome == "failed"
    assert verdict.killed == 1
    assert any("were not in flight" in reason for reason in verdict.reasons)
    assert any("not replaced" in reason for reason in verdict.reasons)


def test_what_failed_at_a_task_before_it_was_killed_is_not_excused_by_its_death() -> None:
    killed = task(10, stopping=40, stopped=40.1, stop_code="EssentialContainerExited", exit_code=137)
    found = replace(
        with_failures(
            balancer_failure(35, reason="closed_while_idle"),
            balancer_failure(50, reason="connection_refused"),
            tasks=(killed,),
        ),
        incidents=(Incident(at=START + 40, kind="killed", task=killed.id),),
        release=None,
    )

    assert causes.KILLED not in causes.attribute(found)


def test_an_address_that_is_used_again_belongs_to_the_task_that_has_it_then() -> None:
    before = task(10, created=-60, stopping=20, stopped=21, stop_code="UserInitiated", exit_code=0)
    after = task(10, created=30, healthy=35)

    found = causes.attribute(
        with_failures(balancer_failure(45, reason="closed_while_idle"), tasks=(before, after))
    )

    assert found == (causes.KEEP_ALIVE,)


def test_no_target_at_all_is_the_minimum_percents_doing_where_it_allows_that() -> None:
    found = samples.without_minimum()
    verdict = judge(found, Expected(failed_requests=SOME, finding=causes.MINIMUM_PERCENT))

    assert verdict.outcome == "passed"
    (finding,) = verdict.findings
    assert (finding.cause, finding.failed) == (causes.MINIMUM_PERCENT, 200)
    assert "minimum healthy percent" in finding.advice
    with_minimum = replace(found, settings=samples.SETTINGS)
    assert set(causes.attribute(with_minimum)) == {causes.UNKNOWN}


def test_a_request_that_a_starting_task_refused_came_there_for_want_of_another() -> None:
    starting = task(12, created=32, healthy=45)
    failure = balancer_failure(40, reason="connection_refused", target="10.10.1.12:3000")
    settings = replace(samples.SETTINGS, minimum_healthy_percent=0)

    found = replace(with_failures(failure, tasks=(starting,)), settings=settings)

    assert causes.attribute(found) == (causes.MINIMUM_PERCENT,)


def _killed_by_check(number: int, *states: TargetState) -> TaskTimeline:
    return task(
        number,
        created=30,
        stopping=38,
        stopped=39,
        stop_code="ServiceSchedulerInitiated",
        reason="Task failed ELB health checks in (target-group arn:aws:…)",
        states=states,
    )


def test_tasks_that_health_checks_killed_while_they_started_lacked_a_grace_period() -> None:
    starting = _killed_by_check(
        12, TargetState(at=START + 32, state="unhealthy", reason="Target.FailedHealthChecks")
    )
    failures = (balancer_failure(50, reason="no_targets", status=503, target=""),)
    settings = replace(samples.SETTINGS, grace_period=0)
    found = replace(with_failures(*failures, tasks=(starting,)), settings=settings, release=None)

    verdict = judge(found, Expected(release="", failed_requests=SOME, finding=causes.GRACE_PERIOD))

    assert verdict.outcome == "passed"
    assert "it is 0 s" in verdict.findings[0].advice
    assert "while still starting after 68 s of AWS's time" in verdict.findings[0].text


def test_a_task_that_answers_its_health_checks_badly_is_sick_and_not_slow() -> None:
    sick = _killed_by_check(
        12, TargetState(at=START + 32, state="unhealthy", reason="Target.ResponseCodeMismatch")
    )

    assert causes.killed_while_starting(replace(rehearsal(), tasks=(sick,))) == ()


def test_a_task_from_which_nothing_comes_back_is_behind_a_closed_security_group() -> None:
    closed = _killed_by_check(12, TargetState(at=START + 32, state="unhealthy", reason="Target.Timeout"))
    found = old_samples(replace(rehearsal(), release=FAILED_RELEASE, tasks=(closed,)))

    verdict = judge(found, Expected(release="failed", finding=causes.SECURITY_GROUP))

    assert verdict.outcome == "passed"
    assert causes.GRACE_PERIOD not in {finding.cause for finding in verdict.findings}


def test_what_ecs_alone_saw_of_a_target_counts_too() -> None:
    """A target may be unhealthy for less than the time between two polls."""
    closed = _killed_by_check(12)
    said = f"(service s) (task {closed.id}) (port 3000) is unhealthy in (target-group g) due to (reason Request timed out)."
    sick = f"(service s) (task {closed.id}) is unhealthy due to (reason Health checks failed with these codes: [503])."
    found = replace(
        rehearsal(), tasks=(closed,), events=(TimelineEvent(at=START, source="ecs", message=said),)
    )

    assert causes.unreachable_tasks(found) == (closed,)
    assert causes.killed_while_starting(found) == ()
    ill = replace(found, events=(TimelineEvent(at=START, source="ecs", message=sick),))
    assert causes.killed_while_starting(ill) == causes.unreachable_tasks(ill) == ()


def test_a_bad_version_passes_where_the_release_fails_by_name_and_the_old_one_serves() -> None:
    found = old_samples(replace(rehearsal(), release=FAILED_RELEASE))
    expected = Expected(release="failed", causes=("cannotpull",))

    assert judge(found, expected).outcome == "passed"


@pytest.mark.parametrize(
    ("expected", "reason"),
    [
        (Expected(release="failed", causes=("OutOfMemory",)), "does not name its cause"),
        (Expected(release="released"), "the release failed"),
        (Expected(release="failed", failed_requests=SOME), "no request failed"),
        (Expected(release="failed", finding=causes.LAME_DUCK), "names nothing, not lame-duck"),
    ],
)
def test_what_is_missing_is_named(expected: Expected, reason: str) -> None:
    verdict = judge(old_samples(replace(rehearsal(), release=FAILED_RELEASE)), expected)

    assert verdict.outcome == "failed"
    assert reason in verdict.reasons[0]


def test_a_failed_release_after_which_the_new_version_answers_is_no_pass() -> None:
    verdict = judge(replace(rehearsal(), release=FAILED_RELEASE), Expected(release="failed"))

    assert verdict.reasons == ("the old version does not serve any more",)


def test_a_sender_that_was_behind_makes_a_pass_inconclusive() -> None:
    behind = replace(samples.SENDER, is_behind=True, why="900 requests were late")
    verdict = judge(replace(rehearsal(), load=load(sender=behind)), Expected())

    assert verdict.outcome == "inconclusive"
    assert "900 requests were late" in verdict.reasons[0]


def test_timeouts_of_a_sender_that_was_behind_are_inconclusive_and_refusals_are_not() -> None:
    behind = replace(samples.SENDER, is_behind=True, why="900 requests were late")
    given_up = (failed_request(40, kind="timeout"),)
    refused = (failed_request(40, kind="http_502"),)

    timeouts = judge(replace(rehearsal(), load=load(failed=given_up, sender=behind)), Expected())
    refusals = judge(replace(rehearsal(), load=load(failed=refused, sender=behind)), Expected())

    assert timeouts.outcome == "inconclusive"
    assert refusals.outcome == "failed"


def test_a_release_whose_version_nobody_saw_is_inconclusive() -> None:
    verdict = judge(old_samples(rehearsal()), Expected())

    assert verdict.outcome == "inconclusive"
    assert samples.NEW in verdict.reasons[0]


def test_a_phase_with_hardly_a_request_is_inconclusive() -> None:
    found = rehearsal()
    phases = tuple(replace(phase, sent=3) if phase.name == "before" else phase for phase in found.load.phases)

    verdict = judge(replace(found, load=replace(found.load, phases=phases)), Expected())

    assert verdict.outcome == "inconclusive"
    assert "'before': 3" in verdict.reasons[0]


def test_each_failed_request_is_matched_with_one_failure_of_the_load_balancer() -> None:
    failed = tuple(failed_request(at=40 + number / 1000) for number in range(20))
    failures = tuple(balancer_failure(40 + number / 1000, reason="closed_while_idle") for number in range(5))
    found = replace(rehearsal(), load=load(failed=failed), balancer_failures=failures, tasks=(task(10),))

    assert causes.attribute(found).count(causes.KEEP_ALIVE) == 5
    assert causes.attribute(found).count(causes.SERVICE) == 15


def test_a_request_that_the_sender_gave_up_is_not_matched_with_a_failure_of_another_one() -> None:
    failed = (failed_request(at=40, kind="timeout"), failed_request(at=40.1))
    failures = (balancer_failure(40, reason="closed_while_idle"),)
    found = replace(rehearsal(), load=load(failed=failed), balancer_failures=failures, tasks=(task(10),))

    assert causes.attribute(found) == (causes.CLIENT, causes.KEEP_ALIVE)
