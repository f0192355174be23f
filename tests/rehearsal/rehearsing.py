"""Rehearsals as a user runs them, and what must hold after each."""

from __future__ import annotations

from typing import Any

from tests.commands import CommandLine, CommandResult

_TRIES = 3


def rehearse_successfully(commands: CommandLine, *arguments: str) -> Any:
    """Run a rehearsal that must pass; return the document.

    Retry once if the machine was too busy to send the load on time: that says nothing about the release.
    """
    for _ in range(_TRIES):
        done = commands.run("rehearse", *arguments, "--json")
        if done.status == 0 or not done.document.get("sender", {}).get("is_behind"):
            break
    assert done.status == 0, _described(done)
    return done.document


def assert_everything_is_restored(commands: CommandLine, name: str = "dev") -> None:
    """The service matches what Terraform wrote, so the scenario has restored everything it changed."""
    planned = commands.ok("plan", name, "--local", "--json").document
    assert planned["resources"] == []


def _described(done: CommandResult) -> str:
    return f"exit {done.status}\n{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
