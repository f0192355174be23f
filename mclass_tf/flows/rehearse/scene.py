"""The context of a rehearsal."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mclass_tf.environment import ReleaseSettings
from mclass_tf.flows.deployer.deploy import Show
from mclass_tf.flows.rehearse.request import RehearsalRequest
from mclass_tf.rehearsal.fixture import ServiceFixture
from mclass_tf.rehearsal.instrument import Instrument
from mclass_tf.rehearsal.scenarios import Scenario, ScenarioFacts
from mclass_tf.rehearsal.service_reader import ServiceReader
from mclass_tf.session import Session

# Seconds; the soak time, divided by the clock's speed, is capped at this.
_LONGEST_SOAK = 30.0


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What a run acts on; `source` is the environment that the new version is promoted from, if any."""

    session: Session
    source: Session | None
    request: RehearsalRequest
    scenario: Scenario
    instrument: Instrument
    fixture: ServiceFixture
    facts: ScenarioFacts
    outputs: Mapping[str, Any]
    show: Show

    @property
    def service(self) -> ServiceReader:
        return self.fixture.service

    @property
    def asked_soak(self) -> float:
        """The environment's soak time in seconds, at the clock's speed."""
        return self.session.environment.promotion.soak_minutes * 60 / self.request.speed

    @property
    def soak(self) -> float:
        """The soak time to wait for, in seconds: `asked_soak`, but at most `_LONGEST_SOAK`."""
        return min(self.asked_soak, _LONGEST_SOAK)


def with_release(session: Session, release: ReleaseSettings) -> Session:
    """Return the session with these release settings instead of its environment's."""
    return dataclasses.replace(session, environment=dataclasses.replace(session.environment, release=release))
