"""Render a plan as text for people. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator

from mclass_tf.plan import ABSENT, Action, AttributeChange, Plan, ResourceChange
from mclass_tf.terminal import inline

_SIGNS = {
    Action.CREATE: "+",
    Action.UPDATE: "~",
    Action.REPLACE: "±",
    Action.DELETE: "-",
    Action.FORGET: ".",
    Action.NOTHING: ">",
}
_VERBS = {
    Action.CREATE: "create",
    Action.UPDATE: "update in place",
    Action.REPLACE: "replace",
    Action.DELETE: "delete",
    Action.FORGET: "forget (it stays, unmanaged)",
}
_REASONS = {
    "replace_because_tainted": "it is tainted: its creation, or an earlier replacement, did not end well",
    "replace_because_cannot_update": "what changes cannot be changed in place",
    "replace_by_request": "that was asked for",
    "replace_by_triggers": "replace_triggered_by",
    "delete_because_no_resource_config": "no configuration has it any more",
    "delete_because_no_module": "its module is called no more",
    "delete_because_no_move_target": "what it was moved to has no configuration",
    "delete_because_wrong_repetition": "it has count or for_each now, or has it no more",
    "delete_because_count_index": "count does not reach it any more",
    "delete_because_each_key": "for_each has its key no more",
}
"""Terraform's `action_reason`, https://developer.hashicorp.com/terraform/internals/json-format#plan-representation."""
_LONGEST = 80


def describe(plan: Plan, *, title: str, image: str = "") -> str:
    """Return the plan as text: a line per resource, its attributes below, and a mark where one forces a replacement.

    `image` names the image that it starts, and why that one.
    """
    lines = [title, ""]
    for change in sorted(
        plan.resources, key=lambda change: (list(_SIGNS).index(change.action), change.address)
    ):
        lines += _resource(change)
    lines += _outputs(plan)
    started = [f"Image: {image}."] if image else []
    shown = [*lines, "", summary(plan), *started] if plan.has_changes else [title, "", summary(plan)]
    return "\n".join(map(inline, shown))


def summary(plan: Plan) -> str:
    """Return one line with the number of resources for each action."""
    if not plan.has_changes:
        return "No changes: infrastructure matches the configuration."
    counts = [(plan.count(action), verb) for action, verb in _VERBS.items()]
    counts += [(plan.moved, "move in the state"), (plan.imported, "import")]
    summary = ", ".join(f"{count} to {verb}" for count, verb in counts if count)
    return f"{summary or ('only outputs change' if plan.outputs else 'only the state changes')}."


def _resource(change: ResourceChange) -> Iterator[str]:
    order = " (the new one first)" if change.action is Action.REPLACE and change.create_first else ""
    words = [f"{_VERBS[change.action]}{order}"] if change.action in _VERBS else []
    words += [f"move from {change.moved_from}"] if change.moved_from else []
    words += [f"import {change.import_id}"] if change.import_id else []
    deposed = f" (deposed object {change.deposed})" if change.deposed else ""
    yield f"  {_SIGNS[change.action]} {change.address}{deposed}: {', '.join(words)}"
    if change.reason and not any(attribute.forces_replacement for attribute in change.attributes):
        yield f"      {_REASONS.get(change.reason, change.reason.replace('_', ' '))}"
    for attribute in change.attributes:
        yield f"      {_attribute(attribute)}"


def _outputs(plan: Plan) -> Iterator[str]:
    changed = [output for output in plan.outputs if output.before != ABSENT]
    if changed:
        yield "  outputs"
        yield from (f"      {o.name}: {_short(o.before)} → {_short(o.after)}" for o in changed)
    if len(changed) < len(plan.outputs):
        new = len(plan.outputs) - len(changed)
        yield f"  {new} new {'output' if new == 1 else 'outputs'}"


def _attribute(change: AttributeChange) -> str:
    forced = "  ← forces replacement" if change.forces_replacement else ""
    return f"{change.path}: {_short(change.before)} → {_short(change.after)}{forced}"


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
