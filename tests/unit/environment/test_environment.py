"""The accepted content of an environment's files, and the errors for anything else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from mclass_tf import environment
from mclass_tf.errors import ConfigurationError, EngineError, UnknownEnvironmentError
from mclass_tf.strategy import Strategy

SETTINGS = 'account_id = "222222222222"\nregion = "ap-northeast-2"\npromotes_from = "dev"\n'
VARIABLES = 'environment = "prod"\n\nservice = {\n  cpu = 256\n}\n'
BACKEND = (
    'bucket = "mclass-tfstate"\nkey    = "mclass.tfstate"\nregion = "ap-northeast-2"\nuse_lockfile = true\n'
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with the environments dev and prod."""
    for name in ("dev", "prod"):
        folder = tmp_path / "environments" / name
        folder.mkdir(parents=True)
        (folder / "environment.toml").write_text(
            SETTINGS if name == "prod" else SETTINGS.rpartition("promotes")[0]
        )
        (folder / "terraform.tfvars").write_text(VARIABLES.replace("prod", name))
        (folder / "backend.hcl").write_text(
            BACKEND if name == "prod" else BACKEND.replace("mclass.tfstate", "dev.tfstate")
        )
    (tmp_path / "terraform").mkdir()
    (tmp_path / "terraform" / "variables.tf").write_text(
        'variable "environment" {}\n\nvariable "service" {\n}\n'
    )
    return tmp_path


def change(project: Path, file: str, old: str, new: str) -> None:
    path = project / "environments" / "prod" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def refused(project: Path, name: str = "prod") -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        environment.load(project, name)
    assert caught.value.exit_code == 3
    assert caught.value.hint
    return caught.value


def test_an_environment_is_what_its_three_files_say(project: Path) -> None:
    loaded = environment.load(project, "prod")

    assert loaded.account_id == "222222222222"
    assert loaded.region == "ap-northeast-2"
    assert loaded.promotes_from == "dev"
    assert loaded.role_arn is None
    assert loaded.backend.bucket == "mclass-tfstate"
    assert loaded.variables["service"] == {"cpu": 256}
    assert environment.names(project) == ("dev", "prod")


@pytest.mark.parametrize("name", ["staging", "..", "prod/../dev", "", "Prod"])
def test_an_unknown_environment_is_refused_with_the_known_ones(project: Path, name: str) -> None:
    error = refused(project, name)

    assert isinstance(error, UnknownEnvironmentError)
    assert "dev, prod" in error.hint


@pytest.mark.parametrize("file", ["environment.toml", "terraform.tfvars", "backend.hcl"])
def test_a_missing_file_is_named(project: Path, file: str) -> None:
    path = project / "environments" / "prod" / file
    path.unlink()

    error = refused(project)

    assert str(path) in str(error)
    assert "missing" in str(error)


@pytest.mark.parametrize(
    ("file", "old", "new", "line", "key", "told"),
    [
        ("environment.toml", '"222222222222"', '"2222"', 1, "account_id", "twelve digits"),
        ("environment.toml", '"222222222222"', "222222222222", 1, "account_id", "twelve digits"),
        ("environment.toml", '"ap-northeast-2"', '"seoul"', 2, "region", "AWS region"),
        ("environment.toml", '"dev"', '"staging"', 3, "promotes_from", "no other environment"),
        ("environment.toml", '"dev"', '"prod"', 3, "promotes_from", "no other environment"),
        ("environment.toml", "promotes_from", "promote_from", 3, "promote_from", "not a setting"),
        ("environment.toml", 'region = "', 'region = ap"', 2, "region", "not valid TOML"),
        (
            "environment.toml",
            'promotes_from = "dev"\n',
            "promotes_from = ",
            3,
            "promotes_from",
            "not valid TOML",
        ),
        ("terraform.tfvars", '"prod"', '"dev"', 1, "environment", "the folder is 'prod'"),
        (
            "terraform.tfvars",
            "service",
            'account_id = "222222222222"\nservice',
            3,
            "account_id",
            "does not belong",
        ),
        ("terraform.tfvars", "service", 'region = "us-east-1"\nservice', 3, "region", "does not belong"),
        ("terraform.tfvars", "service", "sevrice", 3, "sevrice", "did you mean service?"),
        ("terraform.tfvars", "256\n}", "256\n", 4, "cpu", "not valid HCL"),
        ("terraform.tfvars", '"prod"', '"prod', 1, "environment", "not valid HCL"),
        ("backend.hcl", 'bucket = "mclass-tfstate"\n', "", None, "bucket", "bucket is missing"),
        ("backend.hcl", '"mclass.tfstate"', '["7"]', 2, "key", "key is not a text"),
        ("backend.hcl", "true", "false", 4, "use_lockfile", "two applies at once"),
        ("backend.hcl", "use_lockfile = true", "", None, "use_lockfile", "two applies at once"),
        (
            "backend.hcl",
            "region",
            'allowed_account_ids = ["1"]\nregion',
            3,
            "allowed_account_ids",
            "222222222222",
        ),
    ],
)
def test_a_wrong_file_is_told_with_file_line_and_key(  # noqa: PLR0917  # one column each
    project: Path, file: str, old: str, new: str, line: int | None, key: str | None, told: str
) -> None:
    change(project, file, old, new)

    error = refused(project)

    assert error.file == project / "environments" / "prod" / file
    assert error.line == line
    assert error.key == key
    assert told in f"{error} {error.hint}"


