"""The grammar of the command line. Nothing that a command needs is imported before it runs: --help answers at once."""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from mclass_tf import __version__, strategy
from mclass_tf.errors import UsageError
from mclass_tf.rehearsal import names

if TYPE_CHECKING:
    from mclass_tf.cli.call import Call
    from mclass_tf.cli.outcome import Outcome

_EXIT_CODES = """exit codes: 0 done, 1 a bug, 2 usage, 3 configuration, 4 Terraform, 5 a gate said no,
6 rollout failed or rolled back, 7 verification failed, 130 interrupted"""


class _Parser(argparse.ArgumentParser):
    """Raises UsageError where argparse would exit; commands made of it are parsers of this kind too.

    `words`: what is read as another word, since argparse would take it for an option.
    `passes_on`: what stands behind the first `--` is the command line of another program, and stays as it is, in `argv`.
    """

    passes_on = False
    words: Mapping[str, str] = {}

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if not self.passes_on:
            given = None if args is None else [self.words.get(word, word) for word in args]
            return super().parse_known_args(given, namespace)
        # argparse itself would take a second `--` out.
        own = list(args or ())
        at = own.index("--") if "--" in own else len(own)
        found, unknown = super().parse_known_args(own[:at], namespace)
        found.argv = own[at + 1 :]
        if not found.argv or unknown:
            self.error("the command to run stands behind --")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        raise UsageError(message, hint=f"{self.prog} --help")


def _later(name: str) -> Callable[[Call], Outcome]:
    """Return the command `name`, "module.function" of this package, to be imported when it is called."""

    def run(call: Call) -> Outcome:
        module, _, function = name.partition(".")
        found: Callable[[Call], Outcome] = getattr(
            importlib.import_module(f"mclass_tf.cli.{module}"), function
        )
        return found(call)

    return run


def _shared(**defaults: Any) -> _Parser:
    """Return the options that stand before or after the command. Each use needs its own: parents share their defaults."""
    shared = _Parser(add_help=False, argument_default=argparse.SUPPRESS)
    shared.add_argument("--local", action="store_true", help="act on the local AWS, started if it is not up")
    shared.add_argument("--json", action="store_true", help="one JSON document on standard output")
    shared.add_argument(
        "--project", metavar="FOLDER", help="the project (default: the one around this folder)"
    )
    shared.set_defaults(**defaults)
    return shared


def parser() -> argparse.ArgumentParser:
    top = _Parser(
        prog="mclass-tf",
        allow_abbrev=False,  # half the name of an option may become another option's tomorrow
        description="Plan, gate, apply and verify a container service on Amazon ECS Fargate: on AWS, or on a local AWS.",
        epilog=_EXIT_CODES,
        parents=[_shared(local=False, json=False, project=".")],
    )
    top.add_argument("--version", action="version", version=f"mclass-tf {__version__}")
    top.set_defaults(all=False, command="", yes=False)
    shared = _shared()
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run: str, text: str, *, several: bool = True) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name, allow_abbrev=False, help=text, description=text, parents=[shared], epilog=_EXIT_CODES
        )
        sub.set_defaults(run=_later(run), command=name)
        sub.add_argument(
            "environment", metavar="ENV", nargs="?" if several else None, help="a folder of environments/"
        )
        if several:
            sub.add_argument("--all", action="store_true", help="every environment, side by side")
            sub.add_argument(
                "--jobs",
                type=_positive,
                metavar="N",
                default=4,
                help="with --all: at most so many at a time (4)",
            )
        return sub

    command(
        "bootstrap",
        "commands.bootstrap",
        "make the state bucket: versioned, encrypted, TLS only, no public access",
    )
    command("init", "commands.init", "initialise Terraform for an environment")
    sub = command("plan", "commands.plan", "plan, save the plan, and let the gates judge it")
    sub.add_argument("--image", type=_digest, metavar="DIGEST", help="the image to release, sha256:…")
    sub.add_argument(
        "--out", type=Path, metavar="FILE", help="also write plan and approval here, for apply --plan"
    )
    sub.add_argument("--sarif", type=Path, metavar="FILE", help="write the findings as SARIF 2.1.0")
    sub = command("apply", "commands.apply", "apply the approved plan; without one: plan, gate, show, ask")
    sub.add_argument("--plan", type=Path, metavar="FILE", help="a plan that plan --out wrote")
    _yes(sub)
    sub = command("output", "commands.output", "show the applied outputs", several=False)
    sub.add_argument("name", nargs="?", metavar="NAME", help="one of them")
    _yes(
        command(
            "destroy", "commands.destroy", "destroy everything in an environment, after asking", several=False
        )
    )
    command("verify", "commands.verify_environment", "run the integration tests against the applied outputs")
    sub = command(
        "unlock", "commands.unlock", "release a lock that a dead process left on the state", several=False
    )
    sub.add_argument("lock_id", metavar="LOCK", help="the lock's id, as the error told it")
    _yes(sub)
    sub = command(
        "push", "image_commands.push", "push the image that was built to the environment's repository"
    )
    sub.add_argument(
        "--image", type=_digest, metavar="DIGEST", help="one that was built here (default: the last)"
    )
    sub.add_argument("--tag", type=_tag, metavar="TAG", help="tag it so (default: as it was built)")
    sub = command(
        "release",
        "release_commands.release",
        "plan, gate and apply an image, roll it out, watch, verify, record",
        several=False,
    )
    which = sub.add_mutually_exclusive_group()
    which.add_argument(
        "--image", type=_digest, metavar="DIGEST", help="the image (default: the last that was built)"
    )
    which.add_argument(
        "--resume", action="store_true", help="go on with the release or promotion that was cut off"
    )
    _pause_at(sub)
    _yes(sub)
    _answer_commands(command)
    sub = command(
        "rollback",
        "release_commands.rollback",
        "go back to the previous proven release, or take back the rollout that is under way",
        several=False,
    )
    sub.add_argument(
        "--to",
        type=_release,
        metavar="RELEASE",
        help="go back to this one: a digest, or a task definition (FAMILY:REVISION or ARN)",
    )
    sub = command(
        "render",
        "release_commands.render",
        "print task-definition.json, as `aws ecs register-task-definition` takes it",
        several=False,
    )
    sub.add_argument("--image", type=_digest, metavar="DIGEST", help="with this image instead")
    command("status", "release_commands.status", "tell what runs, and where it answers")
    sub = command("history", "promote_commands.history", "tell what was released, and what came of it")
    sub.add_argument(
        "--limit", type=_positive, metavar="N", default=20, help="at most so many, the latest first (20)"
    )
    _promote_command(commands, shared)
    _run_command(commands, shared)
    _rehearse_command(commands, shared)
    _build_command(commands, shared)
    _local_commands(commands, shared)
    return top


