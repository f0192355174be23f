"""The phases of connections and exchanges change only as the table allows."""

from __future__ import annotations

from itertools import chain

import pytest

from mclass_tf.local.balancer.phases import (
    TRANSITIONS,
    ClientPhase,
    ExchangePhase,
    IllegalTransitionError,
    Phase,
    TransitionTo,
)

KINDS = Phase.__subclasses__()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_phase_is_in_the_table_and_leads_to_its_own_kind_alone(kind: type[Phase]) -> None:
    phases = set(kind)
    assert phases <= TRANSITIONS.keys()
    assert set(chain.from_iterable(TRANSITIONS[phase] for phase in phases)) <= phases


def test_a_legal_transition_leads_to_the_phase() -> None:
    assert TransitionTo(ExchangePhase.OVER)[ExchangePhase.ANSWERING] is ExchangePhase.OVER


def test_final_phases_have_no_transitions() -> None:
    with pytest.raises(IllegalTransitionError, match=r"OVER to .*PENDING"):
        TransitionTo(ExchangePhase.PENDING)[ExchangePhase.OVER]
    with pytest.raises(IllegalTransitionError, match=r"LOST to .*CLOSING"):
        TransitionTo(ClientPhase.CLOSING)[ClientPhase.LOST]