def test_a_key_that_is_set_twice_is_refused(project: Path) -> None:
    change(project, "backend.hcl", "key ", 'bucket = "other"\nkey ')

    assert "bucket is set twice" in str(refused(project))


def test_a_file_that_is_not_text_is_refused(project: Path) -> None:
    (project / "environments" / "prod" / "terraform.tfvars").write_bytes(b"\xff\xfe\x00")

    assert "not valid HCL" in str(refused(project))


def test_a_byte_order_mark_and_the_line_ends_of_windows_are_no_matter(project: Path) -> None:
    for file in (project / "environments" / "prod").iterdir():
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))

    loaded = environment.load(project, "prod")

    assert loaded.account_id == "222222222222"
    assert loaded.backend.bucket == "mclass-tfstate"


@pytest.mark.parametrize("value", ["5", '["a-bucket"]', "{}", '"Upper_Case"'])
@pytest.mark.parametrize("key", ["access_logs_bucket", "certificate_arn"])
def test_an_input_that_is_read_before_terraform_is_a_text_of_its_kind(
    project: Path, key: str, value: str
) -> None:
    with (project / "terraform" / "variables.tf").open("a") as file:
        file.write(f'variable "{key}" {{}}\n')
    change(project, "terraform.tfvars", VARIABLES, f"{VARIABLES}{key} = {value}\n")

    error = refused(project)

    assert (error.key, error.line) == (key, VARIABLES.count("\n") + 1)
    assert "or null" in error.hint


def test_a_state_bucket_that_cannot_exist_is_refused(project: Path) -> None:
    change(project, "backend.hcl", "mclass-tfstate", "State_Bucket")

    assert refused(project).key == "bucket"


def test_accounts_that_are_no_list_are_told_how_to_be_one(project: Path) -> None:
    with (project / "environments" / "prod" / "backend.hcl").open("a") as file:
        file.write('allowed_account_ids = "222222222222"\n')

    assert '["222222222222"]' in refused(project).hint


def test_a_folder_whose_name_no_environment_may_have_is_told_the_rule(project: Path) -> None:
    (project / "environments" / "prod").rename(project / "environments" / "Prod copy")

    error = refused(project, "Prod copy")

    assert "cannot be the name" in str(error)
    assert "lowercase" in error.hint


def test_a_state_that_is_another_environments_is_refused(project: Path) -> None:
    change(project, "backend.hcl", "mclass.tfstate", "dev.tfstate")

    error = refused(project)

    assert (error.key, error.line) == ("key", 2)
    assert "is that of dev" in str(error)


def test_what_is_wrong_with_another_environment_is_no_matter_here(project: Path) -> None:
    (project / "environments" / "dev" / "backend.hcl").write_text("bucket = ")

    assert environment.load(project, "prod").name == "prod"


@pytest.mark.parametrize("name", ["terraform.tfvars", "all.auto.tfvars", "all.auto.tfvars.json"])
def test_variables_that_terraform_would_read_for_every_environment_are_refused(
    project: Path, name: str
) -> None:
    (project / "terraform" / name).write_text("")

    error = refused(project)

    assert error.file == project / "terraform" / name
    assert "every environment" in str(error)


def test_releases_are_watched_by_default_settings(project: Path) -> None:
    loaded = environment.load(project, "prod")

    assert loaded.release.stall_after is None
    assert loaded.release.version_path == "/version"


def test_how_releases_are_watched_can_be_set(project: Path) -> None:
    change(
        project,
        "environment.toml",
        'promotes_from = "dev"\n',
        'promotes_from = "dev"\n[release]\nstall_after = 60\nversion_path = "/about"\n',
    )

    loaded = environment.load(project, "prod")

    assert loaded.release == environment.ReleaseSettings(stall_after=60.0, version_path="/about")


