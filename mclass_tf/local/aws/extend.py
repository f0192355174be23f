"""How a service module puts its classes in the place of moto's: through moto's own registries."""

from __future__ import annotations

from types import ModuleType
from typing import Any


def use_responses(*, urls: ModuleType, responses: type[Any]) -> None:
    """Has moto dispatch the service's URLs to the subclass."""
    for path, handler in urls.url_paths.items():
        urls.url_paths[path] = getattr(responses, handler.__name__)


def use_backend(*, backends: Any, urls: ModuleType, backend: type[Any]) -> None:
    """Has moto make the subclass for every account and region from here on."""
    # moto derives the module of the URLs from the name of the class's module, which a subclass elsewhere breaks.
    backend._url_module = urls  # noqa: SLF001
    backends.backend = backend
