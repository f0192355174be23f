"""What to rehearse: the load, the fault, and the way in which the new version arrives."""

from __future__ import annotations

from dataclasses import dataclass

from mclass_tf.errors import UsageError
from mclass_tf.rehearsal.catalogue import FAULTS, PROTECTIONS
from mclass_tf.rehearsal.scenarios import PlainRelease, Scenario

KILLED = "killed"
_KILLED_AT = "scale-up"
SHORTEST_PHASE = 5.0
_BEFORE_SHARE = 0.25
_LONGEST_BEFORE = 30.0


@dataclass(frozen=True, kw_only=True)
class RehearsalRequest:
    """What to rehearse. `requests` None: as many as `rate` sends in `seconds`. `speed` is the speed of the local AWS's clock.

    `at` is the step at which the fault "killed" kills the command. `source` is the environment that the new version is promoted
    from, None for a direct release. `strategy` replaces the environment's strategy, with default settings if it differs.
    """

    rate: float = 200.0
    seconds: float = 60.0
    requests: int | None = None
    speed: float = 10.0
    fault: str | None = None
    without: str | None = None
    strategy: str | None = None
    source: str | None = None
    at: str | None = None
    runs: int = 1
    long_share: float = 0.02
    new_connection_share: float = 0.2

    @property
    def total(self) -> int:
        return self.requests if self.requests is not None else round(self.rate * self.seconds)

    @property
    def before(self) -> float:
        """Seconds of steady traffic before anything happens."""
        lasting = self.total / self.rate
        return min(max(lasting * _BEFORE_SHARE, SHORTEST_PHASE), _LONGEST_BEFORE)

    def scenario(self) -> Scenario:
        """Return the scenario; raise UsageError if there is none of that name."""
        if self.fault is not None and self.without is not None:
            raise UsageError("--fault and --without exclude each other", hint="rehearse one after the other")
        for name, known, option in (
            (self.fault, FAULTS, "--fault"),
            (self.without, PROTECTIONS, "--without"),
        ):
            if name is not None and name not in known:
                raise UsageError(f"{option} {name} is not known", hint=f"there are {', '.join(known)}")
        scenario = self._scenario()
        if self.source is not None and not scenario.releases:
            raise UsageError(
                f"in {scenario.name} nothing is released, so that there is nothing to promote",
                hint="leave --from out",
            )
        return scenario

    def _scenario(self) -> Scenario:
        if self.fault is not None:
            return FAULTS[self.fault]
        return PlainRelease() if self.without is None else PROTECTIONS[self.without]

    @property
    def step(self) -> str:
        """The step at which the fault "killed" kills the command."""
        return self.at or _KILLED_AT

    @property
    def is_verified(self) -> bool:
        """Whether the environment must pass every check at the end: a promotion or a resumed release must be proven."""
        return self.source is not None or self.fault == KILLED

    @property
    def description(self) -> str:
        """The fault or missing protection in a few words; "" for a plain release."""
        if self.fault is not None:
            at = f" at {self.step}" if self.fault == KILLED else ""
            return f"fault {self.fault}{at}"
        return "" if self.without is None else f"without {self.without}"