@pytest.mark.parametrize(
    ("setting", "key", "rule"),
    [
        ("stall_after = 29", "stall_after", "30 to 86400"),
        ("stall_after = true", "stall_after", "30 to 86400"),
        ('stall_after = "60"', "stall_after", "30 to 86400"),
        ('version_path = "version"', "version_path", '"/version"'),
        ("stal_after = 60", "stal_after", "stall_after"),
        ('strategy = "bluegreen"', "strategy", "rolling, blue-green, canary, linear"),
        ("bake_minutes = 5", "bake_minutes", "blue-green, canary, linear"),
        ('smoke = ["/version"]', "smoke", "blue-green, canary, linear"),
        ("alarms = [1]", "alarms", "CloudWatch"),
    ],
)
def test_a_wrong_setting_of_releases_is_told_with_its_line(
    project: Path, setting: str, key: str, rule: str
) -> None:
    change(
        project,
        "environment.toml",
        'promotes_from = "dev"\n',
        f'promotes_from = "dev"\n[release]\n{setting}\n',
    )

    error = refused(project)

    assert (error.key, error.line) == (key, 5)
    assert rule in error.hint


@pytest.mark.parametrize(
    ("strategy", "setting", "rule"),
    [
        ("blue-green", "bake_minutes = 1441", "0 to 1440"),
        ("blue-green", "bake_minutes = 2.5", "whole minutes"),
        ("blue-green", "bake_minutes = true", "0 to 1440"),
        ("blue-green", "canary_percent = 10", "canary"),
        ("blue-green", 'smoke = ["version"]', "/version"),
        ("blue-green", 'smoke = "/version"', "a list"),
        ("canary", "canary_percent = 0", "0.1 to 100"),
        ("canary", "canary_percent = 100.1", "0.1 to 100"),
        ("canary", "canary_percent = 5.55", "one decimal at most"),
        ("canary", "canary_bake_minutes = -1", "0 to 1440"),
        ("canary", "step_percent = 10", "linear"),
        ("linear", "step_percent = 2.9", "3 to 100"),
        ("linear", "step_percent = 3.01", "one decimal at most"),
        ("linear", "step_bake_minutes = 1441", "0 to 1440"),
        ("linear", "canary_bake_minutes = 1", "canary"),
    ],
)
def test_a_number_outside_of_the_limits_of_ecs_or_of_another_strategy_is_told_with_its_line(
    project: Path, strategy: str, setting: str, rule: str
) -> None:
    told = f'promotes_from = "dev"\n[release]\nstrategy = "{strategy}"\n{setting}\n'
    change(project, "environment.toml", 'promotes_from = "dev"\n', told)

    error = refused(project)

    assert (error.key, error.line) == (setting.split(maxsplit=1)[0], 6)
    assert rule in error.hint


def test_a_strategy_is_what_the_file_says_and_rolling_by_default(project: Path) -> None:
    told = (
        'promotes_from = "dev"\n[release]\nstrategy = "canary"\ncanary_percent = 0.1\ncanary_bake_minutes = 0\n'
        'bake_minutes = 1440\nalarms = ["errors"]\nsmoke = ["/version", "/orders?id=1"]\n'
    )
    change(project, "environment.toml", 'promotes_from = "dev"\n', told)

    release = environment.load(project, "prod").release

    assert release.strategy == Strategy(
        name="canary", canary_percent=0.1, canary_bake_minutes=0, bake_minutes=1440, alarms=("errors",)
    )
    assert release.smoke == ("/version", "/orders?id=1")
    assert environment.load(project, "dev").release.strategy == Strategy(name="rolling")


@pytest.mark.parametrize("percent", [0.1, 0.3, 0.7, 5, 8.2, 33.3, 99.9, 100])
def test_a_percentage_with_one_decimal_is_taken_as_it_is_written(project: Path, percent: float) -> None:
    told = f'promotes_from = "dev"\n[release]\nstrategy = "canary"\ncanary_percent = {percent}\n'
    change(project, "environment.toml", 'promotes_from = "dev"\n', told)

    assert environment.load(project, "prod").release.strategy.canary_percent == percent


def test_promotions_ask_for_no_soak_time_and_no_critical_findings_by_default(project: Path) -> None:
    assert environment.load(project, "prod").promotion == environment.PromotionSettings(
        soak_minutes=0.0, refuse_findings="CRITICAL", allow_yes=True
    )


