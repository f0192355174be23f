"""Twenty and more changes of the local AWS, each of which the comparison must find and name."""

from __future__ import annotations

from pathlib import Path

import pytest

from mclass_tf.conformance.compare import compare
from mclass_tf.conformance.recording import Recording
from tests.conformance import world
from tests.conformance.mutations import MUTATIONS, Mutation

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("conformance"),
    # Of moto, which does not know the error.
    pytest.mark.filterwarnings("ignore:.*does not match an error shape"),
]
_LEAST = 20


def test_there_are_at_least_twenty() -> None:
    assert len({mutation.name for mutation in MUTATIONS}) >= _LEAST


def test_the_local_aws_does_not_differ_from_itself(whole: Recording, tmp_path: Path) -> None:
    assert compare(whole, world.record(tmp_path)) == ()


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_is_found_and_named(mutation: Mutation, whole: Recording, tmp_path: Path) -> None:
    with mutation.change():
        changed = world.record(tmp_path, (mutation.chapter,))

    before, after = (world.only(recording, mutation.chapter) for recording in (whole, changed))
    named = [(each.what, each.entry) for each in compare(before, after) if each.chapter == mutation.chapter]
    assert any(what == mutation.what and mutation.entry in entry for what, entry in named), named
