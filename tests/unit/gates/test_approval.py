"""The approval of a plan: only the gates grant it, and only for that plan, target and policy."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mclass_tf import gates
from mclass_tf.environment import Backend, Environment
from mclass_tf.errors import GateRefusedError, PlanRefusedError
from mclass_tf.gates.approval import approve
from mclass_tf.plan import Plan, SavedPlan, digest

TODAY = dt.date(2027, 1, 15)
IMAGE = f"sha256:{'1' * 64}"

FINDING = gates.Finding(
    gate="fake",
    check="CKV_AWS_91",
    title="Ensure access logs",
    resource="module.alb.aws_lb.this",
    file="modules/alb/main.tf",
    line=12,
    guideline="https://www.checkov.io",
    fix="add access_logs",
)
WAIVER = gates.Waiver(
    check="CKV_AWS_91",
    resource="module.alb.aws_lb.this",
    environments=("dev",),
    reason="Nobody would read these logs.",
    expires=TODAY,
    file="policy/waivers.toml",
    line=3,
)
PROBLEM = gates.Problem(message="a waiver matches nothing", fix="delete it", blocking=False)
PASSED = gates.Verdict(
    gate="fake",
    checked=3,
    failed=(),
    waived=(gates.WaivedFinding(finding=FINDING, waiver=WAIVER),),
    problems=(PROBLEM,),
    seconds=0.5,
)


@dataclasses.dataclass(frozen=True)
class FakeGate:
    verdict: gates.Verdict = PASSED
    name: str = "fake"

    def prepare(self, *, environment: Environment, project: Path, cache: Path | None = None) -> None:
        (project / "prepared").write_text(environment.name)

    def evaluate(self, subject: gates.Subject, *, today: dt.date) -> gates.Verdict:
        return self.verdict


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "policy/checks").mkdir(parents=True)
    (tmp_path / "policy/waivers.toml").write_text("# none\n")
    return tmp_path


@pytest.fixture
def saved(project: Path) -> SavedPlan:
    file = project / "dev.tfplan"
    file.write_bytes(b"the bytes of a plan")
    return SavedPlan(
        path=file,
        environment="dev",
        target="aws",
        sha256=digest(file),
        lineage="0c1f",
        serial=7,
        has_changes=True,
        created="2027-01-15T00:00:00+00:00",
        inputs={"terraform/main.tf": "00"},
        requested_image=IMAGE,
        image_in_force="",
    )


def subject(project: Path) -> gates.Subject:
    folder = project / "environments/dev"
    backend = Backend(
        file=folder / "backend.hcl", bucket="b", key="k", region="ap-northeast-2", allowed_account_ids=()
    )
    environment = Environment(
        name="dev",
        directory=folder,
        account_id="1" * 12,
        region="ap-northeast-2",
        role_arn=None,
        promotes_from=None,
        backend=backend,
        variables={},
    )
    return gates.Subject(plan=Plan.parse({}), environment=environment, project=project)


def decided(project: Path, saved: SavedPlan, *verdicts: gates.Verdict) -> gates.GateDecision:
    return gates.evaluate(
        saved, subject(project), gates=[FakeGate(verdict) for verdict in verdicts or (PASSED,)], today=TODAY
    )


def record(project: Path, saved: SavedPlan) -> Path:
    file = project / "dev.approval.json"
    gates.write_approval(file, decided(project, saved).require())
    return file


def read(project: Path, saved: SavedPlan, **changes: Any) -> gates.ApprovedPlan:
    wanted: dict[str, Any] = {
        "saved_path": saved.path,
        "environment": "dev",
        "target": "aws",
        "project": project,
        "today": TODAY,
    }
    return gates.read_approval(project / "dev.approval.json", **{**wanted, **changes})


def test_an_approval_is_read_as_it_was_written(project: Path, saved: SavedPlan) -> None:
    file = record(project, saved)
    assert read(project, saved) == decided(project, saved).approved
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in project.glob(".*")] == []


def test_only_the_gates_make_an_approval(saved: SavedPlan) -> None:
    with pytest.raises(TypeError, match=r"gates\.evaluate"):
        gates.ApprovedPlan(saved=saved, verdicts=(PASSED,), policy="", seal=object())


def failing(verdict: gates.Verdict = PASSED, **changes: Any) -> gates.Verdict:
    return dataclasses.replace(verdict, **changes)


@pytest.mark.parametrize(
    "verdict",
    [
        pytest.param(failing(failed=(FINDING,)), id="a finding"),
        pytest.param(failing(checked=0), id="nothing checked"),
        pytest.param(
            failing(problems=(dataclasses.replace(PROBLEM, blocking=True),)), id="a blocking problem"
        ),
    ],
)
def test_one_gate_that_says_no_is_enough(project: Path, saved: SavedPlan, verdict: gates.Verdict) -> None:
    decision = decided(project, saved, PASSED, verdict)
    assert decision.approved is None
    with pytest.raises(GateRefusedError):
        decision.require()


def test_no_gate_at_all_approves_nothing(saved: SavedPlan) -> None:
    assert approve(saved=saved, verdicts=(), policy="") is None


def test_preparing_reaches_every_gate(project: Path) -> None:
    gates.prepare(subject(project).environment, project, gates=(FakeGate(),))
    assert (project / "prepared").read_text() == "dev"


def refused(project: Path, saved: SavedPlan, *, because: str, **changes: Any) -> None:
    with pytest.raises(PlanRefusedError, match=because) as error:
        read(project, saved, **changes)
    assert error.value.exit_code == 5
    assert "plan again: `plan" in error.value.hint


def test_a_plan_that_no_gate_approved_is_refused(project: Path, saved: SavedPlan) -> None:
    refused(project, saved, because="no gate has approved this plan")


def test_another_environment_or_target_is_refused(project: Path, saved: SavedPlan) -> None:
    record(project, saved)
    refused(project, saved, because="environment 'dev', not for 'prod'", environment="prod")
    refused(project, saved, because="target 'aws', not for 'local-1'", target="local-1")


def test_other_bytes_than_were_approved_are_refused(project: Path, saved: SavedPlan) -> None:
    record(project, saved)
    saved.path.write_bytes(b"other bytes")
    refused(project, saved, because="not the one that the gates approved")
    saved.path.unlink()
    refused(project, saved, because="is gone")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda p: (p / "policy/waivers.toml").write_text("# other\n"), id="changed"),
        pytest.param(lambda p: (p / "policy/checks/new.py").write_text(""), id="added"),
        pytest.param(lambda p: (p / "policy/waivers.toml").rename(p / "policy/x.toml"), id="renamed"),
        pytest.param(lambda p: (p / "policy/waivers.toml").unlink(), id="removed"),
    ],
)
def test_another_policy_than_the_one_that_approved_is_refused(
    project: Path, saved: SavedPlan, change: Callable[[Path], object]
) -> None:
    record(project, saved)
    change(project)
    refused(project, saved, because="policy .* has changed")


def test_caches_in_policy_do_not_change_its_digest(project: Path, saved: SavedPlan) -> None:
    record(project, saved)
    cache = project / "policy/checks/__pycache__"
    cache.mkdir()
    (cache / "x.pyc").write_bytes(b"x")
    (project / "policy/.waivers.toml.swp").write_bytes(b"x")
    assert read(project, saved).saved == saved


def test_an_approval_that_rests_on_an_expired_waiver_is_refused(project: Path, saved: SavedPlan) -> None:
    record(project, saved)
    refused(project, saved, because="expired on 2027-01-15", today=TODAY + dt.timedelta(days=1))


def edited(project: Path, change: Callable[[dict[str, Any]], object]) -> None:
    file = project / "dev.approval.json"
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("change", "because"),
    [
        pytest.param(lambda r: r.update(format=3), "has format 3", id="a later format"),
        pytest.param(lambda r: r.pop("format"), "has format None", id="no format"),
        pytest.param(lambda r: r.pop("policy"), "not complete", id="no policy"),
        pytest.param(lambda r: r["plan"].pop("serial"), "not complete", id="no serial"),
        pytest.param(
            lambda r: r["verdicts"][0].update(checked="3"), "not complete", id="a text for a number"
        ),
        pytest.param(lambda r: r["plan"].update(inputs=None), "not complete", id="no inputs"),
        pytest.param(lambda r: r.update(verdicts=[]), "approves nothing", id="no verdict"),
        pytest.param(
            lambda r: r["verdicts"][0].update(checked=0), "approves nothing", id="a gate that failed"
        ),
    ],
)
def test_an_incomplete_approval_is_refused(
    project: Path, saved: SavedPlan, change: Callable[[dict[str, Any]], object], because: str
) -> None:
    record(project, saved)
    edited(project, change)
    refused(project, saved, because=because)


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', "\x00\xff", "[" * 100_000])
def test_a_file_that_is_no_approval_is_refused(project: Path, saved: SavedPlan, text: str) -> None:
    (project / "dev.approval.json").write_bytes(text.encode("latin-1"))
    refused(project, saved, because="cannot be read|has format")
