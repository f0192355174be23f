"""One provider process for a plan: which configurations it will do for, which program is trusted, and when it ends."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mclass_tf.terraform import provider
from mclass_tf.terraform.provider import Package, find_package, is_locked, running
from tests.flows.killed import until

SOURCE = "registry.terraform.io/hashicorp/aws"
BLOCK = 'provider "aws" {\n  region = "eu-west-1"\n}\n'
# Says where it is as the AWS provider does, between lines that say something else, and stays.
STAYS = """#!/bin/sh
echo $$ > "$OUT/pid"
echo "$TMPDIR" > "$OUT/folder"
pwd > "$OUT/cwd"
echo "Starting..."
echo "	TF_REATTACH_PROVIDERS='{\\"NAME\\":{\\"Pid\\":$$}}'"
exec sleep 600
"""


def locked(*sources: str, hashes: tuple[str, ...] = ()) -> str:
    listed = "".join(f'    "{each}",\n' for each in hashes)
    blocks = (
        f'provider "{source}" {{\n  version     = "5.100.0"\n  constraints = ">= 5"\n  hashes = [\n{listed}  ]\n}}\n'
        for source in sources
    )
    return "# This file is maintained automatically.\n\n" + "\n".join(blocks)


class Configuration:
    """A root, and the data directory that `terraform init` leaves."""

    def __init__(self, folder: Path) -> None:
        self.root, self.data = folder / "root", folder / "data"
        self.program = (
            self.data / "providers" / SOURCE / "5.100.0" / "linux_amd64" / "terraform-provider-aws_v5"
        )
        self.program.parent.mkdir(parents=True)
        self.program.write_text("#!/bin/sh\n")
        self.root.mkdir()
        self.cli_config = folder / "terraform.rc"
        self.cli_config.write_text("")
        self.write("main.tf", BLOCK)
        self.write(".terraform.lock.hcl", locked(SOURCE, hashes=("h1:one=", "zh:two", "h1:three=")))

    def write(self, name: str, text: str) -> None:
        (self.root / name).write_text(text)

    def call_module(self, text: str) -> None:
        """Let the root call a module, as `init` notes it."""
        module = self.root.parent / "module"
        module.mkdir()
        (module / "main.tf").write_text(text)
        listing = {"Modules": [{"Key": "", "Dir": "."}, {"Key": "it", "Dir": "../module"}]}
        (self.data / "modules").mkdir()
        (self.data / "modules" / "modules.json").write_text(json.dumps(listing))

    def found(self) -> Package | None:
        return find_package(root=self.root, data=self.data, cli_config=self.cli_config)


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    return Configuration(tmp_path)


def test_the_one_provider_of_a_configuration_is_found(configuration: Configuration) -> None:
    configuration.call_module('resource "aws_iam_role" "this" {}\n\nvariable "alias" {}\n')
    configuration.write("more.tf", 'module "key" {\n  source = "../module"\n  alias  = "key"\n}\n')

    assert configuration.found() == Package(
        source=SOURCE, program=configuration.program, hashes=frozenset({"h1:one=", "h1:three="})
    )


def test_two_configurations_of_a_provider_are_left_to_terraform(configuration: Configuration) -> None:
    configuration.write("other.tf", 'provider "aws" {\n  alias = "other"\n}\n')

    assert configuration.found() is None


def test_a_module_that_configures_a_provider_too_is_left_to_terraform(configuration: Configuration) -> None:
    configuration.call_module(BLOCK)

    assert configuration.found() is None


def test_a_configuration_written_as_json_counts_too(configuration: Configuration) -> None:
    configuration.write("other.tf.json", '{"provider": {"aws": {"alias": "other"}}}')

    assert configuration.found() is None


def test_a_configuration_in_a_comment_does_not_count(configuration: Configuration) -> None:
    configuration.write("other.tf", '/*\nprovider "aws" {\n  alias = "other"\n}\n*/\n')

    assert configuration.found() is not None


def test_what_is_not_understood_is_left_to_terraform(configuration: Configuration) -> None:
    configuration.write("other.tf", "provider {{{")

    assert configuration.found() is None


@pytest.mark.parametrize(
    "block", ['provider "aws" {\n  alias = "us"\n}\n', 'provider "aws" { alias = "us" }']
)
def test_an_alias_beside_the_configuration_that_terraform_supposes_is_left_to_it(
    configuration: Configuration, block: str
) -> None:
    configuration.write("main.tf", block)

    assert configuration.found() is None


def test_words_without_quotes_count_as_terraform_counts_them(configuration: Configuration) -> None:
    configuration.write("other.tf", 'provider aws {\n  alias = "other"\n}\n')

    assert configuration.found() is None


def test_a_provider_that_is_not_known_to_be_fit_is_left_to_terraform(configuration: Configuration) -> None:
    configuration.write(".terraform.lock.hcl", locked("registry.opentofu.org/hashicorp/aws"))

    assert configuration.found() is None


def test_two_providers_are_left_to_terraform(configuration: Configuration) -> None:
    configuration.write(".terraform.lock.hcl", locked(SOURCE, "registry.terraform.io/hashicorp/random"))

    assert configuration.found() is None


def test_a_developers_own_build_is_left_to_terraform(configuration: Configuration) -> None:
    configuration.cli_config.write_text(
        'provider_installation {\n  dev_overrides {\n    "hashicorp/aws" = "/b"\n  }\n}\n'
    )

    assert configuration.found() is None


def test_what_was_not_initialised_is_left_to_terraform(configuration: Configuration) -> None:
    configuration.program.unlink()
    assert configuration.found() is None

    (configuration.root / ".terraform.lock.hcl").unlink()
    assert configuration.found() is None


def package(folder: Path, program: str, *, hashes: frozenset[str] = frozenset()) -> Package:
    path = folder / "terraform-provider-aws_v5"
    path.write_text(program)
    path.chmod(0o700)
    return Package(source=SOURCE, program=path, hashes=hashes)


def h1(**files: str) -> str:
    """The hash by hand: the digest of a listing as `sha256sum` prints it."""
    listing = "".join(
        f"{hashlib.sha256(text.encode()).hexdigest()}  {name}\n" for name, text in files.items()
    )
    return "h1:" + base64.b64encode(hashlib.sha256(listing.encode()).digest()).decode()


def test_a_package_that_the_lock_file_names_is_allowed_and_an_altered_one_is_not(tmp_path: Path) -> None:
    folder, memory = tmp_path / "package", tmp_path / "memory"
    folder.mkdir()
    (folder / "LICENSE.txt").write_text("free")
    # Sorted by their names, as bytes: capitals first.
    names = {"LICENSE.txt": "free", "terraform-provider-aws_v5": "#!/bin/sh\n"}
    mine = package(folder, "#!/bin/sh\n", hashes=frozenset({h1(**names)}))

    assert is_locked(mine, memory=memory)
    assert is_locked(mine, memory=memory)

    mine.program.write_text("#!/bin/bash\n")
    assert not is_locked(mine, memory=memory)


def test_an_untouched_package_is_not_read_again(tmp_path: Path) -> None:
    folder, memory = tmp_path / "package", tmp_path / "memory"
    folder.mkdir()
    mine = package(
        folder, "#!/bin/sh\n", hashes=frozenset({h1(**{"terraform-provider-aws_v5": "#!/bin/sh\n"})})
    )
    assert is_locked(mine, memory=memory)

    stamp, _, _ = memory.read_text().partition(" ")
    memory.write_text(f"{stamp} h1:another=")
    assert not is_locked(mine, memory=memory), "it was read again"

    mine.program.touch()
    assert is_locked(mine, memory=memory)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def env(out: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "OUT": str(out)}


def test_a_provider_runs_as_long_as_it_is_wanted(tmp_path: Path) -> None:
    mine = package(tmp_path, STAYS.replace("NAME", SOURCE))

    with running(mine, root=tmp_path, env=env(tmp_path)) as found:
        attached = json.loads(found[provider.VARIABLE])
        pid = attached[SOURCE]["Pid"]
        folder = Path((tmp_path / "folder").read_text().strip())
        assert is_alive(pid)
        assert (tmp_path / "cwd").read_text().strip() == str(tmp_path)
        assert folder.stat().st_mode & 0o777 == 0o700

    until(lambda: not is_alive(pid), "the end of the provider")
    assert not folder.exists()


@pytest.mark.parametrize(
    "program",
    [
        pytest.param("#!/bin/sh\nexit 1\n", id="ends"),
        pytest.param(STAYS.replace("NAME", "registry.terraform.io/hashicorp/other"), id="another"),
        pytest.param("#!/bin/sh\necho \"TF_REATTACH_PROVIDERS='no'\"\n", id="unreadable"),
    ],
)
def test_a_provider_that_does_not_start_as_it_should_leaves_terraform_to_itself(
    tmp_path: Path, program: str
) -> None:
    with running(package(tmp_path, program), root=tmp_path, env=env(tmp_path)) as found:
        assert found == {}


def test_a_provider_does_not_outlive_a_command_that_is_killed(tmp_path: Path) -> None:
    mine = package(tmp_path, STAYS.replace("NAME", SOURCE))
    code = (
        "import os, time; from pathlib import Path; from mclass_tf.terraform.provider import Package, running\n"
        f"mine = Package(source={SOURCE!r}, program=Path({str(mine.program)!r}), hashes=frozenset())\n"
        "with running(mine, root=Path.cwd(), env=dict(os.environ)): print('up', flush=True); time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "OUT": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    ) as command:
        assert command.stdout is not None
        assert command.stdout.readline() == "up\n"
        pid = int((tmp_path / "pid").read_text())
        folder = Path((tmp_path / "folder").read_text().strip())
        command.send_signal(signal.SIGKILL)

    until(lambda: not is_alive(pid), "the end of the provider")
    until(lambda: not folder.exists(), "the end of its folder")
