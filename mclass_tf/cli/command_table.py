"""The table of all commands, from which the parser and `--help` are made.

It does not import what commands need, so that --help answers at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mclass_tf import strategy
from mclass_tf.cli import values
from mclass_tf.rehearsal import names

EXIT_CODES = """exit codes: 0 done, 1 a bug, 2 usage, 3 configuration, 4 Terraform, 5 a gate said no,
6 rollout failed or rolled back, 7 verification failed, 130 interrupted"""


@dataclass(frozen=True, kw_only=True)
class Argument:
    """An option (its name begins with `--`) or a positional argument. None keeps argparse's default."""

    name: str
    help: str
    metavar: str | None = None
    type: Callable[[str], Any] | None = None
    default: Any = None
    choices: tuple[str, ...] | None = None
    nargs: str | int | None = None
    dest: str | None = None
    is_flag: bool = False
    is_repeatable: bool = False


@dataclass(frozen=True, kw_only=True)
class OneOf:
    """Mutually exclusive options."""

    options: tuple[Argument, ...]


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command: either `run` is its function, as "module.function" of this package, or `commands` are its subcommands.

    `words`: words of the command line to replace, since argparse would take them for options.
    `passes_on`: the words after the first `--` are the command line of another program, in `argv`.
    """

    name: str
    help: str
    run: str = ""
    arguments: tuple[Argument | OneOf, ...] = ()
    commands: tuple[Command, ...] = ()
    words: Mapping[str, str] = field(default_factory=dict)
    passes_on: bool = False
    usage: str | None = None
    epilog: str | None = EXIT_CODES


SHARED = (
    Argument(name="--local", is_flag=True, help="act on the local AWS, started if it is not up"),
    Argument(name="--json", is_flag=True, help="one JSON document on standard output"),
    Argument(name="--project", metavar="FOLDER", help="the project (default: the one around this folder)"),
)
"""The options of every command, also accepted before it."""

_ENVIRONMENT = Argument(name="environment", metavar="ENV", help="a folder of environments/")
_ENVIRONMENTS = (
    Argument(name="environment", metavar="ENV", nargs="?", help="a folder of environments/"),
    Argument(name="--all", is_flag=True, help="every environment, side by side"),
    Argument(
        name="--jobs",
        type=values.positive,
        metavar="N",
        default=4,
        help="with --all: run at most N environments at once (default 4)",
    ),
)
_YES = Argument(name="--yes", is_flag=True, help="do not ask")
_PAUSE_AT = Argument(
    name="--pause-at",
    type=values.stage,
    is_repeatable=True,
    metavar="STAGE",
    help="wait there for `continue` or `abort`: "
    + ", ".join(stage.lower().replace("_", "-") for stage in strategy.PAUSE_STAGES),
)


def _image(text: str) -> Argument:
    return Argument(name="--image", type=values.digest, metavar="DIGEST", help=text)


def _tag(text: str) -> Argument:
    return Argument(name="--tag", type=values.tag, metavar="TAG", help=text)


_LOCAL = (
    Command(
        name="up",
        run="local_commands.up",
        help="start it in the background, with the prerequisites of every environment",
        epilog=None,
        arguments=(
            Argument(
                name="--port",
                type=values.port,
                metavar="N",
                help="listen here (default 4566, or a free one; 0: a free one)",
            ),
            Argument(
                name="--speed",
                type=values.speed,
                metavar="N",
                help="run the timers of ECS and the load balancer N times as fast as AWS's (default 1); also changes a running instance",
            ),
            Argument(
                name="--tasks",
                choices=("process", "podman", "docker"),
                default="",
                help="what runs the tasks (default: chosen by the image)",
            ),
            Argument(
                name="--client-address",
                type=values.address,
                metavar="ADDRESS",
                help="the address in AWS of clients of the load balancers, which security groups see (default 203.0.113.25, a public one); also changes a running instance",
            ),
            Argument(
                name="--session-seconds",
                type=values.positive,
                metavar="N",
                help="let role sessions end after at most N real seconds (default: as on AWS); also changes a running instance",
            ),
            Argument(
                name="--from",
                dest="snapshot",
                type=Path,
                metavar="FILE",
                help="start from this snapshot, with everything that was in the local AWS when it was saved",
            ),
        ),
    ),
    Command(
        name="save",
        run="local_commands.save",
        help="save everything in it to a file, from which `up --from` starts",
        epilog=None,
        arguments=(
            Argument(name="file", metavar="FILE", type=Path, help="the snapshot; replaced if it exists"),
        ),
    ),
    Command(name="down", run="local_commands.down", help="stop it and delete everything in it", epilog=None),
    Command(name="status", run="local_commands.status", help="show whether it is up, and where", epilog=None),
    Command(
        name="env",
        run="local_commands.env",
        help="print the variables that point a shell at it, for eval",
        epilog=None,
        arguments=(_ENVIRONMENT,),
    ),
)

COMMANDS = (
    Command(
        name="bootstrap",
        run="commands.bootstrap",
        help="make the state bucket: versioned, encrypted, TLS only, no public access",
        arguments=_ENVIRONMENTS,
    ),
    Command(
        name="init",
        run="commands.init",
        help="initialise Terraform for an environment",
        arguments=_ENVIRONMENTS,
    ),
    Command(
        name="plan",
        run="commands.plan",
        help="plan, save the plan, and let the gates judge it",
        arguments=(
            *_ENVIRONMENTS,
            _image("the image to release, sha256:…"),
            Argument(
                name="--out",
                type=Path,
                metavar="FILE",
                help="also write plan and approval here, for apply --plan",
            ),
            Argument(name="--sarif", type=Path, metavar="FILE", help="write the findings as SARIF 2.1.0"),
        ),
    ),
    Command(
        name="apply",
        run="commands.apply",
        help="apply the approved plan; without one: plan, gate, show, ask",
        arguments=(
            *_ENVIRONMENTS,
            Argument(name="--plan", type=Path, metavar="FILE", help="a plan that plan --out wrote"),
            _YES,
        ),
    ),
    Command(
        name="output",
        run="commands.output",
        help="show the applied outputs",
        arguments=(_ENVIRONMENT, Argument(name="name", nargs="?", metavar="NAME", help="show this one only")),
    ),
    Command(
        name="destroy",
        run="commands.destroy",
        help="destroy everything in an environment, after asking",
        arguments=(_ENVIRONMENT, _YES),
    ),
    Command(
        name="verify",
        run="commands.verify_environment",
        help="run the integration tests against the applied outputs",
        arguments=_ENVIRONMENTS,
    ),
    Command(
        name="unlock",
        run="commands.unlock",
        help="release a lock that a dead process left on the state",
        arguments=(
            _ENVIRONMENT,
            Argument(name="lock_id", metavar="LOCK", help="the lock's id, from the error message"),
            _YES,
        ),
    ),
    Command(
        name="push",
        run="image_commands.push",
        help="push the image that was built to the environment's repository",
        arguments=(
            *_ENVIRONMENTS,
            _image("an image that was built here (default: the last)"),
            _tag("the tag (default: the tag from the build)"),
        ),
    ),
    Command(
        name="release",
        run="release_commands.release",
        help="plan, gate and apply an image, roll it out, watch, verify, record",
        arguments=(
            _ENVIRONMENT,
            OneOf(
                options=(
                    _image("the image (default: the last that was built)"),
                    Argument(
                        name="--resume",
                        is_flag=True,
                        help="continue the release or promotion that was cut off",
                    ),
                )
            ),
            _PAUSE_AT,
            _YES,
        ),
    ),
    Command(
        name="continue",
        run="answer_commands.continue_rollout",
        help="continue the rollout that waits at a pause",
        arguments=(
            _ENVIRONMENT,
            Argument(
                name="--skip-smoke",
                is_flag=True,
                help="do not smoke-test the new version before it gets production traffic",
            ),
        ),
    ),
    Command(
        name="abort",
        run="answer_commands.abort",
        help="roll back the rollout that is under way, paused or not",
        arguments=(_ENVIRONMENT,),
    ),
    Command(
        name="rollback",
        run="release_commands.rollback",
        help="return to the previous proven release, or roll back the rollout that is under way",
        arguments=(
            _ENVIRONMENT,
            Argument(
                name="--to",
                type=values.release,
                metavar="RELEASE",
                help="return to this one: a digest, or a task definition (FAMILY:REVISION or ARN)",
            ),
        ),
    ),
    Command(
        name="render",
        run="release_commands.render",
        help="print task-definition.json, as `aws ecs register-task-definition` takes it",
        arguments=(_ENVIRONMENT, _image("with this image instead")),
    ),
    Command(
        name="status",
        run="release_commands.status",
        help="show what runs, and where it answers",
        arguments=_ENVIRONMENTS,
    ),
    Command(
        name="history",
        run="promote_commands.history",
        help="list the attempts, and how each ended",
        arguments=(
            *_ENVIRONMENTS,
            Argument(
                name="--limit",
                type=values.positive,
                metavar="N",
                default=20,
                help="show at most N attempts, the latest first (default 20)",
            ),
        ),
    ),
    Command(
        name="promote",
        run="promote_commands.promote",
        help="release in one environment the proven image of another, by digest",
        arguments=(
            Argument(name="path", metavar="FROM TO", nargs="+", help="or FROM→TO, or 'FROM->TO'"),
            _PAUSE_AT,
            _YES,
        ),
        words={"->": "→"},
    ),
    Command(
        name="run",
        run="run_task_commands.run",
        help="run a command once, in the image that serves, with its network, roles and secrets",
        arguments=(
            _ENVIRONMENT,
            Argument(
                name="--timeout",
                type=values.above_zero,
                metavar="SECONDS",
                help="stop the task if it takes longer",
            ),
        ),
        passes_on=True,
        usage="%(prog)s [option ...] ENV -- CMD [ARG ...]",
        epilog=f"{EXIT_CODES}; else the command's own",
    ),
    Command(
        name="rehearse",
        run="rehearse_commands.run",
        help="release a version on the local AWS under traffic, with a fault if asked for, and report what users met",
        arguments=(
            Argument(
                name="environment",
                metavar="ENV",
                nargs="?",
                help="a folder of environments/ (default: dev, or the only one)",
            ),
            Argument(
                name="--rate",
                type=values.above_zero,
                default=200.0,
                metavar="N",
                help="requests a second (default 200)",
            ),
            Argument(
                name="--seconds",
                type=values.above_zero,
                default=60.0,
                metavar="N",
                help="send for at least N seconds (default 60)",
            ),
            Argument(
                name="--requests",
                type=values.positive,
                metavar="N",
                help="send at least N requests, instead of --seconds",
            ),
            Argument(
                name="--speed",
                type=values.speed,
                default=10.0,
                metavar="N",
                help="run AWS's own timers N times as fast, 1 to 1000 (default 10)",
            ),
            Argument(
                name="--runs",
                type=values.positive,
                default=1,
                metavar="N",
                help="rehearse N times (default 1)",
            ),
            Argument(
                name="--from",
                dest="source",
                metavar="ENV",
                help="prove the new version there first, and promote it, as `promote` does",
            ),
            Argument(
                name="--fault",
                choices=names.FAULTS,
                metavar="NAME",
                help=f"what goes wrong: {', '.join(names.FAULTS)}",
            ),
            Argument(
                name="--at",
                choices=names.STEPS,
                metavar="STEP",
                help=f"the step at which the fault `killed` kills the command: {', '.join(names.STEPS)}",
            ),
            Argument(
                name="--without",
                choices=names.PROTECTIONS,
                metavar="NAME",
                help=f"remove a protection, to see what it prevents: {', '.join(names.PROTECTIONS)}",
            ),
            Argument(
                name="--strategy",
                choices=strategy.NAMES,
                metavar="NAME",
                help=f"release by this strategy, not the environment's: {', '.join(strategy.NAMES)}",
            ),
            Argument(
                name="--report",
                type=Path,
                metavar="FILE",
                help="write the report here (default: .mclass/rehearsal/)",
            ),
        ),
    ),
    Command(
        name="conform",
        run="conform_commands.conform",
        help="record the life of an environment, from nothing to nothing, and compare recordings of AWS and the local AWS",
        usage="%(prog)s [option ...] ENV --out FILE\n       %(prog)s [option ...] --compare A B",
        epilog=EXIT_CODES.replace("verification failed", "verification failed, or the recordings differ"),
        arguments=(
            Argument(
                name="environment",
                metavar="ENV",
                nargs="?",
                help="a folder of environments/, of which nothing exists: it is made, and destroyed in the end",
            ),
            Argument(name="--out", type=Path, metavar="FILE", help="write the recording here"),
            Argument(
                name="--compare",
                type=Path,
                metavar="FILE",
                nargs=2,
                help="compare two recordings instead",
            ),
            Argument(
                name="--speed",
                type=values.speed,
                default=20.0,
                metavar="N",
                help="with --local: run AWS's own timers N times as fast, 1 to 1000 (default 20)",
            ),
            _YES,
        ),
    ),
    Command(
        name="build",
        run="image_commands.build",
        help="build the image of the service; print its digest",
        arguments=(
            _tag("the tag (default: the git revision)"),
            Argument(
                name="--builder",
                choices=("docker", "podman", "buildah", "builtin"),
                help="build with this one (default: the first that works; with --local, the built-in one if none does)",
            ),
            Argument(
                name="--architecture",
                choices=("X86_64", "ARM64"),
                help="build for this processor (default: that of the environments' tasks, task.cpu_architecture)",
            ),
            Argument(
                name="--build-arg",
                is_repeatable=True,
                metavar="NAME=VALUE",
                help="an argument of the Dockerfile",
            ),
            Argument(
                name="--build-context",
                is_repeatable=True,
                metavar="NAME=FOLDER",
                help="a context of the Dockerfile",
            ),
        ),
    ),
    Command(
        name="local",
        help="manage the local AWS: start, stop, status, shell settings",
        epilog=None,
        commands=_LOCAL,
    ),
)
