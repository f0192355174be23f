"""ECS calls every field of its answers optional: whichever it leaves out, no command does harm or crashes."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mclass_tf.errors import IncompleteAnswerError, MclassError
from mclass_tf.flows import inspect
from mclass_tf.flows.deployer.deploy import Deployer
from mclass_tf.flows.one_off.run import _serving_task_definition
from mclass_tf.flows.release import require_free, start_or_adopt
from mclass_tf.flows.rollback import roll_back_deployment
from mclass_tf.rollout import Choice, Patience, RolloutEnd, RolloutOutcome, Watch, follow
from mclass_tf.rollout.view import RolloutReading
from mclass_tf.service import Ecs, HookState
from tests.unit.fake_service import Clock
from tests.unit.flows.deployer.test_deploy import OUTPUTS, WATCHING
from tests.unit.flows.test_resume import Book, record
from tests.unit.test_service import ANSWERS, CLUSTER, PREFIX, SERVICE, FakeAws

Path = tuple[str | int, ...]
NEW, OLD = (f"{PREFIX}:task-definition/mclass-task:{number}" for number in (2, 1))
ARN = ANSWERS["DescribeServiceDeployments"]["serviceDeployments"][0]["serviceDeploymentArn"]


def _answers() -> dict[str, Any]:
    """Return the answers on a service whose live version is being replaced."""
    answers: dict[str, Any] = copy.deepcopy(dict(ANSWERS))
    listed, described = answers["ListServiceDeployments"], answers["DescribeServiceDeployments"]
    del listed["serviceDeployments"][1:]
    listed["serviceDeployments"][0] |= {"serviceDeploymentArn": ARN, "status": "IN_PROGRESS"}
    described["serviceDeployments"][0] |= {
        "status": "IN_PROGRESS",
        "lifecycleStage": "POST_TEST_TRAFFIC_SHIFT",
        "lifecycleHookDetails": [{"hookId": "hook", "targetType": "PAUSE", "status": "AWAITING_ACTION"}],
        "deploymentConfiguration": {"strategy": "CANARY", "bakeTimeInMinutes": 5},
    }
    service = answers["DescribeServices"]["services"][0]
    service["deployments"].append({**service["deployments"][0], "status": "ACTIVE", "taskDefinition": OLD})
    return answers


COMPLETE = _answers()


def _paths(value: Any, *, at: Path) -> Iterator[Path]:
    """Yield the path of each field of a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in items:
        if isinstance(key, str):
            yield (*at, key)
        yield from _paths(below, at=(*at, key))


PATHS = [path for action in sorted(COMPLETE) for path in _paths(COMPLETE[action], at=(action,))]


