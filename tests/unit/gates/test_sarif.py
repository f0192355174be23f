"""Verdicts as SARIF, checked against the used part of the 2.1.0 schema and against GitHub code scanning's needs."""

from __future__ import annotations

import dataclasses
import datetime as dt
import importlib
from pathlib import Path
from typing import Any

import pytest

from mclass_tf.gates import sarif
from mclass_tf.gates.verdict import Finding, Problem, Verdict, WaivedFinding, Waiver

jsonschema: Any = importlib.import_module("jsonschema")  # comes with Checkov; publishes no types

PROJECT = Path("/srv/project")

OPEN = Finding(
    gate="checkov",
    check="CKV_AWS_91",
    title="Ensure access logging is enabled",
    resource="module.alb.aws_lb.this",
    file="modules/alb/main.tf",
    line=12,
    guideline="https://www.checkov.io/rules.html",
    fix="add access_logs",
)
ACCEPTED = dataclasses.replace(
    OPEN, check="CKV_AWS_378", resource='module.alb.aws_lb_target_group.this["blue"]'
)
WAIVER = Waiver(
    check="CKV_AWS_378",
    resource="module.alb.aws_lb_target_group.this",
    environments=("dev",),
    reason="TLS ends at the load balancer.",
    expires=dt.date(2027, 6, 30),
    file="policy/waivers.toml",
    line=21,
)
VERDICT = Verdict(
    gate="checkov",
    checked=74,
    failed=(OPEN, dataclasses.replace(OPEN, resource="module.b.aws_lb.this", file="", line=None)),
    waived=(WaivedFinding(finding=ACCEPTED, waiver=WAIVER),),
    problems=(Problem(message="a waiver matches nothing", fix="delete it", blocking=False),),
    seconds=0.3,
)


