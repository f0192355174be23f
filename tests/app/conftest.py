"""Fixtures that start the service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.app.service import Service, Start


@pytest.fixture
def launch() -> Iterator[Start]:
    """Start a service with these settings without waiting for it: `launch(MCLASS_PORT="1")`."""
    with ExitStack() as stack:

        def start(**env: str) -> Service:
            service = Service(env)
            stack.callback(service.close)
            return service

        yield start


@pytest.fixture
def start(launch: Start) -> Start:
    """Start a service with these settings and wait until it listens."""
    return lambda **env: launch(**env).listening()


@pytest.fixture(scope="session")
def serving() -> Iterator[Service]:
    """A service with default settings, shared by tests that do not change it."""
    service = Service({})
    yield service.listening()
    service.close()