def test_what_promotions_ask_for_can_be_set(project: Path) -> None:
    change(
        project,
        "environment.toml",
        'promotes_from = "dev"\n',
        'promotes_from = "dev"\n[promotion]\nsoak_minutes = 30\nrefuse_findings = "NONE"\nallow_yes = false\n',
    )

    loaded = environment.load(project, "prod")

    assert loaded.promotion == environment.PromotionSettings(
        soak_minutes=30.0, refuse_findings="NONE", allow_yes=False
    )


@pytest.mark.parametrize(
    ("setting", "key", "rule"),
    [
        ("soak_minutes = -1", "soak_minutes", "0 to 43200"),
        ('refuse_findings = "high"', "refuse_findings", "CRITICAL, HIGH"),
        ('refuse_findings = "UNDEFINED"', "refuse_findings", "CRITICAL, HIGH"),
        ('allow_yes = "no"', "allow_yes", "true or false"),
        ("soak = 60", "soak", "allow_yes, refuse_findings, refuse_unfixed, soak_minutes"),
    ],
)
def test_a_wrong_setting_of_promotions_is_told_with_its_line(
    project: Path, setting: str, key: str, rule: str
) -> None:
    change(
        project,
        "environment.toml",
        'promotes_from = "dev"\n',
        f'promotes_from = "dev"\n[promotion]\n{setting}\n',
    )

    error = refused(project)

    assert (error.key, error.line) == (key, 5)
    assert rule in error.hint


def test_releases_are_set_in_a_table(project: Path) -> None:
    change(project, "environment.toml", 'promotes_from = "dev"\n', 'promotes_from = "dev"\nrelease = 1\n')

    assert "[release]" in refused(project).hint


TYPED = """variable "environment" {}
variable "alb" {
  type = object({ internal = optional(bool, false), rules = optional(map(object({ port = number }))) })
}
variable "environment_variables" { type = map(string) }
variable "anything" {}
"""


def given(project: Path, text: str, *, declared: str = TYPED) -> None:
    (project / "terraform" / "variables.tf").write_text(declared)
    change(project, "terraform.tfvars", VARIABLES, f'environment = "prod"\n{text}')


@pytest.mark.parametrize(
    ("text", "line", "key", "hint"),
    [
        ("alb = { intrenal = true }\n", 2, "alb.intrenal", "did you mean internal?"),
        ("alb = {\n  internal = true\n  sheme = 1\n}\n", 4, "alb.sheme", "attributes: internal, rules"),
        (
            "alb = {\n  rules = {\n    a = { prot = 1 }\n  }\n}\n",
            4,
            "alb.rules.a.prot",
            "did you mean port?",
        ),
        (
            "environment_variables = {\n  X = null\n}\n",
            3,
            "environment_variables.X",
            "leave it out, or give it a value",
        ),
        ("alb = { rules = { a = null } }\n", 2, "alb.rules.a", "leave it out, or give it a value"),
        ("alb {\n}\n", 2, "alb", "write alb = { … }"),
    ],
)
def test_what_terraform_would_drop_or_pass_on_as_null_is_refused_with_its_line(
    project: Path, text: str, line: int, key: str, hint: str
) -> None:
    given(project, text)

    error = refused(project)

    assert error.file == project / "environments" / "prod" / "terraform.tfvars"
    assert (error.line, error.key, error.hint) == (line, key, hint)


@pytest.mark.parametrize(
    "text",
    [
        "alb = null\n",
        "alb = { internal = null, rules = null }\n",
        "anything = { a = null, b = [null] }\n",
        'environment_variables = { X = "", "Y" : 1, 이름 = <<A\nA\n}\n',
        "alb = { rules = { a = { port = 1e1 } } }\n",
    ],
)
def test_what_terraform_takes_as_it_is_meant_is_accepted(project: Path, text: str) -> None:
    given(project, text)

    assert environment.load(project, "prod").name == "prod"


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("variables.tf", '/* c */ variable service {}\nvariable\t"environment" { default = 1e1 }'),
        ("variables.tf.json", '{"variable": {"service": {}, "environment": [{}]}}'),
        ("variables.tofu", 'variable "service" {}\nvariable "environment" {}'),
    ],
)
def test_a_declaration_counts_in_whatever_layout_it_stands(project: Path, file: str, text: str) -> None:
    (project / "terraform" / "variables.tf").unlink()
    (project / "terraform" / file).write_text(text)

    assert environment.load(project, "prod").variables["service"] == {"cpu": 256}


