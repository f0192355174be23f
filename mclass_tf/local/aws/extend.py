"""Replaces classes of moto by subclasses, through moto's own registries."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from mclass_tf.local.live import live


def use_responses(*, urls: ModuleType, responses: type[Any]) -> None:
    """Make moto dispatch the service's URLs to the subclass."""
    for path, handler in urls.url_paths.items():
        urls.url_paths[path] = getattr(responses, handler.__name__)


def use_backend(*, backends: Any, urls: ModuleType, backend: type[Any]) -> None:
    """Make moto create the subclass for every account and region from now on."""
    # moto derives the URL module from the name of the class's module, which fails for a subclass in another package.
    backend._url_module = urls  # noqa: SLF001
    backends.backend = backend


def announce(*, backend: type[Any], methods: Iterable[str], topic: str) -> None:
    """Make each method announce, after it returns, that the topic has changed."""
    for name in methods:
        setattr(backend, name, _announcing(getattr(backend, name), topic))


def _announcing(method: Callable[..., Any], topic: str) -> Callable[..., Any]:
    @functools.wraps(method)
    def announcing(*arguments: Any, **named: Any) -> Any:
        result = method(*arguments, **named)
        live.changed(topic)
        return result

    return announcing
