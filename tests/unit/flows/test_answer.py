"""A paused rollout: the messages, the permitted answers, and the errors without a pause."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from mclass_tf import flows
from mclass_tf.cli import release_commands
from mclass_tf.cli.grammar import parser
from mclass_tf.environment import ReleaseSettings
from mclass_tf.errors import (
    IncompleteAnswerError,
    LeaseHeldError,
    NothingToAnswerError,
    RolledBackError,
    UsageError,
    VerificationError,
)
from mclass_tf.flows import paused
from mclass_tf.flows.attempt import Attempt
from mclass_tf.flows.deployer.deploy import Deployer
from mclass_tf.flows.deployer.pauses import Pauses
from mclass_tf.flows.rollback import request_rollback
from mclass_tf.ledger import SmokeResult
from mclass_tf.rollout import Patience, StartedRollout, Watch
from mclass_tf.service import Ecs, HookState, ServiceDeployment
from mclass_tf.strategy import BLUE_GREEN, Strategy
from tests.unit.fake_service import (
    BEGAN,
    NEW,
    OLD,
    Clock,
    denied,
    deployment,
    service,
    service_deployment,
)
from tests.unit.flows.deployer.test_deploy import OUTPUTS, WithImages

_ANSWER = "mclass_tf.flows.answer"
SMOKE = "POST_TEST_TRAFFIC_SHIFT"
WAITING = HookState(id="hook", kind="PAUSE", status="AWAITING_ACTION", expires_at=BEGAN)


@pytest.fixture(autouse=True)
def contradictions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What contradicts a shift; nothing, unless a test adds to it."""
    found: list[str] = []
    monkeypatch.setattr(Pauses, "find_contradiction", lambda *_: "".join(found))
    return found


def waiting(
    *, stage: str = SMOKE, status: str = "IN_PROGRESS", hook: HookState = WAITING
) -> ServiceDeployment:
    return replace(service_deployment(status=status), stage=stage, hooks=(hook,))


def ecs(own: ServiceDeployment | None) -> WithImages:
    now = service(deployment(NEW, status="PRIMARY"), deployment(OLD))
    return WithImages(now, own=own or service_deployment(), listed=[own] if own else [])


def deployer(fake: WithImages, *, smoke: tuple[str, ...] | None = ()) -> tuple[Deployer, list[str]]:
    told: list[str] = []
    clock = Clock()
    settings = ReleaseSettings(strategy=Strategy(name=BLUE_GREEN), smoke=smoke)
    session = SimpleNamespace(environment=SimpleNamespace(name="dev", release=settings), report=told.append)
    made = Deployer(
        session=cast("Any", session),
        outputs=OUTPUTS,
        ecs=cast("Ecs", fake),
        patience=Patience(report=told.append, clock=clock, wait=clock.wait),
    )
    return made, told


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Callable[[Deployer], Any]:
    """Make the commands use this deployer, with the lease held by somebody else."""

    @contextmanager
    def held(*_: Any, **__: Any) -> Any:
        raise LeaseHeldError("somebody is at work in dev")
        yield

    def use(made: Deployer) -> Any:
        monkeypatch.setattr(f"{_ANSWER}.Deployer.of", lambda *_: made)
        monkeypatch.setattr(f"{_ANSWER}.applied_state", lambda _: SimpleNamespace(outputs={}))
        monkeypatch.setattr(f"{_ANSWER}.verify.Outputs.parse", lambda _: OUTPUTS)
        monkeypatch.setattr("mclass_tf.flows.deployer.deploy.holding_lease", held)
        return made.session

    return use


def goes_on(session: Any, *, skips_smoke: bool = False) -> flows.Continued:
    return flows.continue_rollout(session, skips_smoke=skips_smoke, show=lambda _: None)


