"""A rehearsed promotion: its stages, its duration, the exposure to a version that was rolled back, and the result of a kill."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mclass_tf.environment import SETTINGS, ReleaseSettings
from mclass_tf.errors import UsageError
from mclass_tf.flows.rehearse.kill import require_step
from mclass_tf.flows.rehearse.project import project_of, to_toml, with_strategy
from mclass_tf.rehearsal import names, page, summary
from mclass_tf.rehearsal.exposure import exposure_of
from mclass_tf.rehearsal.recorder import deployment_of
from mclass_tf.rehearsal.report import RehearsalRun, Report, document
from mclass_tf.rehearsal.result import (
    Exposure,
    KilledCommand,
    LoadResult,
    ObservedDeployment,
    ObservedStage,
    Promotion,
    Rehearsal,
    Sample,
)
from mclass_tf.rehearsal.verdict import BOUNDED, NEW_VERSION, NOBODY, NONE, Expected, judge
from mclass_tf.session import Session
from mclass_tf.strategy import BLUE_GREEN, CANARY, LINEAR, Strategy
from tests.rehearsal import samples

START = samples.START
ARN = "arn:aws:ecs:ap-northeast-2:222222222222:service-deployment/mclass-cluster/mclass-service/1"
CANARY_OF_5 = Strategy(name=CANARY, canary_percent=5)
STAGES = (
    ObservedStage(name="SCALE_UP", at=START + 31, production=0.0),
    ObservedStage(name="PRODUCTION_TRAFFIC_SHIFT", at=START + 45, production=5.0),
    ObservedStage(name="PRODUCTION_TRAFFIC_SHIFT", at=START + 55, production=100.0),
    ObservedStage(name="BAKE_TIME", at=START + 56, production=100.0),
    ObservedStage(name="SUCCESSFUL", at=START + 66, production=100.0),
)
DEPLOYMENT = ObservedDeployment(
    arn=ARN, status="SUCCESSFUL", created_at=START + 31, finished_at=START + 66, stages=STAGES
)
PROMOTION = Promotion(source="dev", seconds=40.0, ecs_seconds=35.0)
EXPOSURE = Exposure(requests=50, failed=10, share=0.05, seconds=5.0, limit=0.05, sent=1000)
KILLED = KilledCommand(
    step="bake-time",
    killed_at=START + 40,
    resumed_at=START + 60,
    ended_at=START + 65,
    exit_code=0,
    outcome="released",
    cause="",
    serves_what_it_says=True,
    record_is_true=True,
    is_plan_empty=True,
)


def rehearsal() -> Rehearsal:
    return replace(samples.rehearsal(), strategy=CANARY, deployments=(DEPLOYMENT,), promotion=PROMOTION)


def report(found: Rehearsal) -> Report:
    run = RehearsalRun(rehearsal=found, verdict=judge(found, Expected()))
    return Report(
        environment="prod", target="", scenario="", promise="", runs=(run,), source="dev", strategy=CANARY
    )


def loaded(*seconds: tuple[int, int, int]) -> LoadResult:
    """A load of 100 requests a second. Each tuple has the new version's answers in one second, and its errors."""
    found = tuple(
        Sample(
            at=START + at,
            sent=100,
            failed=failed,
            p50=1.0,
            p99=2.0,
            max=3.0,
            versions={samples.OLD: 100 - new, **({samples.NEW: new} if new else {})},
            failed_versions={samples.NEW: failed} if failed else {},
        )
        for at, new, failed in seconds
    )
    return replace(samples.load(), samples=found)


def exposed(load: LoadResult, strategy: Strategy = CANARY_OF_5) -> Exposure:
    return exposure_of(
        load, version=samples.NEW, strategy=strategy, deployments=(DEPLOYMENT,), balancer_requests=None
    )


def test_exposure_is_counted_between_the_first_and_the_last_answer_of_a_version() -> None:
    found = exposed(loaded((0, 0, 0), (1, 5, 1), (2, 0, 0), (3, 4, 2), (4, 0, 0)))

    assert (found.requests, found.failed, found.sent) == (9, 3, 300)
    assert (found.share, found.seconds, found.limit) == (0.03, 3, 0.05)


def test_a_version_without_an_answer_has_no_exposure() -> None:
    found = exposed(loaded((0, 0, 0), (1, 0, 0)))

    assert (found.requests, found.share, found.seconds) == (0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("strategy", "limit"),
    [(CANARY_OF_5, 0.05), (Strategy(name=BLUE_GREEN), 1.0), (Strategy(name=LINEAR), 1.0)],
)
def test_the_limit_is_the_share_that_the_strategy_gives_an_unproven_version(
    strategy: Strategy, limit: float
) -> None:
    assert exposed(loaded((0, 0, 0)), strategy).limit == limit


