"""The verb that records the life of an environment, for a comparison of AWS with the local AWS."""

from __future__ import annotations

import dataclasses
import getpass
import platform
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import mclass_tf
from mclass_tf import local
from mclass_tf.cloud import local_home
from mclass_tf.conformance.anonymous import Anonymizer
from mclass_tf.conformance.cost import Bill, Size, actual, estimate
from mclass_tf.conformance.recorder import Recorder
from mclass_tf.conformance.recording import AWS, FORMAT, LOCAL, Recording
from mclass_tf.errors import (
    ApprovalRefusedError,
    BackendMissingError,
    ConfigurationError,
    Hint,
    ProtectedError,
)
from mclass_tf.flows.conform.life import STRATEGIES, Life
from mclass_tf.flows.conform.takedown import take_down
from mclass_tf.flows.deployer.deploy import Show
from mclass_tf.rehearsal.instrument import Instrument
from mclass_tf.session import Session
from mclass_tf.system import process

_AWS_LOOK, _LOCAL_LOOK = 2.0, 0.1
Keep = Callable[[Recording], None]
"""Writes what was recorded so far."""


@dataclass(frozen=True, kw_only=True)
class Conformed:
    """A recording, with what it has cost and what was expected; `problems` are in words."""

    recording: Recording
    expected: Bill
    spent: Bill
    problems: tuple[str, ...]


def conform(
    session: Session, *, speed: float, show: Show, keep: Keep, confirm: Callable[[str], bool]
) -> Conformed:
    """Create the environment, run the chapters, and return the recording. Whatever happens, destroy everything in the end.

    `speed` is that of the local AWS's clock. Raises ConfigurationError (exit 3) if the environment exists already,
    ProtectedError (5) if it could not be destroyed, TakeDownError (4) if something is left.
    """
    require_disposable(session)
    size = size_of(session)
    expected = estimate(size)
    if not confirm(announcement(session, expected)):
        raise ApprovalRefusedError("nothing was recorded", hint="nothing was changed")
    anonymizer = Anonymizer(_names(session))
    with _clock(session, speed) as in_force:
        recorder = Recorder(
            anonymizer,
            now=lambda: session.aws.now().timestamp(),
            speed=in_force,
            every=_LOCAL_LOOK if session.cloud.is_local else _AWS_LOOK,
        )
        session.aws.calls.observe(recorder.calls)

        def recording() -> Recording:
            return _recording(session, recorder)

        life = Life(session=session, recorder=recorder, show=show, speed=in_force)
        record(
            life,
            recorder,
            take_down=lambda: take_down(session, recorder, buckets=life.buckets),
            keep=lambda: keep(recording()),
        )
    made = recording()
    spent = actual(made, size)
    return Conformed(recording=made, expected=expected, spent=spent, problems=recorder.problems)


def announcement(session: Session, bill: Bill) -> str:
    """Return the text of the question: what will be created, where, for how long and at what cost."""
    name, loaded = session.environment.name, session.environment
    lines = (
        f"This creates the environment {name} in account {loaded.account_id}, region {loaded.region}, on {session.cloud.label}:",
        f"  the state bucket {loaded.backend.bucket} if it does not exist, a VPC with its gateways, a load balancer,",
        "  an ECR repository, an ECS cluster with a service, IAM roles, log groups, alarms; everything that a plan shows.",
        f"It releases eleven times, rolls back once, takes about {bill.hours * 60:.0f} minutes on AWS, and destroys everything again.",
        *(f"  {line.what}: ${line.dollars:.2f}" for line in bill.lines),
        f"Expected cost on AWS: ${bill.dollars:.2f}, without tax and discounts.",
    )
    return "\n".join(lines)


def record(
    life: Life, recorder: Recorder, *, take_down: Callable[[], None], keep: Callable[[], None]
) -> None:
    """Run the chapters. Whatever happens, destroy everything in the end, and keep the recording."""
    try:
        life.begin()
        life.live()
    finally:
        process.clean_up_after_interrupt()
        recorder.stop()
        try:
            take_down()
        finally:
            keep()


