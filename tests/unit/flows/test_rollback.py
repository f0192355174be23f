"""Rollbacks: what they undo, and what they leave alone."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any, cast

import pytest

from mclass_tf.environment import ReleaseSettings
from mclass_tf.errors import DeploymentInProgressError, ReleaseMissingError, RolledBackError
from mclass_tf.flows.attempt import lease_of, ledger_of, recorded
from mclass_tf.flows.deployer.deploy import Deployer
from mclass_tf.flows.rollback import EarlierVersion, _end, _must_end_first, _named, _require_forward
from mclass_tf.lease import Holder
from mclass_tf.rollout import Patience, RolloutEnd, RolloutOutcome
from mclass_tf.rollout.view import RolloutReading
from mclass_tf.service import Ecs, Service, ServiceDeployment
from mclass_tf.strategy import BLUE_GREEN, CANARY, Strategy
from tests.unit.fake_service import DIGEST, NEW, OTHER, deployment, service, service_deployment
from tests.unit.flows.deployer.test_deploy import OUTPUTS, WATCHING, WithImages
from tests.unit.flows.test_resume import Book, record, rolling_out, served
from tests.unit.test_strategy import WIRED, outputs, session

UNDER_WAY = service_deployment()


def going(book: Book) -> Deployer:
    return Deployer(
        session=book.session,
        outputs=OUTPUTS,
        ecs=cast("Ecs", WithImages(service(deployment(NEW, status="PRIMARY")))),
        patience=Patience(report=book.lines.append),
    )


def began(book: Book, command: str, *, at: str, digest: str = DIGEST) -> None:
    """Record that a command started or adopted the deployment under way."""
    ledger = ledger_of(book.session)
    ledger.step(
        ledger.begin(replace(record().begun, command=command, at=at, digest=digest)),
        1,
        rolling_out(arn=UNDER_WAY.arn),
    )


def test_a_rollback_is_not_taken_back_by_a_second_one() -> None:
    book = Book()
    began(book, "rollback", at="2026-11-23T10:00:00+00:00")

    with pytest.raises(
        DeploymentInProgressError, match="a rollback of dev is under way already; nothing was changed"
    ) as caught:
        _require_forward(going(book), UNDER_WAY)

    assert "`abort dev`" in caught.value.hint


def test_one_that_has_just_begun_is_known_by_its_lease() -> None:
    book = Book()
    holder = Holder.here(who="kim", command="rollback", digest="")

    with lease_of(book.session).held(holder), pytest.raises(DeploymentInProgressError):
        _require_forward(going(book), UNDER_WAY)


def test_one_that_died_before_it_noted_its_deployment_is_known_by_what_that_brings() -> None:
    book = Book()
    ledger = ledger_of(book.session)
    ledger.begin(replace(record().begun, command="rollback", at=UNDER_WAY.created_at.isoformat()))

    with pytest.raises(DeploymentInProgressError):
        _require_forward(going(book), UNDER_WAY)


@pytest.mark.parametrize("command", ["release", "promote"])
def test_what_goes_forward_is_taken_back_also_where_somebody_has_tried_to_already(command: str) -> None:
    book = Book()
    began(book, command, at="2026-11-23T10:00:00+00:00")
    began(book, "rollback", at="2026-11-23T10:01:00+00:00", digest="sha256:older")

    _require_forward(going(book), UNDER_WAY)


def test_a_rollback_by_ecs_is_followed() -> None:
    book = Book()
    began(book, "rollback", at="2026-11-23T10:00:00+00:00")

    _require_forward(going(book), service_deployment(status="ROLLBACK_IN_PROGRESS"))


def test_a_rollback_to_a_digest_uses_the_revision_in_which_it_was_proven() -> None:
    book = Book()
    with recorded(book.session, record().begun) as attempt:
        attempt.outcome, attempt.task_definition_arn = "released", OTHER  # its verification failed
    with pytest.raises(ReleaseMissingError, match=f"no release of {DIGEST} was proven in dev"):
        _named(going(book), DIGEST)

    served(book, minute=1)
    assert _named(going(book), DIGEST).task_definition_arn == NEW


def must_end_first(fake: WithImages, current: ServiceDeployment, running: Service, *, strategy: str) -> bool:
    """Return whether the deployment under way ends before a rollback, in an environment with this strategy."""
    deployer = Deployer(
        session=session(Strategy(name=strategy)),
        outputs=outputs(),
        ecs=cast("Ecs", fake),
        patience=Patience(report=lambda _: None),
    )
    earlier = EarlierVersion(task_definition_arn=OTHER, digest=DIGEST)
    return _must_end_first(deployer, earlier, current, running, Strategy(name=BLUE_GREEN, bake_minutes=0))


@pytest.mark.parametrize(
    ("in_force", "brings", "status", "expected"),
    [
        ("CANARY", NEW, "IN_PROGRESS", True),
        ("CANARY", NEW, "ROLLBACK_IN_PROGRESS", True),
        ("CANARY", OTHER, "IN_PROGRESS", False),
        ("CANARY", OTHER, "ROLLBACK_IN_PROGRESS", True),
        ("BLUE_GREEN", NEW, "IN_PROGRESS", False),
    ],
)
def test_a_deployment_under_way_ends_before_a_rollback_changes_the_strategy(
    in_force: str, brings: str, status: str, *, expected: bool
) -> None:
    """A rollback shifts at once, blue/green. ECS would refuse that during a canary release."""
    current = service_deployment(status=status)
    running = replace(WIRED, configuration={"strategy": in_force})
    fake = WithImages(running, own=current, listed=[current], revisions={"revision/own": brings})

    assert must_end_first(fake, current, running, strategy=CANARY) is expected
    assert fake.calls == []


@pytest.mark.parametrize(("port", "expected"), [(3000, False), (4000, True)])
def test_a_deployment_under_way_ends_before_a_rollback_to_another_port(
    port: int, *, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rollback to another port tells ECS of both target groups: no deployment under way may have changed which is in use."""
    own = {"name": "mclass-server", "image": DIGEST, "portMappings": [{"containerPort": port}]}
    monkeypatch.setattr(WithImages, "task_definition", lambda *_: {"containerDefinitions": [own]})
    wiring = {**WIRED.load_balancers[0], "containerName": "mclass-server", "containerPort": 3000}
    running = replace(WIRED, configuration={"strategy": "BLUE_GREEN"}, load_balancers=(wiring,))
    current = service_deployment()
    fake = WithImages(running, own=current, listed=[current], revisions={"revision/own": NEW})

    assert must_end_first(fake, current, running, strategy=BLUE_GREEN) is expected


