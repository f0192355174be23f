"""Files of an environment with anything in them: it is read, or refused in a sentence with a next step."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as some

from mclass_tf import environment
from mclass_tf.errors import ConfigurationError

SETTINGS = """account_id = "222222222222"
region = "ap-northeast-2"
[release]
strategy = "canary"
canary_percent = 5
smoke = ["/version"]
before = ["python -m app.migrate"]
[[release.hooks]]
function_arn = "arn:aws:lambda:ap-northeast-2:222222222222:function:check"
role_arn = "arn:aws:iam::222222222222:role/hook"
stages = ["PRE_SCALE_UP"]
[release.analysis]
max_error_percent = 1.0
[promotion]
soak_minutes = 5
"""
VARIABLES = """environment = "prod"
alb = { internal = true, rules = { a = { port = 1e1 } } }
environment_variables = {
  X = "${1 + 1}" # a comment
  "Y" : <<A
A
}
"""
BACKEND = """bucket = "mclass-tfstate"
key = "mclass.tfstate"
region = "ap-northeast-2"
use_lockfile = true
allowed_account_ids = ["222222222222"]
"""
ROOT = """variable "environment" {}
variable "alb" {
  type = object({ internal = optional(bool), rules = optional(map(object({ port = number }))) })
}
variable "environment_variables" { type = map(string) }
"""
FILES = {
    "environments/prod/environment.toml": SETTINGS,
    "environments/prod/terraform.tfvars": VARIABLES,
    "environments/prod/backend.hcl": BACKEND,
    "terraform/variables.tf": ROOT,
}
# What a file may be changed by: the signs of both languages, and values that are large, deep or of another kind.
PIECES = some.sampled_from(
    (
        *"\"'{}[](),:=#\n\r\t.-\\\0가😀\ufeff",
        *(
            "[[",
            "]]",
            '"""',
            "'''",
            "${",
            "<<A\n",
            "/*",
            "null",
            "true",
            "1e400",
            "-inf",
            "nan",
            "1979-05-27",
        ),
        *(
            "0x" + "f" * 5000,
            "1" * 5000,
            "[" * 2000,
            "{a=" * 500,
            "a." * 500,
            "[a]\n",
            "release",
            "1e999999999",
        ),
    )
)
CHANGES = some.lists(some.tuples(some.integers(0, 600), some.integers(0, 6), PIECES), min_size=1, max_size=3)
SOME = settings(
    max_examples=min(settings().max_examples, 1000),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def written(project: Path, **changed: bytes) -> None:
    for name, text in FILES.items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(changed.get(path.stem, text.encode()))


def loaded_or_refused(project: Path) -> None:
    try:
        loaded = environment.load(project, "prod")
    except ConfigurationError as error:
        assert error.hint, error  # noqa: PT017
        assert len(str(error)) < 2000, error  # noqa: PT017
    else:
        assert loaded.variables["environment"] == "prod"


def changed(text: str, changes: list[tuple[int, int, str]]) -> bytes:
    for where, length, piece in changes:
        at = where % (len(text) + 1)
        text = text[:at] + piece + text[at + length :]
    return text.encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("name", list(FILES))
@SOME
@given(changes=CHANGES)
@example(changes=[(13, 14, "1" * 5000)])
@example(changes=[(13, 14, "0x" + "f" * 5000)])
@example(changes=[(13, 14, "[" * 2000)])
def test_a_file_that_is_changed_anywhere_is_read_or_refused(
    tmp_path: Path, name: str, changes: list[tuple[int, int, str]]
) -> None:
    written(tmp_path, **{Path(name).stem: changed(FILES[name], changes)})

    loaded_or_refused(tmp_path)


@pytest.mark.parametrize("name", list(FILES))
@SOME
@given(data=some.binary(max_size=100))
def test_a_file_of_any_bytes_is_read_or_refused(tmp_path: Path, name: str, data: bytes) -> None:
    written(tmp_path, **{Path(name).stem: data})

    loaded_or_refused(tmp_path)


@pytest.mark.parametrize(
    "setting",
    [
        "stall_after = 0x" + "f" * 5000,
        "stall_after = " + "1" * 5000,
        "canary_percent = nan",
        "canary_bake_minutes = inf",
        "smoke = " + "[" * 2000,
        "smoke = " + "[" * 2000 + "]" * 2000,
        'before = ["\\u0000"]',
        "a." * 2000 + "b = 1",
    ],
)
def test_a_setting_that_is_enormous_or_deep_is_refused_with_the_file(tmp_path: Path, setting: str) -> None:
    text = f'account_id = "222222222222"\nregion = "ap-northeast-2"\n[release]\n{setting}\n'
    written(tmp_path, environment=text.encode())

    with pytest.raises(ConfigurationError) as caught:
        environment.load(tmp_path, "prod")

    assert caught.value.file == tmp_path / "environments/prod/environment.toml"
    assert caught.value.hint
    assert len(str(caught.value)) < 2000
