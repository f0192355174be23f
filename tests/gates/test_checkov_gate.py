"""The Checkov gate on real plans and HCL: its findings, what it must never approve, and what it ignores."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mclass_tf import environment, gates
from mclass_tf.errors import ConfigurationError, GateRefusedError, PlanRefusedError
from mclass_tf.gates.checkov import CheckovGate, merge
from mclass_tf.gates.scan import Scan, ScanResult
from mclass_tf.gates.scanner import Scanner
from tests.scanners import forking, scanner

pytestmark = pytest.mark.xdist_group("checkov")  # which takes two seconds to import

Values = Callable[[dict[str, Any], str], dict[str, Any]]

LOG_GROUP = "module.service.aws_cloudwatch_log_group.this"


def test_a_weak_plan_is_refused_with_every_finding_and_its_fix(reader: Any) -> None:
    decision = reader("weak")
    assert decision.approved is None
    with pytest.raises(GateRefusedError) as refused:
        decision.require()
    (verdict,) = decision.verdicts
    assert {"CKV_AWS_131", "CKV_AWS_338", "CKV_MCLASS_5"} <= {finding.check for finding in verdict.failed}
    for finding in verdict.failed:
        assert f"{finding.check} {finding.resource}" in refused.value.message
        assert f"fix: {finding.fix}" in refused.value.message
    assert refused.value.exit_code == 5


def test_a_finding_names_address_file_and_line(judge: Any, project: Path) -> None:
    (verdict,) = judge("weak").verdicts
    found = {(finding.check, finding.resource): finding for finding in verdict.failed}
    finding = found["CKV_MCLASS_8", 'module.service.aws_lb_target_group.this["green"]']
    assert finding.file == "modules/service/main.tf"
    lines = (project / finding.file).read_text().splitlines()
    assert lines[finding.line - 1] == 'resource "aws_lb_target_group" "this" {'


def test_a_rule_that_plan_and_hcl_both_see_broken_is_one_finding_for_each_resource(reader: Any) -> None:
    (verdict,) = reader("weak").verdicts
    resources = [finding.resource for finding in verdict.failed if finding.check == "CKV_AWS_378"]
    assert resources == [
        f'module.service.aws_lb_target_group.this["{colour}"]' for colour in ("blue", "green")
    ]


def test_a_key_that_the_same_plan_makes_counts_as_set(reader: Any) -> None:
    assert ("CKV_AWS_158", LOG_GROUP) not in reader.failed("sound")
    assert ("CKV_AWS_158", LOG_GROUP) in reader.failed("weak")


def test_a_plan_with_characters_of_any_script_is_judged_like_another(reader: Any, values_of: Values) -> None:
    def rename(document: dict[str, Any]) -> None:
        values = values_of(document, LOG_GROUP)
        values["tags"] = {"안녕": "😀 \x85\u2028\ufeff\x7f", "名前": "𠮷野家"}

    assert reader.failed("weak", edit=rename) == reader.failed("weak")
    assert not reader("sound", edit=rename).verdicts[0].problems


def test_a_value_that_the_provider_will_choose_does_not_count_as_set(reader: Any) -> None:
    def no_key(document: dict[str, Any]) -> None:
        calls = document["configuration"]["root_module"]["module_calls"]
        for block in calls["service"]["module"]["resources"]:
            block["expressions"].pop("kms_key_id", None)

    assert reader.failed("sound", edit=no_key) == {("CKV_AWS_158", LOG_GROUP)}


def test_what_only_the_hcl_shows_is_found_too(judge: Any, project: Path) -> None:
    file = project / "modules/service/main.tf"
    file.write_text(file.read_text().replace('["sts:AssumeRole"]', '["*"]'))
    failed = judge.failed("sound")
    address = "module.service.data.aws_iam_policy_document.assume"
    assert ("CKV_AWS_1", address) in failed or ("CKV_AWS_49", address) in failed


def test_a_skip_comment_in_the_hcl_excuses_nothing(judge: Any, project: Path) -> None:
    file = project / "modules/service/main.tf"
    text = file.read_text().replace('["sts:AssumeRole"]', '["*"]')
    file.write_text(
        text.replace(
            'data "aws_iam_policy_document" "assume" {',
            'data "aws_iam_policy_document" "assume" {\n  #checkov:skip=CKV_AWS_49:trust me\n',
        )
    )
    assert any(check == "CKV_AWS_49" for check, _ in judge.failed("sound"))


def test_the_hcl_of_a_block_that_the_plan_does_not_make_is_no_finding() -> None:
    hcl = Scan(results=(result("CKV_AWS_1", "module.a.aws_x_y.z", passed=False),), errors=())
    plan = Scan(results=(result("CKV_AWS_1", "module.b.aws_x_y.z", passed=True),), errors=())
    assert merge(plan=plan, hcl=hcl, existing=frozenset({"module.b.aws_x_y.z"})).failed == ()
    assert merge(plan=plan, hcl=hcl, existing=frozenset({"module.a.aws_x_y.z"})).failed == hcl.results


def test_the_plan_overrules_what_the_hcl_could_not_render() -> None:
    hcl = Scan(results=(result("CKV_AWS_1", "aws_x_y.z", passed=False),), errors=())
    plan = Scan(results=(result("CKV_AWS_1", "aws_x_y.z[0]", passed=True),), errors=())
    assert merge(plan=plan, hcl=hcl, existing=frozenset({"aws_x_y.z"})).failed == ()


def test_a_broken_provider_block_is_found_although_no_plan_lists_providers() -> None:
    hcl = Scan(results=(result("CKV_AWS_41", "aws.default", passed=False),), errors=())
    plan = Scan(results=(result("CKV_AWS_1", "aws_x_y.z", passed=True),), errors=())
    assert merge(plan=plan, hcl=hcl, existing=frozenset()).failed == hcl.results


def result(check: str, resource: str, *, passed: bool) -> ScanResult:
    return ScanResult(
        check=check, title="Ensure", guideline="", fix="", passed=passed, resource=resource, place=None
    )


def test_a_gate_that_checked_nothing_does_not_pass(reader: Any) -> None:
    def empty(document: dict[str, Any]) -> None:
        document["planned_values"] = {"root_module": {}}

    decision = reader("sound", edit=empty)
    assert decision.approved is None
    assert "no check was evaluated" in decision.verdicts[0].blocking[0].message


def test_an_hcl_file_that_checkov_cannot_read_fails_the_gate(judge: Any, project: Path) -> None:
    (project / "modules/service/broken.tf").write_text('resource "aws_lb" {{{')
    decision = judge("sound")
    assert decision.approved is None
    assert any("broken.tf" in problem.message for problem in decision.verdicts[0].blocking)


def test_a_rule_of_the_project_that_cannot_be_loaded_fails_the_gate(judge: Any, project: Path) -> None:
    (project / "policy/checks/mclass_service.py").write_text("import nothing_of_that_name")
    decision = judge("sound")
    assert decision.approved is None
    assert any("mclass_service.py" in problem.message for problem in decision.verdicts[0].blocking)


def test_a_rule_that_crashes_fails_the_gate(judge: Any, project: Path) -> None:
    file = project / "policy/checks/mclass_target_group.py"
    file.write_text(file.read_text().replace("seconds = number(", "seconds = undefined_name("))
    decision = judge("sound")
    assert decision.approved is None
    assert any("CKV_MCLASS_8" in problem.message for problem in decision.verdicts[0].blocking)


def test_a_rule_that_is_half_loaded_fails_the_gate_each_time(judge: Any, project: Path) -> None:
    file = project / "policy/checks/mclass_target_group.py"
    file.write_text(file.read_text() + "\nimport nothing_of_that_name\n")
    for _ in range(2):
        decision = judge("sound")
        assert decision.approved is None
        assert any("mclass_target_group" in problem.message for problem in decision.verdicts[0].blocking)


def test_a_rule_over_several_resources_that_crashes_fails_the_gate(judge: Any, project: Path) -> None:
    (project / "policy/checks/mclass_crash.py").write_text(
        textwrap.dedent("""
            from checkov.common.checks_infra.registry import get_graph_checks_registry

            def crash(*_):
                raise ValueError

            (check,) = (c for c in get_graph_checks_registry("terraform").checks if c.id == "CKV2_AWS_11")
            check.run = crash
        """)
    )
    decision = judge("sound")
    assert decision.approved is None
    assert any("CKV2_AWS_11" in problem.message for problem in decision.verdicts[0].blocking)


def test_an_expired_waiver_refuses_the_plan_and_says_what_to_do(reader: Any) -> None:
    decision = reader("sound", today=dt.date(2027, 7, 1))
    assert decision.approved is None
    with pytest.raises(GateRefusedError, match="expired on 2027-06-30") as refused:
        decision.require()
    assert "CKV_AWS_378 module.service.aws_lb_target_group.this" in refused.value.message
    assert "give it a new reason and date" in refused.value.message


def test_rules_of_another_project_are_not_applied_to_this_one(judge: Any, project: Path) -> None:
    assert any(check.startswith("CKV_MCLASS") for check, _ in judge.failed("weak"))
    for file in (project / "policy/checks").glob("mclass_*.py"):
        file.unlink()
    assert not any(check.startswith("CKV_MCLASS") for check, _ in judge.failed("weak"))


def test_containers_that_only_the_apply_will_know_are_warned_of(reader: Any, values_of: Values) -> None:
    address = "module.service.aws_ecs_task_definition.this"

    def unknown(document: dict[str, Any]) -> None:
        del values_of(document, address)["container_definitions"]
        (entry,) = (e for e in document["resource_changes"] if e["address"] == address)
        entry["change"]["after_unknown"]["container_definitions"] = True

    decision = reader("sound", edit=unknown)
    assert decision.approved is not None
    assert [address in problem.message for problem in decision.verdicts[0].warnings] == [True]


def test_a_plan_that_terraform_could_not_finish_is_refused(reader: Any) -> None:
    with pytest.raises(PlanRefusedError, match="could not finish"):
        reader("sound", edit=lambda document: document.update(errored=True))


def test_a_plan_of_another_environment_is_refused(judge: Any) -> None:
    with pytest.raises(PlanRefusedError, match="'weak', not for 'sound'"):
        gates.evaluate(judge.saved("weak"), judge.subject("sound"))


def test_a_plan_whose_bytes_changed_is_refused(judge: Any) -> None:
    saved = judge.saved("sound")
    saved.path.write_bytes(b"other bytes")
    with pytest.raises(PlanRefusedError, match="altered"):
        gates.evaluate(saved, judge.subject("sound"))


def test_checkovs_settings_may_not_skip_a_rule(judge: Any, project: Path) -> None:
    file = project / "policy/checkov.yaml"
    file.write_text(file.read_text() + "skip-check:\n  - CKV_AWS_51\n")
    with pytest.raises(ConfigurationError, match="skip-check") as refused:
        judge("sound")
    assert refused.value.key == "skip-check"
    assert refused.value.line == len(file.read_text().splitlines()) - 1


def test_preparing_changes_nothing_about_the_verdict(judge: Any) -> None:
    gate = CheckovGate(scanner=scanner())
    subject = judge.subject("weak")
    gate.prepare(environment=subject.environment, project=subject.project)
    prepared = gate.evaluate(subject, today=dt.date(2027, 1, 15))
    fresh = CheckovGate(scanner=scanner()).evaluate(subject, today=dt.date(2027, 1, 15))
    assert prepared.failed == fresh.failed
    assert prepared.checked == fresh.checked


def test_hcl_that_changes_after_preparing_is_scanned_again(judge: Any, project: Path) -> None:
    gate = CheckovGate(scanner=scanner())
    subject = judge.subject("sound")
    gate.prepare(environment=subject.environment, project=project)
    file = project / "modules/service/main.tf"
    file.write_text(file.read_text().replace('["sts:AssumeRole"]', '["*"]'))
    verdict = gate.evaluate(subject, today=dt.date(2027, 1, 15))
    assert any(finding.check == "CKV_AWS_49" for finding in verdict.failed)


def test_the_scan_of_the_same_hcl_is_kept_and_one_of_other_hcl_is_made(
    judge: Any, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "kept"
    subject = judge.subject("weak")
    scans: list[Path] = []

    class Counted(Scanner):
        def hcl(self, *, project: Path, variables_file: Path, cache: Path | None = None) -> Scan:
            scans.append(variables_file)
            return super().hcl(project=project, variables_file=variables_file, cache=cache)

    def evaluated(subject: gates.Subject = subject) -> gates.Verdict:
        gate = CheckovGate(scanner=Counted(start=forking()))  # as in a command of its own
        gate.prepare(environment=subject.environment, project=subject.project, cache=cache)
        return gate.evaluate(subject, today=dt.date(2027, 1, 15))

    first, again = evaluated(), evaluated()
    assert (first.failed, first.waived, first.checked) == (again.failed, again.waived, again.checked)
    assert len(scans) == 1

    copy = shutil.copytree(project, tmp_path / "copy")
    elsewhere = evaluated(replace(subject, project=copy, environment=environment.load(copy, "weak")))
    assert len(scans) == 1, "wherever it lies"
    assert elsewhere.failed == first.failed

    file = project / "modules/service/main.tf"
    file.write_text(file.read_text() + "\n# changed\n")
    evaluated()
    assert len(scans) == 2

    monkeypatch.setenv("CKV_SUPPORT_ALL_RESOURCE_TYPE", "true")  # Checkov would read it
    evaluated()
    assert len(scans) == 2

    for kept in cache.glob("*.json"):
        kept.write_text('{"results": [{}]}')
    assert evaluated().failed == first.failed
    assert len(scans) == 3
    assert {kept.stat().st_mode & 0o777 for kept in cache.glob("*.json")} == {0o600}

    assert (cache / "parser").is_dir()

    cache.chmod(0o777)  # so that anybody could have written a scan there
    assert evaluated().failed == first.failed
    assert len(scans) == 4


def test_a_scan_that_could_not_read_everything_is_not_kept(judge: Any, project: Path, tmp_path: Path) -> None:
    (project / "modules/service/broken.tf").write_text('resource "aws_iam_role" {{{\n')
    gate = CheckovGate(scanner=scanner())
    subject = judge.subject("sound")
    gate.prepare(environment=subject.environment, project=project, cache=tmp_path / "kept")
    assert gate.evaluate(subject, today=dt.date(2027, 1, 15)).blocking
    assert not list(tmp_path.glob("kept/*.json"))


def test_environments_are_judged_side_by_side_from_several_threads(reader: Any) -> None:
    gate = CheckovGate(scanner=scanner())
    subjects = [reader.subject(name) for name in ("sound", "weak", "sound", "weak")]
    with ThreadPoolExecutor(4) as pool:
        verdicts = list(pool.map(lambda s: gate.evaluate(s, today=dt.date(2027, 1, 15)), subjects))
    assert [bool(verdict.failed) for verdict in verdicts] == [False, True, False, True]
    assert verdicts[1].failed == verdicts[3].failed


SPY = """
    import json, threading
    from pathlib import Path
    from checkov.terraform.plan_runner import Runner

    real = Runner.run

    def spied(self, root_folder, files, **rest):
        file = Path(files[0])
        seen = {
            "modes": [file.parent.stat().st_mode & 0o777, file.stat().st_mode & 0o777],
            "text": file.read_text(),
            "is_main_thread": threading.current_thread() is threading.main_thread(),
        }
        report = real(self, root_folder, files=files, **rest)
        Path(SEEN).write_text(json.dumps({**seen, "folder": str(file.parent), "is_left": file.exists()}))
        return report

    Runner.run = spied
