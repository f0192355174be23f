"""The errors that users see, each with the exit code of its class.

    MclassError                       1  a bug, unless a subclass says otherwise
    ├── UsageError                    2  the command line is wrong
    ├── ConfigurationError            3  a file, the account or the machine is not as it must be
    │   ├── UnknownEnvironmentError
    │   ├── AccountMismatchError
    │   ├── CredentialsError
    │   ├── UnreachableError             nothing answers at the endpoint
    │   ├── BackendMissingError
    │   ├── EngineError                  no Terraform, or one that is too old
    │   ├── LocalAwsUnavailableError
    │   ├── NothingAppliedError
    │   ├── EndpointError                no load balancer of the local AWS has that name and port
    │   ├── LedgerError                  the record of a release could not be written
    │   ├── DamagedObjectError           an object of a bucket is not what it must be; carries its URL and the reason
    │   ├── ServiceGoneError             somebody has deleted the service, or its cluster
    │   ├── NothingToAnswerError         no rollout waits for an answer, or none is under way
    │   ├── ReleaseMissingError          there is no release to go back to, or what it needs is gone
    │   ├── BuilderError                 nothing here builds an image, or what does so failed
    │   │   ├── BaseImageError           the registry of the base image cannot be reached
    │   │   └── UnfitBuilderError        it answers, and cannot build on this machine, whatever the Dockerfile says
    │   ├── RevisionError                no git revision to name an image by
    │   ├── NoImageError                 the image is not on this machine
    │   ├── CorruptedImageError          bytes are not what their digest says, here or on the way
    │   ├── MachineError                 this machine is short of something: descriptors, processes, memory, permissions
    │   │   └── DiskFullError
    │   └── RegistryError                the registry refused
    │       ├── LoginRefusedError
    │       ├── RepositoryMissingError
    │       ├── TagTakenError            the tag names another image, and is immutable
    │       └── ImageRefusedError        an image of the built-in builder, which AWS cannot run
    ├── TerraformError                4  Terraform itself failed; carries its diagnostics
    │   ├── StateLockedError
    │   ├── StateNotStoredError          a state that the backend did not take lies on this machine
    │   └── BusyError                    another command of this machine works on the environment
    │       └── StillRunningError        the Terraform of a command that has died is still at work; carries its process id
    ├── RefusedError                  5
    │   ├── GateRefusedError             a gate refused the plan; carries the findings
    │   ├── PlanRefusedError             the saved plan is altered, stale, unapproved or another environment's
    │   │   └── PlanOutdatedError        what it was made from or approved under is no longer so; carries the image it was for
    │   ├── ProtectedError               what is to be destroyed is protected
    │   ├── DeploymentInProgressError    somebody else's deployment of the service is not over
    │   ├── LeaseHeldError               somebody releases, rolls back or promotes there; carries who
    │   ├── LeaseLostError               the lease that this command held is somebody else's, or gone; it has stopped
    │   ├── PromotionRefusedError        what is to be promoted was not proven, or may not go there
    │   └── ApprovalRefusedError         the user said no
    ├── RolloutError                  6  the service does not run what it was told to; carries cause and events
    │   ├── RolledBackError              ECS has gone back to the earlier revision, or has tried to
    │   │   └── AnalysisFailedError      because the new version was worse under traffic than the old one
    │   ├── ServesWorseError             it was worse, and ECS did not go back any more: it serves
    │   ├── SupersededError              somebody else's deployment has taken its place
    │   ├── RolloutStoppedError          somebody has stopped it, and nothing was put back
    │   ├── StalledError                 nothing has moved for too long; ECS goes on
    │   ├── OneOffError                  a one-off task did not start, or was stopped before its command ended
    │   ├── BeforeFailedError            a command that a release runs before its rollout failed
    │   └── NotServingError              ECS calls it done, but something else answers
    ├── VerificationError             7  the applied environment is not as its outputs say
    └── InterruptedByUserError      130

Every error says what failed and where (`message`) and what to do next (`hint`).
"""

