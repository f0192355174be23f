"""Terraform's command lines and the child's environment: pure, so tried without Terraform."""

from __future__ import annotations

from pathlib import Path

import pytest

from mclass_tf.errors import ConfigurationError, EngineError
from mclass_tf.system.process import Command, Completed
from mclass_tf.terraform import cliconfig, commands
from mclass_tf.terraform.engine import find_engine

OUT, VARIABLES = Path("/w/plan.tfplan"), Path("/p/terraform.tfvars")


def test_init_never_rewrites_the_lock_file_and_never_asks() -> None:
    argv = commands.init(backend_config=Path("/p/backend.hcl"))

    assert argv[0] == "init"
    assert {
        "-lockfile=readonly",
        "-reconfigure",
        "-input=false",
        "-json",
        "-backend-config=/p/backend.hcl",
    } <= set(argv)


def test_plan_saves_to_a_file_and_tells_changes_by_its_exit_code() -> None:
    argv = commands.plan(out=OUT, var_file=VARIABLES)

    assert argv[0] == "plan"
    assert {"-detailed-exitcode", f"-out={OUT}", f"-var-file={VARIABLES}", "-input=false"} <= set(argv)
    assert "-destroy" not in argv
    assert "-destroy" in commands.plan(out=OUT, var_file=VARIABLES, destroy=True)


def test_apply_takes_the_plan_file_last_and_no_variables() -> None:
    argv = commands.apply(plan_file=OUT)

    assert argv[0] == "apply"
    assert argv[-1] == str(OUT)
    assert not any(argument.startswith("-var") for argument in argv)


def child(parent: dict[str, str], access: dict[str, str]) -> dict[str, str]:
    return commands.environment(
        parent,
        data_dir=Path("/d"),
        cli_config=Path("/c"),
        variables={"region": "ap-northeast-2"},
        access=access,
    )


@pytest.mark.parametrize(
    "name",
    [
        "TF_CLI_ARGS",
        "TF_CLI_ARGS_plan",
        "TF_WORKSPACE",
        "TF_VAR_region",
        "TF_VAR_stray",
        "TF_REATTACH_PROVIDERS",
    ],
)
def test_what_steers_terraform_from_outside_does_not_reach_it(name: str) -> None:
    assert child({name: "from outside", "PATH": "/bin"}, {}).get(name) != "from outside"


def test_the_child_has_its_own_folders_and_our_variables() -> None:
    env = child({"TF_DATA_DIR": "/other", "TF_CLI_CONFIG_FILE": "/missing", "HOME": "/h"}, {})

    assert env["TF_DATA_DIR"] == "/d"
    assert env["TF_CLI_CONFIG_FILE"] == "/c"
    assert env["TF_VAR_region"] == "ap-northeast-2"
    assert env["HOME"] == "/h"


PARENT = {"AWS_PROFILE": "work", "AWS_CA_BUNDLE": "/proxy.pem", "AWS_SECRET_ACCESS_KEY": "real"}
KEYS = {"AWS_ACCESS_KEY_ID": "ours", "AWS_SECRET_ACCESS_KEY": "test"}


def test_on_the_local_aws_no_setting_meant_for_aws_survives() -> None:
    env = child(PARENT, {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", **KEYS})

    assert "AWS_PROFILE" not in env
    assert "AWS_CA_BUNDLE" not in env
    assert env["AWS_SECRET_ACCESS_KEY"] == "test"


def test_on_aws_credentials_of_a_role_replace_all_others_and_the_network_stays_as_it_is() -> None:
    env = child(PARENT, KEYS)

    assert "AWS_PROFILE" not in env
    assert env["AWS_CA_BUNDLE"] == "/proxy.pem"
    assert env["AWS_SECRET_ACCESS_KEY"] == "test"


@pytest.mark.parametrize(
    ("endpoint", "kept"), [("http://127.0.0.1:4566", False), ("https://vpce.example.com", True)]
)
def test_the_certificates_stay_for_an_endpoint_with_tls(endpoint: str, kept: bool) -> None:  # noqa: FBT001
    child = commands.environment(
        {"AWS_CA_BUNDLE": "/ca.pem"},
        data_dir=Path("/w/data"),
        cli_config=Path("/w/rc"),
        variables={},
        access={"AWS_ACCESS_KEY_ID": "a", "AWS_ENDPOINT_URL": endpoint},
    )

    assert ("AWS_CA_BUNDLE" in child) is kept


def test_an_endpoint_for_credentials_takes_the_place_of_the_users_own() -> None:
    """SDKs ask it last: keys, a profile or a web identity of the user would win."""
    parent = {
        "AWS_ACCESS_KEY_ID": "theirs",
        "AWS_SESSION_TOKEN": "theirs",
        "AWS_PROFILE": "theirs",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/theirs",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/theirs",
        "HTTPS_PROXY": "http://proxy",
        "AWS_CA_BUNDLE": "/proxy.pem",
    }
    ours = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:1/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "ours",
        "AWS_CONFIG_FILE": "/dev/null",
    }

    env = child(parent, ours)

    assert {name: value for name, value in env.items() if name.startswith(("AWS_", "HTTPS_"))} == {
        **ours,
        "AWS_CA_BUNDLE": "/proxy.pem",
        "HTTPS_PROXY": "http://proxy",
    }


def test_without_credentials_of_ours_those_of_the_user_stay() -> None:
    assert child(PARENT, {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}).items() >= PARENT.items()


def mirror(folder: Path) -> Path:
    (folder / "registry.terraform.io" / "hashicorp" / "aws").mkdir(parents=True)
    return folder


def test_the_mirror_that_is_named_wins(tmp_path: Path) -> None:
    named, found = mirror(tmp_path / "named"), mirror(tmp_path / "opt" / "found")
    env = {"HOME": str(tmp_path), cliconfig.VARIABLE: str(named)}

    assert cliconfig.find_source(env, opt=found.parent).mirror == named


def test_what_is_named_from_here_is_found_from_terraforms_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mirror/registry.terraform.io/hashicorp/aws").mkdir(parents=True)
    Path("rc").touch()
    Path(program(tmp_path, "terraform")).chmod(0o755)
    answer = Answering('{"terraform_version": "1.11.4"}')

    assert cliconfig.find_source({"MCLASS_TF_PROVIDER_MIRROR": "mirror"}).mirror == tmp_path / "mirror"
    assert cliconfig.find_source({"TF_CLI_CONFIG_FILE": "rc"}).user_config == tmp_path / "rc"
    assert find_engine({"PATH": "."}, run=answer).argv == (str(tmp_path / "terraform"),)
    named = find_engine({"PATH": "", "MCLASS_TF_TERRAFORM": "./terraform"}, run=answer)
    assert named.argv == (str(tmp_path / "terraform"),)


def test_a_named_mirror_without_the_provider_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="holds no"):
        cliconfig.find_source({cliconfig.VARIABLE: str(tmp_path)})


