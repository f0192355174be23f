"""A Terraform plan as values: its changes, and its saved file."""

from __future__ import annotations

import enum
import hashlib
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mclass_tf import plan_json, stored
from mclass_tf.errors import DamagedObjectError, Hint, PlanRefusedError
from mclass_tf.system import machine


class Action(enum.Enum):
    """What happens to a resource. Source: `change.actions` of Terraform's JSON plan."""

    CREATE = "create"
    READ = "read"
    UPDATE = "update"
    REPLACE = "replace"
    DELETE = "delete"
    FORGET = "forget"
    NOTHING = "no-op"

    @classmethod
    def parse(cls, actions: list[str]) -> Action:
        return cls.REPLACE if len(actions) > 1 else cls(actions[0])


@dataclass(frozen=True, kw_only=True)
class AttributeChange:
    """One leaf that changes; `before` and `after` are rendered, secrets masked."""

    path: str
    before: str
    after: str
    forces_replacement: bool


@dataclass(frozen=True, kw_only=True)
class ResourceChange:
    """One resource that changes, in AWS or only in the state. `create_first` is the order of a replacement.

    `moved_from` is the previous address of a moved resource, `import_id` the id of an imported one, `deposed` the key of an
    object that an earlier replacement left behind; else each is "". `reason` is Terraform's reason for a replacement or deletion.
    """

    address: str
    type: str
    action: Action
    create_first: bool
    attributes: tuple[AttributeChange, ...]
    moved_from: str = ""
    import_id: str = ""
    deposed: str = ""
    reason: str = ""

    @property
    def is_nothing(self) -> bool:
        """Return whether neither AWS nor the state changes. A pure move or import has the action "no-op", but is a change."""
        return self.action in (Action.NOTHING, Action.READ) and not (self.moved_from or self.import_id)


@dataclass(frozen=True, kw_only=True)
class OutputChange:
    name: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The content of a plan. `document` is Terraform's whole JSON plan, format 1.x."""

    document: Mapping[str, Any]
    resources: tuple[ResourceChange, ...]
    outputs: tuple[OutputChange, ...]

    @classmethod
    def parse(cls, document: Any) -> Plan:
        """Return the plan; raise PlanRefusedError if the document is not a plan, or of an unknown format."""
        document = plan_json.require(
            document, actions=[action.value for action in Action if action is not Action.REPLACE]
        )
        secrets = frozenset(_secrets(document))
        changes = (_resource(entry, secrets) for entry in document.get("resource_changes", ()))
        outputs = (
            _output(name, entry, secrets) for name, entry in document.get("output_changes", {}).items()
        )
        return cls(
            document=document,
            resources=tuple(c for c in changes if not c.is_nothing),
            outputs=tuple(o for o in outputs if o is not None),
        )

    @property
    def has_changes(self) -> bool:
        """Return whether an apply would change AWS or the state, also by kinds of change that this package does not know."""
        return bool(self.resources or self.outputs or self.document.get("applyable"))

    def count(self, action: Action) -> int:
        return sum(change.action is action for change in self.resources)

    @property
    def moved(self) -> int:
        return sum(bool(change.moved_from) for change in self.resources)

    @property
    def imported(self) -> int:
        return sum(bool(change.import_id) for change in self.resources)


@dataclass(frozen=True, kw_only=True)
class SavedPlan:
    """A plan file, bound to an environment, a cloud, the state's lineage and serial, and its own bytes.

    `target` identifies AWS or one run of the local AWS, and the location of the state. `lineage` is "" before the first apply.
    `inputs` are its input files (see `mclass_tf.inputs`). `requested_image` is the digest that the user named, None to keep the
    image in force. `image_in_force` is that image if the plan starts it again, else "".
    """

    path: Path
    environment: str
    target: str
    sha256: str
    lineage: str
    serial: int
    has_changes: bool
    created: str
    inputs: Mapping[str, str]
    requested_image: str | None
    image_in_force: str

    def verify_bytes(self) -> None:
        """Raise PlanRefusedError if the file is missing or was altered."""
        if not self.path.is_file():
            raise PlanRefusedError(
                f"the plan {self.path} is gone", hint=Hint("plan again: ", ("plan", self.environment))
            )
        if digest(self.path) != self.sha256:
            raise PlanRefusedError(
                f"the plan {self.path} was altered after the gates approved it",
                hint=Hint("nothing was applied; plan again: ", ("plan", self.environment)),
            )


@dataclass(frozen=True, kw_only=True)
class _State:
    lineage: str = ""
    serial: int = 0


