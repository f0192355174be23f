"""Read a file of values in HCL: literals here, everything else by Terraform."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Protocol

from mclass_tf.environment.text import read_bytes
from mclass_tf.errors import ConfigurationError, EngineError, Hint
from mclass_tf.hcl.expression import Attribute, from_value, is_literal, literal
from mclass_tf.hcl.syntax import Document, parse
from mclass_tf.lines import key_on

_NAME: Final = re.compile(r"([^\W\d][\w-]*)\s*=(?![=>])")
_FORM: Final = "every value is `name = value`; `terraform fmt` shows where it is not"


class Evaluate(Protocol):
    """Let Terraform evaluate a file of values.

    Return the values of those `names` that `file` sets. Raise ConfigurationError with file and line if Terraform rejects the
    file, EngineError if there is no Terraform.
    """

    def __call__(self, file: Path, names: Iterable[str], /) -> Mapping[str, Any]: ...


def without_terraform(_file: Path, _names: Iterable[str], /) -> Mapping[str, Any]:
    """Raise EngineError: for callers that only need literals."""
    raise EngineError("it is not asked here", hint="name a command that starts Terraform")


@dataclass(frozen=True, eq=False)
class Values(Mapping[str, Any]):
    """The values that a file sets, by name, as JSON types. Terraform evaluates computed ones on first access."""

    file: Path
    attributes: Mapping[str, Attribute]
    evaluate: Evaluate

    def __getitem__(self, name: str) -> Any:
        value = self.attributes[name].value
        if is_literal(value):
            return literal(value)
        try:
            return self._computed.get(name)
        except EngineError as error:
            raise EngineError(
                f"only Terraform can say what {name} is: {error.message}",
                hint=Hint(f"write {name} as a literal, or: ", error.hint),
                file=self.file,
                line=self.line(name),
                key=name,
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.attributes)

    def __len__(self) -> int:
        return len(self.attributes)

    def line(self, name: str) -> int | None:
        return self.attributes[name].line if name in self.attributes else None

    def text(self, name: str) -> str | None:
        """Return a value as Terraform converts it to a string, None if null or unset; raise ValueError if it cannot."""
        value = self.get(name)
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, int):
            return str(value)
        raise ValueError(name)

    def error(self, name: str, problem: str, hint: str) -> ConfigurationError:
        return ConfigurationError(
            f"{name} {problem}", hint=hint, file=self.file, line=self.line(name), key=name
        )

    @cached_property
    def _computed(self) -> Mapping[str, Any]:
        names = [each.name for each in self.attributes.values() if not is_literal(each.value)]
        return self.evaluate(self.file, names)


def read(file: Path, evaluate: Evaluate) -> Values:
    """Return the values that `file` sets; raise ConfigurationError with the line if it is not a file of values."""
    data = read_bytes(file)
    document = parse(data)
    if document.error_line is not None:
        return _evaluated(file, data, document, evaluate)
    for block in document.body.blocks:
        raise ConfigurationError(
            f"{block.kind}: a block is no value",
            hint=f"write {block.kind} = {{ … }}",
            file=file,
            line=block.line,
            key=block.kind,
        )
    attributes: dict[str, Attribute] = {}
    for each in document.body.attributes:
        if each.name in attributes:
            raise ConfigurationError(
                f"{each.name} is set twice", hint="keep one", file=file, line=each.line, key=each.name
            )
        attributes[each.name] = each
    return Values(file, attributes, evaluate)


def _evaluated(file: Path, data: bytes, document: Document, evaluate: Evaluate) -> Values:
    """Return the values of a file that the grammar cannot parse completely: Terraform may accept it, or say what is wrong."""
    text = data.decode("utf-8-sig", "replace")
    lines = {match[1]: text.count("\n", 0, match.start()) + 1 for match in reversed([*_NAME.finditer(text)])}
    lines |= {each.name: each.line or 1 for each in document.body.attributes}
    try:
        values = evaluate(file, lines)
    except EngineError as error:
        line = document.error_line or 1
        raise ConfigurationError(
            f"not valid HCL, unless to Terraform, which cannot be asked: {error.message}",
            hint=_FORM,
            file=file,
            line=line,
            key=key_on(text, line),
        ) from None
    return Values(
        file,
        {
            name: Attribute(name=name, line=lines[name], value=from_value(value, line=lines[name]))
            for name, value in values.items()
        },
        evaluate,
    )
