"""A command that lost the lease while asleep makes no more changes to the service, whenever it wakes up."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mclass_tf.environment import ReleaseSettings
from mclass_tf.errors import LeaseLostError, RolledBackError
from mclass_tf.flows import attempt as attempts
from mclass_tf.flows.attempt import Attempt, lease_of, ledger_of
from mclass_tf.flows.deployer.deploy import Deployer
from mclass_tf.flows.deployer.scaling import set_scaling_minimum
from mclass_tf.flows.release import ReleaseRequest, plan_apply_and_roll_out
from mclass_tf.flows.resume import resumable_attempt
from mclass_tf.lease import LIFETIME, Holder
from mclass_tf.rollout import Choice, Patience, RolloutOutcome, ServiceUpdate
from mclass_tf.rollout.follow import follow
from mclass_tf.rollout.watch import Watch
from mclass_tf.service import Ecs
from tests.unit.fake_service import (
    BEGAN,
    DIGEST,
    NEW,
    OLD,
    Clock,
    FakeEcs,
    deployment,
    service,
    service_deployment,
)
from tests.unit.flows.deployer.test_deploy import OUTPUTS, WATCHING, FakeScaling, WithImages, end
from tests.unit.flows.test_resume import Book, record

LEE = replace(Holder.here(who="lee", command="release", digest="sha256:ff"), machine="another")
RUNNING_OLD = service(deployment(OLD, status="PRIMARY"))
CHANGES: dict[str, Callable[[Ecs], object]] = {
    "UpdateService": lambda ecs: ecs.update(task_definition=NEW, desired=None),
    "StopServiceDeployment": lambda ecs: ecs.roll_back("arn"),
    "ContinueServiceDeployment": lambda ecs: ecs.answer_pause("arn", "hook", goes_on=True),
    "RunTask": lambda ecs: ecs.run_task({}),
}


class Wire:
    """An ECS API that records its calls."""

    def __init__(self) -> None:
        self.actions: list[str] = []

    def call_ecs(self, action: str, request: Mapping[str, Any]) -> dict[str, Any]:
        self.actions.append(action)
        return {}


@pytest.mark.parametrize("action", CHANGES)
def test_the_lease_is_asked_for_before_each_change(action: str) -> None:
    wire = Wire()
    asked: list[list[str]] = []
    ecs = Ecs(cast("Any", wire), cluster="c", name="s").guarded(lambda: asked.append([*wire.actions]))

    CHANGES[action](ecs)

    assert (asked, wire.actions) == ([[]], [action])


@pytest.mark.parametrize("action", CHANGES)
def test_without_the_lease_no_change_reaches_ecs(action: str) -> None:
    def lost() -> None:
        raise LeaseLostError("lost")

    wire = Wire()

    with pytest.raises(LeaseLostError):
        CHANGES[action](Ecs(cast("Any", wire), cluster="c", name="s").guarded(lost))
    assert wire.actions == []


class Work:
    """A deployer of dev that holds the lease, on a manual clock."""

    def __init__(self, ecs: FakeEcs, *, scaling: FakeScaling | None = None) -> None:
        self.book = Book()
        self.session = cast("Any", self.book.session)
        self.session.aws.__dict__["sts"] = SimpleNamespace(get_caller_identity=lambda: {"Arn": "kim"})
        self.session.aws.__dict__["autoscaling"] = scaling
        self.session.environment.release = ReleaseSettings()
        self.clock = Clock()
        self.deployer = Deployer(
            session=self.session,
            outputs=OUTPUTS,
            ecs=cast("Ecs", ecs),
            patience=Patience(report=self.book.lines.append, clock=self.clock, wait=self.clock.wait),
        )

    @contextmanager
    def with_lease(self) -> Iterator[Deployer]:
        with self.deployer.holding_lease(command="release", digest=DIGEST) as deployer:
            yield deployer

    def is_lost(self) -> None:
        """Sleep until the lease has expired and somebody else has taken it."""
        self.book.s3.now += dt.timedelta(seconds=LIFETIME + 1)
        lease_of(self.session)._take(LEE)


def test_the_lease_names_the_job_if_the_session_does_not() -> None:
    """configure-aws-credentials names every session GitHubActions."""
    arn = "arn:aws:sts::111111111111:assumed-role/deploy/GitHubActions"
    work = Work(FakeEcs(RUNNING_OLD))
    work.session.aws.__dict__["sts"] = SimpleNamespace(get_caller_identity=lambda: {"Arn": arn})
    work.session.env = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_ACTOR": "kim",
        "GITHUB_REPOSITORY": "acme/shop",
        "GITHUB_RUN_ID": "7",
    }

    with work.with_lease():
        holder = lease_of(work.session).holder()

    assert holder is not None
    assert holder.who == f"{arn} (kim@acme-shop.7)"


def test_a_rollout_is_not_started_without_the_lease() -> None:
    ecs = FakeEcs(RUNNING_OLD)
    work = Work(ecs)

    with work.with_lease() as deployer:
        work.is_lost()
        with pytest.raises(LeaseLostError, match="lee is at work there"):
            deployer.start(ServiceUpdate(task_definition_arn=NEW, desired=None))

    assert ecs.calls == []
    holder = lease_of(work.session).holder()
    assert holder is not None
    assert holder.who == "lee", "it is not given back in somebody else's place"


def test_the_scaling_is_not_changed_without_the_lease() -> None:
    scaling = FakeScaling(0)
    work = Work(FakeEcs(RUNNING_OLD), scaling=scaling)

    with work.with_lease() as deployer:
        work.is_lost()
        with pytest.raises(LeaseLostError):
            set_scaling_minimum(deployer)

    assert scaling.registered == []


def test_after_the_apply_the_lease_is_still_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    ecs = FakeEcs(RUNNING_OLD)
    work = Work(ecs)

    with work.with_lease() as deployer:
        anew = deployer.with_outputs(OUTPUTS)
        monkeypatch.setattr(work.session.aws, "call_ecs", Wire().call_ecs)
        work.is_lost()
        with pytest.raises(LeaseLostError):
            anew.ecs.update(task_definition=NEW, desired=None)


def test_the_cause_of_a_failed_rollout_is_reported_even_if_the_lease_is_lost() -> None:
    ecs = WithImages(RUNNING_OLD)
    work = Work(ecs)

    with work.with_lease() as deployer:
        work.is_lost()
        with pytest.raises(RolledBackError) as caught:
            deployer.require_success(
                end(RolloutOutcome.ROLLED_BACK), WATCHING, task_definition_arn=NEW, reset_to=0
            )

    assert "the service was not set back to 0 tasks" in caught.value.message
    assert "lost the lease" in caught.value.message
    assert ecs.calls == []


def test_a_user_who_rolls_back_learns_that_the_lease_is_lost() -> None:
    ecs = FakeEcs(RUNNING_OLD, listed=[service_deployment()])
    work = Work(ecs)
    interruption = SimpleNamespace(is_final=False, wait=lambda _: True, clear=lambda: None)

    with work.with_lease() as deployer:
        started = deployer.adopt(ecs.own.arn, task_definition_arn=NEW)
        work.is_lost()
        with pytest.raises(LeaseLostError):
            follow(
                Watch(cast("Any", ecs), started, stall_after=60.0, clock=work.clock),
                cast("Any", ecs),
                show=lambda _: None,
                interruption=cast("Any", interruption),
                on_interrupt=lambda: Choice.ROLL_BACK,
                patience=deployer.patience,
            )

    assert ecs.calls == []


def test_nothing_is_applied_where_the_lease_was_lost_while_a_question_was_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ecs = FakeEcs(RUNNING_OLD)
    work = Work(ecs)
    work.session.locked_workspace = nullcontext
    work.session.cloud = SimpleNamespace(label="the local AWS")
    work.session.aws.warm = lambda: None
    applied: list[object] = []
    module = import_module("mclass_tf.flows.release")  # the package has the verb by that name
    planned = SimpleNamespace(
        plan=SimpleNamespace(has_changes=True),
        saved=SimpleNamespace(sha256="aa", serial=1),
        decision=SimpleNamespace(verdicts=(), require=lambda: None),
    )
    monkeypatch.setattr(module, "plan_locked", lambda *_, **__: planned)
    monkeypatch.setattr(module, "apply_locked", applied.append)
    monkeypatch.setattr(module, "require_wiring", lambda *_: None)
    monkeypatch.setattr(module, "_require_architecture", lambda *_: None)
    monkeypatch.setattr("mclass_tf.flows.attempt._commit", lambda _: "")

    def a_night_goes_by(_: str) -> bool:
        work.is_lost()
        return True

    with work.with_lease() as deployer, pytest.raises(LeaseLostError):
        plan_apply_and_roll_out(
            deployer,
            ReleaseRequest(digest=DIGEST),
            WATCHING,
            confirm=a_night_goes_by,
            show_plan=lambda _: None,
        )

    assert (applied, ecs.calls) == ([], [])
    (attempt,) = ledger_of(work.session).latest_first(most=1)
    assert attempt.ended is not None
    assert (attempt.ended.outcome, attempt.is_harmless) == ("failed", True)
    assert "lost the lease" in attempt.ended.cause


def test_an_attempt_that_lost_its_lease_may_be_resumed() -> None:
    own = Attempt(record="s3://x", digest=DIGEST, revision="", started_at=BEGAN)

    own.failed(LeaseLostError("lost"))

    assert resumable_attempt([record(outcome=own.outcome)], environment="dev").name == "one"


def test_only_who_gets_a_guarded_service_takes_the_lease() -> None:
    """A command that took the lease in another way would change the service without checking it."""
    flows = Path(attempts.__file__).parent
    takes = {
        path.name
        for path in flows.rglob("*.py")
        if re.search(r"(?<![\w.])holding_lease\(session|lease_of\(\w+\)\.held", path.read_text())
    }

    assert takes == {"attempt.py"}
    assert [
        path.name
        for path in flows.rglob("*.py")
        if re.search(r"import .*\bholding_lease\b", path.read_text())
    ] == ["deploy.py"]
