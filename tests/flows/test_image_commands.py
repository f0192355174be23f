"""`build` and `push` on the command line: what they print, and how they end when something is in the way."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from mclass_tf import local
from tests.commands import CommandLine, CommandResult
from tests.flows.conftest import write_project
from tests.image.project import REPOSITORY, git
from tests.need import need


def write_app(project: Path) -> None:
    """An app without dependencies, and a Dockerfile without a base; committed."""
    (project / "app").mkdir()
    (project / "app" / "__main__.py").write_text("print('ran')\n")
    (project / "app" / "requirements.txt").write_text("")
    (project / "Dockerfile").write_text(
        "FROM scratch\nARG REVISION\nCOPY app /srv/app\nLABEL org.opencontainers.image.revision=$REVISION\n"
    )
    (project / ".gitignore").write_text("home/\nelsewhere/\n.terraform/\n")
    git(project, "init", "-q")
    git(project, "add", ".")
    git(project, "commit", "-q", "-m", "first")


@pytest.fixture
def commands(tmp_path: Path) -> CommandLine:
    """The small project with an app; nothing is up."""
    write_project(tmp_path)
    write_app(tmp_path)
    return CommandLine(project=tmp_path, home=tmp_path / "home")


def without_builders(tmp_path: Path) -> str:
    """A PATH on which git is, and no builder."""
    folder = tmp_path / "home" / "path"
    folder.mkdir(parents=True)
    (folder / "git").symlink_to(str(shutil.which("git")))
    return str(folder)


def test_an_image_is_named_by_its_digest_and_tagged_with_the_revision(commands: CommandLine) -> None:
    done = commands.ok("build", "--builder", "builtin", "--json").document
    again = commands.ok("build", "--builder", "builtin")

    assert done["digest"] == again.stdout.strip()
    assert done["tag"] == done["revision"] == git(commands.project, "rev-parse", "HEAD")
    layout = Path(done["layout"])
    assert layout.parent == commands.home / "images"
    (entry,) = json.loads((layout / "index.json").read_text())["manifests"]
    assert entry["digest"] == done["digest"]


def test_a_dirty_tree_is_said_and_shows_in_the_tag(commands: CommandLine) -> None:
    """Each state of it has a tag of its own: an immutable one could be pushed once only."""
    commit = git(commands.project, "rev-parse", "HEAD")
    tags = []
    for text in ("print('changed')\n", "print('changed again')\n"):
        (commands.project / "app" / "__main__.py").write_text(text)
        done = commands.ok("build", "--builder", "builtin", "--json")
        assert done.document["revision"] == f"{commit}-dirty"
        assert done.document["tag"] == f"{commit}-dirty-{done.document['digest'][7:19]}"
        assert "-dirty" in done.stderr
        tags.append(done.document["tag"])

    assert tags[0] != tags[1]


def test_an_image_may_be_named_by_hand_where_there_is_no_revision(commands: CommandLine) -> None:
    shutil.rmtree(commands.project / ".git")
    ceiling = str(commands.project.parent)

    nameless = commands.run("build", "--builder", "builtin", GIT_CEILING_DIRECTORIES=ceiling)
    named = commands.ok(
        "build", "--builder", "builtin", "--tag", "v1", "--json", GIT_CEILING_DIRECTORIES=ceiling
    )

    assert nameless.status == 3
    assert "has no git revision" in nameless.stderr
    assert "--tag" in nameless.stderr
    assert (named.document["tag"], named.document["revision"]) == ("v1", "unknown")


def test_without_a_builder_the_built_in_one_is_for_the_local_aws_alone(
    commands: CommandLine, tmp_path: Path
) -> None:
    path = without_builders(tmp_path)

    for_aws = commands.run("build", "--json", PATH=path)
    for_local = commands.ok("build", "--local", "--json", PATH=path)

    assert for_aws.status == 3
    assert "there is no builder that works" in for_aws.document["error"]["message"]
    assert "--local" in for_aws.document["error"]["hint"]
    assert for_local.document["builder"] == "builtin"


def test_a_docker_daemon_that_is_down_is_reported(commands: CommandLine, tmp_path: Path) -> None:
    path = Path(without_builders(tmp_path))
    (path / "docker").write_text(
        "#!/bin/sh\necho 'Cannot connect to the Docker daemon. Is the docker daemon running?' >&2; exit 1\n"
    )
    (path / "docker").chmod(0o700)

    down = commands.run("build", "--builder", "docker", PATH=str(path))

    assert down.status == 3
    assert "its daemon does not answer: Cannot connect to the Docker daemon" in down.stderr


@pytest.fixture
def elsewhere(commands: CommandLine) -> Iterator[dict[str, str]]:
    """An endpoint that is not the local AWS of this home, as AWS is not; credentials of dev."""
    home = commands.project / "elsewhere"
    server = local.up(home=home, port=0)
    try:
        sts = boto3.client(
            "sts",
            endpoint_url=server.url,
            region_name="ap-northeast-2",
            aws_access_key_id=server.key.access_key_id,
            aws_secret_access_key=server.key.secret_access_key,
        )
        role = "arn:aws:iam::111111111111:role/t"
        keys = sts.assume_role(RoleArn=role, RoleSessionName="tests")["Credentials"]
        yield {
            "AWS_ENDPOINT_URL": server.url,
            "AWS_ACCESS_KEY_ID": keys["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"],
            "AWS_SESSION_TOKEN": keys["SessionToken"],
        }
    finally:
        local.down(home=home)


def test_an_image_of_the_built_in_builder_is_refused_where_no_local_aws_is(
    commands: CommandLine, elsewhere: dict[str, str]
) -> None:
    commands.ok("build", "--builder", "builtin")

    refused = commands.run("push", "dev", **elsewhere)

    assert refused.status == 3
    assert "made by the built-in builder" in refused.stderr
    assert "--builder podman" in refused.stderr


def test_there_must_be_an_image_and_a_repository(commands: CommandLine) -> None:
    commands.ok("local", "up", "--port", "0")
    try:
        no_image = commands.run("push", "dev", "--local")
        commands.ok("build", "--builder", "builtin")
        no_repository = commands.run("push", "dev", "--local")
    finally:
        commands.ok("local", "down")

    assert no_image.status == 3
    assert "there is no image yet" in no_image.stderr
    assert "`python -m mclass_tf build --local`" in no_image.stderr
    assert no_repository.status == 3
    assert "nothing is applied in dev" in no_repository.stderr
    assert "apply dev --local" in no_repository.stderr


def test_a_shell_of_the_local_aws_finds_its_registry_under_the_name_of_ecr(commands: CommandLine) -> None:
    try:
        env = commands.shell_environment("dev")
        again = commands.ok("local", "env", "dev", "--json", PATH=env["PATH"]).document
    finally:
        commands.ok("local", "down")

    docker = Path(str(shutil.which("docker", path=env["PATH"])))
    assert docker.parent == commands.home / "local" / "bin"
    assert env["MCLASS_TF_LOCAL_REGISTRY"] == env["AWS_ENDPOINT_URL"].removeprefix("http://")
    assert again["PATH"] == env["PATH"], "a second time changes nothing"


@pytest.fixture
def applied(commands: CommandLine) -> Iterator[CommandLine]:
    """The small project with a repository, applied on a local AWS of its own."""
    main = commands.project / "terraform" / "main.tf"
    main.write_text(main.read_text() + REPOSITORY)
    git(commands.project, "commit", "-q", "-a", "-m", "repository")
    commands.ok("local", "up", "--port", "0")
    commands.ok("plan", "dev", "--local")
    commands.ok("apply", "dev", "--local")
    yield commands
    commands.ok("local", "down")


@pytest.mark.slow
def test_what_was_built_is_pushed_by_digest_and_not_twice(applied: CommandLine) -> None:
    built = applied.ok("build", "--local", "--builder", "builtin", "--json").document

    first = applied.ok("push", "dev", "--local", "--json")
    again = applied.ok("push", "dev", "--local", "--json").document

    assert (first.document["digest"], first.document["changed"]) == (built["digest"], True)
    assert (again["digest"], again["changed"], again["sent"]) == (built["digest"], False, 0)
    detail = describe(applied)
    assert detail["imageDigest"] == built["digest"]
    assert detail["imageTags"] == [built["tag"]]
    assert detail["imageScanStatus"]["status"] == "COMPLETE"
    token = applied.shell_environment("dev")["AWS_SESSION_TOKEN"]
    assert token not in first.stdout + first.stderr

    (applied.project / "app" / "__main__.py").write_text("print('other')\n")
    applied.ok("build", "--local", "--builder", "builtin", "--tag", built["tag"])
    taken = applied.run("push", "dev", "--local")
    assert taken.status == 3
    assert "names another image already" in taken.stderr
    assert describe(applied) == detail

    rename = applied.project / "terraform" / "main.tf"
    rename.write_text(rename.read_text().replace("aws_ecr_repository.this.name", '"absent"'))
    applied.ok("plan", "dev", "--local")
    applied.ok("apply", "dev", "--local")
    missing = applied.run("push", "dev", "--local")
    assert missing.status == 3
    assert "there is no repository absent" in missing.stderr


@pytest.mark.slow
def test_an_app_that_has_not_changed_is_built_and_pushed_in_three_seconds(applied: CommandLine) -> None:
    """A new commit that leaves the app as it is; the best of three, since others may be at work on this machine."""
    applied.ok("build", "--local", "--builder", "builtin")
    applied.ok("push", "dev", "--local")
    spent = []
    for number in range(3):
        git(applied.project, "commit", "-q", "--allow-empty", "-m", f"unchanged {number}")
        started = time.monotonic()
        applied.ok("build", "--local", "--builder", "builtin")
        applied.ok("push", "dev", "--local")
        spent.append(time.monotonic() - started)

    assert min(spent) < 3, spent


@pytest.mark.slow
@pytest.mark.parametrize("builder", ["podman", "buildah"])
def test_a_container_builder_builds_the_same_bytes_from_the_same_inputs(
    applied: CommandLine, builder: str, tmp_path: Path
) -> None:
    need(builder)
    storage = tmp_path / "home" / "storage.conf"
    storage.write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{tmp_path}/home/graph"\nrunroot = "{tmp_path}/home/run"\n'
    )

    def build(*options: str) -> CommandResult:
        return applied.ok("build", "--builder", builder, *options, CONTAINERS_STORAGE_CONF=str(storage))

    first = build("--json").document
    shutil.rmtree(tmp_path / "home" / "graph")
    os.utime(applied.project / "app" / "__main__.py", (1, 1))
    assert first["digest"] == build().stdout.strip()

    pushed = applied.ok("push", "dev", "--local", "--json").document

    assert pushed["digest"] == first["digest"] == describe(applied)["imageDigest"]


def describe(commands: CommandLine) -> dict[str, Any]:
    env = commands.shell_environment("dev")
    done = subprocess.run(
        ["aws", "ecr", "describe-images", "--repository-name", "web", "--output", "json"],
        env={**env, "PATH": f"{Path(sys.executable).parent}:{env['PATH']}", "AWS_PAGER": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    (detail,) = json.loads(done.stdout)["imageDetails"]
    found: dict[str, Any] = detail
    return found