def _answer_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    text = "tell the rollout that waits at a pause to go on"
    sub = command("continue", "answer_commands.continue_rollout", text, several=False)
    sub.add_argument(
        "--skip-smoke",
        action="store_true",
        help="do not ask the new version before it gets production traffic",
    )
    text = "take back the rollout that is under way, whether it waits or not"
    command("abort", "answer_commands.abort", text, several=False)


def _promote_command(commands: Any, shared: argparse.ArgumentParser) -> None:
    text = "bring what one environment runs, proven, to the next: the same image, by digest"
    sub = commands.add_parser(
        "promote", allow_abbrev=False, help=text, description=text, parents=[shared], epilog=_EXIT_CODES
    )
    sub.set_defaults(run=_later("promote_commands.promote"))
    sub.words = {"->": "→"}
    sub.add_argument("path", metavar="FROM TO", nargs="+", help="as well: FROM→TO, or 'FROM->TO'")
    _pause_at(sub)
    _yes(sub)


def _run_command(commands: Any, shared: argparse.ArgumentParser) -> None:
    text = "run a command once, in the image that serves, with its network, roles and secrets"
    sub = commands.add_parser(
        "run",
        allow_abbrev=False,
        help=text,
        description=text,
        parents=[shared],
        epilog=f"{_EXIT_CODES}; else the command's own",
        usage="%(prog)s [option ...] ENV -- CMD [ARG ...]",
    )
    sub.passes_on = True
    sub.set_defaults(run=_later("run_task_commands.run"))
    sub.add_argument("environment", metavar="ENV", help="a folder of environments/")
    sub.add_argument(
        "--timeout", type=_above_zero, metavar="SECONDS", help="stop it when it is not over by then"
    )


def _rehearse_command(commands: Any, shared: argparse.ArgumentParser) -> None:
    text = "release a version on the local AWS under traffic, with a fault if asked for, and report what users met"
    sub = commands.add_parser(
        "rehearse", allow_abbrev=False, help=text, description=text, parents=[shared], epilog=_EXIT_CODES
    )
    sub.set_defaults(run=_later("rehearse_commands.run"))
    sub.add_argument(
        "environment",
        metavar="ENV",
        nargs="?",
        help="a folder of environments/ (default: dev, or the only one)",
    )
    sub.add_argument("--rate", type=_above_zero, default=200.0, metavar="N", help="requests a second (200)")
    sub.add_argument(
        "--seconds", type=_above_zero, default=60.0, metavar="N", help="send for so long at least (60)"
    )
    sub.add_argument(
        "--requests", type=_positive, metavar="N", help="send so many at least, instead of --seconds"
    )
    sub.add_argument(
        "--speed",
        type=_speed,
        default=10.0,
        metavar="N",
        help="AWS's own timers run N times as fast, 1 to 1000 (10)",
    )
    sub.add_argument("--runs", type=_positive, default=1, metavar="N", help="rehearse it N times (1)")
    sub.add_argument(
        "--from",
        dest="source",
        metavar="ENV",
        help="prove the new version there first, and promote it, as `promote` does",
    )
    sub.add_argument(
        "--fault", choices=names.FAULTS, metavar="NAME", help=f"what goes wrong: {', '.join(names.FAULTS)}"
    )
    sub.add_argument(
        "--at",
        choices=names.STEPS,
        metavar="STEP",
        help=f"where the fault killed kills the command: {', '.join(names.STEPS)}",
    )
    sub.add_argument(
        "--without",
        choices=names.PROTECTIONS,
        metavar="NAME",
        help=f"take a protection away, and see what it is for: {', '.join(names.PROTECTIONS)}",
    )
    sub.add_argument(
        "--strategy",
        choices=strategy.NAMES,
        metavar="NAME",
        help=f"release so, in the place of the environment's strategy: {', '.join(strategy.NAMES)}",
    )
    sub.add_argument(
        "--report", type=Path, metavar="FILE", help="write the page here (default: .mclass/rehearsal/)"
    )


