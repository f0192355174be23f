"""policy/ itself: few waivers in prod, all of them sound, and a fix for every rule that can fail here."""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
import textwrap
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mclass_tf import environment
from mclass_tf.gates import Waiver, config, fixes, waivers
from tests.scanners import scanner

pytestmark = pytest.mark.xdist_group("checkov")  # which takes two seconds to import

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def accepted() -> tuple[Waiver, ...]:
    # The day on which the file was written: expiry is the gate's business.
    return waivers.load(ROOT, environments=environment.names(ROOT), today=dt.date(2026, 11, 23))


def test_prod_has_at_most_five_waivers(accepted: tuple[Waiver, ...]) -> None:
    assert 1 <= len([waiver for waiver in accepted if "prod" in waiver.environments]) <= 5


def test_no_waiver_is_listed_twice(accepted: tuple[Waiver, ...]) -> None:
    keys = [(waiver.check, waiver.resource, name) for waiver in accepted for name in waiver.environments]
    assert len(keys) == len(set(keys))


def test_a_waiver_of_prod_names_its_resource_in_full(accepted: tuple[Waiver, ...]) -> None:
    assert not [waiver for waiver in accepted if "prod" in waiver.environments and "*" in waiver.resource]


def test_the_settings_of_the_plain_tool_skip_nothing() -> None:
    config.check(ROOT)


LISTING = """
    import json
    from pathlib import Path
    from checkov.terraform.plan_runner import Runner
    from mclass_tf.gates.engine import engine

    real = Runner.run

    def listed(self, *given, **rest):
        rules = {}
        for check in engine().checks():
            types = getattr(check, "supported_entities", None) or getattr(check, "resource_types", None) or ()
            is_explained = bool(getattr(check, "fix", None) and check.__doc__)
            rules[check.id] = {"types": list(types), "is_explained": is_explained}
        Path(LIST).write_text(json.dumps(rules))
        return real(self, *given, **rest)

    Runner.run = listed
"""


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return every active rule by id: its resource types, and whether it states a fix and a reason."""
    folder = tmp_path_factory.mktemp("rules")
    shutil.copytree(ROOT / "policy", folder / "project/policy")
    listing = f"LIST = {str(folder / 'list')!r}\n{textwrap.dedent(LISTING)}"
    (folder / "project/policy/checks/mclass_listing.py").write_text(listing)
    with closing(scanner()) as one:
        one.plan(project=folder / "project", text="{}")
    found: dict[str, Any] = json.loads((folder / "list").read_text())
    return found


def test_every_fix_is_of_a_rule_that_checkov_has(rules: dict[str, Any]) -> None:
    assert set(fixes.FIXES) - set(rules) == set()


def test_every_rule_on_a_resource_that_the_modules_make_has_a_fix(rules: dict[str, Any]) -> None:
    made = set()
    for file in (ROOT / "modules").glob("*/*.tf"):
        made |= set(re.findall(r'^resource "([^"]+)"', file.read_text(), flags=re.MULTILINE))
    assert "aws_ecs_service" in made
    stated = {check for check in rules if check.startswith("CKV_MCLASS_")} | set(fixes.FIXES)
    lacking = {
        check
        for check, rule in rules.items()
        if check.startswith("CKV_AWS_") and made & set(rule["types"]) and check not in stated
    }
    assert lacking == set()


def test_every_rule_of_the_project_states_its_fix(rules: dict[str, Any]) -> None:
    own = [rule for check, rule in rules.items() if check.startswith("CKV_MCLASS_")]
    assert len(own) == 8
    assert all(rule["is_explained"] for rule in own)


def test_a_rule_that_is_not_known_here_is_explained_by_its_title() -> None:
    assert fixes.fix_for("CKV_AWS_9999", title="Ensure that X is enabled.") == (
        "change the resource so that this holds: X is enabled"
    )
