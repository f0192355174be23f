"""A plan in words, for a person: pure text from values."""

from __future__ import annotations

from collections.abc import Iterator

from mclass_tf.plan import ABSENT, Action, AttributeChange, Plan, ResourceChange

_SIGNS = {
    Action.CREATE: "+",
    Action.UPDATE: "~",
    Action.REPLACE: "±",
    Action.DELETE: "-",
    Action.FORGET: ".",
}
_VERBS = {
    Action.CREATE: "create",
    Action.UPDATE: "update in place",
    Action.REPLACE: "replace",
    Action.DELETE: "delete",
    Action.FORGET: "forget (it stays, unmanaged)",
}
_LONGEST = 80


def describe(plan: Plan, *, title: str) -> str:
    """Return the plan as text: a line a resource, its attributes beneath, what forces a replacement marked."""
    lines = [title, ""]
    for change in sorted(
        plan.resources, key=lambda change: (list(_SIGNS).index(change.action), change.address)
    ):
        lines += _resource(change)
    lines += _outputs(plan)
    return "\n".join([*lines, "", summary(plan)]) if plan.has_changes else f"{title}\n\n{summary(plan)}"


def summary(plan: Plan) -> str:
    """Return one line: how many resources are created, updated, replaced, deleted."""
    if not plan.has_changes:
        return "No changes: what is applied is what is written."
    counts = ((plan.count(action), verb) for action, verb in _VERBS.items())
    told = ", ".join(f"{count} to {verb}" for count, verb in counts if count)
    return f"{told or 'only outputs change'}."


def _resource(change: ResourceChange) -> Iterator[str]:
    order = " (the new one first)" if change.action is Action.REPLACE and change.create_first else ""
    yield f"  {_SIGNS[change.action]} {change.address}: {_VERBS[change.action]}{order}"
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
