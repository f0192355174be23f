"""The input files of a plan, and the report of changed ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mclass_tf import inputs


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in (
        "elsewhere/logs/main.tf",
        "modules/alb/main.tf",
        "terraform/.terraform.lock.hcl",
        "terraform/main.tf",
        "environments/dev/terraform.tfvars",
        "environments/prod/terraform.tfvars",
        "app/main.py",
        "data/modules/fetched/main.tf",
    ):
        write(tmp_path / name)
    listing = {"Modules": [{"Dir": "."}, {"Dir": "../elsewhere/logs"}, {"Dir": "../data/modules/fetched"}]}
    write(tmp_path / "data/modules/modules.json", json.dumps(listing))
    return tmp_path


def write(file: Path, text: str = "") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def digests(project: Path) -> dict[str, str]:
    return inputs.digests(project=project, environment=project / "environments/dev", data=project / "data")


def test_every_file_of_root_modules_and_environment_is_an_input_wherever_a_module_lies(project: Path) -> None:
    assert {
        "elsewhere/logs/main.tf",
        "environments/dev/terraform.tfvars",
        "modules/alb/main.tf",
        "terraform/.terraform.lock.hcl",
        "terraform/main.tf",
    } == set(digests(project))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: write(p / "terraform/main.tf", "# new"), "terraform/main.tf has changed"),
        (lambda p: write(p / "terraform/more.tf.json", "{}"), "terraform/more.tf.json is new"),
        (lambda p: write(p / "modules/alb/page.html.tftpl"), "modules/alb/page.html.tftpl is new"),
        (lambda p: (p / "modules/alb/main.tf").unlink(), "modules/alb/main.tf is gone"),
        (lambda p: write(p / "elsewhere/logs/main.tf", "# new"), "elsewhere/logs/main.tf has changed"),
        (lambda p: write(p / "environments/dev/backend.hcl"), "environments/dev/backend.hcl is new"),
        (
            lambda p: write(p / "terraform/.terraform.lock.hcl", "#"),
            "terraform/.terraform.lock.hcl has changed",
        ),
    ],
)
def test_a_file_that_has_changed_is_named(project: Path, change: Callable[[Path], object], said: str) -> None:
    before = digests(project)
    change(project)

    assert inputs.changes(before, digests(project)) == (said,)


@pytest.mark.parametrize(
    "name",
    [
        "environments/prod/terraform.tfvars",
        "app/main.py",
        "terraform/errored.tfstate",
        "terraform/.terraform/modules/modules.json",
        "terraform/.main.tf.swp",
        "modules/alb/main.tf~",
    ],
)
def test_what_a_plan_does_not_read_and_what_a_run_leaves_behind_is_no_input(project: Path, name: str) -> None:
    before = digests(project)
    write(project / name, "anything")

    assert inputs.changes(before, digests(project)) == ()


def test_a_folder_that_is_a_link_is_read_and_one_that_leads_back_is_read_once(project: Path) -> None:
    write(project / "shared/vpc/main.tf")
    (project / "modules/vpc").symlink_to(project / "shared/vpc")
    (project / "shared/vpc/round").symlink_to(project / "modules")

    assert "modules/vpc/main.tf" in digests(project)


@pytest.mark.parametrize("listing", ["", "[]", "{", '{"Modules": [{}]}', '{"Modules": null}', "\ud83d"])
def test_a_damaged_listing_of_the_modules_leaves_the_files_that_are_known(
    project: Path, listing: str
) -> None:
    (project / "data/modules/modules.json").write_bytes(listing.encode(errors="surrogatepass"))

    assert "terraform/main.tf" in digests(project)
