"""New task definitions and services get the image proven last, and the plan explains it if the state names another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from mclass_tf import flows, verify
from mclass_tf.describe import describe
from mclass_tf.errors import PlanOutdatedError
from mclass_tf.flows import environments, inspect
from mclass_tf.flows.attempt import ledger_of
from mclass_tf.flows.deployer.deploy import Deployer
from mclass_tf.flows.image_in_force import ImageInForce, decide, image_in_force, starts_an_image
from mclass_tf.ledger import APPLYING, PLANNED, PLANNING, AttemptEnd, Record
from mclass_tf.plan import Plan
from mclass_tf.terraform_state import State
from tests.unit.flows.test_resume import Book, record, step

GOOD, BAD, OLDER = ("sha256:" + letter * 64 for letter in "abc")
REVISIONS = {GOOD: "mclass-task:2", BAD: "mclass-task:3", OLDER: "mclass-task:1"}


def attempt(
    digest: str, outcome: str | None = "released", *, command: str = "release", proven: bool = True
) -> Record:
    """Return an attempt that applied its image; `outcome` None: cut off."""
    steps = (step(PLANNING), step(PLANNED), step(APPLYING)) if command != "rollback" else ()
    made = record(*steps, outcome=outcome, command=command, name=f"{command}-{digest[7]}")
    ended = made.ended and replace(
        made.ended,
        task_definition_arn=REVISIONS[digest],
        is_verified=proven and outcome in ("released", "rolled back", "unchanged"),
        cause="it crashed" if outcome == "failed" else "",
    )
    return replace(made, begun=replace(made.begun, digest=digest), ended=ended)


def rolled_back_to(digest: str) -> Record:
    return attempt(digest, "rolled back", command="rollback")


def failed(digest: str, outcome: str = "rolled back") -> Record:
    return attempt(digest, outcome, proven=False)


def refused(digest: str) -> Record:
    made = record(step(PLANNING), outcome="refused")
    return replace(made, begun=replace(made.begun, digest=digest))


def chosen(*attempts: Record, applied: str = BAD, gone: Sequence[str] = (), serves: str = "") -> ImageInForce:
    """Return the image in force after attempts, oldest first."""
    return decide(
        attempts[::-1],
        applied=applied,
        url=lambda name: f"s3://state/{name}/",
        is_pushed=lambda digest: digest not in gone,
        serving=lambda: serves,
    )


@pytest.mark.parametrize(
    ("attempts", "in_force"),
    [
        ([attempt(GOOD), failed(BAD)], GOOD),
        ([attempt(GOOD), failed(BAD, "failed")], GOOD),
        ([attempt(GOOD), failed(BAD, "worse")], GOOD),
        ([attempt(GOOD), failed(BAD, "stalled")], GOOD),
        ([attempt(GOOD), failed(BAD, "interrupted")], GOOD),
        ([attempt(GOOD), attempt(BAD, None)], GOOD),
        ([attempt(GOOD), attempt(BAD, proven=False)], GOOD),
        ([attempt(GOOD), attempt(BAD), rolled_back_to(GOOD)], GOOD),
        ([attempt(OLDER), attempt(GOOD), attempt(BAD), rolled_back_to(GOOD), rolled_back_to(OLDER)], OLDER),
        ([attempt(OLDER), attempt(GOOD), failed(BAD), rolled_back_to(OLDER)], OLDER),
        ([attempt(GOOD), failed(BAD), *[refused(OLDER)] * 100], GOOD),
        ([attempt(GOOD, command="promote"), failed(BAD)], GOOD),
        ([attempt(GOOD), failed(BAD), attempt(OLDER, None, command="rollback")], GOOD),
        ([attempt(GOOD), attempt(BAD)], BAD),
        ([attempt(GOOD), attempt(BAD), failed(BAD)], BAD),
        ([attempt(GOOD), failed(BAD), attempt(BAD)], BAD),
        ([attempt(GOOD)], GOOD),
        ([attempt(GOOD), rolled_back_to(OLDER)], OLDER),
        ([], BAD),
        ([attempt(BAD, proven=False)], BAD),
        ([attempt(BAD, None)], BAD),
        ([failed(GOOD)], BAD),
        ([failed(BAD)], None),
    ],
)  # fmt: skip
def test_the_image_that_was_proven_last_is_in_force(attempts: list[Record], in_force: str | None) -> None:
    assert chosen(*attempts).digest == in_force


def test_what_was_released_by_other_means_and_serves_stays() -> None:
    assert chosen(attempt(GOOD), serves=BAD).digest == BAD


def test_what_a_release_under_way_has_proven_since_another_plan_was_applied_is_in_force() -> None:
    assert chosen(attempt(BAD), attempt(GOOD), applied=BAD, serves=GOOD).digest == GOOD


def test_a_release_that_died_before_it_applied_anything_says_nothing_of_the_state() -> None:
    died = record(step(PLANNING), name="died")
    died = replace(died, begun=replace(died.begun, digest=OLDER))

    assert chosen(attempt(GOOD), failed(BAD), died).digest == GOOD


def test_what_the_repository_has_no_more_is_not_started() -> None:
    history = [attempt(OLDER), attempt(GOOD), failed(BAD)]

    assert chosen(*history, gone=[GOOD]).digest == OLDER
    assert chosen(*history, gone=[GOOD, OLDER]).digest is None


def test_old_records_without_steps_count_as_well() -> None:
    old = [replace(each, steps=()) for each in (attempt(GOOD), failed(BAD))]

    assert chosen(*old).digest == GOOD


@pytest.mark.parametrize(
    ("last", "told"),
    [
        (failed(BAD, "failed"), "whose release ended with 'failed': it crashed"),
        (attempt(BAD, None), "whose release has not ended"),
        (attempt(BAD, proven=False), "which was not verified after its release"),
    ],
)
def test_it_says_which_image_it_is_and_why_not_the_one_of_the_state(last: Record, told: str) -> None:
    found = chosen(attempt(GOOD), last)

    assert (found.digest, found.applied, found.differs) == (GOOD, BAD, True)
    assert f"proven last (proven by the release s3://state/release-a/); the state names {BAD}, {told}" in str(
        found
    )


def test_it_says_that_an_image_was_taken_back() -> None:
    assert "rolled back since it was proven" in str(chosen(attempt(GOOD), attempt(BAD), rolled_back_to(GOOD)))


def test_without_an_applied_image_the_ledger_is_not_asked() -> None:
    empty = State(lineage="", serial=0, outputs={})

    assert image_in_force(cast("Any", None), empty).digest is None


def plan(*changes: tuple[str, list[str]]) -> Plan:
    return Plan.parse(
        {
            "resource_changes": [
                {"address": f"{type_}.this", "type": type_, "change": {"actions": actions}}
                for type_, actions in changes
            ]
        }
    )


@pytest.mark.parametrize(
    ("change", "starts"),
    [
        (("aws_ecs_service", ["create"]), True),
        (("aws_ecs_service", ["delete", "create"]), True),
        (("aws_ecs_task_definition", ["create", "delete"]), True),
        (("aws_ecs_service", ["update"]), False),
        (("aws_ecs_service", ["delete"]), False),
        (("aws_lb", ["create"]), False),
    ],
)
def test_what_makes_a_task_definition_or_a_service_starts_an_image(
    change: tuple[str, list[str]], *, starts: bool
) -> None:
    assert starts_an_image(plan(change)) is starts


class Planning:
    """`plan_locked` on an in-memory ledger; Terraform always recreates the service."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, made: Plan) -> None:
        self.book = Book()
        self.images: list[str | None] = []
        self.state = State(lineage="l", serial=7, outputs={"image_digest": BAD, "repository_name": "mclass"})
        self.repository = {GOOD, BAD, OLDER}
        session = cast("Any", self.book.session)
        session.state = lambda: self.state
        session.engine = session.initialise = session.restore_state = lambda: None
        session.workspace = SimpleNamespace(plan_file=tmp_path / "plan.tfplan", root=tmp_path)
        session.project = SimpleNamespace(folder=tmp_path, home=tmp_path)
        session.aws.__dict__["ecr"] = SimpleNamespace(describe_images=self.describe_images)
        self.session = session
        fake_gates = SimpleNamespace(
            prepare=lambda *_, **__: None,
            Subject=SimpleNamespace,
            evaluate=lambda *_: SimpleNamespace(approved=None),
            write_approval=None,
        )

        def terraform(_: Any, file: Path, *, image: str | None, **__: Any) -> Plan:
            self.images.append(image)
            file.write_text(str(image))
            return made

        monkeypatch.setattr(environments, "gates", fake_gates)
        monkeypatch.setattr(environments, "_terraform_plan", terraform)
        monkeypatch.setattr(environments, "_plan_target", lambda _: "here")
        monkeypatch.setattr(environments, "_inputs", lambda _: {})
        monkeypatch.setattr(environments, "state_of", lambda _: ("l", 7))

    def describe_images(self, *, repositoryName: str, imageIds: list[dict[str, str]]) -> None:  # noqa: N803
        assert repositoryName == "mclass"
        if imageIds[0]["imageDigest"] not in self.repository:
            raise ClientError({"Error": {"Code": "ImageNotFoundException"}}, "DescribeImages")

    def note(self, *attempts: Record) -> None:
        """Write attempts into the ledger, oldest first."""
        ledger = ledger_of(self.session)
        for minute, each in enumerate(attempts):
            name = ledger.begin(replace(each.begun, at=f"2026-11-23T10:{minute:02d}:00+00:00"))
            ledger.end(name, cast("AttemptEnd", each.ended))

    def plan(self, image: str | None = None) -> flows.Planned:
        return environments.plan_locked(self.session, image=image)


