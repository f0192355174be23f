"""The errors that users see, each class with an exit code.

    MclassError                       1  a bug, unless a subclass says otherwise
    ├── UsageError                    2  the command line is wrong
    ├── ConfigurationError            3  a file, the account or the machine is not in the required condition
    │   ├── UnknownEnvironmentError
    │   ├── AccountMismatchError
    │   ├── CredentialsError
    │   │   └── CredentialsExpiredError  they expired while the command ran; what it began on AWS continues
    │   ├── UnreachableError             nothing answers at the endpoint
    │   ├── BackendMissingError
    │   ├── EngineError                  Terraform is missing or too old
    │   ├── LocalAwsUnavailableError
    │   ├── NothingAppliedError
    │   ├── EndpointError                no load balancer of the local AWS has that name and port
    │   ├── LedgerError                  the record of a release could not be written
    │   ├── DamagedObjectError           an object of a bucket cannot be parsed; carries its URL and the reason
    │   ├── IncompleteAnswerError        an answer of AWS lacks a field that a decision depends on
    │   ├── ServiceGoneError             somebody has deleted the service, or its cluster
    │   ├── RevisionGoneError            ECS does not have a service deployment or service revision any more
    │   ├── NothingToAnswerError         no rollout waits for an answer, or none is under way
    │   ├── ReleaseMissingError          there is no release to return to, or its image or task definition is gone
    │   ├── BuilderError                 this machine has no image builder, or the builder failed
    │   │   ├── BaseImageError           the registry of the base image cannot be reached
    │   │   └── UnfitBuilderError        the builder runs, but cannot build on this machine, whatever the Dockerfile
    │   ├── RevisionError                there is no git revision to tag the image with
    │   ├── NoImageError                 the image is not on this machine
    │   ├── CorruptedImageError          bytes do not match their digest, here or in transfer
    │   ├── MachineError                 this machine lacks descriptors, processes, memory or permissions
    │   │   └── DiskFullError
    │   └── RegistryError                the registry refused a request
    │       ├── LoginRefusedError
    │       ├── RepositoryMissingError
    │       ├── TagTakenError            the tag names another image and is immutable
    │       └── ImageRefusedError        the image is from the built-in builder; AWS cannot run it
    ├── TerraformError                4  Terraform itself failed; carries its diagnostics
    │   ├── StateLockedError
    │   ├── TakeDownError            not everything that a recording created could be destroyed
    │   ├── StateNotStoredError          a state that the backend refused is kept on this machine
    │   └── BusyError                    another command on this machine uses the environment
    │       └── StillRunningError        the Terraform of a dead command is still running; carries its process id
    ├── RefusedError                  5
    │   ├── GateRefusedError             a gate refused the plan; carries the findings
    │   ├── PlanRefusedError             the saved plan is altered, stale, unapproved or another environment's
    │   │   └── PlanOutdatedError        its inputs or the policy have changed since; carries its image
    │   ├── ProtectedError               destroy refused: the resource is protected
    │   ├── DeploymentInProgressError    somebody else's deployment of the service is under way
    │   ├── LeaseHeldError               another command releases, rolls back or promotes there; carries who
    │   ├── LeaseLostError               this command lost its lease and has stopped
    │   ├── PromotionRefusedError        the image is not proven, or may not be promoted there
    │   └── ApprovalRefusedError         the user said no
    ├── RolloutError                  6  the service does not run the requested version; carries cause and events
    │   ├── RolledBackError              ECS rolled back to the old version, or tried to
    │   │   └── AnalysisFailedError      because the new version was worse than the old one under traffic
    │   ├── ServesWorseError             the new version was worse, but serves: ECS could no longer roll back
    │   ├── SupersededError              somebody else's deployment has replaced it
    │   ├── RolloutStoppedError          somebody stopped it without a rollback
    │   ├── StalledError                 no progress for too long; ECS continues
    │   ├── OneOffError                  a one-off task did not start, or stopped before its command ended
    │   ├── BeforeFailedError            a command that a release runs before its rollout failed
    │   └── NotServingError              ECS reports success, but another version answers
    ├── VerificationError             7  the applied environment does not match its outputs, or two recordings differ
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
    """What to do next: text, and commands of this package as tuples of words, such as `("plan", "dev")`.

    As a string, it has its commands in backticks. The command line spells them out from `pieces`, so that they can be pasted.
    Pass a hint within another as one of its pieces: an f-string would turn it into plain text.
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
    """A file is wrong. `file`, `line` (from 1) and `key` say where, as far as known."""

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


class CredentialsExpiredError(CredentialsError):
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
    """`url` is s3://BUCKET/KEY. `reason` says what is wrong with the object."""

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


class IncompleteAnswerError(ConfigurationError):
    """An answer of AWS lacks a field that a decision depends on. A repeated call may return it."""


class ServiceGoneError(ConfigurationError):
    pass


class RevisionGoneError(ConfigurationError):
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
    """A diagnostic of Terraform. `where` is "file:line" or "". Source: `terraform plan -json`."""

    severity: str
    summary: str
    detail: str
    where: str
    address: str

    def __str__(self) -> str:
        location = ", ".join(part for part in (self.where, self.address) if part)
        head = f"{self.summary} ({location})" if location else self.summary
        return f"{head}\n{self.detail}" if self.detail else head


class TerraformError(MclassError):
    """A Terraform command failed, with its exit status and diagnostics."""

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


class TakeDownError(TerraformError):
    pass


class StateNotStoredError(TerraformError):
    pass


class BusyError(TerraformError):
    pass


class StillRunningError(BusyError):
    """`pid` is the running process, 0 if unknown."""

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
        """The requested digest of the plan, None to keep the image in force."""


class ProtectedError(RefusedError):
    pass


class DeploymentInProgressError(RefusedError):
    pass


class LeaseHeldError(RefusedError):
    """Another command holds the lease: `holder` is who, `since` when, `digest` its image ("" if unknown)."""

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
    """An image may not be promoted. `digest` is the source's image, "" if it runs none or several.

    `findings` are those of its scan that count, as documents.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        digest: str = "",
        findings: Sequence[Mapping[str, object]] = (),
    ) -> None:
        super().__init__(message, hint=hint)
        self.digest = digest
        self.findings = tuple(findings)


class ApprovalRefusedError(RefusedError):
    pass


@dataclass(frozen=True, kw_only=True)
class ServiceEvent:
    """One of ECS's own messages about a service."""

    id: str
    at: dt.datetime
    message: str


class RolloutError(MclassError):
    """A failed rollout: its `cause` in one sentence, ECS's messages, and what it rolled out.

    `record` is the URL of its record in the ledger. `analysis` is the result of the analysis, None without one.
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
