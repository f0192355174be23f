"""Terraform's commands as methods: they return the meaning of success, and raise on failure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

from mclass_tf.errors import InterruptedByUserError, MclassError
from mclass_tf.system.process import Command, Completed, Runner
from mclass_tf.system.runs import RunFolder
from mclass_tf.terraform import commands, messages, provider
from mclass_tf.terraform.engine import Engine

_CHANGES = 2  # `plan -detailed-exitcode`: success, with changes


@dataclass(frozen=True, kw_only=True)
class Terraform:
    """Terraform in the folder `root` with the environment variables `env`. `progress` gets a line for each action.

    Commands that write or hold the state's lock write their output to `run_folder`, so that they end in order even if this
    process dies. `show` does not: a plan contains secrets, which must not be stored.
    """

    engine: Engine
    root: Path
    env: Mapping[str, str]
    environment: str
    run: Runner
    run_folder: RunFolder | None
    progress: Callable[[str], None]

    @contextmanager
    def with_one_provider(self, *, memory: Path) -> Iterator[Terraform]:
        """Yield this Terraform with one provider process for all commands, or unchanged if that is impossible.

        Use it only for commands that read: for writes, Terraform must check and start the provider itself. `memory` is a file
        that caches the hash of an unchanged provider.
        """
        package = provider.find_package(
            root=self.root,
            data=Path(self.env["TF_DATA_DIR"]),
            cli_config=Path(self.env["TF_CLI_CONFIG_FILE"]),
        )
        # A requested log would go to the provider's own output, and be lost.
        is_logged = any(name.startswith("TF_LOG") for name in self.env)
        if package is None or is_logged or not provider.is_locked(package, memory=memory):
            yield self  # Terraform itself reports a wrong provider
            return
        with provider.running(package, root=self.root, env=self.env) as variables:
            yield replace(self, env={**self.env, **variables})

    def init(self, *, backend_config: Path) -> None:
        self._run_with_ui(commands.init(backend_config=commands.relative(backend_config, root=self.root)))

    def plan(self, *, out: Path, var_file: Path, destroy: bool = False) -> bool:
        """Save a plan to `out`; return whether it has changes. Raise ConfigurationError if `var_file` sets an undeclared variable."""
        argv = commands.plan(out=out, var_file=var_file, destroy=destroy)
        done, output = self._run_with_ui(argv, success=(0, _CHANGES))
        messages.require_declared(output, var_file=var_file)
        return done.status == _CHANGES

    def show(self, *, plan_file: Path) -> Mapping[str, Any]:
        """Return a saved plan as JSON. It contains secrets: never store it."""
        document: Mapping[str, Any] = json.loads(self._run_silently(commands.show(plan_file=plan_file)))
        return document

    def apply(self, *, plan_file: Path) -> Mapping[str, Any]:
        """Apply a saved plan; return the outputs by name, {} if a full disk lost Terraform's output."""
        _, output = self._run_with_ui(commands.apply(plan_file=plan_file))
        outputs: dict[str, Any] = {}
        for message in output:
            outputs |= message.body.get("outputs", {}) if message.kind == "outputs" else {}
        return {name: output.get("value") for name, output in outputs.items()}

    def force_unlock(self, *, lock_id: str) -> None:
        self._run_silently(commands.force_unlock(lock_id=lock_id), run_folder=self.run_folder)

    def push_state(self, file: Path) -> None:
        """Write the state in `file` to the backend; Terraform refuses one of another lineage or with an older serial."""
        self._run_silently(commands.push_state(file=file), run_folder=self.run_folder)

    def _run_with_ui(
        self, arguments: tuple[str, ...], *, success: tuple[int, ...] = (0,)
    ) -> tuple[Completed, list[messages.Message]]:
        output: list[messages.Message] = []

        def listen(line: str) -> None:
            message = messages.parse(line)
            if message is not None:
                output.append(message)
                if message.is_news or message.is_warning:
                    self.progress(message.text)

        done = self._start(arguments, on_stdout=listen, run_folder=self.run_folder)
        if done.interrupted or done.status not in success:
            raise self._failure(arguments[0], done, output)
        return done, output

    def _run_silently(self, arguments: tuple[str, ...], *, run_folder: RunFolder | None = None) -> str:
        done = self._start(arguments, run_folder=run_folder)
        if done.interrupted or done.status != 0:
            raise self._failure(arguments[0], done, [])
        return done.stdout

    def _start(
        self,
        arguments: tuple[str, ...],
        *,
        on_stdout: Callable[[str], None] | None = None,
        run_folder: RunFolder | None,
    ) -> Completed:
        command = Command(
            argv=(*self.engine.argv, *arguments),
            cwd=self.root,
            env=self.env,
            name=" ".join(takewhile(lambda word: not word.startswith("-"), arguments)),
            run_folder=run_folder,
        )
        done = self.run(command, on_stdout=on_stdout)
        provider.end_left_behind(group=done.group)
        return done

    def _failure(self, command: str, done: Completed, output: list[messages.Message]) -> MclassError:
        error = messages.failure(
            command=command,
            status=done.status,
            reported=messages.diagnostics(output),
            stderr=done.stderr,
            environment=self.environment,
        )
        if not done.interrupted:
            return error
        return InterruptedByUserError(
            f"terraform {command} in {self.environment} was interrupted and has stopped in order",
            hint="the state records what was done and is unlocked; plan again to continue"
            if command == "apply"
            else "nothing was changed",
        )
