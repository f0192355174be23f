"""The commands on an environment: bootstrap, init, plan, apply, verify, destroy, unlock."""

from __future__ import annotations

import datetime as dt
import functools
import shutil
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import urlsplit

from mclass_tf import gates, hcl, inputs, load_balancer_endpoint, verify
from mclass_tf.errors import (
    ApprovalRefusedError,
    Hint,
    MclassError,
    NothingAppliedError,
    PlanOutdatedError,
    PlanRefusedError,
    ProtectedError,
    StateLockedError,
    UsageError,
)
from mclass_tf.flows.endpoints import locate
from mclass_tf.flows.image_in_force import (
    ImageInForce,
    image_in_force,
    is_service_gone,
    starts_an_image,
)
from mclass_tf.plan import Plan, SavedPlan, digest, state_of
from mclass_tf.session import Session, ensure_prerequisites
from mclass_tf.system import machine
from mclass_tf.terraform_state import State
from mclass_tf.workspace import approval_of
from mclass_tf.workspace import discard as _discard

Confirm = Callable[[str], bool]
"""Asks the user a yes-or-no question."""

_P = ParamSpec("_P")
_T = TypeVar("_T")


def _with_locked_workspace(
    step: Callable[Concatenate[Session, _P], _T],
) -> Callable[Concatenate[Session, _P], _T]:
    """Run `step` with the lock on the environment's working folders."""

    @functools.wraps(step)
    def held(session: Session, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        with session.locked_workspace():
            return step(session, *args, **kwargs)

    return held


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A saved and judged plan; `decision.approved` is None if a gate refused it.

    `image` is the image in force that the plan starts; None if it starts none, or the user named the image.
    """

    plan: Plan
    saved: SavedPlan
    decision: gates.GateDecision
    image: ImageInForce | None = None


@dataclass(frozen=True, kw_only=True)
class Applied:
    """The outputs in force, without secrets. `changed` is False if there was nothing to apply."""

    environment: str
    changed: bool
    outputs: Mapping[str, Any]


def bootstrap(session: Session) -> Mapping[str, tuple[str, ...]]:
    """Create what Terraform needs to run; return the changes by bucket."""
    return ensure_prerequisites(session)


@_with_locked_workspace
def init(session: Session) -> None:
    """Initialise Terraform for the environment, even if that seems unnecessary."""
    session.state()
    session.initialise(always=True)


@_with_locked_workspace
def make_plan(session: Session, *, image: str | None = None) -> Planned:
    """Plan, save and judge. `image` is the digest to release; without it, the image in force stays."""
    return plan_locked(session, image=image)


def find_terraform_in_background(session: Session) -> None:
    """Start to find Terraform in the background, which takes time. An error is ignored here, and recurs in the plan."""

    def find() -> None:
        with suppress(Exception):
            session.engine()

    threading.Thread(target=find, name="engine", daemon=True).start()


def plan_locked(session: Session, *, image: str | None) -> Planned:
    """Do what `make_plan` does. The caller holds the lock on the working folders."""
    session.engine()  # before the slow start of the gates, so that a missing Terraform is reported at once
    gates.prepare(session.environment, session.project.folder, cache=session.project.home / "scans")
    file = session.workspace.plan_file
    _discard(file)
    session.restore_state()
    state = session.state()
    try:
        _initialise(session)
        # Digests from before the plan: a file that changes while Terraform reads it makes the plan outdated.
        files = _inputs(session)
        plan, chosen = _plan_image(session, file, image, state)
        saved = _saved(session, file, plan, files=files, image=image, chosen=chosen)
        session.report("judging the plan")
        subject = gates.Subject(plan=plan, environment=session.environment, project=session.project.folder)
        decision = gates.evaluate(saved, subject)
        if decision.approved is not None:
            gates.write_approval(approval_of(file), decision.approved)
    finally:
        if not approval_of(file).is_file():
            # Without an approval it can never be applied, and a plan contains secrets.
            _discard(file)
    return Planned(plan=plan, saved=saved, decision=decision, image=chosen)


def export_plan(planned: Planned, destination: Path) -> None:
    """Copy an approved plan and its approval to `destination`, for a later `apply --plan`."""
    planned.decision.require()
    for source, copy in (
        (planned.saved.path, destination),
        (approval_of(planned.saved.path), approval_of(destination)),
    ):
        copy.touch(mode=0o600)
        copy.chmod(0o600)  # it may have existed already
        shutil.copyfile(source, copy)


@_with_locked_workspace
def apply(session: Session, *, file: Path | None = None, shown: str | None = None) -> Applied:
    """Apply the saved plan if the gates approved exactly this one, and the state has not changed since.

    `shown` is the SHA-256 of the plan that the user saw and confirmed: a plan that another command saved since is refused.
    """
    if file is None:
        return _apply_approved(session, session.workspace.plan_file, shown=shown)
    try:
        return _apply_approved(session, _import_plan(session, file))
    finally:
        _discard(session.workspace.imported_plan)


def apply_locked(session: Session) -> Applied:
    """Apply the environment's own saved plan. The caller holds the lock on the working folders."""
    return _apply_approved(session, session.workspace.plan_file)


def _apply_approved(session: Session, path: Path, *, shown: str | None = None) -> Applied:
    approved = _read_approved(session, path)
    name = session.environment.name
    if shown is not None and approved.saved.sha256 != shown:
        raise PlanRefusedError(
            f"the plan of {name} is not the one that was shown: another command has made a new plan since",
            hint=Hint(
                "nothing was applied; ",
                ("apply", name),
                " applies that plan, ",
                ("plan", name),
                " shows it",
            ),
        )
    session.restore_state()
    _require_current_state(session, approved.saved)
    return _apply(session, approved.saved)


def _read_approved(session: Session, path: Path) -> gates.ApprovedPlan:
    if not path.is_file():
        raise _no_plan(session, path)
    approved = gates.read_approval(
        approval_of(path),
        saved_path=path,
        environment=session.environment.name,
        target=_plan_target(session),
        project=session.project.folder,
    )
    session.initialise()  # Terraform and `_inputs` then find the modules
    changes = inputs.changes(approved.saved.inputs, _inputs(session))
    if changes:
        others = f", and {len(changes) - 1} more" if len(changes) > 1 else ""
        raise PlanOutdatedError(
            f"{changes[0]}{others}, since the plan {path} was made",
            hint=Hint("nothing was applied; plan again: ", ("plan", session.environment.name)),
            image=approved.saved.requested_image,
        )
    if approved.saved.image_in_force:
        _require_in_force(session, approved.saved, session.state())
    return approved


def _inputs(session: Session) -> dict[str, str]:
    return inputs.digests(
        project=session.project.folder,
        environment=session.environment.directory,
        data=session.workspace.data,
    )


def _import_plan(session: Session, file: Path) -> Path:
    """Copy a plan and its approval from elsewhere, so that nobody can change them between check and apply."""
    own = session.workspace.imported_plan
    _discard(own)
    for source, copy in ((file, own), (approval_of(file), approval_of(own))):
        if source.is_file():
            copy.touch(mode=0o600)
            shutil.copyfile(source, copy)
        elif source == file:
            raise _no_plan(session, file)
    return own


def _no_plan(session: Session, path: Path) -> PlanRefusedError:
    hint = Hint("nothing was applied; make one: ", ("plan", session.environment.name))
    return PlanRefusedError(f"there is no plan {path}", hint=hint)


@_with_locked_workspace
def discard_plan(session: Session) -> None:
    """Delete the saved plan: the next apply plans again, and asks."""
    discard_plan_locked(session)


def discard_plan_locked(session: Session) -> None:
    """Do what `discard_plan` does. The caller holds the lock on the working folders."""
    _discard(session.workspace.plan_file)


def has_saved_plan(session: Session) -> bool:
    return session.workspace.plan_file.is_file()


@_with_locked_workspace
def outdated(session: Session) -> PlanOutdatedError | None:
    """Return the error with which `apply` would refuse an outdated saved plan; None if it is not outdated."""
    try:
        _read_approved(session, session.workspace.plan_file)
    except PlanOutdatedError as error:
        return error
    except PlanRefusedError:
        return None
    return None


def applied_state(session: Session) -> State:
    """Return the state with the applied outputs; raise NothingAppliedError if there are none."""
    state = session.state()
    if not state.outputs:
        name = session.environment.name
        forgets = "; a restarted local AWS is empty" if session.cloud.is_local else ""
        raise NothingAppliedError(
            f"nothing is applied in {name} on {session.cloud.label}{forgets}",
            hint=Hint(("plan", name), ", then ", ("apply", name)),
        )
    return state


def fetcher(session: Session) -> verify.FetchStatus:
    """Return a function that requests a URL of the environment's load balancer at its actual address."""
    return partial(_fetch, session)


def _fetch(session: Session, url: str, *, seconds: float) -> int:
    parts = urlsplit(url)
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    arn = applied_state(session).outputs.get("certificate_arn")
    return load_balancer_endpoint.get(locate(session, url, certificate_arn=arn), path, seconds=seconds).status


@_with_locked_workspace
def destroy(session: Session, *, show: Callable[[Plan], None], confirm: Confirm) -> Applied:
    """Destroy everything in the state, after showing it and asking.

    Refused at once if the load balancer is protected: Terraform would only fail after the service was destroyed.
    """
    file = session.workspace.plan_file
    _discard(file)
    session.restore_state()
    applied = session.state().outputs
    if applied.get("deletion_protection"):
        raise ProtectedError(
            f"{session.environment.name} is protected from deletion; nothing was destroyed",
            hint=f"set deletion_protection = false in {session.environment.variables_file}, waive CKV_AWS_150 in "
            f"policy/waivers.toml for as long as it takes, apply, then destroy",
        )
    in_force = applied.get("image_digest")
    try:
        _initialise(session)
        plan = _terraform_plan(session, file, image=in_force, destroy=True)
        if not plan.has_changes:
            return Applied(environment=session.environment.name, changed=False, outputs={})
        show(plan)
        _ask(session, confirm, f"Destroy {len(plan.resources)} resources")
        return _apply(session, _saved(session, file, plan, files={}))
    finally:
        _discard(file)


@_with_locked_workspace
def unlock(session: Session, *, lock_id: str) -> None:
    """Release the lock that a dead process left on the state; raise UsageError if its id is not `lock_id`."""
    name = session.environment.name
    held = session.lock()
    if held is None:
        raise UsageError(f"the state of {name} is not locked", hint="there is nothing to release")
    if held != lock_id:
        raise UsageError(
            f"the state of {name} is locked by {held}, not by {lock_id}", hint="somebody else works there"
        )
    session.initialise()
    session.terraform().force_unlock(lock_id=lock_id)


def _ask(session: Session, confirm: Confirm, what: str) -> None:
    name = session.environment.name
    if not confirm(f"{what} in {name} on {session.cloud.label}?"):
        raise ApprovalRefusedError(f"{name} was left as it is", hint="nothing was changed")


def _initialise(session: Session) -> None:
    hcl.check(session.workspace.root)
    session.initialise()


def _plan_image(
    session: Session, file: Path, image: str | None, state: State
) -> tuple[Plan, ImageInForce | None]:
    """Plan with `image`, or else with the image in force; return that, too, if the plan starts it."""
    if image is not None:
        return _terraform_plan(session, file, image=image), None
    # Any plan recreates a missing service, and Terraform waits two minutes each time: plan only once.
    if is_service_gone(session, state):
        chosen = image_in_force(session, state)
        return _terraform_plan(session, file, image=chosen.digest), chosen
    plan = _terraform_plan(session, file, image=state.outputs.get("image_digest"))
    if not starts_an_image(plan):
        return plan, None
    chosen = image_in_force(session, state)
    if chosen.differs:
        session.report(f"planning again, for the image in force: {chosen}")
        plan = _terraform_plan(session, file, image=chosen.digest)
    return plan, chosen


def _terraform_plan(session: Session, file: Path, *, image: str | None, destroy: bool = False) -> Plan:
    variables = {} if image is None else {"image_digest": image}
    session.report("planning")
    with session.terraform(**variables).with_one_provider(
        memory=session.workspace.provider_stamp
    ) as terraform:
        terraform.plan(out=file, var_file=session.environment.variables_file, destroy=destroy)
        file.chmod(0o600)
        return Plan.parse(terraform.show(plan_file=file))


def _plan_target(session: Session) -> str:
    """Return the cloud and state to which a plan is bound: a saved plan contains its backend, and is applied to that state."""
    backend = session.environment.backend
    return f"{session.cloud.identity}, state s3://{backend.bucket}/{backend.key}"


def _saved(
    session: Session,
    file: Path,
    plan: Plan,
    *,
    files: Mapping[str, str],
    image: str | None = None,
    chosen: ImageInForce | None = None,
) -> SavedPlan:
    lineage, serial = state_of(file)
    return SavedPlan(
        path=file,
        environment=session.environment.name,
        target=_plan_target(session),
        sha256=digest(file),
        lineage=lineage,
        serial=serial,
        has_changes=plan.has_changes,
        created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        inputs=files,
        requested_image=image,
        image_in_force=(chosen.digest or "") if chosen is not None else "",
    )


def _require_current_state(session: Session, saved: SavedPlan) -> None:
    """Raise PlanRefusedError if the state has changed since the plan. Terraform checks again, under its lock."""
    now = session.state()
    # Before the first apply there is no state, and each plan has a new lineage.
    if now.serial != saved.serial or (now.lineage and now.lineage != saved.lineage):
        raise PlanRefusedError(
            f"the plan of {saved.environment} is stale: made from state {saved.serial}, the state is now {now.serial}",
            hint=Hint(
                "somebody applied in between; nothing was done; plan again: ", ("plan", saved.environment)
            ),
        )


def _require_in_force(session: Session, saved: SavedPlan, state: State) -> None:
    """Raise PlanOutdatedError if the plan's image is no longer in force: a rollback changes the ledger, not the state."""
    chosen = image_in_force(session, state)
    if chosen.digest != saved.image_in_force:
        raise PlanOutdatedError(
            f"the plan {saved.path} starts {saved.image_in_force}, and the image in force is now {chosen}",
            hint=Hint("nothing was applied; plan again: ", ("plan", saved.environment)),
            image=None,
        )


def _apply(session: Session, saved: SavedPlan) -> Applied:
    saved.verify_bytes()
    if not saved.has_changes:
        _discard(saved.path)
        return Applied(environment=saved.environment, changed=False, outputs=session.state().shown)
    machine.require_room(session.workspace.directory)
    session.initialise()
    session.report("applying")
    try:
        outputs = session.terraform().apply(plan_file=saved.path)
    except StateLockedError:
        raise  # nothing was applied, so the plan stays valid
    except MclassError as error:
        _discard(saved.path)
        raise _with_rescued_state(session, saved, error) from None
    # The state has changed: this plan can never be applied again.
    _discard(saved.path)
    return Applied(environment=saved.environment, changed=True, outputs=outputs or session.state().shown)


def _with_rescued_state(session: Session, saved: SavedPlan, error: MclassError) -> MclassError:
    rescued = session.rescue_state(saved.lineage, saved.serial)
    if rescued is not None:
        name = session.environment.name
        error.hint = Hint(
            f"the backend did not take the state; it is in {rescued}. ",
            ("plan", name),
            " writes it to the backend, once that takes it. ",
            error.hint,
        )
    return error
