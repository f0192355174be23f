"""What policy/ itself says: few waivers in prod, all of them sound, and a fix for every rule that can fail here."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

import pytest

from mclass_tf import environment
from mclass_tf.gates import Waiver, config, fixes, scan, waivers

pytestmark = pytest.mark.xdist_group("checkov")  # which takes two seconds to import

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def accepted() -> tuple[Waiver, ...]:
    # A day on which the file was written: whether it has expired since is the gate's business.
    return waivers.load(ROOT, environments=environment.names(ROOT), today=dt.date(2026, 11, 23))


def test_prod_has_at_most_five_waivers(accepted: tuple[Waiver, ...]) -> None:
    assert 1 <= len([waiver for waiver in accepted if "prod" in waiver.environments]) <= 5


def test_no_waiver_stands_twice(accepted: tuple[Waiver, ...]) -> None:
    keys = [(waiver.check, waiver.resource, name) for waiver in accepted for name in waiver.environments]
    assert len(keys) == len(set(keys))


def test_a_waiver_of_prod_names_its_resource_in_full(accepted: tuple[Waiver, ...]) -> None:
    assert not [waiver for waiver in accepted if "prod" in waiver.environments and "*" in waiver.resource]


def test_the_settings_of_the_plain_tool_skip_nothing() -> None:
    config.check(ROOT)


@pytest.fixture(scope="module")
def rules() -> dict[str, tuple[object, ...]]:
    """Return the resource types of every rule in force, by its id."""
    with scan._checkov(ROOT) as engine:
        return {
            check.id: tuple(
                getattr(check, "supported_entities", None) or getattr(check, "resource_types", ()) or ()
            )
            for check in engine._all()
        }


def test_every_fix_is_of_a_rule_that_checkov_has(rules: dict[str, tuple[object, ...]]) -> None:
    assert set(fixes.FIXES) - set(rules) == set()


def test_every_rule_on_a_resource_that_the_modules_make_has_a_fix(
    rules: dict[str, tuple[object, ...]],
) -> None:
    made = set()
    for file in (ROOT / "modules").glob("*/*.tf"):
        made |= set(re.findall(r'^resource "([^"]+)"', file.read_text(), flags=re.MULTILINE))
    assert "aws_ecs_service" in made
    stated = {check for check in rules if check.startswith("CKV_MCLASS_")} | set(fixes.FIXES)
    lacking = {
        check
        for check, types in rules.items()
        if check.startswith("CKV_AWS_") and made & set(types) and check not in stated
    }
    assert lacking == set()


def test_every_rule_of_the_project_states_its_fix() -> None:
    with scan._checkov(ROOT) as engine:
        own = [check for check in engine._all() if check.id.startswith("CKV_MCLASS_")]
    assert len(own) == 8
    assert all(check.fix and check.__doc__ for check in own)


def test_a_rule_that_is_not_known_here_is_explained_by_its_title() -> None:
    assert fixes.of("CKV_AWS_9999", title="Ensure that X is enabled.") == (
        "change the resource so that this holds: X is enabled"
    )