# zipfile raises these for bytes that are not an archive, or a damaged, encrypted or unsupported one.
_ZIP_ERRORS = (
    OSError,
    EOFError,
    KeyError,
    ValueError,
    NotImplementedError,
    RuntimeError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def state_of(path: Path) -> tuple[str, int]:
    """Return lineage and serial of the state from which the plan file at `path` was made.

    A plan file is a zip archive with that state as its member `tfstate`. Terraform compares it at apply, too.
    """
    try:
        with zipfile.ZipFile(path) as archive, archive.open("tfstate") as member:
            state = stored.parsed(member.read(stored.MOST), _State, url=str(path))
    except (*_ZIP_ERRORS, DamagedObjectError) as error:
        raise machine.shortage(error) or PlanRefusedError(
            f"{path} is not a plan that Terraform saved", hint=Hint("make one with: ", ("plan", "ENV"))
        ) from None
    return state.lineage, state.serial


_SENSITIVE = "(sensitive)"
_UNKNOWN = "(known after apply)"
ABSENT = "(none)"
_SHORTEST_SECRET = 16
"""Characters. Shorter texts that are marked, such as "true" or a name, are elsewhere by chance."""


def _secrets(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the texts that some change marks as sensitive.

    A mark belongs to one attribute, and the same text may be in others without it: where the secret was made, such as in the
    input and output of a terraform_data, Terraform knows of no secret.
    """
    entries = (each["change"] for each in document.get("resource_changes", ()))
    for change in (*entries, *document.get("output_changes", {}).values()):
        for when in ("before", "after"):
            yield from _marked(change.get(when), change.get(f"{when}_sensitive"))


def _marked(value: Any, marks: Any) -> Iterator[str]:
    if isinstance(value, str):
        if marks is True and len(value) >= _SHORTEST_SECRET:
            yield value
    elif isinstance(value, dict | list) and marks:
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _marked(inner, _child(marks, key))


def _marks(value: Any, marks: Any, secrets: frozenset[str]) -> Any:
    """Return the marks, and one for every text in `value` that is marked elsewhere."""
    if marks is True or not secrets:
        return marks
    if isinstance(value, dict):
        own = marks if isinstance(marks, dict) else {}  # also of what has no value yet
        return own | {key: _marks(inner, _child(marks, key), secrets) for key, inner in value.items()}
    if isinstance(value, list):
        return [_marks(inner, _child(marks, index), secrets) for index, inner in enumerate(value)]
    return True if isinstance(value, str) and value in secrets else marks


def _resource(entry: Mapping[str, Any], secrets: frozenset[str]) -> ResourceChange:
    change = entry["change"]
    action = Action.parse(change["actions"])
    forced = [tuple(path) for path in change.get("replace_paths", ())]
    return ResourceChange(
        address=entry["address"],
        type=entry["type"],
        action=action,
        create_first=change["actions"] == ["create", "delete"],
        attributes=tuple(_attributes(change, forced, secrets))
        if action in (Action.UPDATE, Action.REPLACE)
        else (),
        moved_from=entry.get("previous_address", ""),
        import_id=_import_id(change.get("importing")),
        deposed=entry.get("deposed", ""),
        reason=entry.get("action_reason", ""),
    )


def _import_id(importing: Mapping[str, Any] | None) -> str:
    """Return the id of an import, or the attributes of its identity; either may be unknown until the apply."""
    if importing is None:
        return ""
    identity = importing.get("identity")
    return str(importing.get("id") or (_render(identity) if identity else _UNKNOWN))


def _output(name: str, change: Mapping[str, Any], secrets: frozenset[str]) -> OutputChange | None:
    if change["actions"] == ["no-op"]:
        return None
    before, after = change.get("before"), change.get("after")
    hidden = bool(change.get("before_sensitive") or change.get("after_sensitive")) or any(
        _any_true(_marks(value, None, secrets)) for value in (before, after)
    )
    return OutputChange(
        name=name,
        before=_SENSITIVE if hidden else _render(before),
        after=_SENSITIVE if hidden else _UNKNOWN if change.get("after_unknown") else _render(after),
    )


def _attributes(
    change: Mapping[str, Any], forced: list[tuple[Any, ...]], secrets: frozenset[str]
) -> Iterator[AttributeChange]:
    before, after = change.get("before"), change.get("after")
    marks = (
        _marks(before, change.get("before_sensitive"), secrets),
        _marks(after, change.get("after_sensitive"), secrets),
    )
    leaves = _differences((), before, after, change.get("after_unknown"), marks)
    for path, before, after in leaves:
        yield AttributeChange(
            path=_dotted(path),
            before=before,
            after=after,
            forces_replacement=any(path[: len(f)] == f or f[: len(path)] == path for f in forced),
        )


def _differences(
    path: tuple[Any, ...], before: Any, after: Any, unknown: Any, sensitive: tuple[Any, Any]
) -> Iterator[tuple[tuple[Any, ...], str, str]]:
    """Yield (path, before, after) of every leaf that differs. Lists of different lengths are one leaf."""
    if True in sensitive:
        if before != after or unknown is True:
            yield path, _SENSITIVE, _SENSITIVE
    elif unknown is True:
        # A part of the old value may be sensitive.
        yield path, _SENSITIVE if any(map(_any_true, sensitive)) else _render(before), _UNKNOWN
    elif isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({*before, *after, *(unknown if isinstance(unknown, dict) else ())}):
            inner = (_child(sensitive[0], key), _child(sensitive[1], key))
            yield from _differences(
                (*path, key), before.get(key), after.get(key), _child(unknown, key), inner
            )
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            inner = (_child(sensitive[0], index), _child(sensitive[1], index))
            yield from _differences((*path, index), old, new, _child(unknown, index), inner)
    elif before != after:
        # A value may be sensitive only before or only after the change.
        hidden = any(map(_any_true, sensitive))
        yield path, _SENSITIVE if hidden else _render(before), _SENSITIVE if hidden else _render(after)


def _child(marks: Any, key: Any) -> Any:
    if isinstance(marks, dict):
        return marks.get(key)
    if isinstance(marks, list) and isinstance(key, int) and key < len(marks):
        return marks[key]
    return marks if marks is True else None


def _any_true(marks: Any) -> bool:
    if isinstance(marks, dict):
        return any(_any_true(mark) for mark in marks.values())
    if isinstance(marks, list):
        return any(_any_true(mark) for mark in marks)
    return marks is True


def _render(value: Any) -> str:
    return ABSENT if value is None else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _dotted(path: tuple[Any, ...]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")
