"""The base of all readers: it reads each thing once, and caches the answer or the error for every check."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, Self, TypeVar, overload

from mclass_tf.aws import Aws
from mclass_tf.verify.outputs import Outputs

T = TypeVar("T")
R = TypeVar("R", bound="AwsReader")
Item = Mapping[str, Any]

# After these errors no other call can succeed. Another attempt, with its retries, would only cost minutes.
_FATAL = frozenset(
    {
        "ConnectTimeoutError",
        "ConnectionClosedError",
        "EndpointConnectionError",
        "NoCredentialsError",
        "PartialCredentialsError",
        "ReadTimeoutError",
        "SSLError",
    }
)


class MissingError(Exception):
    """AWS answered, but the resource that the outputs name is missing."""


class AnswerCache:
    """The cache of AWS's answers, by key. All readers share it."""

    def __init__(self) -> None:
        self._answers: dict[str, Any] = {}
        self._errors: dict[str, Exception] = {}
        self._fatal: Exception | None = None

    def once(self, key: str, read: Callable[[], T]) -> T:
        if key not in self._answers:
            self._answers[key] = self._attempt(key, read)
        answer: T = self._answers[key]
        return answer

    def _attempt(self, key: str, read: Callable[[], T]) -> T:
        known = self._errors.get(key) or self._fatal
        if known is not None:
            raise known
        try:
            return read()
        except Exception as error:
            self._errors[key] = error
            if type(error).__name__ in _FATAL:
                self._fatal = error
            raise


class AwsReader:
    """Reads from one AWS service what the outputs name."""

    def __init__(self, *, outputs: Outputs, aws: Aws, answers: AnswerCache) -> None:
        self.outputs = outputs
        self.aws = aws
        self.answers = answers


class once(Generic[R, T]):  # noqa: N801  (a decorator, like property)
    """A property that reads on first access and is then cached."""

    def __init__(self, read: Callable[[R], T]) -> None:
        self._read = read
        self._key = read.__qualname__

    @overload
    def __get__(self, reader: None, owner: type) -> Self: ...
    @overload
    def __get__(self, reader: R, owner: type) -> T: ...
    def __get__(self, reader: R | None, owner: type) -> Self | T:
        if reader is None:
            return self
        return reader.answers.once(self._key, lambda: self._read(reader))


def items(pages: Iterable[Mapping[str, Any]], key: str) -> list[Any]:
    return [item for page in pages for item in page.get(key, [])]


def only(candidates: Sequence[T], what: str) -> T:
    """Return the only candidate. Raise MissingError if there are none or several."""
    if len(candidates) != 1:
        raise MissingError(f"{what}: found {len(candidates)} of them, expected one")
    return candidates[0]


def named(things: Mapping[str, T], key: str, what: str) -> T:
    if key not in things:
        raise MissingError(f"{what} does not exist")
    return things[key]
