"""The names of all scenarios, without their implementations, so that `--help` stays fast."""

from __future__ import annotations

FAULTS = (
    "crash-at-start",
    "never-healthy",
    "healthy-then-crash",
    "image-missing",
    "no-pull-permission",
    "security-group-closed",
    "out-of-memory",
    "slower-than-grace",
    "task-killed",
    "spot-interruption",
    "slow-start-interrupted",
    "bad-smoke",
    "bad-under-traffic",
    "bad-alarm",
    "killed",
)
STEPS = (
    "planning",
    "applying",
    "scale-up",
    "post-test-traffic-shift",
    "production-traffic-shift",
    "bake-time",
    "verifying",
)
"""The steps at which a command can be killed."""
PROTECTIONS = ("lame-duck", "keep-alive", "deregistration-delay", "minimum-percent", "grace-period")