def test_the_limit_of_a_linear_deployment_that_was_rolled_back_is_its_highest_step() -> None:
    early = replace(DEPLOYMENT, stages=STAGES[:2])
    found = exposure_of(
        loaded((0, 0, 0)),
        version=samples.NEW,
        strategy=Strategy(name=LINEAR, step_percent=4),
        deployments=(early,),
        balancer_requests=None,
    )

    assert found.limit == 0.05


def failed_with(exposure: Exposure, *, failures: int) -> Rehearsal:
    found = samples.rehearsal()
    assert found.release is not None
    phases = tuple(replace(phase, failed=0, by_kind={}) for phase in found.load.phases)
    phases = (*phases[:-1], replace(phases[-1], failed=failures))
    release = replace(found.release, outcome="failed", cause="worse", exit_code=6)
    last = replace(found.load.samples[-1], versions={samples.OLD: 100})
    load = replace(found.load, phases=phases, samples=(*found.load.samples[:-1], last))
    return replace(found, release=release, load=load, exposure=exposure)


def test_an_exposure_within_the_limit_of_the_strategy_passes() -> None:
    expected = Expected(release="failed", failed_requests=NEW_VERSION, met_by=BOUNDED)

    assert judge(failed_with(EXPOSURE, failures=10), expected).reasons == ()


@pytest.mark.parametrize(
    ("exposure", "failures", "reason"),
    [
        (EXPOSURE, 11, "1 requests failed that the new version did not answer"),
        (replace(EXPOSURE, failed=0), 0, "not seen under traffic"),
        (replace(EXPOSURE, share=0.12), 10, "12.0% of the requests met the new version"),
    ],
)
def test_an_exposure_above_the_limit_of_the_strategy_fails(
    exposure: Exposure, failures: int, reason: str
) -> None:
    expected = Expected(release="failed", failed_requests=NEW_VERSION, met_by=BOUNDED)

    assert any(reason in told for told in judge(failed_with(exposure, failures=failures), expected).reasons)


@pytest.mark.parametrize(("answered", "given"), [(3, 0), (0, 3), (0, None)])
def test_a_version_that_nobody_was_to_meet_fails_if_the_answers_or_the_load_balancer_say_otherwise(
    answered: int, given: int | None
) -> None:
    exposure = replace(EXPOSURE, requests=answered, failed=0, balancer_requests=given)
    expected = Expected(release="failed", failed_requests=NONE, met_by=NOBODY)
    verdict = judge(failed_with(exposure, failures=0), expected)

    told = [reason for reason in verdict.reasons if "reached the new version" in reason]
    assert bool(told) is bool(answered or given)


@pytest.mark.parametrize("lie", ["serves_what_it_says", "record_is_true", "is_plan_empty"])
def test_a_false_report_after_a_kill_fails_the_rehearsal(lie: str) -> None:
    honest, not_so = replace(rehearsal(), killed=KILLED), cast("Any", {lie: False})

    assert judge(honest, Expected()).passed
    assert not judge(replace(honest, killed=replace(KILLED, **not_so)), Expected()).passed


def test_a_stage_in_which_the_share_grows_is_one_stretch_of_time() -> None:
    told = [(span.words, span.end - span.start) for span in DEPLOYMENT.spans(until=START + 90)]

    assert told == [("scale up", 14), ("production traffic shift", 11), ("bake time", 10)]


def test_a_deployment_keeps_the_stages_that_were_seen_of_it() -> None:
    described = {
        "serviceDeploymentArn": ARN,
        "status": "IN_PROGRESS",
        "lifecycleStage": "SCALE_UP",
        "createdAt": START,
        "targetServiceRevision": {"requestedProductionTrafficWeight": 0.0},
    }
    first = deployment_of(described, None, now=START + 1)
    same = deployment_of(described, first, now=START + 2)
    over = {**described, "status": "SUCCESSFUL", "finishedAt": START + 9}
    last = deployment_of(over, same, now=START + 10)

    assert [(stage.name, stage.at) for stage in last.stages] == [
        ("SCALE_UP", START),
        ("SUCCESSFUL", START + 9),
    ]
    assert (same.stages, last.finished_at) == (first.stages, START + 9)


