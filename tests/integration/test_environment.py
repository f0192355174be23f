"""The applied environment is as its outputs say: one test for each check of `verify`."""

from __future__ import annotations

import pytest

from mclass_tf import verify


def test_the_applied_environment_is_as_its_outputs_say(check: verify.Check, world: verify.World) -> None:
    result = verify.judge(check, world)
    if result.status is verify.CheckStatus.SKIPPED:
        pytest.skip(result.detail)
    assert result.status is verify.CheckStatus.PASSED, f"{result.detail}\nfix: {result.hint}"