from __future__ import annotations

import datetime as dt
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import ClassVar, Self


class Hint(str):
    """What to do next: texts, and commands of this package as their words, such as `("plan", "dev")`.

    It reads as one text, with commands between backticks. The command line spells them out so that they can be pasted, which
    needs `pieces`: a hint that is part of another is passed as one of its pieces, since an f-string makes plain text of it.
    """

    __slots__ = ("pieces",)
    pieces: tuple[str | tuple[str, ...], ...]

    def __new__(cls, *pieces: str | tuple[str, ...]) -> Self:
        flat = tuple(
            chain.from_iterable(each.pieces if isinstance(each, Hint) else (each,) for each in pieces)
        )
        hint = super().__new__(cls, "".join(p if isinstance(p, str) else f"`{shlex.join(p)}`" for p in flat))
        hint.pieces = flat
        return hint


class MclassError(Exception):
    """Base of all errors of this package: `message` says what failed and where, `hint` what to do next."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = Hint(hint)


class UsageError(MclassError):
    exit_code = 2


class ConfigurationError(MclassError):
    """A file is not as it must be; `file`, `line` (from 1) and `key` say where, as far as they are known."""

    exit_code = 3

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        file: Path | None = None,
        line: int | None = None,
        key: str | None = None,
    ) -> None:
        where = ":".join(str(part) for part in (file, line) if part is not None)
        super().__init__(f"{where}: {message}" if where else message, hint=hint)
        self.file = file
        self.line = line
        self.key = key


class UnknownEnvironmentError(ConfigurationError):
    pass


class AccountMismatchError(ConfigurationError):
    pass


class CredentialsError(ConfigurationError):
    pass


class UnreachableError(ConfigurationError):
    pass


class BackendMissingError(ConfigurationError):
    pass


class EngineError(ConfigurationError):
    pass


class LocalAwsUnavailableError(ConfigurationError):
    pass


class NothingAppliedError(ConfigurationError):
    pass


class EndpointError(ConfigurationError):
    pass


class LedgerError(ConfigurationError):
    pass


class DamagedObjectError(ConfigurationError):
    """`url` is s3://BUCKET/KEY; `reason` says what is wrong with what lies there."""

    def __init__(self, url: str, reason: str, *, hint: str = "") -> None:
        bucket, _, key = url.removeprefix("s3://").partition("/")
        versions = (
            f"`aws s3api list-object-versions --bucket {shlex.quote(bucket)} --prefix {shlex.quote(key)}`"
        )
        super().__init__(
            f"{url} cannot be read: {reason}",
            hint=hint or f"the bucket keeps earlier versions: {versions} lists them",
        )
        self.url = url
        self.reason = reason


class ServiceGoneError(ConfigurationError):
    pass


class NothingToAnswerError(ConfigurationError):
    pass


class ReleaseMissingError(ConfigurationError):
    pass


class BuilderError(ConfigurationError):
    pass


class BaseImageError(BuilderError):
    pass


class UnfitBuilderError(BuilderError):
    """`reason` is the builder's own."""

    def __init__(self, message: str, *, reason: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class RevisionError(ConfigurationError):
    pass


class NoImageError(ConfigurationError):
    pass


class CorruptedImageError(ConfigurationError):
    pass


class MachineError(ConfigurationError):
    pass


class DiskFullError(MachineError):
    pass


class RegistryError(ConfigurationError):
    pass


class LoginRefusedError(RegistryError):
    pass


class RepositoryMissingError(RegistryError):
    pass


class TagTakenError(RegistryError):
    pass


class ImageRefusedError(RegistryError):
    pass


@dataclass(frozen=True, kw_only=True)
class Diagnostic:
    """One of Terraform's own diagnostics; `where` is "file:line" or empty. Source: `terraform plan -json`."""

    severity: str
    summary: str
    detail: str
    where: str
    address: str

    def __str__(self) -> str:
        place = ", ".join(part for part in (self.where, self.address) if part)
        head = f"{self.summary} ({place})" if place else self.summary
        return f"{head}\n{self.detail}" if self.detail else head


class TerraformError(MclassError):
    """A Terraform command failed: which one, with which exit status, and its diagnostics."""

    exit_code = 4

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        command: str = "",
        status: int = 1,
        diagnostics: Sequence[Diagnostic] = (),
    ) -> None:
        super().__init__(message, hint=hint)
        self.command = command
        self.status = status
        self.diagnostics = tuple(diagnostics)