def objects(*, required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def listed(item: dict[str, Any], *, unique: bool = False) -> dict[str, Any]:
    return {"type": "array", "items": item, "uniqueItems": unique}


TEXT = {"type": "string", "minLength": 1}
URI = {"type": "string", "pattern": r"^(https?|file)://\S+$"}
INDEX = {"type": "integer", "minimum": 0}
LEVEL = {"enum": ["none", "note", "warning", "error"]}
MESSAGE = objects(text=TEXT, markdown=TEXT, required=("text",))
PHYSICAL = objects(
    artifactLocation=objects(uri={"type": "string", "pattern": r"^[^/:\\]+(/[^/:\\]+)*$"}, uriBaseId=TEXT),
    region=objects(startLine={"type": "integer", "minimum": 1}, required=("startLine",)),
    required=("artifactLocation",),
)
LOCATION = objects(
    physicalLocation=PHYSICAL,
    logicalLocations=listed(objects(fullyQualifiedName=TEXT, kind=TEXT), unique=True),
)
SUPPRESSION = objects(
    kind={"enum": ["inSource", "external"]},
    status={"enum": ["accepted", "underReview", "rejected"]},
    justification=TEXT,
    location=LOCATION,
    required=("kind",),
)
RULE = objects(
    id=TEXT,
    name=TEXT,
    shortDescription=MESSAGE,
    fullDescription=MESSAGE,
    help=MESSAGE,
    helpUri=URI,
    defaultConfiguration=objects(level=LEVEL),
    properties={"type": "object"},
    required=("id",),
)
RESULT = objects(
    ruleId=TEXT,
    ruleIndex=INDEX,
    level=LEVEL,
    message=MESSAGE,
    locations=listed(LOCATION),
    partialFingerprints={"type": "object", "additionalProperties": TEXT},
    suppressions=listed(SUPPRESSION, unique=True),
    required=("message",),
)
SCHEMA = objects(
    **{"$schema": URI},
    version={"const": "2.1.0"},
    runs=listed(
        objects(
            tool=objects(
                driver=objects(
                    name=TEXT, informationUri=URI, rules=listed(RULE, unique=True), required=("name",)
                ),
                required=("driver",),
            ),
            automationDetails=objects(id=TEXT),
            columnKind={"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
            originalUriBaseIds={"type": "object", "additionalProperties": objects(uri=URI)},
            invocations=listed(
                objects(
                    executionSuccessful={"type": "boolean"},
                    toolExecutionNotifications=listed(
                        objects(level=LEVEL, message=MESSAGE, required=("message",))
                    ),
                    required=("executionSuccessful",),
                )
            ),
            results=listed(RESULT),
            required=("tool",),
        )
    ),
    required=("version", "runs"),
)


@pytest.fixture
def run() -> dict[str, Any]:
    (only,) = sarif.render({"prod": [VERDICT]}, PROJECT)["runs"]
    return dict(only)


def test_the_document_is_sarif() -> None:
    jsonschema.validate(sarif.render({"prod": [VERDICT]}, PROJECT), SCHEMA)
    jsonschema.validate(sarif.render({"prod": []}, PROJECT), SCHEMA)


def test_every_result_points_at_its_rule(run: dict[str, Any]) -> None:
    rules = run["tool"]["driver"]["rules"]
    assert sorted({"CKV_AWS_91", "CKV_AWS_378"}) == sorted(rule["id"] for rule in rules)
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]


def test_a_rule_names_its_fix_and_its_guideline(run: dict[str, Any]) -> None:
    rule = next(rule for rule in run["tool"]["driver"]["rules"] if rule["id"] == "CKV_AWS_91")
    assert rule["help"]["text"] == "add access_logs"
    assert rule["helpUri"] == "https://www.checkov.io/rules.html"


def test_places_are_relative_to_the_project_that_the_run_names(run: dict[str, Any]) -> None:
    place = run["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"] == {"uri": "modules/alb/main.tf", "uriBaseId": "PROJECTROOT"}
    assert place["region"] == {"startLine": 12}
    assert run["originalUriBaseIds"] == {"PROJECTROOT": {"uri": "file:///srv/project/"}}


def test_a_finding_without_a_place_still_has_a_location(run: dict[str, Any]) -> None:
    place = run["results"][1]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "terraform/main.tf"
    assert place["region"]["startLine"] == 1


def test_a_waived_finding_is_suppressed_with_the_reason_and_the_end(run: dict[str, Any]) -> None:
    (suppression,) = run["results"][2]["suppressions"]
    assert suppression["justification"] == "TLS ends at the load balancer. (until 2027-06-30)"
    assert suppression["location"]["physicalLocation"]["region"] == {"startLine": 21}
    assert [result["suppressions"] for result in run["results"][:2]] == [[], []]


def test_fingerprints_follow_rule_and_resource_and_not_the_line() -> None:
    def prints(verdict: Verdict) -> list[Any]:
        return [
            result["partialFingerprints"]
            for result in sarif.render({"prod": [verdict]}, PROJECT)["runs"][0]["results"]
        ]

    moved = dataclasses.replace(
        VERDICT, failed=tuple(dataclasses.replace(f, line=99) for f in VERDICT.failed)
    )
    assert prints(VERDICT) == prints(moved)
    assert len({str(entry) for entry in prints(VERDICT)}) == 3


def test_a_gate_that_could_not_check_is_no_successful_run(run: dict[str, Any]) -> None:
    assert run["invocations"][0]["executionSuccessful"] is True
    blocked = dataclasses.replace(
        VERDICT, problems=(Problem(message="cannot read", fix="mend it", blocking=True),)
    )
    (invocation,) = sarif.render({"prod": [blocked]}, PROJECT)["runs"][0]["invocations"]
    assert invocation["executionSuccessful"] is False
    assert invocation["toolExecutionNotifications"] == [
        {"level": "error", "message": {"text": "cannot read. Fix: mend it"}}
    ]


def test_a_resource_puts_no_link_and_no_escape_sequence_into_a_message() -> None:
    name = 'aws_x.y["a](https://evil.example)"]\x1b[2K\u202e'
    hostile = dataclasses.replace(VERDICT, failed=(dataclasses.replace(OPEN, resource=name),))

    (run,) = sarif.render({"dev": [hostile]}, PROJECT)["runs"]

    text = run["results"][0]["message"]["text"]
    assert "](" not in text
    assert text.isprintable()
