"""The errors if the machine lacks a requirement."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tests.commands import ROOT, CommandLine


def test_a_port_that_is_in_use_is_named_and_nothing_is_started(tmp_path: Path) -> None:
    commands = CommandLine(project=ROOT, home=tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        done = commands.run("local", "up", "--port", str(port))

    assert done.status == 3
    assert f"port {port} on 127.0.0.1 is in use" in done.stderr
    assert "another port" in done.stderr
    assert not commands.ok("local", "status", "--json").document["up"]


@pytest.mark.xdist_group("idle")
def test_a_missing_terraform_is_reported_with_how_to_install_it(idle: CommandLine) -> None:
    done = idle.run("plan", "dev", "--local", MCLASS_TF_TERRAFORM="/missing/terraform")

    assert done.status == 3
    assert "/missing/terraform, which is no program" in done.stderr


@pytest.mark.xdist_group("idle")
def test_a_terraform_that_is_too_old_is_reported_with_its_version(idle: CommandLine, tmp_path: Path) -> None:
    old = tmp_path / "bin" / "terraform"
    old.parent.mkdir()
    old.write_text('#!/bin/sh\necho \'{"terraform_version": "1.5.7"}\'\n')
    old.chmod(0o755)

    done = idle.run("plan", "dev", "--local", PATH=f"{old.parent}:{os.environ['PATH']}")

    assert done.status == 3
    assert "version 1.5.7; 1.10 is the oldest" in done.stderr


@pytest.mark.xdist_group("idle")
def test_a_faulty_policy_is_reported_before_terraform_runs(idle: CommandLine) -> None:
    (idle.project / "policy" / "waivers.toml").write_text("[[waiver]]\ncheck = 1\n")

    done = idle.run("plan", "dev", "--local")

    assert done.status == 3
    assert "waivers.toml" in done.stderr
    assert "planning" not in done.stderr


@pytest.mark.xdist_group("idle")
@pytest.mark.parametrize("command", ["output", "verify"])
def test_an_environment_that_was_never_applied_has_nothing_to_show(idle: CommandLine, command: str) -> None:
    done = idle.run(command, "dev", "--local")

    assert done.status == 3
    assert "nothing is applied in dev" in done.stderr
    assert "`python -m mclass_tf plan dev --local`" in done.stderr


def test_a_missing_endpoint_is_reported_as_such(small: CommandLine) -> None:
    env = small.shell_environment("dev")
    small.ok("local", "down")

    done = small.run("plan", "dev", **{key: value for key, value in env.items() if key.startswith("AWS_")})

    assert done.status == 3
    assert "nothing answers at http://127.0.0.1" in done.stderr


@pytest.mark.slow
def test_a_protected_environment_is_not_destroyed(small: CommandLine) -> None:
    main = small.project / "terraform" / "main.tf"
    main.write_text(main.read_text() + 'output "deletion_protection" { value = true }\n')
    small.ok("apply", "dev", "--local", "--yes")

    done = small.run("destroy", "dev", "--local", "--yes")

    assert done.status == 5
    assert "dev is protected from deletion" in done.stderr
    assert small.ok("output", "dev", "role_name", "--local").stdout == "small-task\n"