def _build_command(commands: Any, shared: argparse.ArgumentParser) -> None:
    text = "build the image of the service; print its digest"
    build = commands.add_parser(
        "build", allow_abbrev=False, help=text, description=text, parents=[shared], epilog=_EXIT_CODES
    )
    build.set_defaults(run=_later("image_commands.build"))
    build.add_argument("--tag", type=_tag, metavar="TAG", help="name it so (default: the git revision)")
    build.add_argument(
        "--builder",
        choices=("docker", "podman", "buildah", "builtin"),
        help="build with this one (default: the first that works; with --local, the built-in one where none does)",
    )
    build.add_argument(
        "--build-arg", action="append", default=[], metavar="NAME=VALUE", help="an argument of the Dockerfile"
    )
    build.add_argument(
        "--build-context",
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="a context of the Dockerfile",
    )


def _local_commands(commands: Any, shared: argparse.ArgumentParser) -> None:
    text = "the local AWS: start, stop, ask, enter"
    local = commands.add_parser("local", allow_abbrev=False, help=text, description=text, parents=[shared])
    verbs = local.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def verb(name: str, run: str, text: str) -> argparse.ArgumentParser:
        sub: argparse.ArgumentParser = verbs.add_parser(
            name, allow_abbrev=False, help=text, description=text, parents=[shared]
        )
        sub.set_defaults(run=_later(run))
        return sub

    up = verb(
        "up", "local_commands.up", "start it in the background, with what every environment takes as given"
    )
    up.add_argument(
        "--port", type=_port, metavar="N", help="listen here (default 4566, or a free one; 0: a free one)"
    )
    up.add_argument(
        "--speed",
        type=_speed,
        metavar="N",
        help="run the timers of ECS and the load balancer N times as fast as AWS's (1); changes one that is up",
    )
    up.add_argument(
        "--tasks",
        choices=("process", "podman", "docker"),
        default="",
        help="what runs the tasks (default: chosen by the image)",
    )
    up.add_argument(
        "--from",
        dest="snapshot",
        type=Path,
        metavar="FILE",
        help="start from this snapshot: all that was in the local AWS that it was saved from",
    )
    up.set_defaults(port=None, speed=None, snapshot=None)
    save = verb(
        "save", "local_commands.save", "write all that is in it into a file, from which `up --from` starts"
    )
    save.add_argument("file", metavar="FILE", type=Path, help="the snapshot; one that is there is replaced")
    verb("down", "local_commands.down", "stop it; everything in it is gone")
    verb("status", "local_commands.status", "tell whether it is up, and where")
    env = verb("env", "local_commands.env", "print what sets a shell up for it, for eval")
    env.add_argument("environment", metavar="ENV", help="a folder of environments/")


def _yes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", default=argparse.SUPPRESS, help="do not ask")


def _pause_at(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pause-at",
        type=_stage,
        action="append",
        default=[],
        metavar="STAGE",
        help=f"wait there for `continue` or `abort`: {', '.join(_written(s) for s in strategy.PAUSE_STAGES)}",
    )


def _stage(text: str) -> str:
    try:
        return strategy.pause_stage(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _written(stage: str) -> str:
    return stage.lower().replace("_", "-")


def _above_zero(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def _port(text: str) -> int:
    highest = 65535
    if not text.isdigit() or int(text) > highest:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: 0 to {highest}")
    return int(text)


def _speed(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def _release(text: str) -> str:
    if text.startswith("sha256:"):
        return _digest(text)
    if not re.fullmatch(r"(arn:\S+/)?[A-Za-z0-9_-]+:\d+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a digest, sha256:…, nor FAMILY:REVISION")
    return text


def _tag(text: str) -> str:
    if not re.fullmatch(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a tag: letters, digits and . _ -, at most 128")
    return text


def _digest(text: str) -> str:
    digits = text.removeprefix("sha256:")
    if not text.startswith("sha256:") or len(digits) != 64 or set(digits) - set("0123456789abcdef"):  # noqa: PLR2004
        raise argparse.ArgumentTypeError(f"{text!r} is not a digest: sha256: and 64 hexadecimal digits")
    return text