ANEW = plan(("aws_ecs_service", ["create"]))


@pytest.fixture
def planning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Planning:
    return Planning(monkeypatch, tmp_path, made=ANEW)


def test_a_service_that_is_made_anew_after_a_rollback_runs_what_was_proven(planning: Planning) -> None:
    planning.note(attempt(GOOD), failed(BAD))

    planned = planning.plan()

    assert planning.images[-1] == GOOD
    assert planned.saved.image_in_force == GOOD
    text = describe(planned.plan, title="dev", image=str(planned.image))
    assert f"Image: {GOOD}, which was proven last" in text
    assert f"the state names {BAD}, whose release ended with 'rolled back'" in text


def test_the_image_that_is_named_is_planned_whatever_the_ledger_says(planning: Planning) -> None:
    planning.note(attempt(GOOD), failed(BAD))

    planned = planning.plan(BAD)

    assert planning.images == [BAD]
    assert (planned.image, planned.saved.image_in_force) == (None, "")


def test_where_the_service_is_gone_it_is_planned_once_with_what_was_proven(planning: Planning) -> None:
    planning.note(attempt(GOOD), failed(BAD))
    outputs = {**planning.state.outputs, "cluster_name": "c", "service_name": "s", "container_name": "n"}
    planning.state = replace(planning.state, outputs=outputs)
    planning.session.aws.call_ecs = lambda *_: {"services": [{"status": "INACTIVE"}]}

    planned = planning.plan()

    assert planning.images == [GOOD], "Terraform would wait for it twice"
    assert planned.saved.image_in_force == GOOD