class Reticent(FakeAws):
    """Answers for two task definitions and two service revisions, without the field at `path`."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._action = path[0]
        self._path = path[1:]

    def call_ecs(self, action: str, request: Mapping[str, Any]) -> dict[str, Any]:
        self.asked.append((action, dict(request)))
        answer = copy.deepcopy(COMPLETE.get(action, {}))
        if action == "DescribeServiceRevisions" and request["serviceRevisionArns"] == ["source"]:
            answer["serviceRevisions"][0]["taskDefinition"] = OLD
        if action == self._action:
            below: Any = answer
            for key in self._path[:-1]:
                below = below[key]
            del below[self._path[-1]]
        return cast("dict[str, Any]", answer)

    @property
    def changes(self) -> list[Mapping[str, Any]]:
        return [request for action, request in self.asked if action == "UpdateService"]


def _deployer(aws: Reticent) -> Deployer:
    clock = Clock()
    session = Book().session
    session.environment.release = SimpleNamespace()  # type: ignore[misc,assignment]
    cast("Any", session).cloud = SimpleNamespace(is_local=False)
    outputs = SimpleNamespace(**{**vars(OUTPUTS), "task_definition_arn": NEW, "url": "http://dev"})
    return Deployer(
        session=session,
        outputs=cast("Any", outputs),
        ecs=Ecs(aws, cluster=CLUSTER, name=SERVICE),
        patience=Patience(report=lambda _: None, clock=clock, wait=clock.wait),
    )


@pytest.fixture(params=PATHS, ids=lambda path: ".".join(map(str, path)))
def aws(request: pytest.FixtureRequest) -> Reticent:
    return Reticent(request.param)


def test_the_answers_have_fields() -> None:
    assert ("DescribeServiceDeployments", "serviceDeployments", 0, "sourceServiceRevisions") in PATHS


@dataclass
class Followed:
    """The desired counts to restore, and whether what ran before was taken for nothing."""

    resets: list[int | None] = field(default_factory=list)
    proofs: list[bool] = field(default_factory=list)


@pytest.fixture
def followed(monkeypatch: pytest.MonkeyPatch) -> Followed:
    """Let each deployment that is followed be rolled back at once."""
    found = Followed()

    def follow(own: Deployer, *_: Any, reset_to: int | None, **__: Any) -> RolloutEnd:
        found.resets.append(reset_to)
        last = RolloutReading(
            deployment=own.ecs.service_deployment(ARN),
            service=own.service(),
            running=own.ecs.tasks(),
            target_states={},
        )
        return RolloutEnd(outcome=RolloutOutcome.ROLLED_BACK, last=last)

    monkeypatch.setattr(Deployer, "follow", follow)
    monkeypatch.setitem(
        roll_back_deployment.__globals__, "_prove", lambda *_, is_empty: found.proofs.append(is_empty)
    )
    monkeypatch.setitem(roll_back_deployment.__globals__, "new_record", lambda *_, **__: record().begun)
    monkeypatch.setitem(roll_back_deployment.__globals__, "result", lambda *_: None)
    return found


@pytest.mark.parametrize("command", ["rollback", "abort"])
def test_a_rollback_never_scales_a_live_service_to_0(aws: Reticent, command: str, followed: Followed) -> None:
    made = _deployer(aws)
    try:
        current = made.ongoing()
        assert current is not None, "a deployment under way is never overlooked"
        roll_back_deployment(made, current, WATCHING, command=command)
    except MclassError as error:
        assert error.hint  # noqa: PT017
    assert set(followed.resets) <= {None}
    assert set(followed.proofs) <= {False}
    assert aws.changes == []


class Forgetful(Reticent):
    """ECS that no longer has the service revision that ran before, and says so."""

    def __init__(self) -> None:
        super().__init__(("none",))

    def call_ecs(self, action: str, request: Mapping[str, Any]) -> dict[str, Any]:
        if action == "DescribeServiceRevisions" and request["serviceRevisionArns"] == ["source"]:
            return {"serviceRevisions": [], "failures": [{"arn": "source", "reason": "MISSING"}]}
        return super().call_ecs(action, request)


@pytest.mark.parametrize("command", ["rollback", "abort"])
def test_a_deployment_whose_source_ecs_no_longer_has_is_still_rolled_back_without_a_reset(
    command: str, followed: Followed
) -> None:
    aws = Forgetful()
    made = _deployer(aws)
    current = made.ongoing()
    assert current is not None

    roll_back_deployment(made, current, WATCHING, command=command)

    assert (followed.resets, followed.proofs) == ([None], [False])
    asked = [action for action, _ in aws.asked]
    assert {"ContinueServiceDeployment", "StopServiceDeployment"} & {*asked}
    assert aws.changes == []


def test_a_release_starts_over_no_deployment_and_adopts_without_a_reset(aws: Reticent) -> None:
    made = _deployer(aws)
    with pytest.raises(MclassError):
        require_free(made, "sha256:other")
    try:
        current = made.ongoing()
        started, reset_to = start_or_adopt(made, current, service=made.service(), before=made.service())
    except MclassError as error:
        assert error.hint  # noqa: PT017
    else:
        assert (started.service_deployment_arn, reset_to) == (ARN, None)
    assert aws.changes == []


def test_a_one_off_task_never_runs_in_the_unproven_version(aws: Reticent) -> None:
    try:
        assert _serving_task_definition(_deployer(aws)) == OLD
    except MclassError as error:
        assert error.hint  # noqa: PT017


def test_status_shows_what_is_known(aws: Reticent, monkeypatch: pytest.MonkeyPatch) -> None:
    made = _deployer(aws)
    states = [{"Target": {"Id": "10.0.0.7"}, "TargetHealth": {"State": "healthy"}}]
    aws.__dict__["elbv2"] = SimpleNamespace(
        describe_target_health=lambda **_: {"TargetHealthDescriptions": states}
    )
    monkeypatch.setattr(Deployer, "of", lambda *_: made)
    monkeypatch.setattr(inspect, "applied_state", lambda _: SimpleNamespace(outputs={}))
    monkeypatch.setattr("mclass_tf.verify.Outputs.parse", lambda _: made.outputs)
    try:
        shown = inspect.status(made.session)
    except MclassError as error:
        assert error.hint  # noqa: PT017
    else:
        assert shown.deployment is not None
        assert shown.desired == 2


def test_without_its_sources_a_rollback_proves_what_ecs_went_back_to() -> None:
    made = _deployer(
        Reticent(("DescribeServiceDeployments", "serviceDeployments", 0, "sourceServiceRevisions"))
    )
    current = made.ongoing()
    assert current is not None
    assert made.sources_of(current) == ()
    assert not made.replaces_only_placeholder(current)


def test_a_deployment_without_a_status_is_an_error_and_not_a_service_at_rest() -> None:
    made = _deployer(Reticent(("ListServiceDeployments", "serviceDeployments", 0, "status")))
    with pytest.raises(IncompleteAnswerError, match="ECS leaves out status"):
        made.ecs.service_deployments()
    with pytest.raises(MclassError, match="leaves out status"):
        require_free(made, "sha256:other")


@pytest.mark.parametrize("is_answered", [True, False])
def test_a_rollout_under_way_is_watched_and_its_pause_answered_once_at_most(
    aws: Reticent, *, is_answered: bool
) -> None:
    """Who answers the pause depends on the stage, so nobody does while it is unknown."""
    states = [{"Target": {"Id": "10.0.0.7"}, "TargetHealth": {"State": "healthy"}}]
    aws.__dict__["elbv2"] = SimpleNamespace(
        describe_target_health=lambda **_: {"TargetHealthDescriptions": states}
    )
    made = _deployer(aws)
    clock = Clock()
    started = made.adopt(ARN, task_definition_arn=NEW) if _is_described(made) else None
    if started is None:
        return
    stages: list[str] = []

    def answer(stage: str, _: HookState) -> bool | None:
        stages.append(stage)
        return True if is_answered else None

    watch = Watch(made.ecs, started, stall_after=1000.0, clock=clock)
    interruption = SimpleNamespace(is_final=True, wait=Waits(clock, times=5), clear=lambda: None)
    try:
        end = follow(
            watch,
            made.ecs,
            show=lambda _: None,
            interruption=cast("Any", interruption),
            on_interrupt=lambda: Choice.DETACH,
            patience=made.patience,
            on_pause=answer,
        )
    except MclassError as error:
        assert error.hint  # noqa: PT017
    else:
        assert end is None, "it is under way still"
    assert stages in ([], ["POST_TEST_TRAFFIC_SHIFT"])
    assert aws.changes == []


def _is_described(made: Deployer) -> bool:
    try:
        made.service()
    except MclassError:
        return False
    return True


class Waits:
    """Let time go by a few times, then interrupt."""

    def __init__(self, clock: Clock, *, times: int) -> None:
        self._clock = clock
        self._left = times

    def __call__(self, seconds: float) -> bool:
        self._clock.wait(seconds)
        self._left -= 1
        return self._left <= 0