@pytest.mark.parametrize(
    ("own", "told"),
    [
        (None, "no rollout is under way in dev"),
        (service_deployment(status="SUCCESSFUL"), "no rollout is under way in dev"),
        (replace(service_deployment(), stage="BAKE_TIME"), "waits for no answer, it is at bake time"),
        (waiting(status="ROLLBACK_IN_PROGRESS"), "is being rolled back: it waits for no answer"),
        (
            waiting(status="ROLLBACK_IN_PROGRESS", hook=replace(WAITING, status="TIMED_OUT")),
            "is being rolled back: nobody answered its pause in time",
        ),
    ],
)
def test_a_rollout_that_is_not_paused_cannot_be_continued(
    found: Callable[[Deployer], Any], own: ServiceDeployment | None, told: str
) -> None:
    fake = ecs(own)

    with pytest.raises(NothingToAnswerError, match=told) as caught:
        goes_on(found(deployer(fake)[0]))

    assert caught.value.exit_code == 3
    assert "nothing was changed" in caught.value.message
    assert fake.calls == []


def test_the_releasing_command_sees_the_answer_of_another(found: Callable[[Deployer], Any]) -> None:
    fake = ecs(waiting())

    done = goes_on(found(deployer(fake)[0]))

    assert fake.calls == [("answer", "hook", True)]
    assert (done.stage, done.released) == (SMOKE, None)


