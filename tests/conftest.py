"""Shared by all tests: signals as in a terminal, time limits, and applied environments."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import settings

from tests.commands import CommandLine
from tests.snapshots import Snapshots
from tests.time_limits import TimeLimits

# Short and deterministic by default. HYPOTHESIS_PROFILE=nightly searches further.
settings.register_profile("default", max_examples=50, deadline=None, derandomize=True)
settings.register_profile("nightly", max_examples=2000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_configure(config: pytest.Config) -> None:
    """Set time limits, restore SIGINT and SIGHUP, and keep bytecode, all for child processes too."""
    config.pluginmanager.register(TimeLimits())
    # Without bytecode, each of hundreds of processes would compile the package again, and pytest all tests.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    # A shell that runs the tests in the background ignores both signals.
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


def pytest_xdist_auto_num_workers() -> int:
    """Two workers for each processor: most tests spend half of their time waiting for processes and timers."""
    return 2 * (os.cpu_count() or 1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect nightly tests, even if slow tests are selected, unless the nightly ones are selected explicitly."""
    if "nightly" in config.option.markexpr:
        return
    nightly = [item for item in items if item.get_closest_marker("nightly")]
    config.hook.pytest_deselected(items=nightly)
    items[:] = [item for item in items if item not in nightly]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Exclude modules and collected tests, which live to the end, from garbage collection."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)  # with the default, a fifth of the time goes to garbage collection
        gc.enable()


@pytest.fixture(scope="session")
def snapshots() -> Snapshots:
    """Starts a local AWS with applied environments within seconds."""
    return Snapshots()


@dataclass(frozen=True)
class Applied:
    """dev and prod, planned, judged by the gates and applied on one local AWS."""

    commands: CommandLine

    def environment(self, name: str) -> Mapping[str, Any]:
        """Return the outputs of `name`."""
        outputs: Mapping[str, Any] = self.commands.ok("output", name, "--local", "--json").document
        return outputs

    def shell_environment(self, name: str) -> dict[str, str]:
        return self.commands.shell_environment(name)


@pytest.fixture(scope="session")
def applied(snapshots: Snapshots, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Applied]:
    """Both environments. Tests that change them share a worker (xdist_group "applied")."""
    with snapshots.started("applied", home=tmp_path_factory.mktemp("applied")) as commands:
        yield Applied(commands)
