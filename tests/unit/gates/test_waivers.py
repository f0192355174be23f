"""policy/waivers.toml is parsed strictly. A waiver applies by check, address and environment, until its date."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from mclass_tf.errors import ConfigurationError
from mclass_tf.gates.verdict import Finding, Waiver
from mclass_tf.gates.waivers import apply, load, without_index

TODAY = dt.date(2027, 1, 15)

GOOD = {
    "check": '"CKV_AWS_91"',
    "resource": '"module.alb.aws_lb.this"',
    "environments": '["dev"]',
    "reason": '"Nobody would read these logs."',
    "expires": "2027-06-30",
}


def written(project: Path, text: str) -> Path:
    file = project / "policy/waivers.toml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return file


def entry(**changes: str | None) -> str:
    merged = {**GOOD, **changes}
    return "[[waiver]]\n" + "".join(
        f"{key} = {value}\n" for key, value in merged.items() if value is not None
    )


def read(project: Path, text: str) -> tuple[Waiver, ...]:
    written(project, text)
    return load(project, environments=("dev", "prod"), today=TODAY)


def test_a_waiver_is_read_with_its_file_and_line(tmp_path: Path) -> None:
    another = entry(check='"CKV_MCLASS_1"')
    (first, second) = read(tmp_path, f"# why\n\n{entry()}\n{another}")
    assert (first.check, first.line, first.expires) == ("CKV_AWS_91", 3, dt.date(2027, 6, 30))
    assert (second.check, second.line, second.file) == ("CKV_MCLASS_1", 10, "policy/waivers.toml")


def test_no_file_means_no_waivers(tmp_path: Path) -> None:
    assert load(tmp_path, environments=("dev",), today=TODAY) == ()


@pytest.mark.parametrize(
    ("changes", "key", "line"),
    [
        pytest.param({"severity": '"low"'}, "severity", 7, id="unknown key"),
        pytest.param({"check": '"everything"'}, "check", 2, id="no id of a check"),
        pytest.param({"check": '"CKV_AWS_*"'}, "check", 2, id="many checks at once"),
        pytest.param({"check": None}, "check", 1, id="no check"),
        pytest.param({"resource": '"*"'}, "resource", 3, id="any resource"),
        pytest.param({"resource": '"*.*"'}, "resource", 3, id="any resource, spelled longer"),
        pytest.param({"resource": "'module.a.aws_lb.this[0]'"}, "resource", 3, id="an index"),
        pytest.param({"resource": None}, "resource", 1, id="no resource"),
        pytest.param({"environments": "[]"}, "environments", 4, id="no environment"),
        pytest.param({"environments": '"dev"'}, "environments", 4, id="environments not a list"),
        pytest.param({"environments": '["staging"]'}, "environments", 4, id="unknown environment"),
        pytest.param({"reason": '"later"'}, "reason", 5, id="a word for a reason"),
        pytest.param({"reason": '""'}, "reason", 5, id="an empty reason"),
        pytest.param({"reason": None}, "reason", 1, id="no reason"),
        pytest.param({"expires": None}, "expires", 1, id="no end"),
        pytest.param({"expires": '"2027-06-30"'}, "expires", 6, id="a date in quotes"),
        pytest.param({"expires": "2027-06-30T00:00:00Z"}, "expires", 6, id="a date with a time"),
        pytest.param({"expires": "2028-01-17"}, "expires", 6, id="more than twelve months ahead"),
    ],
)
def test_a_waiver_that_is_not_as_it_must_be_is_refused_with_its_place(
    tmp_path: Path, changes: dict[str, str | None], key: str, line: int
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read(tmp_path, entry(**changes))
    assert (refused.value.key, refused.value.line) == (key, line)
    assert refused.value.file == tmp_path / "policy/waivers.toml"
    assert refused.value.hint
    assert refused.value.exit_code == 3


def test_the_place_is_that_of_the_wrong_one_of_several(tmp_path: Path) -> None:
    wrong = entry(reason='"later"')
    with pytest.raises(ConfigurationError) as refused:
        read(tmp_path, f"{entry()}\n{wrong}")
    assert refused.value.line == 12


def test_what_is_no_toml_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read(tmp_path, entry() + "\n[[waiver]]\ncheck = CKV\n")
    assert refused.value.line == 9


def test_a_table_of_another_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="waivers is not known") as refused:
        read(tmp_path, entry().replace("[[waiver]]", "\n[[waivers]]"))
    assert refused.value.line == 2


def test_twelve_months_ahead_are_allowed(tmp_path: Path) -> None:
    assert len(read(tmp_path, entry(expires="2028-01-15"))) == 1


def finding(check: str = "CKV_AWS_91", resource: str = "module.alb.aws_lb.this") -> Finding:
    return Finding(
        gate="checkov",
        check=check,
        title="Ensure",
        resource=resource,
        file="",
        line=None,
        guideline="",
        fix="mend it",
    )


def waiver(
    *,
    resource: str = "module.alb.aws_lb.this",
    expires: dt.date = TODAY,
    environments: tuple[str, ...] = ("dev",),
) -> Waiver:
    return Waiver(
        check="CKV_AWS_91",
        resource=resource,
        environments=environments,
        reason="Nobody would read these logs.",
        expires=expires,
        file="policy/waivers.toml",
        line=1,
    )


def test_a_waiver_holds_through_its_last_day() -> None:
    applied = apply([waiver(expires=TODAY)], findings=[finding()], environment="dev", today=TODAY)
    assert [entry.finding for entry in applied.waived] == [finding()]
    assert (applied.failed, applied.problems) == ((), ())


def test_an_expired_waiver_excuses_nothing_and_blocks_by_itself() -> None:
    yesterday = TODAY - dt.timedelta(days=1)
    applied = apply([waiver(expires=yesterday)], findings=[finding()], environment="dev", today=TODAY)
    assert applied.failed == (finding(),)
    (problem,) = applied.problems
    assert problem.blocking
    assert "expired on 2027-01-14" in problem.message
    assert "new reason and date" in problem.fix


def test_an_expired_waiver_that_matches_nothing_must_be_deleted() -> None:
    yesterday = TODAY - dt.timedelta(days=1)
    (problem,) = apply([waiver(expires=yesterday)], findings=[], environment="dev", today=TODAY).problems
    assert problem.blocking
    assert "delete it" in problem.fix


def test_a_waiver_that_matches_nothing_is_a_warning() -> None:
    (problem,) = apply([waiver()], findings=[], environment="dev", today=TODAY).problems
    assert not problem.blocking
    assert "matches nothing" in problem.message


def test_a_waiver_of_another_environment_neither_excuses_nor_warns() -> None:
    applied = apply([waiver(environments=("dev",))], findings=[finding()], environment="prod", today=TODAY)
    assert applied.failed == (finding(),)
    assert (applied.waived, applied.problems) == ((), ())


@pytest.mark.parametrize(
    ("pattern", "address", "matches"),
    [
        ("module.alb.aws_lb.this", "module.alb.aws_lb.this", True),
        ("module.alb.aws_lb.this", "module.alb[0].aws_lb.this", True),
        ("module.alb.aws_lb.this", 'module.alb["a.b[c]"].aws_lb.this[1]', True),
        ("*aws_lb.*", "module.alb.aws_lb.this", True),
        ("aws_lb.this", "module.alb.aws_lb.this", False),
        ("module.alb.aws_lb.this", "module.alb.aws_lb.that", False),
    ],
)
def test_a_resource_matches_without_its_indexes(pattern: str, address: str, *, matches: bool) -> None:
    found = finding(resource=address)
    applied = apply([waiver(resource=pattern)], findings=[found], environment="dev", today=TODAY)
    assert matches == bool(applied.waived)


def test_a_waiver_does_not_excuse_another_check_of_the_resource() -> None:
    other = finding(check="CKV_AWS_150")
    assert apply([waiver()], findings=[other], environment="dev", today=TODAY).failed == (other,)


def test_indexes_are_taken_away_wherever_they_stand() -> None:
    assert without_index('module.a[0].module.b["x\\"]y"].aws_c.d["e"]') == "module.a.module.b.aws_c.d"