@pytest.mark.parametrize("status", ["IN_PROGRESS", "ROLLBACK_IN_PROGRESS"])
@pytest.mark.parametrize(
    ("outcome", "is_fine"),
    [
        (RolloutOutcome.ROLLED_BACK, True),
        (RolloutOutcome.SUCCEEDED, True),
        (RolloutOutcome.ROLLBACK_FAILED, False),
    ],
)
def test_a_deployment_that_must_end_first_is_rolled_back_and_followed(
    monkeypatch: pytest.MonkeyPatch, *, status: str, outcome: RolloutOutcome, is_fine: bool
) -> None:
    current = service_deployment(status=status)
    book = Book()
    made = going(book)
    made.session.environment.release = ReleaseSettings()  # type: ignore[misc]
    fake = cast("Any", made.ecs)
    fake.own, fake.listed = current, [current]
    last = RolloutReading(deployment=current, service=fake.now, running=(), target_states={})
    monkeypatch.setattr(Deployer, "follow", lambda *_, **__: RolloutEnd(outcome=outcome, last=last))

    with nullcontext() if is_fine else pytest.raises(RolledBackError):
        _end(made, current, WATCHING)

    assert fake.calls == ([("roll back", current.arn)] if status == "IN_PROGRESS" else [])
    assert book.lines[0].startswith("ECS rolls back the deployment that is under way first")
