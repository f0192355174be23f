"""The whole catalogue of rehearsals with each strategy: every night, not on every change (`nox -s rehearsals`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mclass_tf.rehearsal.catalogue import FAULTS, PROTECTIONS
from mclass_tf.strategy import NAMES, ROLLING
from tests.rehearsal.rehearsing import assert_everything_is_restored, rehearse_successfully
from tests.snapshots import APPLIED, Snapshots

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(290)]

# A shifted release starts all of its tasks before it stops one, so no minimum can be removed.
_ROLLING_ALONE = {"minimum-percent"}


def cases() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each strategy with the options of each scenario that it supports. A scenario without a release runs once."""
    for strategy in NAMES:
        yield strategy, ()
        for option, catalogue in (("--fault", FAULTS), ("--without", PROTECTIONS)):
            for name, scenario in catalogue.items():
                is_shown = not scenario.shifts if strategy == ROLLING else scenario.releases
                if is_shown and (strategy == ROLLING or name not in _ROLLING_ALONE):
                    yield strategy, (option, name)


def named(value: str | tuple[str, ...]) -> str:
    """Return a part of a case for the test's name."""
    if isinstance(value, str):
        return value
    return "-".join(word.removeprefix("--") for word in value) or "plain"


@pytest.mark.parametrize(("strategy", "scenario"), list(cases()), ids=named)
def test_a_rehearsal_keeps_its_promise(
    snapshots: Snapshots, tmp_path: Path, strategy: str, scenario: tuple[str, ...]
) -> None:
    with snapshots.started(APPLIED, home=tmp_path / "home") as commands:
        found = rehearse_successfully(
            commands, "dev", "--strategy", strategy, "--rate", "100", "--seconds", "20", *scenario
        )

        assert found["verdict"] == "passed"
        assert_everything_is_restored(commands)