def test_a_version_that_fails_its_smoke_test_is_not_continued(
    found: Callable[[Deployer], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = ecs(waiting())
    session = found(deployer(fake, smoke=("/health",))[0])
    monkeypatch.setattr("mclass_tf.flows.deployer.pauses.is_reachable", lambda *_: True)
    monkeypatch.setattr(f"{_ANSWER}.revision_of", lambda *_: "")
    found_wrong = (SmokeResult(path="/health", problem="/health answers with 500"),)
    monkeypatch.setattr(f"{_ANSWER}.smoke_test", lambda *_, **__: found_wrong)

    with pytest.raises(VerificationError, match="/health answers with 500"):
        goes_on(session)
    assert fake.calls == []

    goes_on(session, skips_smoke=True)
    assert fake.calls == [("answer", "hook", True)]


@pytest.mark.parametrize("skips_smoke", [True, False])
def test_a_rollout_that_would_shift_to_the_wrong_targets_is_rolled_back_and_not_continued(
    found: Callable[[Deployer], Any],
    contradictions: list[str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    skips_smoke: bool,
) -> None:
    contradictions.append("both are in one target group")
    fake = ecs(waiting())
    undone: list[str] = []

    def roll_back(made: Deployer, current: ServiceDeployment, _: object, *, command: str) -> None:
        request_rollback(made, current)
        undone.append(command)

    monkeypatch.setattr(f"{_ANSWER}.roll_back_deployment", roll_back)

    with pytest.raises(RolledBackError, match="both are in one target group") as caught:
        goes_on(found(deployer(fake)[0]), skips_smoke=skips_smoke)

    assert caught.value.exit_code == 6
    assert fake.calls == [("answer", "hook", False)]
    assert undone == ["abort"]


def test_the_pause_of_the_smoke_test_is_answered_with_a_rollback_if_the_shift_is_contradicted(
    contradictions: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    contradictions.append("both are in one target group")
    monkeypatch.setattr("mclass_tf.flows.deployer.pauses.is_reachable", lambda *_: True)
    made, told = deployer(ecs(waiting()), smoke=("/version",))

    answered, attempt = asked(made, stage=SMOKE, pause_at=())

    assert (answered, attempt.smoke) == (False, ())
    assert attempt.contradiction == "both are in one target group"
    assert told == ["production traffic is not shifted: both are in one target group"]


def test_target_groups_that_cannot_be_compared_roll_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> str:
        raise IncompleteAnswerError("ECS leaves out serviceRevisions")

    monkeypatch.setattr(Pauses, "find_contradiction", fail)
    monkeypatch.setattr("mclass_tf.flows.deployer.pauses.is_reachable", lambda *_: True)
    made, _ = deployer(ecs(waiting()), smoke=("/version",))

    answered, attempt = asked(made, stage=SMOKE, pause_at=())

    assert answered is False
    assert "could not be compared: ECS leaves out serviceRevisions" in attempt.contradiction


def test_an_answer_that_comes_too_late_is_reported(found: Callable[[Deployer], Any]) -> None:
    fake = ecs(waiting())

    def refuse() -> None:
        raise ClientError(
            {"Error": {"Code": "ConflictException", "Message": "it is TIMED_OUT"}},
            "ContinueServiceDeployment",
        )

    fake.on_change = refuse

    with pytest.raises(NothingToAnswerError, match="takes no answer any more"):
        goes_on(found(deployer(fake)[0]))


def test_without_a_rollout_under_way_abort_is_refused(found: Callable[[Deployer], Any]) -> None:
    fake = ecs(None)

    with pytest.raises(NothingToAnswerError, match="no rollout is under way"):
        flows.abort(found(deployer(fake)[0]), show=lambda _: None)

    assert fake.calls == []


def asked(made: Deployer, *, stage: str, pause_at: tuple[str, ...]) -> tuple[bool | None, Attempt]:
    attempt, pauses = Attempt(record="", digest="", revision="", started_at=BEGAN), made.pauses
    started = StartedRollout(service_deployment_arn="arn", task_definition_arn=NEW, seen=frozenset(), at=0.0)
    return pauses.answer(attempt, lambda: pauses.user_stages(pause_at, started), stage, WAITING), attempt


@pytest.mark.parametrize(
    ("stage", "pause_at", "problem", "goes_on", "is_told"),
    [
        (SMOKE, (), "", True, False),
        (SMOKE, (), "bad", False, False),
        (SMOKE, (SMOKE,), "", None, True),
        (SMOKE, (SMOKE,), "bad", False, False),
        ("POST_SCALE_UP", ("POST_SCALE_UP",), "", None, True),
        ("POST_SCALE_UP", (), "", None, True),  # somebody else's
    ],
)
def test_the_smoke_test_comes_first_and_its_user_answers_the_rest(
    monkeypatch: pytest.MonkeyPatch,
    *,
    stage: str,
    pause_at: tuple[str, ...],
    problem: str,
    goes_on: bool | None,
    is_told: bool,
) -> None:
    tested = (SmokeResult(path="/version", problem=problem),)
    monkeypatch.setattr("mclass_tf.flows.deployer.pauses.is_reachable", lambda *_: True)
    monkeypatch.setattr("mclass_tf.flows.deployer.pauses.run_smoke_test", lambda *_, **__: tested)
    made, told = deployer(ecs(waiting(stage=stage)), smoke=("/version",))

    answered, attempt = asked(made, stage=stage, pause_at=pause_at)

    assert answered is goes_on
    assert bool(attempt.smoke) == (stage == SMOKE)
    assert any(line.startswith("paused at") for line in told) == is_told


def test_a_pause_after_test_traffic_without_a_smoke_test_is_the_users() -> None:
    made, told = deployer(ecs(waiting()), smoke=())

    answered, attempt = asked(made, stage=SMOKE, pause_at=(SMOKE,))

    assert (answered, attempt.smoke) == (None, ())
    assert told[0].startswith("paused at post test traffic shift")


@pytest.mark.parametrize(
    ("left", "rolls_back", "told"),
    [
        (None, True, "`abort dev` rolls it back"),
        (dt.timedelta(minutes=59.9), True, "rolls it back by itself in 60 min"),
        (dt.timedelta(days=-9), True, "rolls it back by itself in 0 s"),
        (dt.timedelta(days=-9), False, "ECS goes on by itself"),
    ],
)
def test_a_pause_names_the_commands_that_answer_it_and_its_timeout(
    *, left: dt.timedelta | None, rolls_back: bool, told: str
) -> None:
    expires_at = dt.datetime.now(dt.UTC) + left if left is not None else None
    line = paused("dev", SMOKE, replace(WAITING, expires_at=expires_at, rolls_back=rolls_back))

    assert line.startswith("paused at post test traffic shift: `continue dev` goes on")
    assert told in line


def test_the_view_says_that_it_is_paused() -> None:
    fake = ecs(waiting())
    started = StartedRollout(
        service_deployment_arn=fake.own.arn, task_definition_arn=NEW, seen=frozenset(), at=0.0
    )
    watch = Watch(fake, started, stall_after=60, clock=Clock())

    view = watch.look()
    assert view is not None
    assert view.stage == "paused at post test traffic shift"

    fake.own = replace(fake.own, hooks=(replace(WAITING, status="SUCCEEDED"),))
    view = watch.look()
    assert view is not None
    assert view.stage == "post test traffic shift"


def test_waiting_for_an_answer_is_not_a_stall() -> None:
    fake, clock = ecs(waiting()), Clock()
    started = StartedRollout(
        service_deployment_arn=fake.own.arn, task_definition_arn=NEW, seen=frozenset(), at=0.0
    )
    watch = Watch(fake, started, stall_after=60, clock=clock)

    for _ in range(3):
        watch.look()
        clock.wait(59)
    assert watch.end is None

    fake.own = replace(fake.own, hooks=())
    watch.look()
    clock.wait(61)
    watch.look()

    assert watch.end is not None


PAUSE = {"targetType": "PAUSE", "lifecycleStages": [SMOKE]}


@pytest.mark.parametrize(("own", "drops"), [(None, True), (waiting(), False)])
def test_an_apply_takes_out_the_pauses_that_a_dead_command_left_at_rest(
    found: Callable[[Deployer], Any], own: ServiceDeployment | None, *, drops: bool
) -> None:
    fake = ecs(own)
    fake.now = replace(fake.now, configuration={"strategy": "BLUE_GREEN", "lifecycleHooks": [PAUSE]})

    flows.drop_stale_pauses(found(deployer(fake)[0]))

    settings: dict[str, Any] = {"deploymentConfiguration": {"lifecycleHooks": []}}
    assert fake.calls == ([("update", None, None, False, settings)] if drops else [])


def test_an_apply_continues_if_pauses_cannot_be_looked_for(found: Callable[[Deployer], Any]) -> None:
    fake = ecs(None)
    made, told = deployer(fake)

    def refuse() -> None:
        raise denied("ListServiceDeployments")

    fake.on_read = refuse

    flows.drop_stale_pauses(found(made))

    assert told == ["pauses that a release may have left could not be looked for: not yours"]


def test_a_rollout_that_somebody_continues_meanwhile_is_still_rolled_back() -> None:
    fake = ecs(waiting())
    made, _ = deployer(fake)

    def refuse_once() -> None:
        fake.on_change = lambda: None
        raise ClientError(
            {"Error": {"Code": "ConflictException", "Message": "it is SUCCEEDED"}},
            "ContinueServiceDeployment",
        )

    fake.on_change = refuse_once

    request_rollback(made, fake.own)

    assert fake.calls == [("answer", "hook", False), ("roll back", fake.own.arn)]


def test_a_rollout_that_waits_is_answered_and_another_is_stopped() -> None:
    paused_one, moving = ecs(waiting()), ecs(service_deployment())

    request_rollback(deployer(paused_one)[0], paused_one.own)
    request_rollback(deployer(moving)[0], moving.own)

    assert paused_one.calls == [("answer", "hook", False)]
    assert moving.calls == [("roll back", moving.own.arn)]


def test_the_status_tells_what_waits_where_and_until_when() -> None:
    own = replace(waiting(), production=0.0, test=100.0)
    found = flows.ServiceStatus(
        environment="dev",
        digest="sha256:1",
        task_definition_arn=OLD,
        desired=2,
        running=2,
        pending=0,
        deployments=(),
        targets={},
        url="http://dev",
        address="",
        deployment=own,
        attempt=None,
    )

    first, *_, rollout, pause = release_commands.status_text(found).splitlines()

    assert first.startswith("dev will run sha256:1 ")
    assert "in progress, post test traffic shift, new version: production 0 %, since 01:02:03 UTC" in rollout
    assert "`continue dev` goes on" in pause
    assert release_commands.status_document(found)["service_deployment"] == {
        "arn": own.arn,
        "status": "IN_PROGRESS",
        "stage": SMOKE,
        "production": 0.0,
        "test": 100.0,
        "waits": [{"hook": "hook", "expires_at": BEGAN.isoformat(), "then": "ROLLBACK"}],
    }


@pytest.mark.parametrize("command", [("release", "dev"), ("promote", "dev", "prod")])
def test_stages_are_named_in_either_way_and_more_than_once(command: tuple[str, ...]) -> None:
    found = parser().parse_args([*command, "--pause-at", "post-scale-up", "--pause-at", SMOKE])

    assert found.pause_at == ["POST_SCALE_UP", SMOKE]
    assert parser().parse_args([*command]).pause_at == []
    with pytest.raises(UsageError, match="cannot be paused at 'bake-time': at pre-scale-up"):
        parser().parse_args([*command, "--pause-at", "bake-time"])