def test_if_ecs_may_not_be_asked_the_plan_decides(planning: Planning) -> None:
    planning.note(attempt(GOOD), failed(BAD))
    outputs = {**planning.state.outputs, "cluster_name": "c", "service_name": "s"}
    planning.state = replace(planning.state, outputs=outputs)

    def denied(*_: Any) -> Any:
        raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "DescribeServices")

    planning.session.aws.call_ecs = denied

    assert planning.plan().saved.image_in_force == GOOD


def test_what_is_in_force_is_planned_once(planning: Planning) -> None:
    planning.note(*[attempt(GOOD)] * 20, attempt(BAD))
    planning.book.s3.calls.clear()

    planned = planning.plan()

    assert planning.images == [BAD]
    assert planning.book.s3.calls["GetObject"] == 2, "the last release is enough"
    assert planned.image is not None
    assert not planned.image.differs


def test_a_plan_that_starts_nothing_reads_no_ledger_and_stays_empty_after_a_rollback(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    planning = Planning(monkeypatch, tmp_path, made=plan(("aws_ecs_service", ["no-op"])))
    planning.note(attempt(GOOD), failed(BAD))
    planning.book.s3.calls.clear()

    planned = planning.plan()

    assert planning.images == [BAD]
    assert planned.image is None
    assert planning.book.s3.calls.total() == 0


def test_an_image_that_was_proven_and_deleted_is_not_started(planning: Planning) -> None:
    planning.note(attempt(GOOD), failed(BAD))
    planning.repository = {BAD}

    planned = planning.plan()

    assert planning.images[-1] is None, "the service is made with 0 tasks"
    assert planned.saved.image_in_force == ""
    assert "none was proven that the repository still has" in str(planned.image)


def test_a_saved_plan_is_refused_once_its_image_was_taken_back(planning: Planning) -> None:
    planning.note(attempt(GOOD), attempt(BAD))
    saved = planning.plan().saved
    environments._require_in_force(planning.session, saved, planning.state)

    planning.note(attempt(GOOD), attempt(BAD), rolled_back_to(GOOD))

    with pytest.raises(PlanOutdatedError) as caught:
        environments._require_in_force(planning.session, saved, planning.state)
    assert f"starts {BAD}, and the image in force is now {GOOD}" in caught.value.message
    assert "plan again: `plan dev`" in caught.value.hint


class Applied:
    """Return a deployer whose applied task definition has a withdrawn image, while the service runs another."""

    outputs = SimpleNamespace(container_name="n", repository_url="repo", task_definition_arn="applied")

    def __init__(self, session: Any) -> None:
        self.session = session
        self.ecs = SimpleNamespace(task_definition=lambda _: self.described())

    def described(self) -> dict[str, Any]:
        return {"containerDefinitions": [{"name": "n", "image": f"repo@{BAD}"}, {"name": "x", "image": "x"}]}

    def service(self) -> Any:
        return SimpleNamespace(task_definition_arn="running")

    def image_of(self, task_definition: str) -> str:
        return f"repo@{GOOD if task_definition == 'running' else BAD}"


@pytest.fixture
def applied(planning: Planning, monkeypatch: pytest.MonkeyPatch) -> Applied:
    made = Applied(planning.session)
    monkeypatch.setattr(inspect, "applied_state", lambda _: planning.state)
    monkeypatch.setattr(Deployer, "of", lambda *_: made)
    monkeypatch.setattr(verify.Outputs, "parse", lambda _: made.outputs)
    return made


@pytest.mark.parametrize(("named", "rendered"), [(None, GOOD), (OLDER, OLDER), (BAD, BAD)])
def test_what_is_rendered_for_registering_by_hand_has_the_image_in_force(
    planning: Planning, applied: Applied, named: str | None, rendered: str
) -> None:
    planning.note(attempt(GOOD), failed(BAD))

    document = inspect.render(planning.session, digest=named)

    assert [each["image"] for each in document["containerDefinitions"]] == [f"repo@{rendered}", "x"]
    assert [f"the image is {GOOD}, which was proven last" in line for line in planning.book.lines] == [
        True
    ] * (named is None)


def test_what_was_released_well_is_rendered_as_it_is(planning: Planning, applied: Applied) -> None:
    planning.note(attempt(BAD))

    assert (
        inspect.render(planning.session)["containerDefinitions"]
        == applied.described()["containerDefinitions"]
    )
    assert planning.book.lines == []


def test_a_promotion_compares_the_images_that_serve(planning: Planning, applied: Applied) -> None:
    side = import_module("mclass_tf.flows.promote")._side(applied, planning.state)

    assert side.outputs["image_digest"] == GOOD
