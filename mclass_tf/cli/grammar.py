"""Make the argument parser from the table of commands. A command is imported only when it runs."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from mclass_tf import __version__
from mclass_tf.cli.command_table import COMMANDS, EXIT_CODES, SHARED, Argument, Command, OneOf
from mclass_tf.errors import UsageError

if TYPE_CHECKING:
    from mclass_tf.cli.call import Call
    from mclass_tf.cli.outcome import CommandOutcome


class _Parser(argparse.ArgumentParser):
    """Raises UsageError instead of exiting. Parsers of subcommands have this class too.

    `words` and `passes_on` are those of Command.
    """

    passes_on = False
    words: Mapping[str, str] = {}

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if not self.passes_on:
            words = None if args is None else [self.words.get(word, word) for word in args]
            return super().parse_known_args(words, namespace)
        # argparse would remove a second `--`.
        own = list(args or ())
        at = own.index("--") if "--" in own else len(own)
        arguments, unknown = super().parse_known_args(own[:at], namespace)
        arguments.argv = own[at + 1 :]
        if not arguments.argv or unknown:
            self.error("the command to run must follow --")
        return arguments, unknown

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        raise UsageError(message, hint=f"{self.prog} --help")


def parser() -> argparse.ArgumentParser:
    top = _Parser(
        prog="mclass-tf",
        allow_abbrev=False,  # an abbreviation may become ambiguous in a later version
        description="Plan, gate, apply and verify a container service on Amazon ECS Fargate: on AWS, or on a local AWS.",
        epilog=EXIT_CODES,
        parents=[_shared(local=False, json=False, project=".")],
    )
    top.add_argument("--version", action="version", version=f"mclass-tf {__version__}")
    top.set_defaults(all=False, command="", yes=False)
    _add_commands(top, COMMANDS, shared=_shared())
    return top


def _shared(**defaults: Any) -> _Parser:
    """Return the options accepted before and after the command. Each use needs its own parser: parents share defaults."""
    shared = _Parser(add_help=False, argument_default=argparse.SUPPRESS)
    for argument in SHARED:
        _add_argument(shared, argument)
    shared.set_defaults(**defaults)
    return shared


def _add_commands(parent: _Parser, commands: Sequence[Command], *, shared: _Parser) -> None:
    parsers = parent.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in commands:
        sub = parsers.add_parser(
            command.name,
            allow_abbrev=False,
            help=command.help,
            description=command.help,
            usage=command.usage,
            epilog=command.epilog,
            parents=[shared],
        )
        sub.words, sub.passes_on = command.words, command.passes_on
        for item in command.arguments:
            if isinstance(item, Argument):
                _add_argument(sub, item)
            else:
                _add_one_of(sub, item)
        if command.commands:
            _add_commands(sub, command.commands, shared=shared)
        else:
            sub.set_defaults(run=_lazy(command.run), command=command.name)


def _add_one_of(target: argparse.ArgumentParser, item: OneOf) -> None:
    group = target.add_mutually_exclusive_group()
    for option in item.options:
        _add_argument(group, option)


def _add_argument(target: argparse._ActionsContainer, argument: Argument) -> None:
    if argument.is_flag:
        target.add_argument(argument.name, action="store_true", help=argument.help)
        return
    settings: dict[str, Any] = {
        "metavar": argument.metavar,
        "type": argument.type,
        "default": argument.default,
        "choices": argument.choices,
        "nargs": argument.nargs,
        "dest": argument.dest,
        **({"action": "append", "default": []} if argument.is_repeatable else {}),
    }
    present = {name: value for name, value in settings.items() if value is not None}
    target.add_argument(argument.name, help=argument.help, **present)


def _lazy(name: str) -> Callable[[Call], CommandOutcome]:
    """Return a function that imports and calls the command `name`, "module.function" of this package."""

    def run(call: Call) -> CommandOutcome:
        module, _, function = name.partition(".")
        command: Callable[[Call], CommandOutcome] = getattr(
            importlib.import_module(f"mclass_tf.cli.{module}"), function
        )
        return command(call)

    return run