def test_a_declaration_in_a_comment_does_not_count(project: Path) -> None:
    (project / "terraform" / "variables.tf").write_text(
        'variable "environment" {}\n/*\nvariable "service" {\n}\n*/\n'
    )

    assert refused(project).key == "service"


def test_a_configuration_that_is_not_understood_declares_what_terraform_says(project: Path) -> None:
    (project / "terraform" / "more.tf").write_text('variable "service" {\n  default = { for = 1 }\n}\n')
    (project / "terraform" / "variables.tf").write_text('variable "environment" {}')

    assert environment.load(project, "prod").name == "prod"


@pytest.mark.parametrize(
    "name", ["terraform.tfvars.example", "all.auto.tfvars.bak", "other.tfvars", "auto.tfvars.json"]
)
def test_files_beside_the_root_that_terraform_does_not_read_are_no_matter(project: Path, name: str) -> None:
    (project / "terraform" / name).write_text("")

    assert environment.load(project, "prod").name == "prod"


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("backend.hcl", '"mclass.tfstate"', "7"),
        ("backend.hcl", "use_lockfile = true", 'use_lockfile = "true"'),
        ("backend.hcl", "use_lockfile = true", "use_lockfile = true\nallowed_account_ids = [222222222222]"),
    ],
)
def test_what_terraform_converts_is_converted(project: Path, file: str, old: str, new: str) -> None:
    change(project, file, old, new)

    assert environment.load(project, "prod").name == "prod"


@pytest.mark.parametrize("value", ["5", "{}", "[[]]", "[true]"])
def test_accounts_that_are_no_list_of_numbers_are_refused(project: Path, value: str) -> None:
    with (project / "environments" / "prod" / "backend.hcl").open("a") as file:
        file.write(f"allowed_account_ids = {value}\n")

    assert refused(project).key == "allowed_account_ids"


class Terraform:
    """Answers for Terraform, and keeps what it was asked."""

    def __init__(self, **values: Any) -> None:
        self.values = values
        self.asked: list[tuple[str, set[str]]] = []

    def __call__(self, file: Path, names: Iterable[str]) -> Mapping[str, Any]:
        self.asked.append((file.name, set(names)))
        return {name: value for name, value in self.values.items() if name in names}


def test_what_is_literal_is_not_asked_of_terraform(project: Path) -> None:
    terraform = Terraform()
    given(project, 'alb = { rules = { a = { port = 1 + 1 } } }\nanything = "a${1}"\n')

    environment.load(project, "prod", evaluate=terraform)

    assert terraform.asked == []


def test_what_is_computed_is_asked_of_terraform_when_it_is_needed(project: Path) -> None:
    terraform = Terraform(anything="a1")
    given(project, 'anything = "a${1}"\n')

    loaded = environment.load(project, "prod", evaluate=terraform)

    assert loaded.variables["anything"] == "a1"
    assert loaded.variables["environment"] == "prod"
    assert terraform.asked == [("terraform.tfvars", {"anything"})]


@pytest.mark.parametrize(
    ("text", "value", "key"),
    [
        ("alb = true ? { internal = true } : {}\n", {"internal": True, "x": 1}, "alb.x"),
        ('environment_variables = { for k in ["X"] : k => null }\n', {"X": None}, "environment_variables.X"),
    ],
)
def test_what_is_computed_is_held_against_its_type_too(
    project: Path, text: str, value: object, key: str
) -> None:
    given(project, text)

    with pytest.raises(ConfigurationError) as caught:
        environment.load(project, "prod", evaluate=Terraform(**{key.partition(".")[0]: value}))

    assert (caught.value.key, caught.value.line) == (key, 2)


def test_without_terraform_what_is_computed_stays_unknown_and_the_rest_works(project: Path) -> None:
    given(project, 'environment_variables = { for k in ["X"] : k => null }\n')

    loaded = environment.load(project, "prod")

    assert loaded.variables["environment"] == "prod"
    with pytest.raises(EngineError) as caught:
        loaded.variables["environment_variables"]
    assert (caught.value.key, caught.value.line) == ("environment_variables", 2)


def test_a_file_that_only_terraform_reads_is_what_terraform_says(project: Path) -> None:
    given(project, "environment_variables = {\n  for = null\n}\n")
    said = Terraform(environment="prod", environment_variables={"for": None})

    with pytest.raises(ConfigurationError) as caught:
        environment.load(project, "prod", evaluate=said)

    assert (caught.value.key, caught.value.line) == ("environment_variables.for", 2)