class StateLockedError(TerraformError):
    """Somebody else holds the state: `lock_id`, `who`, `since` and `operation` as Terraform recorded them."""

    def __init__(
        self, message: str, *, hint: str, command: str, lock_id: str, who: str, since: str, operation: str
    ) -> None:
        super().__init__(message, hint=hint, command=command)
        self.lock_id = lock_id
        self.who = who
        self.since = since
        self.operation = operation


class StateNotStoredError(TerraformError):
    pass


class BusyError(TerraformError):
    pass


class StillRunningError(BusyError):
    """`pid` is the process that is waited for, 0 where it is not known."""

    def __init__(self, message: str, *, hint: str, pid: int) -> None:
        super().__init__(message, hint=hint)
        self.pid = pid


class RefusedError(MclassError):
    exit_code = 5


class GateRefusedError(RefusedError):
    pass


class PlanRefusedError(RefusedError):
    pass


class PlanOutdatedError(PlanRefusedError):
    def __init__(self, message: str, *, hint: str, image: str | None) -> None:
        super().__init__(message, hint=hint)
        self.image = image
        """The digest that the plan was asked for; None where the one in force was to stay."""


class ProtectedError(RefusedError):
    pass


class DeploymentInProgressError(RefusedError):
    pass


class LeaseHeldError(RefusedError):
    """Somebody else is at work on the service: `holder` is who, `since` when, `digest` what ("" where unknown)."""

    def __init__(
        self, message: str, *, hint: str = "", holder: str = "", since: str = "", digest: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.holder = holder
        self.since = since
        self.digest = digest


class LeaseLostError(RefusedError):
    pass


class PromotionRefusedError(RefusedError):
    """What an environment runs is not to be promoted; `digest` is that, "" where it runs nothing or several."""

    def __init__(self, message: str, *, hint: str = "", digest: str = "") -> None:
        super().__init__(message, hint=hint)
        self.digest = digest


class ApprovalRefusedError(RefusedError):
    pass


@dataclass(frozen=True, kw_only=True)
class ServiceEvent:
    """One of ECS's own messages about a service."""

    id: str
    at: dt.datetime
    message: str


class RolloutError(MclassError):
    """A rollout that did not end well: `cause` in one sentence, what ECS said meanwhile, and what it was a rollout of.

    `record` is where the ledger has it, `analysis` how the versions compared, None where they were not.
    """

    exit_code = 6
    outcome: ClassVar[str] = "failed"

    def __init__(
        self, message: str, *, hint: str = "", cause: str = "", events: Sequence[ServiceEvent] = ()
    ) -> None:
        super().__init__(message, hint=hint)
        self.cause = cause
        self.events = tuple(events)
        self.digest = ""
        self.task_definition_arn = ""
        self.service_deployment_arn = ""
        self.record = ""
        self.analysis: Mapping[str, object] | None = None


class RolledBackError(RolloutError):
    outcome = "rolled back"


class AnalysisFailedError(RolledBackError):
    pass


class ServesWorseError(RolloutError):
    outcome = "worse"


class SupersededError(RolloutError):
    outcome = "superseded"


class RolloutStoppedError(RolloutError):
    outcome = "stopped"


class StalledError(RolloutError):
    outcome = "stalled"


class OneOffError(RolloutError):
    pass


class BeforeFailedError(RolloutError):
    pass


class NotServingError(RolloutError):
    outcome = "not serving"


class VerificationError(MclassError):
    exit_code = 7


class InterruptedByUserError(MclassError):
    exit_code = 130
