"""Runs the checks. A check that cannot run is a failure with its cause, never a crash and never a pass."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from mclass_tf.aws import Aws, error_code
from mclass_tf.errors import UsageError

# Importing a group registers its checks. This order is the order in which they run.
from mclass_tf.verify import (  # isort: skip  # noqa: F401
    account,
    network,
    image_registry,
    load_balancer,
    service,
    task_definition,
    roles,
    logs,
    scaling,
    encryption,
    reach,
)
from mclass_tf.verify.check import Check, NotApplicableError, registry
from mclass_tf.verify.outputs import Outputs
from mclass_tf.verify.report import CheckStatus, VerifyReport, VerifyResult
from mclass_tf.verify.world import FetchStatus, World

_PASSES_SHOWN = 3


def checks(*, only: Collection[str] | None = None) -> tuple[Check, ...]:
    """Return the checks with a group or name in `only`, or all. Raise UsageError for an unknown name."""
    every = registry.all()
    if only is None:
        return every
    known = {name for check in every for name in (check.group, check.name)}
    unknown = sorted(set(only) - known)
    if unknown:
        groups = ", ".join(dict.fromkeys(check.group for check in every))
        raise UsageError(f"no check and no group is named {unknown[0]!r}", hint=f"groups: {groups}")
    return tuple(check for check in every if check.group in only or check.name in only)


def run(
    outputs: Mapping[str, Any], aws: Aws, *, fetch: FetchStatus, only: Collection[str] | None = None
) -> VerifyReport:
    """Compare AWS with `outputs`, by name as Terraform gives them. Read-only.

    Raises VerificationError for outputs of another root module, UsageError for an unknown name in `only`.
    """
    selected = checks(only=only)
    world = open_world(outputs, aws, fetch=fetch)
    return VerifyReport(results=tuple(judge(check, world) for check in selected))


def open_world(outputs: Mapping[str, Any], aws: Aws, *, fetch: FetchStatus) -> World:
    """Return the world of the checks. It reads nothing before a check asks for it."""
    return World(outputs=Outputs.parse(outputs), aws=aws, fetch=fetch)


def judge(check: Check, world: World) -> VerifyResult:
    """Run one check. Any error becomes its result."""
    try:
        comparisons = list(check.probe(world))
    except NotApplicableError as reason:
        return VerifyResult(
            name=check.name, group=check.group, status=CheckStatus.SKIPPED, detail=str(reason)
        )
    except Exception as error:  # noqa: BLE001  (a check that cannot run must fail)
        return _failed(check, f"could not be checked: {_cause(error)}", hint=_next_step(error) or check.hint)
    failures = [str(comparison) for comparison in comparisons if not comparison.holds]
    if not comparisons:
        return _failed(check, "there was nothing to compare", hint=check.hint)
    if failures:
        return _failed(check, "\n".join(failures), hint=check.hint)
    shown = [f"{item.what}: {item.actual}" for item in comparisons[:_PASSES_SHOWN]]
    more = len(comparisons) - len(shown)
    detail = "; ".join([*shown, *([f"and {more} more"] if more else [])])
    return VerifyResult(name=check.name, group=check.group, status=CheckStatus.PASSED, detail=detail, hint="")


def _failed(check: Check, detail: str, *, hint: str) -> VerifyResult:
    return VerifyResult(
        name=check.name, group=check.group, status=CheckStatus.FAILED, detail=detail, hint=hint
    )


def _cause(error: Exception) -> str:
    if isinstance(error, (KeyError, IndexError, TypeError, AttributeError)):
        return f"AWS answered without what was expected ({type(error).__name__}: {error})"
    return str(error) or type(error).__name__


def _next_step(error: Exception) -> str:
    code = error_code(error)
    if "AccessDenied" in code or code in ("UnauthorizedOperation", "AuthorizationError"):
        return "let the credentials read it: verify needs the read-only actions that the message names"
    if "Expired" in code:
        return "the credentials have expired: sign in again"
    return ""