def test_the_document_tells_what_a_promotion_took_and_who_met_it() -> None:
    found = document(report(replace(rehearsal(), exposure=EXPOSURE, killed=KILLED)))

    assert found["promotion"] == {
        "from": "dev",
        "seconds": 40.0,
        "ecs_seconds": 35.0,
        "overhead_seconds": 5.0,
    }
    assert found["runs"][0]["promotion"] == found["promotion"]
    assert {"requests": 50, "failed": 10, "share": 0.05}.items() <= found["exposure"].items()
    assert found["deployments"][0]["stages"][0]["name"] == "SCALE_UP"
    assert found["killed"]["killed_at"].startswith("2026-")
    assert document(samples.report())["promotion"] is None


def test_summary_and_page_tell_where_from_the_stages_and_the_overhead() -> None:
    found = report(replace(rehearsal(), exposure=EXPOSURE, killed=KILLED))
    text, html = summary.render(found, width=200), page.render(found)

    for told in (text, html):
        assert "dev → prod by canary" in told
        assert "promoted from dev in 40.0 s: 35.0 s were ECS" in told.replace("Promoted", "promoted")
        assert "50 requests met the new version" in told
        assert "illed at bake-time; 20 s later" in told
    assert "stages: scale up 14.0 s, production traffic shift 11.0 s, bake time 10.0 s" in text
    assert 'class="line given"' in html
    assert "Stages of the deployment" in html
    assert "Stages of the deployment" not in page.render(samples.report())


@pytest.mark.parametrize("stages", [(), (ObservedStage(name="SCALE_UP", at=START + 31, production=None),)])
def test_the_page_of_a_rolling_deployment_shows_no_share_that_ecs_gave(
    stages: tuple[ObservedStage, ...],
) -> None:
    html = page.render(report(replace(rehearsal(), deployments=(replace(DEPLOYMENT, stages=stages),))))

    assert "Which version answered" in html
    assert 'class="line given"' not in html


def test_a_step_requires_the_kill_scenario_and_a_strategy_with_that_step() -> None:
    require_step("bake-time", fault="killed", shifts=True)
    require_step("scale-up", fault="killed", shifts=False)
    require_step(None, fault=None, shifts=False)
    for step, fault, shifts in (("scale-up", "bad-smoke", True), ("bake-time", "killed", False)):
        with pytest.raises(UsageError):
            require_step(step, fault=fault, shifts=shifts)
    with pytest.raises(UsageError, match="is not known"):
        require_step("lunch", fault="killed", shifts=True)
    assert "lunch" not in names.STEPS


def test_settings_with_another_strategy_are_read_as_they_were_written() -> None:
    release = {
        "strategy": "canary",
        "canary_percent": 2.5,
        "bake_minutes": 3,
        "smoke": ["/version", '/"quoted"'],
        "alarms": ["errors"],
        "analysis": {"enabled": False},
        "hooks": [{"function_arn": "a", "stages": ["PRE_SCALE_UP"]}],
    }
    linear = with_strategy(release, "linear", latency_floor=3.0)
    same = with_strategy(release, "canary", latency_floor=3.0)

    assert (linear["strategy"], linear["smoke"]) == ("linear", release["smoke"])
    assert not {"canary_percent", "bake_minutes", "hooks"} & set(linear)
    assert linear["analysis"] == {"enabled": False, "latency_floor_seconds": 3.0}
    assert same == {**release, "analysis": linear["analysis"]}
    assert "smoke" not in with_strategy(release, "rolling", latency_floor=3.0)
    whole = {"account_id": "111111111111", "release": release}
    assert tomllib.loads(to_toml(whole)) == whole


def test_a_rehearsal_of_a_kill_is_asked_nothing(tmp_path: Path) -> None:
    own = tmp_path / "own"
    for name in ("dev", "prod"):
        (own / "environments" / name).mkdir(parents=True)
        (own / "environments" / name / SETTINGS).write_text(
            'account_id = "1"\n[promotion]\nsoak_minutes = 5\nallow_yes = false\n'
        )
    fake = SimpleNamespace(
        project=SimpleNamespace(folder=own, home=tmp_path),
        environment=SimpleNamespace(name="prod", release=ReleaseSettings()),
    )

    made = project_of(cast("Session", fake))

    settings = tomllib.loads((made / "environments" / "prod" / SETTINGS).read_text())
    assert settings["promotion"] == {"soak_minutes": 5, "allow_yes": True}
    assert (made / "environments" / "dev").is_symlink()
