"""The configuration is valid, and its own tests pass, on the oldest provider that is supported and on the newest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from .conftest import FOLDERS, ROOT, Project, Terraform, copy_project

ENVIRONMENTS = ("dev", "prod")
EXAMPLES = sorted(str(path.parent.relative_to(ROOT)) for path in ROOT.glob("modules/*/examples/*/main.tf"))
BLUE_GREEN = """
resource "aws_ecs_service" "this" {
  name = "only-in-6"

  deployment_configuration {
    %s = "BLUE_GREEN"
  }
}
"""


def _write(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / "main.tf").write_text(text)
    return folder


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_is_valid_and_passes_its_tests_on_the_newest_provider(
    name: str, project: Project, newest: Terraform
) -> None:
    folder = project.folder(name)
    assert newest.validate(folder) == []
    assert "Success!" in newest.test(folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_is_valid_and_passes_its_tests_on_the_oldest_provider(
    name: str, project: Project, real: Terraform
) -> None:
    folder = project.folder(name)
    assert real.validate(folder) == []
    assert "Success!" in real.test(folder)


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_valid(example: str, project: Project, newest: Terraform) -> None:
    assert newest.validate(project.folder(example)) == []


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environment_plans_with_its_own_files_alone(
    environment: str, project: Project, newest: Terraform
) -> None:
    folder = project.folder("terraform")
    newest.init(folder)
    variables = f"-var-file=../environments/{environment}/terraform.tfvars"
    assert "1 passed" in newest.test(folder, "-test-directory=tests/environments", variables)


def test_the_newest_provider_refuses_a_misspelt_argument(project: Project, newest: Terraform) -> None:
    main = project.folder("modules/logs") / "main.tf"
    main.write_text(main.read_text().replace("retention_in_days =", "retention_in_dayz ="))
    (said,) = newest.validate(main.parent)
    assert said["summary"] == "Unsupported argument"
    assert '"retention_in_dayz"' in said["detail"]


def test_the_newest_provider_refuses_a_misspelt_argument_of_a_nested_block(
    tmp_path: Path, newest: Terraform
) -> None:
    (said,) = newest.validate(_write(tmp_path / "misspelt", BLUE_GREEN % "stratgy"))
    assert said["summary"] == "Unsupported argument"


def test_the_newest_provider_accepts_an_argument_that_only_it_has(tmp_path: Path, newest: Terraform) -> None:
    assert newest.validate(_write(tmp_path / "native", BLUE_GREEN % "strategy")) == []


@pytest.mark.slow
def test_the_oldest_provider_refuses_an_argument_that_only_the_newest_has(
    tmp_path: Path, project: Project, real: Terraform
) -> None:
    folder = _write(tmp_path / "native", BLUE_GREEN % "strategy")
    (folder / "versions.tf").write_text((project.folder("modules/logs") / "versions.tf").read_text())
    (folder / ".terraform.lock.hcl").write_text(
        (project.folder("terraform") / ".terraform.lock.hcl").read_text()
    )
    (said,) = real.validate(folder)
    assert said["summary"] == "Unsupported block type"


def test_the_test_of_a_module_fails_when_the_module_is_wrong(project: Project, newest: Terraform) -> None:
    main = project.folder("modules/ecr") / "main.tf"
    main.write_text(main.read_text().replace("scan_on_push = var.scan_on_push", "scan_on_push = false"))
    newest.init(main.parent)
    done = newest.run("test", "-no-color", folder=main.parent)
    assert done.returncode == 1
    assert "Images must be scanned when they are pushed." in done.stdout + done.stderr


def test_everything_is_formatted(newest: Terraform, project: Project) -> None:
    done = newest.run("fmt", "-check", "-recursive", "-no-color", folder=project.path)
    assert done.stdout + done.stderr == "", "format with: terraform fmt -recursive"


def test_the_lock_file_serves_every_platform(project: Project) -> None:
    lock = (project.folder("terraform") / ".terraform.lock.hcl").read_text()
    assert lock.count('"zh:') == 15  # one for each of the release's 14 archives, and its manifest
    assert '"h1:' in lock


@pytest.mark.slow
def test_the_root_initialises_without_changing_its_lock_file(project: Project, real: Terraform) -> None:
    done = real.run(
        "init",
        "-backend=false",
        "-input=false",
        "-lockfile=readonly",
        "-no-color",
        folder=project.folder("terraform"),
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def dependencies(tmp_path_factory: pytest.TempPathFactory, newest: Terraform) -> Mapping[str, set[str]]:
    """Return, by resource of the root configuration, all that Terraform makes before it."""
    project = copy_project(tmp_path_factory.mktemp("graph"))
    folder = project.folder("terraform")
    (folder / "backend.tf").unlink()
    newest.init(folder)
    done = newest.run("graph", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    direct: dict[str, set[str]] = {}
    for resource, dependency in re.findall(r'"([^"]+)" -> "([^"]+)"', done.stdout):
        direct.setdefault(resource, set()).add(dependency)
    return {resource: _reachable(resource, direct) for resource in direct}


def _reachable(resource: str, direct: Mapping[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    waiting = [resource]
    while waiting:
        new = direct.get(waiting.pop(), set()) - reached
        reached |= new
        waiting.extend(new)
    return reached


@pytest.mark.xdist_group("graph")
@pytest.mark.parametrize(
    ("later", "earlier"),
    [
        ("module.alb.aws_lb.this", "module.network.aws_route.internet"),
        ("module.service.aws_ecs_service.this", "module.network.aws_route.nat"),
        ("module.service.aws_ecs_service.this", "module.network.aws_vpc_endpoint.interface"),
        ("module.service.aws_ecs_service.this", "module.network.aws_vpc_endpoint.s3"),
        ("module.service.aws_ecs_service.this", "module.alb.aws_lb_listener_rule.this"),
        ("module.service.aws_ecs_service.this", "module.service.aws_iam_role_policy_attachment.task"),
    ],
)
def test_nothing_is_made_before_what_it_needs(
    later: str, earlier: str, dependencies: Mapping[str, set[str]]
) -> None:
    assert earlier in dependencies[later]


@pytest.mark.xdist_group("graph")
@pytest.mark.parametrize(
    ("slow", "other"),
    [
        ("module.alb.aws_lb.this", "module.network.aws_nat_gateway.this"),
        ("module.alb.aws_lb.this", "module.network.aws_vpc_endpoint.interface"),
        ("module.alb.aws_lb.this", "module.network.aws_vpc_endpoint.s3"),
        ("module.alb.aws_lb.this", "module.kms.aws_kms_key.this"),
        ("module.alb.aws_lb.this", "module.service.aws_ecs_cluster.this"),
        ("module.service.aws_ecs_cluster.this", "module.network.aws_vpc.this"),
        ("module.service.aws_ecs_cluster_capacity_providers.this", "module.network.aws_vpc.this"),
    ],
)
def test_what_takes_long_does_not_wait_for_what_it_can_do_without(
    slow: str, other: str, dependencies: Mapping[str, set[str]]
) -> None:
    assert other in set().union(*dependencies.values()), f"there is no {other} any more"
    assert other not in dependencies[slow]
