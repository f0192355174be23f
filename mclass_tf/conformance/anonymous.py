"""Replaces what identifies an account, its owner or their names, by labels that stay the same throughout a recording."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping
from typing import Any

_SHORTEST_NAME = 3
# Words of ECS's own messages. A resource with such a name identifies nobody, and a message without the word would mean nothing.
_ORDINARY = frozenset(
    [
        "app",
        "application",
        "cluster",
        "container",
        "connections",
        "default",
        "deployment",
        "digest",
        "container-name",
        "group",
        "health",
        "image",
        "listener",
        "port",
        "production",
        "reason",
        "region",
        "rule",
        "running",
        "service",
        "steady",
        "service-name",
        "state",
        "target",
        "targets",
        "task",
        "tasks",
        "test",
        "traffic",
        "web",
    ]
)
_KINDS = (
    "cluster", "container-instance", "deployment", "function", "image", "instance-profile", "listener", "listener-rule",
    "loadbalancer", "log-group", "policy", "repository", "role", "secret", "service", "service-deployment", "service-revision",
    "targetgroup", "task", "task-definition", "user",
)  # fmt: skip
_FIELD = "field"
_PART = r"[^\s\"'(),;\[\]{}<>]"
_REST = rf"(?:/(?:{_PART}*(?![.:]){_PART})?)?"  # a path names repositories, tags and keys; it ends before a full stop or colon
# In the order in which they are tried at each place. The first group that matches names the kind.
_PATTERNS = (
    # A comma may be in the name of a user, or before another ARN.
    ("arn", rf"arn:aws[\w-]*:(?:{_PART}|,(?!arn:)(?=[\w+=.@-]))+"),
    ("url", rf"(?<![A-Za-z0-9])[A-Za-z][A-Za-z0-9+.-]*://{_PART}*(?![.:]){_PART}"),
    ("email", r"[\w.+%-]+@[\w-]+(?:\.[\w-]+)+"),
    ("key", r"(?<![A-Za-z0-9])(?:AKIA|ASIA|AIDA|AROA|AGPA|ANPA|ANVA|ABIA|ACCA|APKA)[A-Z0-9]{8,}"),
    ("digest", r"sha(?:256|512):[0-9a-f]{8,}"),
    ("id", r"ecs-svc/[0-9A-Za-z]+|ecs-pause-[\w-]+|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
    ("id", r"(?<![A-Za-z0-9])[a-z]{1,12}-[0-9a-f]{8,32}(?![A-Za-z0-9])"),
    ("dns", r"(?<![\w.-])(?!(?:Elb|Target)\.)(?:[A-Za-z0-9_-]+\.)+[A-Za-z][A-Za-z0-9-]*[A-Za-z](?::\d+)?(?![\w-])" + _REST),
    ("ip", r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?:/\d{1,2})?(?::\d{1,5})?(?![\d.])"),
    ("ip", r"(?<![\w:])(?=[0-9a-fA-F:]*:[0-9a-fA-F:]*:)[0-9a-fA-F:]{3,}(?![\w:])"),
    ("id", r"(?<![A-Za-z0-9])[0-9a-f]{12,}(?![A-Za-z0-9])"),
    ("account", r"\d{4}-\d{4}-\d{4}|\d{9,}"),
    # AWS's own names, such as Ipv6CidrBlockAssociationSet, stay. Random ids hardly ever look like words.
    (_FIELD, r"(?<![A-Za-z0-9+/_=-])[A-Za-z][a-z]{1,11}\d?(?:[A-Z][a-z]{1,11}\d?)+(?![A-Za-z0-9+/_=-])"),
    ("token", r"(?=[A-Za-z0-9+/_=-]*\d)(?=[A-Za-z0-9+/_=-]*[A-Za-z])[A-Za-z0-9+/_=-]{20,}"),
)  # fmt: skip


class Anonymizer:
    """`names` maps what is known to identify to what it is, such as {"shop-prod": "service"}. Safe to use from several threads."""

    def __init__(self, names: Mapping[str, str] | None = None) -> None:
        self._lock = threading.Lock()
        self._labels: dict[tuple[str, str], str] = {}
        self._counts: dict[str, int] = {}
        self._names: dict[str, str] = {}
        self._pattern = _compiled(())
        self.learn(names or {})

    def learn(self, names: Mapping[str, str]) -> None:
        """Add names that identify somebody. Ignore those that are too short or are ordinary words of ECS's messages."""
        with self._lock:
            for name, kind in names.items():
                if len(name) >= _SHORTEST_NAME and name.lower() not in _ORDINARY:
                    self._names.setdefault(name, kind)
            self._pattern = _compiled(self._names)

    def text(self, text: str) -> str:
        """Return the text with labels in place of everything that identifies somebody."""
        with self._lock:
            return self._pattern.sub(self._replaced, text)

    def label(self, kind: str, identity: str) -> str:
        """Return the label for a value that must not appear at all."""
        with self._lock:
            return self._label(kind, identity)

    def value(self, value: Any) -> Any:
        """Return a JSON value with every text in it replaced, keys too."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.value(each) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(each) for each in value]
        return value

    def _replaced(self, match: re.Match[str]) -> str:
        found = match.group()
        group = match.lastgroup or ""
        if group == "name":
            return self._label(self._names.get(found, "name"), found)
        kind = _PATTERNS[int(group.removeprefix("p"))][0]
        if kind == _FIELD:
            return found
        return self._label(_kind_of_arn(found) if kind == "arn" else kind, found)

    def _label(self, kind: str, identity: str) -> str:
        key = (kind, identity)
        if key not in self._labels:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            self._labels[key] = f"{kind}-{self._counts[kind]}"
        return self._labels[key]


def _compiled(names: Iterable[str]) -> re.Pattern[str]:
    known = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    arn, *others = (f"(?P<p{number}>{pattern})" for number, (_, pattern) in enumerate(_PATTERNS))
    by_name = (rf"(?<![A-Za-z0-9])(?P<name>{known})(?![A-Za-z0-9])",) if known else ()
    return re.compile("|".join((arn, *by_name, *others)))


def _kind_of_arn(arn: str) -> str:
    """Return the type of the resource, from a fixed list: anything else in an ARN may be a name."""
    resource = arn.split(":", 5)[-1]
    kind = re.split("[:/]", resource, maxsplit=1)[0]
    return kind if kind in _KINDS else "resource"


# Possessive, since a recording may be a stranger's: no text takes time that grows with the square of its length.
_NUMBER = re.compile(r"\b(?![a-z]-\d)([a-z]++(?:-++[a-z]++)*+)-\d+\b")
_SERVICE = re.compile(r"\(service [^\s,()]+")
_COUNT = re.compile(r"\b\d+(?:\.\d+)?\b")


def template(text: str) -> str:
    """Return the wording of a text, with labels without their numbers, and without counts."""
    text = _SERVICE.sub("(service <service-name>", _NUMBER.sub(r"<\1>", text))
    return re.sub(r"(\(task <[a-z-]+>\))(?: \(task <[a-z-]+>\))+", r"\1", _COUNT.sub("N", text))
