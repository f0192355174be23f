"""Parse Terraform's machine-readable UI: one JSON object per line.

Source: https://developer.hashicorp.com/terraform/internals/machine-readable-ui
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mclass_tf.errors import ConfigurationError, Diagnostic, Hint, StateLockedError, TerraformError

# Messages worth showing. Planned changes are shown from the plan.
_NEWS = frozenset({"apply_start", "apply_complete", "apply_errored"})


@dataclass(frozen=True, kw_only=True)
class Message:
    """One line. `kind` is Terraform's `type`; `is_news` is False for periodic progress."""

    kind: str
    text: str
    body: Mapping[str, Any]

    @property
    def is_news(self) -> bool:
        reads = self.body.get("hook", {}).get("action") == "read"
        return self.kind in _NEWS and not reads

    @property
    def is_warning(self) -> bool:
        return bool(self.body.get("diagnostic", {}).get("severity") == "warning")


def parse(line: str) -> Message | None:
    """Return the message of a line, None if it is not one, such as a provider's own output."""
    try:
        body = json.loads(line)
    except ValueError:
        return None
    if not isinstance(body, dict) or "type" not in body:
        return None
    kind = str(body["type"])
    return Message(kind=kind, text=str(body.get("@message", "")), body=body)


def diagnostics(messages: Sequence[Message]) -> tuple[Diagnostic, ...]:
    return tuple(
        _diagnostic(message.body["diagnostic"]) for message in messages if message.kind == "diagnostic"
    )


def end_of_apply(stdout: str, stderr: str) -> str | None:
    """Return how an apply ended, in words; None if its output has no end: it was killed, or is still running."""
    output = [message for line in stdout.splitlines() if (message := parse(line)) is not None]
    errors = [str(diagnostic) for diagnostic in diagnostics(output) if diagnostic.severity == "error"]
    if errors or (not output and stderr.strip()):
        return f"it failed: {'; '.join(errors) or stderr.strip()}"
    summaries = (message for message in output if message.kind == "change_summary")
    done = [each.text for each in summaries if each.body.get("changes", {}).get("operation") != "plan"]
    return f"it went well: {done[-1]}" if done else None


def dumped_state(stdout: str) -> str | None:
    """Return the state that Terraform printed because it could write it neither to the backend nor to a file, or None."""
    output = (message for line in stdout.splitlines() if (message := parse(line)) is not None)
    states = (message.body["state"] for message in output if isinstance(message.body.get("state"), dict))
    return next((json.dumps(document) for document in states if "version" in document), None)


def require_declared(messages: Sequence[Message], *, var_file: Path) -> None:
    """Raise ConfigurationError if Terraform warns that `var_file` sets an undeclared variable, since it drops the value."""
    for each in diagnostics(messages):
        if each.severity == "warning" and each.summary.startswith(
            ("Value for undeclared variable", "Values for undeclared variable")
        ):
            name = re.search(r'variable named "([^"]+)"', each.detail)
            raise ConfigurationError(
                f"{name[1] if name else 'what is set here'} is no variable of terraform/",
                hint="correct the name, or declare the variable; nothing was planned with it",
                file=var_file,
                key=name[1] if name else None,
            )


def failure(
    *, command: str, status: int, reported: Sequence[Diagnostic], stderr: str, environment: str
) -> TerraformError:
    """Return the most specific error for a failed command."""
    errors = [diagnostic for diagnostic in reported if diagnostic.severity == "error"]
    locked = next((error for error in errors if "acquiring the state lock" in error.summary.lower()), None)
    if locked is not None:
        return _locked(locked, command=command, environment=environment)
    text = (
        "\n".join(str(error) for error in errors) or stderr.strip() or f"exit status {status}, without a word"
    )
    return TerraformError(
        f"terraform {command} failed in {environment}: {text}",
        hint=_next_step(text),
        command=command,
        status=status,
        diagnostics=errors,
    )


def _diagnostic(body: Mapping[str, Any]) -> Diagnostic:
    source = body.get("range") or {}
    line = (source.get("start") or {}).get("line")
    where = f"{source['filename']}:{line}" if source.get("filename") else ""
    return Diagnostic(
        severity=str(body.get("severity", "error")),
        summary=str(body.get("summary", "")),
        detail=str(body.get("detail", "")).strip(),
        where=where,
        address=str(body.get("address", "")),
    )


def _locked(error: Diagnostic, *, command: str, environment: str) -> StateLockedError:
    info = dict(re.findall(r"^\s*(ID|Path|Operation|Who|Created):\s*(.+?)\s*$", error.detail, re.MULTILINE))
    who, since, lock_id = (info.get(key, "unknown") for key in ("Who", "Created", "ID"))
    operation = info.get("Operation", "unknown").removeprefix("OperationType")
    return StateLockedError(
        f"the state of {environment} is locked by {who} since {since} ({operation}, lock {lock_id})",
        hint=Hint("wait for it to end; if it is dead: ", ("unlock", environment, lock_id)),
        command=command,
        lock_id=lock_id,
        who=who,
        since=since,
        operation=operation,
    )


_NEXT_STEPS = (
    (
        r"Inconsistent dependency lock file|doesn't match any of the checksums",
        "terraform -chdir=terraform init -upgrade, then review .terraform.lock.hcl",
    ),
    (
        r"could not query provider registry|no available releases|not available",
        "a mirror of the provider may be named by MCLASS_TF_PROVIDER_MIRROR",
    ),
    (
        r"ExpiredToken|TokenRefreshRequired|CredentialsExpired|failed to refresh cached credentials",
        "the credentials have expired: sign in again (aws sso login, aws configure, a new job of the CI), and run this again",
    ),
    (r"NoSuchBucket|bucket does not exist", Hint("make the state bucket: ", ("bootstrap", "ENV"))),
    (
        r"(?i)no space left on device|disk quota exceeded",
        "free some space, also below $TMPDIR; then plan again",
    ),
    (r"(?i)read-only file system", "make it writable, or name another folder: MCLASS_TF_HOME, TMPDIR"),
    (
        r"failed to create new OS thread|runtime: may need to increase max user processes",
        "end some processes, or raise the limit: ulimit -u, pids.max of the cgroup; then plan again",
    ),
    (r"(?i)too many open files", "raise the limit: ulimit -n 1024; then plan again"),
    (
        r"(?i)resource temporarily unavailable|cannot allocate memory",
        "end some processes or free memory (ulimit -u, pids.max of the cgroup); then plan again",
    ),
    (
        r"RequestTimeTooSkewed|Signature expired|Signature not yet current|RequestExpired",
        "set this machine's clock: AWS refuses what is signed minutes off its own time; if it is right, sign in again",
    ),
    (r"(?i)deletion protection", "set deletion_protection = false, apply, then destroy"),
    (
        r"connection refused|no route to host",
        Hint("is the endpoint up? ", ("local", "status"), " tells of the local AWS"),
    ),
    (
        r"AccessDenied|not authorized|UnauthorizedOperation",
        "the credentials lack a permission that the message names",
    ),
)


def _next_step(text: str) -> str:
    return next(
        (step for pattern, step in _NEXT_STEPS if re.search(pattern, text)),
        "the message above is Terraform's own",
    )
