"""What tests of every folder share: signals as they are in a terminal, and environments that are applied."""

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

# Short by default, and the same for everybody; by night HYPOTHESIS_PROFILE=nightly looks further.
settings.register_profile("default", max_examples=50, deadline=None, derandomize=True)
settings.register_profile("nightly", max_examples=2000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_configure(config: pytest.Config) -> None:
    """Limit the time of tests; heed interrupts, and let children heed them; keep bytecode, and let children keep theirs."""
    config.pluginmanager.register(TimeLimits())
    # Where Python is to write none, each of hundreds of processes would compile the package, and pytest all tests, anew.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    # A shell that runs the tests in its background has both ignored.
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


def pytest_xdist_auto_num_workers() -> int:
    """Two for each processor: half of the time of most tests is waiting, for processes that start and for timers."""
    return 2 * (os.cpu_count() or 1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is for the night, also where slow tests are asked for, unless it is asked for itself."""
    if "nightly" in config.option.markexpr:
        return
    nightly = [item for item in items if item.get_closest_marker("nightly")]
    config.hook.pytest_deselected(items=nightly)
    items[:] = [item for item in items if item not in nightly]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Do not look for cycles among the modules and the thousands of tests: they stay to the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)  # by default a fifth of the time goes by in looking for cycles
        gc.enable()


@pytest.fixture(scope="session")
def snapshots() -> Snapshots:
    """Where a local AWS with applied environments comes from in seconds."""
    return Snapshots()


@dataclass(frozen=True)
class Applied:
    """dev and prod, planned, gated and applied on one local AWS."""

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
