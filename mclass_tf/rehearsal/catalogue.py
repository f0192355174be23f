"""All scenarios, by name."""

from __future__ import annotations

from collections.abc import Mapping

from mclass_tf.rehearsal.scenarios import (
    BadVersion,
    BriefVersion,
    ImageMissing,
    NoPullPermission,
    Scenario,
    SecurityGroupClosed,
    SlowStarterInterrupted,
    TaskKilled,
    TaskStopped,
    WithoutDeregistrationDelay,
    WithoutGracePeriod,
    WithoutKeepAlive,
    WithoutLameDuck,
    WithoutMinimumPercent,
    crash,
    crash_later,
    leak,
    slow_start,
    unhealthy,
)
from mclass_tf.rehearsal.shifting import BadAlarm, BadSmoke, BadUnderTraffic, CommandKilled

FAULTS: Mapping[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        BadVersion(name="crash-at-start", causes=("exited", "exit code 1"), make=crash),
        BadVersion(name="never-healthy", causes=("health check",), make=unhealthy),
        BriefVersion(name="healthy-then-crash", causes=("exited", "exit code 1"), make=crash_later),
        ImageMissing(),
        NoPullPermission(),
        SecurityGroupClosed(),
        BriefVersion(name="out-of-memory", causes=("OutOfMemory", "memory", "137"), make=leak),
        BadVersion(name="slower-than-grace", causes=("health check",), make=slow_start),
        TaskKilled(),
        TaskStopped(),
        SlowStarterInterrupted(),
        BadSmoke(),
        BadUnderTraffic(),
        BadAlarm(),
        CommandKilled(),
    )
}
"""By the names of `--fault`."""

PROTECTIONS: Mapping[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        WithoutLameDuck(),
        WithoutKeepAlive(),
        WithoutDeregistrationDelay(),
        WithoutMinimumPercent(),
        WithoutGracePeriod(),
    )
}
"""By the names of `--without`."""