def require_disposable(session: Session) -> None:
    """Refuse an environment that somebody uses, or that could not be destroyed again."""
    name, variables = session.environment.name, session.environment.variables
    alb = variables.get("alb")
    # The module's default is protection.
    if not (isinstance(alb, Mapping) and alb.get("deletion_protection") is False):
        raise ProtectedError(
            f"{name} is protected from deletion, so it could not be destroyed again; nothing was created",
            hint="record an environment with alb = { deletion_protection = false }, such as dev or a copy of it",
        )
    if _has_resources(session):
        raise ConfigurationError(
            f"{name} exists already on {session.cloud.label}: a recording begins with nothing, and destroys everything",
            hint=Hint("record another environment, or destroy this one first: ", ("destroy", name)),
        )


def _has_resources(session: Session) -> bool:
    try:
        return bool(session.state().outputs)
    except BackendMissingError:
        return False


@contextmanager
def _clock(session: Session, speed: float) -> Iterator[float]:
    """Set the clock of the local AWS; yield how much faster than AWS's the clock runs."""
    running = local.status(home=local_home(session.project.home)) if session.cloud.is_local else None
    if running is None:
        yield 1.0
        return
    instrument = Instrument(running)
    before = instrument.speed()
    instrument.set_speed(speed)
    try:
        yield speed
    finally:
        instrument.set_speed(before)


def _recording(session: Session, recorder: Recorder) -> Recording:
    return Recording(
        format=FORMAT,
        cloud=LOCAL if session.cloud.is_local else AWS,
        recorded_on=f"{session.aws.now():%Y-%m-%d}",
        region=session.environment.region,
        versions=_versions(),
        settings=settings_of(session),
        chapters=recorder.chapters,
    )


def _versions() -> dict[str, str]:
    known = {"mclass-tf": mclass_tf.__version__, "python": platform.python_version()}
    for name in ("boto3", "botocore"):
        try:
            known[name] = version(name)
        except PackageNotFoundError:
            continue
    return known


def settings_of(session: Session) -> dict[str, str]:
    """Return what both sides of a comparison must have in common."""
    size = size_of(session)
    strategies = {
        f"{name} {field.name}": str(getattr(strategy, field.name))
        for name, strategy in STRATEGIES.items()
        for field in dataclasses.fields(strategy)
        if field.name.endswith(("minutes", "percent"))
    }
    deployment: Any = session.environment.variables.get("deployment") or {}
    return {
        "desired count": str(size.desired),
        # Terraform ignores attributes that it does not know, and a text among them may be anything.
        **{
            str(key).replace("_", " "): str(value)
            for key, value in deployment.items()
            if isinstance(value, (bool, int, float))
        },
        **strategies,
    }


def size_of(session: Session) -> Size:
    """Return the parts of the environment that are billed by the hour, from its variables and the modules' defaults."""
    variables = session.environment.variables
    network: Any = variables.get("network") or {}
    task: Any = variables.get("task") or {}
    key: Any = variables.get("customer_managed_key") or {}
    zones = len(network.get("availability_zones") or ("a", "b"))
    has_nat = network.get("egress", "nat") == "nat"
    nat_gateways = (1 if network.get("single_nat_gateway") else zones) if has_nat else 0
    return Size(
        region=session.environment.region,
        desired=int(variables.get("desired_count") or 2),
        vcpus=float(task.get("cpu", 1024)) / 1024,
        gigabytes=float(task.get("memory", 2048)) / 1024,
        nat_gateways=nat_gateways,
        endpoints=0 if has_nat else _ENDPOINTS * zones,
        zones=zones,
        has_key=bool(key.get("enabled", True)),
    )


_ENDPOINTS = 5
"""The interface endpoints that modules/network creates in each zone if there is no NAT gateway."""


def _names(session: Session) -> dict[str, str]:
    """Return the known names that identify somebody, each with its kind."""
    loaded = session.environment
    names = {
        loaded.name: "environment",
        loaded.account_id: "account",
        loaded.backend.bucket: "bucket",
        _user(): "user",
        socket.gethostname(): "host",
        str(session.project.folder): "folder",
        str(session.project.home): "folder",
    }
    arn = str(session.aws.sts.get_caller_identity()["Arn"])
    names |= dict.fromkeys(arn.split(":", 5)[-1].split("/")[1:], "user")
    return {**dict.fromkeys(_texts(loaded.variables), "name"), **names}


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def _texts(value: Any) -> Iterator[str]:
    """Yield the names among an environment's variables, without keywords and numbers."""
    if isinstance(value, str) and value not in _WORDS:
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _texts(each)


_WORDS = frozenset({"nat", "endpoints", "ENABLED", "DISABLED", "X86_64", "ARM64", "true", "false"})