"""


def test_no_secret_of_a_plan_is_on_disk_while_it_is_scanned(
    judge: Any, project: Path, tmp_path: Path
) -> None:
    secret = "correct-horse-battery-staple"
    assert secret in json.dumps(judge.document("sound"))
    spy = f"SEEN = {str(tmp_path / 'seen')!r}\n{textwrap.dedent(SPY)}"
    (project / "policy/checks/mclass_spy.py").write_text(spy)
    judge("sound")
    seen = json.loads((tmp_path / "seen").read_text())
    assert seen["modes"] == [0o700, 0o600]
    assert "module.service.aws_lb.this" in seen["text"]
    assert secret not in seen["text"]
    assert not seen["is_left"]
    assert not seen["is_main_thread"], "where Checkov would arm a signal"


def test_what_was_started_ahead_does_not_hold_up_a_command_that_ends() -> None:
    program = """
        import threading
        from mclass_tf.gates.serial import SerialWorker
        serial, started = SerialWorker(name="x"), threading.Event()
        def first():
            started.set()
            threading.Event().wait()
        serial.submit(first)
        serial.submit(lambda: print("second"))
        started.wait()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_gates_cost_nothing_to_import() -> None:
    program = """
        import sys
        import mclass_tf.gates
        print([name for name in ("checkov", "hcl2", "boto3", "yaml", "numpy") if name in sys.modules])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"
