"""The records of an attempt, and how `release --resume` uses them."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mclass_tf import flows, verify
from mclass_tf.aws import Access, Aws
from mclass_tf.cli.promote_commands import history_text
from mclass_tf.cli.release_commands import _attempt_text
from mclass_tf.environment import Backend, ReleaseSettings
from mclass_tf.errors import (
    ApprovalRefusedError,
    IncompleteAnswerError,
    LedgerError,
    MclassError,
    PlanRefusedError,
    PromotionRefusedError,
    ReleaseMissingError,
    RevisionGoneError,
    RolledBackError,
    UsageError,
)
from mclass_tf.flows.attempt import Attempt, Writer, ledger_of, recorded
from mclass_tf.flows.deployer.deploy import Deployer
from mclass_tf.flows.history import summarise
from mclass_tf.flows.proof import require_not_withdrawn
from mclass_tf.flows.resume import foreign_revision, own_deployment, resumable_attempt
from mclass_tf.ledger import (
    APPLYING,
    BEFORE,
    PLANNED,
    PLANNING,
    ROLLING_OUT,
    AttemptEnd,
    AttemptStart,
    OneOffResult,
    Record,
    Step,
)
from mclass_tf.rollout import Patience
from mclass_tf.service import ServiceDeployment
from mclass_tf.session import Session
from mclass_tf.strategy import BLUE_GREEN, Strategy
from tests.unit.fake_s3 import FakeS3
from tests.unit.fake_service import (
    ARN,
    BEGAN,
    DIGEST,
    NEW,
    OLD,
    OTHER,
    Clock,
    FakeEcs,
    deployment,
    service,
    service_deployment,
)

RUNNING_OLD = service(deployment(OLD, status="PRIMARY"))


def step(what: str, **details: Any) -> Step:
    return Step(what=what, at=BEGAN.isoformat(), details=details)


def record(*steps: Step, outcome: str | None = None, command: str = "release", name: str = "one") -> Record:
    begun = AttemptStart(
        command=command,
        environment="dev",
        who="arn:aws:sts::111111111111:assumed-role/deploy/kim",
        at=BEGAN.isoformat(),
        commit="c0ffee",
        digest=DIGEST,
        revision="c0ffee",
        strategy="BLUE_GREEN",
        state_serial=1,
    )
    ended = AttemptEnd(
        at=(BEGAN + dt.timedelta(minutes=1)).isoformat(),
        outcome=outcome or "",
        cause="",
        task_definition_arn="",
        service_deployment_arn="",
        is_verified=outcome == "released",
        state_serial=1,
        steps=steps,
    )
    return Record(name=name, begun=begun, ended=ended if outcome else None, steps=steps)


def rolling_out(arn: str = f"{ARN}/own", task_definition: str = NEW) -> Step:
    return step(ROLLING_OUT, service_deployment=arn, task_definition=task_definition)


def chosen(*records: Record) -> str:
    return resumable_attempt(records, environment="dev").name


def deployer(ecs: FakeEcs, *, digest: str = DIGEST) -> Deployer:
    clock = Clock()
    outputs = SimpleNamespace(image_digest=digest, task_definition_arn=NEW)
    return Deployer(
        session=cast("Any", SimpleNamespace(environment=SimpleNamespace(name="dev"))),
        outputs=cast("verify.Outputs", outputs),
        ecs=cast("Any", ecs),
        patience=Patience(report=lambda _: None, clock=clock, wait=clock.wait),
    )


@pytest.mark.parametrize("outcome", [None, "failed", "interrupted", "stalled"])
def test_an_attempt_that_was_cut_off_detached_or_failed_midway_can_be_resumed(outcome: str | None) -> None:
    assert chosen(record(step(PLANNING), step(APPLYING), outcome=outcome)) == "one"


@pytest.mark.parametrize("outcome", ["released", "unchanged", "rolled back", "superseded", "stopped"])
def test_a_completed_attempt_cannot_be_resumed(outcome: str) -> None:
    done = record(step(APPLYING), outcome=outcome, name="two")

    with pytest.raises(ReleaseMissingError, match=f"no attempt was cut off in dev: .*{outcome}") as caught:
        chosen(done, record(step(APPLYING)))

    assert "release dev" in caught.value.hint


def test_without_any_attempt_there_is_nothing_to_resume() -> None:
    with pytest.raises(ReleaseMissingError, match="nothing was released there yet"):
        chosen()


@pytest.mark.parametrize("outcome", ["refused", "failed"])
def test_an_attempt_that_changed_nothing_does_not_hide_the_one_before_it(outcome: str) -> None:
    harmless = record(step(PLANNING), step(PLANNED), outcome=outcome, name="two")

    assert chosen(harmless, record(step(APPLYING))) == "one"


def test_an_attempt_whose_resumption_changed_nothing_is_still_open() -> None:
    locked_out = record(step(PLANNING), outcome="failed", name="two")

    assert chosen(locked_out, record(step(PLANNING), outcome="cut off")) == "one"


def test_an_attempt_is_cut_off_at_its_last_step() -> None:
    (past,) = summarise(
        [record(step(PLANNING), step(APPLYING), rolling_out(), step("BAKE_TIME"))],
        urls=["s3://x"],
        is_held=False,
    )

    assert (past.outcome, past.step, past.seconds) == ("cut off", "BAKE_TIME", None)


def test_history_and_status_show_where_it_was_cut_off_and_how_to_resume() -> None:
    urls = ["s3://x"]
    (past,) = summarise([record(step(APPLYING), rolling_out(), step("BAKE_TIME"))], urls=urls, is_held=False)
    (under_way,) = summarise([record(step(APPLYING))], urls=urls, is_held=True)

    assert "cut off at BAKE_TIME" in history_text("dev", [past])
    first, second = _attempt_text("dev", past)
    assert "cut off at BAKE_TIME" in first
    assert "release dev --resume" in second
    (line,) = _attempt_text("dev", under_way)
    assert line.startswith("  attempt  release of sha256:")
    assert "under way at applying" in line


def test_a_resumed_attempt_names_its_successor() -> None:
    ended = record(step(APPLYING), outcome="cut off")
    ended = replace(
        ended, ended=replace(cast("AttemptEnd", ended.ended), cause="the attempt of … goes on with it")
    )
    successor = replace(record(outcome="released"), begun=replace(ended.begun, resumes="s3://x"))

    latest, before = summarise([successor, ended], urls=["s3://y", "s3://x"], is_held=False)

    assert (latest.resumes, latest.step) == ("s3://x", "")
    assert (before.outcome, before.step, before.seconds) == ("cut off", "applying", None)


def test_an_old_record_without_steps_says_no_more_than_it_knows() -> None:
    (past,) = summarise([record()], urls=["s3://x"], is_held=False)

    assert (past.outcome, past.step) == ("cut off", "")


def test_the_recorded_deployment_of_an_attempt_is_looked_up() -> None:
    ecs = FakeEcs(RUNNING_OLD)
    ecs.becomes("ROLLBACK_SUCCESSFUL")

    found = own_deployment(deployer(ecs), record(step(APPLYING), rolling_out()))

    assert found is not None
    assert found.status == "ROLLBACK_SUCCESSFUL"


def test_an_unrecorded_deployment_is_found_by_its_task_definition() -> None:
    older = service_deployment("older", seconds=-60)
    listed = [older, service_deployment("own", seconds=5), service_deployment("another", seconds=9)]
    revisions = {"revision/older": NEW, "revision/own": NEW, "revision/another": OTHER}
    ecs = FakeEcs(RUNNING_OLD, listed=listed, revisions=revisions)

    found = own_deployment(deployer(ecs), record(step(APPLYING)))

    assert found is not None
    assert found.arn == f"{ARN}/own"


@pytest.mark.parametrize(
    "steps",
    [(step(PLANNING),), (step(APPLYING),), (step(APPLYING), rolling_out(task_definition=OLD))],
    ids=["not applied", "applied", "wiring"],
)
def test_an_attempt_that_started_no_deployment_has_none(steps: tuple[Step, ...]) -> None:
    ecs = FakeEcs(
        RUNNING_OLD, listed=[service_deployment("older", seconds=-60)], revisions={"revision/older": NEW}
    )

    assert own_deployment(deployer(ecs), record(*steps)) is None


def test_before_its_image_is_applied_no_deployment_is_its_own() -> None:
    ecs = FakeEcs(RUNNING_OLD, listed=[service_deployment("own", seconds=5)])

    assert own_deployment(deployer(ecs, digest="sha256:" + "b" * 64), record(step(APPLYING))) is None


def test_a_deployment_that_ecs_has_forgotten_is_none() -> None:
    class Forgetful(FakeEcs):
        def service_deployment(self, arn: str, /) -> ServiceDeployment:
            raise RevisionGoneError(f"ECS no longer has the service deployment {arn}")

    assert own_deployment(deployer(Forgetful(RUNNING_OLD)), record(step(APPLYING), rolling_out())) is None


def test_a_deployment_on_which_ecs_is_silent_is_not_taken_for_forgotten() -> None:
    class Silent(FakeEcs):
        def service_deployment(self, arn: str, /) -> ServiceDeployment:
            raise IncompleteAnswerError(f"ECS leaves out the service deployment {arn}")

    with pytest.raises(MclassError):
        own_deployment(deployer(Silent(RUNNING_OLD)), record(step(APPLYING), rolling_out()))


def test_a_later_deployment_that_ecs_has_forgotten_is_not_the_attempts_own() -> None:
    class Forgetful(FakeEcs):
        def revision_task_definition(self, arn: str, /) -> str:
            if arn == "revision/gone":
                raise RevisionGoneError(f"ECS no longer has {arn}")
            return super().revision_task_definition(arn)

    gone, own = service_deployment("gone", seconds=20), service_deployment(seconds=10)
    fake = Forgetful(RUNNING_OLD, own=own, listed=[gone, own])

    assert own_deployment(deployer(fake), record(step(APPLYING))) == own


@pytest.mark.parametrize(
    ("last", "runs", "theirs"),
    [
        (step(APPLYING, serving=OLD), OLD, ""),
        (step(APPLYING, serving=OLD), NEW, ""),
        (step(APPLYING, serving=OLD), OTHER, "mclass-task:3"),
        (step(PLANNING), OTHER, ""),
    ],
    ids=["what ran before", "what was applied", "something else", "nothing was applied yet"],
)
def test_somebody_elses_later_deployment_is_distinguished_from_the_attempts_own(
    last: Step, runs: str, theirs: str
) -> None:
    assert foreign_revision(record(last), runs=runs, applied=NEW) == theirs


def test_the_commands_that_have_run_are_known_from_the_steps() -> None:
    ran = OneOffResult(command="migrate", task_arn="task/1", exit_code=0)

    assert record(step(BEFORE, command="migrate", task_arn="task/1", exit_code=0)).ran == (ran,)


def attempt(writer: Writer) -> Attempt:
    return Attempt(record="s3://x", digest=DIGEST, revision="", started_at=BEGAN, write=writer.add)


def test_steps_are_written_in_their_order_each_once() -> None:
    written: list[tuple[int, str]] = []
    writer = Writer(lambda number, each: written.append((number, each.what)), report=lambda _: None)
    own = attempt(writer)

    own.reach(PLANNING)
    for _ in range(2):
        own.note_stage(replace(service_deployment(), stage="BAKE_TIME", production=100.0))
    writer.close()

    assert written == [(1, PLANNING), (2, "BAKE_TIME")]
    assert own.steps[1].details == {"production": 100.0}


def test_a_failing_ledger_is_reported_once_and_stops_nothing() -> None:
    lines: list[str] = []
    written: list[int] = []

    def write(number: int, each: Step) -> None:
        if each.what != "BAKE_TIME":
            raise LedgerError("the ledger could not be written")
        written.append(number)

    writer = Writer(write, report=lines.append)
    own = attempt(writer)
    for what in (PLANNING, APPLYING, "BAKE_TIME"):
        own.reach(what)
    writer.close()

    assert len(lines) == 1
    assert "could not be written" in lines[0]
    assert written == [1], "no gaps: a reader stops at the first"
    assert [each.what for each in own.steps] == [PLANNING, APPLYING, "BAKE_TIME"]


def test_a_ledger_that_does_not_answer_delays_nothing() -> None:
    answers = threading.Event()
    writer = Writer(lambda *_: cast("None", answers.wait()), report=lambda _: None)

    attempt(writer).reach(PLANNING)  # returns

    answers.set()
    writer.close()


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ApprovalRefusedError("dev was left as it is"), "refused"),
        (RolledBackError("back", cause="bad"), "rolled back"),
        (MclassError("no"), "failed"),
        (KeyboardInterrupt(), "interrupted"),
    ],
)
def test_an_attempt_ends_as_it_has_failed(error: BaseException, outcome: str) -> None:
    own = Attempt(record="s3://x", digest=DIGEST, revision="", started_at=BEGAN)

    own.failed(error)

    assert own.outcome == outcome
    assert own.cause


def test_what_is_refused_after_the_apply_has_begun_has_failed() -> None:
    own = Attempt(record="s3://x", digest=DIGEST, revision="", started_at=BEGAN)
    own.reach(APPLYING)

    own.failed(PlanRefusedError("the plan is stale"))

    assert own.outcome == "failed"


@dataclass
class Book:
    """A session with an in-memory ledger only."""

    s3: FakeS3 = field(default_factory=FakeS3)
    lines: list[str] = field(default_factory=list)

    @property
    def session(self) -> Session:
        aws = Aws(Access(region="ap-northeast-2"))
        aws.__dict__["s3"] = self.s3
        backend = Backend(
            file=Path("backend.hcl"),
            bucket="state",
            key="state",
            region="ap-northeast-2",
            allowed_account_ids=(),
        )
        fake = SimpleNamespace(
            aws=aws,
            environment=SimpleNamespace(name="dev", backend=backend),
            project=SimpleNamespace(home=Path("nowhere")),
            env={},
            report=self.lines.append,
            state=lambda: SimpleNamespace(serial=7),
        )
        return cast("Session", fake)

    def read(self, url: str) -> Record:
        return ledger_of(self.session).read(url)

    def cut_off(self, *steps: Step) -> str:
        """Write a cut-off attempt with some steps; return its URL."""
        ledger = ledger_of(self.session)
        name = ledger.begin(record().begun)
        for number, each in enumerate(steps, start=1):
            ledger.step(name, number, each)
        return ledger.url(name)


def test_a_resumed_attempt_gets_its_end_and_keeps_its_steps() -> None:
    book = Book()
    url = book.cut_off(step(PLANNING), step(APPLYING), rolling_out(), step("BAKE_TIME"))

    with recorded(book.session, replace(record().begun, resumes=url)) as attempt:
        attempt.reach("verifying")
        attempt.outcome = "released"

    old, new = book.read(url), book.read(attempt.record)
    assert old.ended is not None
    assert (old.ended.outcome, old.ended.service_deployment_arn) == ("cut off", f"{ARN}/own")
    assert attempt.record in old.ended.cause
    assert old.at_step == "BAKE_TIME"
    assert new.begun.resumes == url
    assert new.ended is not None
    assert (new.ended.outcome, [each.what for each in new.steps]) == ("released", ["verifying"])


def test_an_attempt_that_failed_keeps_the_end_that_it_had() -> None:
    book = Book()
    with pytest.raises(RolledBackError), recorded(book.session, record().begun) as first:
        raise RolledBackError("back", cause="bad")
    ended = book.read(first.record).ended

    with recorded(book.session, replace(record().begun, resumes=first.record)):
        pass

    assert book.read(first.record).ended == ended


def test_details_of_steps_are_of_jsons_types() -> None:
    seen: list[Mapping[str, Any]] = []
    own = Attempt(record="", digest="", revision="", started_at=BEGAN, write=lambda s: seen.append(s.details))

    own.note_before(OneOffResult(command="migrate", task_arn="task/1", exit_code=3))

    assert seen == [{"command": "migrate", "task_arn": "task/1", "exit_code": 3}]
    assert own.before[0].exit_code == 3


def served(
    book: Book, *, minute: int, command: str = "release", digest: str = DIGEST, arn: str = NEW
) -> None:
    """Write a proven attempt."""
    begun = replace(
        record().begun,
        at=(BEGAN + dt.timedelta(minutes=minute)).isoformat(),
        command=command,
        digest=digest,
    )
    with recorded(book.session, begun) as attempt:
        attempt.outcome, attempt.is_verified, attempt.task_definition_arn = "released", True, arn


def test_what_its_origin_has_taken_back_since_is_not_promoted_any_more() -> None:
    book = Book()
    served(book, minute=0, digest="sha256:older", arn=OLD)
    served(book, minute=1)
    require_not_withdrawn(book.session, digest=DIGEST)

    served(book, minute=2, digest="sha256:newer", arn=OTHER)
    require_not_withdrawn(book.session, digest=DIGEST)  # what came after it says nothing against it

    served(book, minute=3, command="rollback", digest="sha256:older", arn=OLD)
    with pytest.raises(PromotionRefusedError, match="was rolled back in dev since"):
        require_not_withdrawn(book.session, digest=DIGEST)


@pytest.mark.parametrize(
    ("command", "told"), [("release", "does not wait at BAKE_TIME"), ("rollback", "waits at no stage")]
)
def test_a_pause_that_cannot_be_made_any_more_is_refused(
    monkeypatch: pytest.MonkeyPatch, command: str, told: str
) -> None:
    ecs = FakeEcs(RUNNING_OLD, listed=[service_deployment()])
    fake_session = SimpleNamespace(
        environment=SimpleNamespace(name="dev", release=ReleaseSettings(strategy=Strategy(name=BLUE_GREEN))),
        aws=SimpleNamespace(warm=lambda: None),
        report=lambda _: None,
    )
    made = replace(deployer(ecs), session=cast("Any", fake_session))
    cut = record(rolling_out(), command=command)
    module = import_module("mclass_tf.flows.resume")  # the package has the verb by that name
    monkeypatch.setattr(module, "applied_state", lambda _: SimpleNamespace(outputs={}))
    held = SimpleNamespace(require=lambda: None)
    monkeypatch.setattr("mclass_tf.flows.deployer.deploy.holding_lease", lambda *_, **__: nullcontext(held))
    monkeypatch.setattr(module, "ledger_of", lambda _: SimpleNamespace(latest_first=lambda **_: iter([cut])))
    monkeypatch.setattr(verify.Outputs, "parse", lambda _: made.outputs)
    monkeypatch.setattr(Deployer, "of", lambda *_: made)

    with pytest.raises(UsageError, match=told):
        flows.resume(
            made.session,
            source=lambda _: made.session,
            confirm=lambda _: True,
            show=lambda _: None,
            pause_at=("BAKE_TIME",),
        )

    assert ecs.calls == []
