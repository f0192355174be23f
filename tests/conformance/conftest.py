"""What the tests of conformance share."""

from __future__ import annotations

import pytest

from mclass_tf.conformance.recording import Recording
from tests.conformance import world


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """A recording of the local AWS as it is, by the calls of ECS alone."""
    return world.record(tmp_path_factory.mktemp("life"))
