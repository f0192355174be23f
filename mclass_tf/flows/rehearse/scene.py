"""Where a rehearsal takes place."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mclass_tf.environment import ReleaseSettings
from mclass_tf.flows.deployer.deploy import Show
from mclass_tf.flows.rehearse.request import Request
from mclass_tf.rehearsal.fixture import ServiceFixture
from mclass_tf.rehearsal.instrument import Instrument
from mclass_tf.rehearsal.scenarios import Scenario, ScenarioFacts
from mclass_tf.rehearsal.service_reader import ServiceReader
from mclass_tf.session import Session

# What an environment asks for to be proven is waited for at the clock's speed, and no longer than this.
_LONGEST_SOAK = 30.0


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What a run acts on; `source` is the environment that the new version is promoted from, None where there is none."""

    session: Session
    source: Session | None
    request: Request
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
        """Return how many seconds the environment asks the new version to be proven for, at the clock's speed."""
        return self.session.environment.promotion.soak_minutes * 60 / self.request.speed

    @property
    def soak(self) -> float:
        """Return how many seconds the new version is to be proven, at most the longest that is waited for."""
        return min(self.asked_soak, _LONGEST_SOAK)


def with_release(session: Session, release: ReleaseSettings) -> Session:
    """Return the session with these settings of releases in the place of its environment's."""
    return dataclasses.replace(session, environment=dataclasses.replace(session.environment, release=release))