def test_the_users_own_configuration_is_kept(tmp_path: Path) -> None:
    config = tmp_path / "my.rc"
    config.touch()
    found = mirror(tmp_path / "opt" / "found")

    source = cliconfig.find_source({"TF_CLI_CONFIG_FILE": str(config)}, opt=found.parent)

    assert source == cliconfig.ProviderSource(user_config=config)


def test_a_configuration_file_that_does_not_exist_is_passed_over(tmp_path: Path) -> None:
    found = mirror(tmp_path / "opt" / "found")
    env = {
        "TF_CLI_CONFIG_FILE": str(tmp_path / "missing"),
        "HOME": str(tmp_path),
        "XDG_DATA_DIRS": str(tmp_path),
    }

    assert cliconfig.find_source(env, opt=found.parent).mirror == found


def test_terraforms_own_mirror_folders_come_before_opt(tmp_path: Path) -> None:
    mirror(tmp_path / ".terraform.d" / "plugins")
    found = mirror(tmp_path / "opt" / "found")

    assert cliconfig.find_source({"HOME": str(tmp_path)}, opt=found.parent) == cliconfig.ProviderSource()


def test_without_any_mirror_the_provider_comes_from_the_registry(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "XDG_DATA_DIRS": str(tmp_path)}
    source = cliconfig.find_source(env, opt=tmp_path)

    assert source == cliconfig.ProviderSource()
    assert not cliconfig.render(source)


def test_the_configuration_takes_only_the_provider_from_the_mirror(tmp_path: Path) -> None:
    text = cliconfig.render(cliconfig.ProviderSource(mirror=tmp_path))

    assert f'path    = "{tmp_path}"' in text
    assert 'include = ["registry.terraform.io/hashicorp/aws"]' in text
    assert 'exclude = ["registry.terraform.io/hashicorp/aws"]' in text


class Answering:
    """A runner that answers `version -json`."""

    def __init__(self, stdout: str) -> None:
        self.stdout = stdout

    def __call__(self, command: Command, *, on_stdout: object = None) -> Completed:
        return Completed(status=0, stdout=self.stdout, stderr="", interrupted=False)


def program(folder: Path, name: str) -> str:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


def test_terraform_is_preferred_to_tofu_and_a_named_one_to_both(tmp_path: Path) -> None:
    env = {"PATH": str(tmp_path)}
    tofu = program(tmp_path, "tofu")
    answer = Answering('{"terraform_version": "1.10.0"}')
    assert find_engine(env, run=answer).argv == (tofu,)

    terraform = program(tmp_path, "terraform")
    assert find_engine(env, run=answer).argv == (terraform,)

    other = program(tmp_path, "other")
    assert find_engine(env | {"MCLASS_TF_TERRAFORM": other}, run=answer).argv == (other,)


@pytest.mark.parametrize("version", ["1.9.8", "0.15.5", "1.2.0"])
def test_a_terraform_that_is_too_old_is_refused(tmp_path: Path, version: str) -> None:
    program(tmp_path, "terraform")

    with pytest.raises(EngineError, match=version) as caught:
        find_engine({"PATH": str(tmp_path)}, run=Answering(f'{{"terraform_version": "{version}"}}'))

    assert "1.10" in caught.value.hint
    assert caught.value.exit_code == 3


def test_no_terraform_at_all_is_told_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(EngineError, match="no Terraform") as caught:
        find_engine({"PATH": str(tmp_path)}, run=Answering(""))

    assert "mclass-tf[embedded]" in caught.value.hint


def test_a_named_terraform_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no program"):
        find_engine({"PATH": str(tmp_path), "MCLASS_TF_TERRAFORM": "/missing"}, run=Answering(""))


def test_a_program_that_is_not_terraform_is_refused(tmp_path: Path) -> None:
    program(tmp_path, "terraform")

    with pytest.raises(EngineError, match="does not answer"):
        find_engine({"PATH": str(tmp_path)}, run=Answering("hello"))
