"""The approval of a saved plan: the gates grant it, it is stored beside the plan, and the apply requires it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from mclass_tf.errors import Hint, PlanOutdatedError, PlanRefusedError
from mclass_tf.gates.verdict import Verdict
from mclass_tf.plan import SavedPlan, digest
from mclass_tf.system import machine

FORMAT: Final = 2
POLICY: Final = "policy"

# Private to this module, so that nothing else can construct an ApprovedPlan that skipped the gates.
_SEAL: Final = object()


@dataclass(frozen=True, kw_only=True)
class ApprovedPlan:
    """A saved plan that every gate passed, under the policy whose digest is `policy`.

    Only `gates.evaluate()` and `read_approval()` create one.
    """

    saved: SavedPlan
    verdicts: tuple[Verdict, ...]
    policy: str
    seal: object = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.seal is not _SEAL:
            raise TypeError("an ApprovedPlan is made by gates.evaluate() or gates.read_approval()")


@dataclass(frozen=True, kw_only=True)
class _FormatField:
    format: int | None = None


@dataclass(frozen=True, kw_only=True)
class _ApprovalFile:
    format: int
    policy: str
    plan: SavedPlan
    verdicts: tuple[Verdict, ...]


def approve(*, saved: SavedPlan, verdicts: tuple[Verdict, ...], policy: str) -> ApprovedPlan | None:
    """Return the approval, or None if a gate did not pass or no gate ran."""
    if not verdicts or not all(verdict.passed for verdict in verdicts):
        return None
    return ApprovedPlan(saved=saved, verdicts=verdicts, policy=policy, seal=_SEAL)


def policy_digest(project: Path) -> str:
    """Return the SHA-256 over names and contents of the project's policy/, without caches and hidden files."""
    sum_ = hashlib.sha256()
    for path in _policy_files(project / POLICY):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        sum_.update(os.fsencode(path.relative_to(project)) + f"\0{content}\n".encode())
    return sum_.hexdigest()


def _policy_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(part == "__pycache__" or part.startswith(".") for part in parts):
            yield path


def write_approval(path: Path, approved: ApprovedPlan) -> None:
    """Write the file that `read_approval` reads. It is atomic, and only its owner can read it."""
    record = _ApprovalFile(
        format=FORMAT, policy=approved.policy, plan=approved.saved, verdicts=approved.verdicts
    )
    # ASCII with escapes: a file name may contain bytes that are not UTF-8, which cannot be encoded as text.
    text = json.dumps(msgspec.to_builtins(record, enc_hook=_encode_path), indent=2) + "\n"
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="ascii") as stream:
            stream.write(text)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _encode_path(value: object) -> str:
    if isinstance(value, Path):
        return value.name  # the caller of `read_approval` passes the folder of the plan
    raise TypeError(f"{value!r} has no place in an approval")


def read_approval(
    path: Path,
    *,
    saved_path: Path,
    environment: str,
    target: str,
    project: Path,
    today: dt.date | None = None,
) -> ApprovedPlan:
    """Read the approval at `path` of the plan at `saved_path`.

    Raise PlanRefusedError if the approval is missing or unreadable, if the bytes of the plan differ from the approved ones, or
    if it is for another environment. Raise PlanOutdatedError if it is for another target, if the policy has changed since, or
    if a waiver has expired since: a new plan would be judged by the present facts.
    """
    again = Hint("nothing was applied; plan again: ", ("plan", environment))
    record = _read_file(path, again)
    saved = dataclasses.replace(record.plan, path=saved_path)
    _check_validity(saved, record.verdicts, today or dt.datetime.now(tz=dt.UTC).date(), again)
    _check_destination(saved, environment=environment, target=target, hint=again)
    if record.policy != policy_digest(project):
        raise PlanOutdatedError(
            f"the policy in {project / POLICY} has changed since the gates approved this plan",
            hint=again,
            image=saved.requested_image,
        )
    approved = approve(saved=saved, verdicts=record.verdicts, policy=record.policy)
    if approved is None:
        raise PlanRefusedError(f"the record {path} approves nothing: a gate did not pass", hint=again)
    return approved


def _read_file(path: Path, again: str) -> _ApprovalFile:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        version = msgspec.convert(document, type=_FormatField).format
    except FileNotFoundError:
        raise PlanRefusedError(f"no gate has approved this plan: {path} is missing", hint=again) from None
    except (OSError, ValueError, RecursionError) as error:
        raise machine.shortage(error) or PlanRefusedError(
            f"the approval {path} cannot be read", hint=again
        ) from None
    if version != FORMAT:
        raise PlanRefusedError(
            f"the approval {path} has format {version!r}, and this version reads {FORMAT}", hint=again
        )
    try:
        return msgspec.convert(document, type=_ApprovalFile, dec_hook=lambda kind, value: kind(value))
    except (ValueError, TypeError, RecursionError) as error:
        raise PlanRefusedError(f"the approval {path} is not complete: {error}", hint=again) from None


def _check_destination(saved: SavedPlan, *, environment: str, target: str, hint: str) -> None:
    if saved.environment != environment:
        raise PlanRefusedError(
            f"the plan was approved for environment {saved.environment!r}, not for {environment!r}", hint=hint
        )
    if saved.target != target:
        raise PlanOutdatedError(
            f"the plan was approved for target {saved.target!r}, not for {target!r}",
            hint=hint,
            image=saved.requested_image,
        )


def _check_validity(saved: SavedPlan, verdicts: tuple[Verdict, ...], today: dt.date, hint: str) -> None:
    if not saved.path.is_file():
        raise PlanRefusedError(f"the plan {saved.path} is gone", hint=hint)
    if digest(saved.path) != saved.sha256:
        raise PlanRefusedError(f"the plan {saved.path} is not the one that the gates approved", hint=hint)
    for waived in (waived for verdict in verdicts for waived in verdict.waived):
        if waived.waiver.expires < today:
            raise PlanOutdatedError(
                f"the approval rests on the waiver of {waived.waiver.check}, which expired on {waived.waiver.expires}",
                hint=hint,
                image=saved.requested_image,
            )
