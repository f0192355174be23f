"""The command line: parses, runs a flow, prints, and turns errors into exit codes. Nothing else prints or exits."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import sys
import textwrap
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mclass_tf import __version__, environment, process
from mclass_tf.errors import (
    ApprovalRefusedError,
    ConfigurationError,
    GateRefusedError,
    InterruptedByUserError,
    MclassError,
    UsageError,
    VerificationError,
)

# What a command needs is imported when it runs, so that --help answers at once.
if TYPE_CHECKING:
    from mclass_tf import flows
    from mclass_tf.gates import Verdict
    from mclass_tf.session import Project, Session

_EXIT_CODES = """exit codes: 0 done, 1 a bug, 2 usage, 3 configuration, 4 Terraform, 5 a gate said no,
6 rollout failed or rolled back, 7 verification failed, 130 interrupted"""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command came to: `text` for a person, `document` for a machine, `problem` for standard error."""

    text: str = ""
    document: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""
    exit_code: int = 0

    @classmethod
    def failed(
        cls, error: MclassError, *, use_local: bool, document: Mapping[str, Any] | None = None, text: str = ""
    ) -> Outcome:
        """Return the outcome of a command that ended with `error`; `document` where it had something to say all the same."""
        hint = _commands_in(error.hint, use_local=use_local)
        told = {
            "type": type(error).__name__,
            "message": str(error),
            "hint": hint,
            "exit_code": error.exit_code,
        }
        return cls(
            text=text,
            document={"error": told} if document is None else document,
            problem=f"{error}\n  next: {hint}" if hint else str(error),
            exit_code=error.exit_code,
        )


_COMMAND = re.compile(r"`((bootstrap|init|plan|apply|output|destroy|verify|unlock|local) [^`]*)`")


def _commands_in(hint: str, *, use_local: bool) -> str:
    """Spell out the commands that a hint names, so that they can be typed as they stand, and on the same target."""

    def spelled(found: re.Match[str]) -> str:
        option = " --local" if use_local and found[2] != "local" else ""
        return f"`python -m mclass_tf {found[1]}{option}`"

    return _COMMAND.sub(spelled, hint)


@dataclass(frozen=True, kw_only=True)
class Call:
    """A parsed command line and the project that it is about."""

    arguments: argparse.Namespace
    project: Project
    reporter: Reporter

    @property
    def names(self) -> tuple[str, ...]:
        known = environment.names(self.project.folder)
        if self.arguments.all:
            if self.arguments.environment is not None:
                raise UsageError("an environment and --all exclude each other")
            if not known:
                raise ConfigurationError(f"there is no environment in {self.project.folder / 'environments'}")
            return known
        if self.arguments.environment is None:
            raise UsageError(
                "name an environment, or say --all", hint=f"environments: {', '.join(known) or 'none'}"
            )
        return (self.arguments.environment,)


class Reporter:
    """Progress on standard error, a line at a time, each with its environment where there are several."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def line(self, text: str, *, environment: str = "") -> None:
        prefix = f"[{environment}] " if environment else ""
        with self._lock:
            print("\n".join(prefix + part for part in text.splitlines()), file=sys.stderr, flush=True)


def main(argv: Sequence[str]) -> int:
    """Run one command line; return its exit code."""
    arguments = _parser().parse_args(argv)
    failed = partial(Outcome.failed, use_local=arguments.local)
    try:
        with process.interruptible():
            outcome = _run(arguments)
    except MclassError as error:
        outcome = failed(error)
    except KeyboardInterrupt:
        outcome = failed(InterruptedByUserError("interrupted", hint="nothing more was started"))
    except Exception as error:  # the one place where the unexpected ends
        if os.environ.get("MCLASS_TF_DEBUG"):
            raise
        bug = f"{type(error).__name__}: {error}"
        outcome = failed(MclassError(bug, hint="this is a bug; MCLASS_TF_DEBUG=1 shows where"))
    try:
        _print(outcome, as_json=arguments.json)
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain again at its own exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return outcome.exit_code


def _run(arguments: argparse.Namespace) -> Outcome:
    from mclass_tf.session import Project  # noqa: PLC0415

    project = Project.find(os.environ, Path(arguments.project))
    run: Callable[[Call], Outcome] = arguments.run
    return run(Call(arguments=arguments, project=project, reporter=Reporter()))


def _print(outcome: Outcome, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(outcome.document, indent=2, ensure_ascii=False, default=str))
    elif outcome.text:
        print(outcome.text)
    sys.stdout.flush()
    if outcome.problem:
        print(f"error: {outcome.problem}", file=sys.stderr)


# One environment, or all of them side by side


def _open(call: Call, name: str) -> Session:
    from mclass_tf.session import open_session  # noqa: PLC0415

    label = name if len(call.names) > 1 else ""
    return open_session(
        call.project,
        name,
        use_local=call.arguments.local,
        engine=_engine,
        report=partial(call.reporter.line, environment=label),
    )


@lru_cache(maxsize=1)
def _engine() -> Any:
    from mclass_tf.terraform import find_engine  # noqa: PLC0415

    return find_engine(os.environ, run=process.run)


def _each(call: Call, work: Callable[[str], Outcome]) -> Outcome:
    """Do `work` for every environment that is asked for, at most --jobs at a time; one failure stops no other."""
    names = call.names
    if len(names) == 1:
        return work(names[0])
    use_local = call.arguments.local

    def caught(name: str) -> Outcome:
        try:
            return work(name)
        except MclassError as error:
            return Outcome.failed(error, use_local=use_local)

    with ThreadPoolExecutor(max_workers=min(call.arguments.jobs, len(names))) as pool:
        return _together(dict(zip(names, pool.map(caught, names), strict=True)))


def _together(outcomes: Mapping[str, Outcome]) -> Outcome:
    """Join the outcomes; the exit code is the highest."""
    failed = {name: outcome for name, outcome in outcomes.items() if outcome.exit_code}
    told = (textwrap.indent(f"{name}: {outcome.problem}", "  ") for name, outcome in failed.items())
    document: dict[str, Any] = {"environments": {name: o.document for name, o in outcomes.items()}}
    flags = [o.document["has_changes"] for o in outcomes.values() if "has_changes" in o.document]
    if flags:
        document["has_changes"] = any(flags)
    return Outcome(
        text="\n\n".join(o.text for o in outcomes.values() if o.text),
        document=document,
        problem="\n".join([f"{len(failed)} of {len(outcomes)} environments failed", *told]) if failed else "",
        exit_code=max(outcome.exit_code for outcome in outcomes.values()),
    )


# The commands


def _bootstrap(call: Call) -> Outcome:
    from mclass_tf import flows  # noqa: PLC0415

    def one(name: str) -> Outcome:
        changed = flows.bootstrap(_open(call, name))
        told = (f"{bucket}: {', '.join(what) or 'as it must be'}" for bucket, what in changed.items())
        return Outcome(text="\n".join(told), document={"environment": name, "buckets": changed})

    return _each(call, one)


def _init(call: Call) -> Outcome:
    from mclass_tf import flows  # noqa: PLC0415

    def one(name: str) -> Outcome:
        flows.init(_open(call, name))
        return Outcome(text=f"{name} is initialised", document={"environment": name, "initialised": True})

    return _each(call, one)


def _plan(call: Call) -> Outcome:
    from mclass_tf import flows  # noqa: PLC0415

    arguments = call.arguments
    if arguments.out is not None and arguments.all:
        raise UsageError("--out takes one plan; with --all there are several")
    verdicts: dict[str, Sequence[Verdict]] = {}

    def one(name: str) -> Outcome:
        session = _open(call, name)
        planned = flows.make_plan(session, image=arguments.image)
        verdicts[name] = planned.decision.verdicts
        if arguments.out is not None and planned.decision.approved is not None:
            flows.export_plan(planned, arguments.out)
        return _planned(session, planned)

    outcome = _each(call, one)
    if arguments.sarif is not None:
        _write_sarif(call, dict(sorted(verdicts.items())), arguments.sarif)
    return outcome


def _planned(session: Session, planned: flows.Planned) -> Outcome:
    from mclass_tf import describe  # noqa: PLC0415
    from mclass_tf.gates import table  # noqa: PLC0415

    name = session.environment.name
    words = describe.describe(planned.plan, title=f"{name} on {session.target.label}")
    text = f"{words}\n\n{table.render(planned.decision.verdicts, width=_width())}"
    document = _plan_document(name, planned)
    try:
        planned.decision.require()
    except GateRefusedError as error:
        # The table above has the findings; the error only counts them.
        counted = GateRefusedError(str(error).partition("\n")[0], hint=error.hint)
        return Outcome.failed(counted, use_local=session.target.is_local, document=document, text=text)
    return Outcome(text=text, document=document)


def _plan_document(name: str, planned: flows.Planned) -> dict[str, Any]:
    from mclass_tf.plan import Action  # noqa: PLC0415

    made, saved = planned.plan, planned.saved
    return {
        "environment": name,
        "has_changes": made.has_changes,
        "summary": {a.value: made.count(a) for a in Action if a not in (Action.READ, Action.NOTHING)},
        "resources": [
            {
                "address": change.address,
                "action": change.action.value,
                "attributes": [asdict(attribute) for attribute in change.attributes],
            }
            for change in made.resources
        ],
        "outputs": [asdict(output) for output in made.outputs],
        "approved": planned.decision.approved is not None,
        "gates": [{**asdict(verdict), "passed": verdict.passed} for verdict in planned.decision.verdicts],
        "plan": None if planned.decision.approved is None else str(saved.path),
        "sha256": saved.sha256,
        "state": {"lineage": saved.lineage, "serial": saved.serial},
    }


def _write_sarif(call: Call, verdicts: Mapping[str, Sequence[Verdict]], file: Path) -> None:
    from mclass_tf.gates import sarif  # noqa: PLC0415

    document = sarif.render(verdicts, call.project.folder)
    file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _apply(call: Call) -> Outcome:
    from mclass_tf import flows  # noqa: PLC0415

    arguments = call.arguments
    if arguments.plan is not None and arguments.all:
        raise UsageError("--plan names one plan; with --all there are several")
    sessions: dict[str, Session] = {}

    def prepare(name: str) -> Outcome:
        session = sessions[name] = _open(call, name)
        if arguments.plan is not None or flows.has_saved_plan(session):
            return Outcome()
        if not arguments.yes:
            _require_terminal("apply")
        outcome = _planned(session, flows.make_plan(session))
        call.reporter.line(outcome.text)
        return outcome

    planned = _each(call, prepare)
    if planned.exit_code:
        return planned
    for name in call.names:
        if planned.text and not _confirm(call, f"Apply this in {name} on {sessions[name].target.label}?"):
            raise ApprovalRefusedError(f"{name} was left as it is", hint="the plan is saved: apply it later")

    def one(name: str) -> Outcome:
        applied = flows.apply(sessions[name], file=arguments.plan)
        text = f"{name} is applied" if applied.changed else f"{name}: no changes"
        document = {"environment": name, "changed": applied.changed, "outputs": applied.outputs}
        return Outcome(text=text, document=document)

    return _each(call, one)


def _output(call: Call) -> Outcome:
    from mclass_tf import flows  # noqa: PLC0415

    def one(name: str) -> Outcome:
        found = flows.outputs(_open(call, name))
        wanted = call.arguments.name
        if wanted is not None:
            if wanted not in found:
                raise UsageError(
                    f"{name} has no output {wanted!r}", hint=f"outputs: {', '.join(sorted(found))}"
                )
            return Outcome(text=_plain(found[wanted]), document={wanted: found[wanted]})
        width = max(map(len, found))
        text = "\n".join(f"{key:<{width}}  {_plain(value)}" for key, value in sorted(found.items()))
        return Outcome(text=text, document=found)

    return _each(call, one)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _verify(call: Call) -> Outcome:
    from mclass_tf import flows, verify  # noqa: PLC0415

    def one(name: str) -> Outcome:
        report = flows.verify_environment(_open(call, name))
        document = {"environment": name, **report.to_json()}
        text = verify.render(report)
        if report.ok:
            return Outcome(text=text, document=document)
        total = report.passed + report.failed
        error = VerificationError(
            f"{report.failed} of {total} checks failed",
            hint="each of them, above, says what it expected and what to do",
        )
        return Outcome.failed(error, use_local=call.arguments.local, document=document, text=text)

    return _each(call, one)


def _destroy(call: Call) -> Outcome:
    from mclass_tf import describe, flows  # noqa: PLC0415

    if call.arguments.all:
        raise UsageError("destroy takes one environment at a time")
    if not call.arguments.yes:
        _require_terminal("destroy")

    def one(name: str) -> Outcome:
        session = _open(call, name)
        title = f"{name} on {session.target.label}"
        done = flows.destroy(
            session,
            show=lambda made: call.reporter.line(describe.describe(made, title=title)),
            confirm=partial(_confirm, call),
        )
        text = f"{name} is destroyed" if done.changed else f"{name}: there is nothing to destroy"
        return Outcome(text=text, document={"environment": name, "destroyed": done.changed})

    return _each(call, one)


def _unlock(call: Call) -> Outcome:
    from mclass_tf import flows  # noqa: PLC0415

    name, lock_id = call.arguments.environment, call.arguments.lock_id
    if not call.arguments.yes:
        _require_terminal("unlock")
    if not _confirm(call, f"Release lock {lock_id} of {name}? Whoever holds it must be dead."):
        return Outcome(text="the lock stays", document={"unlocked": False})
    flows.unlock(_open(call, name), lock_id=lock_id)
    return Outcome(text=f"{name} is unlocked", document={"environment": name, "unlocked": True})


def _confirm(call: Call, question: str) -> bool:
    if call.arguments.yes:
        return True
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _require_terminal(command: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError(f"{command} asks first, and standard input is no terminal", hint="add --yes")


# The local AWS


def _local_up(call: Call) -> Outcome:
    from mclass_tf import target  # noqa: PLC0415

    running = target.start_local(call.project.home, port=call.arguments.port)
    for name in environment.names(call.project.folder):
        _open_local(call, name)
    text = f"the local AWS is up at {running.url} (pid {running.pid})\n" + _HOW_TO_ENTER
    return Outcome(text=text, document={"up": True, **asdict(running)})


_HOW_TO_ENTER = 'for any AWS client: eval "$(python -m mclass_tf local env ENV)"'


def _local_down(call: Call) -> Outcome:
    from mclass_tf import local, target  # noqa: PLC0415

    try:
        stopped = local.down(home=target.local_home(call.project.home))
    except local.LocalAwsError as error:
        raise ConfigurationError(error.message, hint=error.hint) from None
    text = "the local AWS was not up" if stopped is None else f"the local AWS (pid {stopped.pid}) is down"
    return Outcome(text=text, document={"up": False, "stopped": stopped and asdict(stopped)})


def _local_status(call: Call) -> Outcome:
    from mclass_tf import local, target  # noqa: PLC0415

    home = target.local_home(call.project.home)
    running, log = local.status(home=home), str(home / "server.log")
    if running is None:
        return Outcome(text="the local AWS is not up", document={"up": False})
    text = f"the local AWS is up at {running.url} (pid {running.pid}, since {running.started_at})\nits log: {log}"
    return Outcome(text=text, document={"up": True, **asdict(running), "log": log})


# What an earlier `local env`, or settings meant for AWS, would leave in the shell beside ours.
_UNSET = (
    *("AWS_CA_BUNDLE", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN"),
    *("TF_CLI_ARGS", "TF_WORKSPACE", "TF_VAR_image_digest", "TF_REATTACH_PROVIDERS"),
)


def _local_env(call: Call) -> Outcome:
    session = _open_local(call, call.arguments.environment)
    variables = _shell_variables(session)
    stray = {key for key in os.environ if key.startswith(("TF_VAR_", "TF_CLI_ARGS"))}
    unset = sorted({*_UNSET, *stray} - set(variables))
    lines = [
        f"unset {' '.join(unset)}",
        *(f"export {k}={shlex.quote(v)}" for k, v in sorted(variables.items())),
    ]
    return Outcome(text="\n".join(lines), document=variables)


def _open_local(call: Call, name: str) -> Session:
    from mclass_tf.session import open_session  # noqa: PLC0415

    return open_session(call.project, name, use_local=True, engine=_engine, report=call.reporter.line)


def _shell_variables(session: Session) -> dict[str, str]:
    """Return what makes plain `terraform init`, `plan`, `apply` in terraform/, and any AWS client, work as written."""
    image = session.state().outputs.get("image_digest")
    child = session.terraform_variables({"image_digest": image} if image else {})
    ours = {
        key: value for key, value in child.items() if value != os.environ.get(key) or key.startswith("AWS_")
    }
    del ours["TF_INPUT"], ours["TF_IN_AUTOMATION"]  # a person is there to be asked
    ours["TF_CLI_ARGS_init"] = f"-backend-config={shlex.quote(str(session.environment.backend.file))}"
    for command in ("plan", "apply", "destroy", "refresh", "import", "console"):
        ours[f"TF_CLI_ARGS_{command}"] = f"-var-file={shlex.quote(str(session.environment.variables_file))}"
    return ours


def _width() -> int:
    import shutil  # noqa: PLC0415

    return min(shutil.get_terminal_size((100, 24)).columns, 140)


# The grammar


def _shared(**defaults: Any) -> argparse.ArgumentParser:
    """Return the options that stand before or after the command. Each use needs its own: parents share their defaults."""
    shared = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    shared.add_argument("--local", action="store_true", help="act on the local AWS, started if it is not up")
    shared.add_argument("--json", action="store_true", help="one JSON document on standard output")
    shared.add_argument(
        "--project", metavar="FOLDER", help="the project (default: the one around this folder)"
    )
    shared.set_defaults(**defaults)
    return shared


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mclass-tf",
        description="Plan, gate, apply and verify a container service on Amazon ECS Fargate: on AWS, or on a local AWS.",
        epilog=_EXIT_CODES,
        parents=[_shared(local=False, json=False, project=".")],
    )
    parser.add_argument("--version", action="version", version=f"mclass-tf {__version__}")
    parser.set_defaults(all=False, yes=False)
    shared = _shared()
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(
        name: str, run: Callable[[Call], Outcome], text: str, *, several: bool = True
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, parents=[shared], epilog=_EXIT_CODES)
        sub.set_defaults(run=run)
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
        "bootstrap", _bootstrap, "make the state bucket: versioned, encrypted, TLS only, no public access"
    )
    command("init", _init, "initialise Terraform for an environment")
    sub = command("plan", _plan, "plan, save the plan, and let the gates judge it")
    sub.add_argument("--image", type=_digest, metavar="DIGEST", help="the image to release, sha256:…")
    sub.add_argument(
        "--out", type=Path, metavar="FILE", help="also write plan and approval here, for apply --plan"
    )
    sub.add_argument("--sarif", type=Path, metavar="FILE", help="write the findings as SARIF 2.1.0")
    sub = command("apply", _apply, "apply the approved plan; without one: plan, gate, show, ask")
    sub.add_argument("--plan", type=Path, metavar="FILE", help="a plan that plan --out wrote")
    _yes(sub)
    sub = command("output", _output, "show the applied outputs", several=False)
    sub.add_argument("name", nargs="?", metavar="NAME", help="one of them")
    _yes(command("destroy", _destroy, "destroy everything in an environment, after asking", several=False))
    command("verify", _verify, "run the integration tests against the applied outputs")
    sub = command("unlock", _unlock, "release a lock that a dead process left on the state", several=False)
    sub.add_argument("lock_id", metavar="LOCK", help="the lock's id, as the error told it")
    _yes(sub)
    _local_commands(commands, shared)
    return parser


def _local_commands(commands: Any, shared: argparse.ArgumentParser) -> None:
    text = "the local AWS: start, stop, ask, enter"
    local = commands.add_parser("local", help=text, description=text, parents=[shared])
    verbs = local.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def verb(name: str, run: Callable[[Call], Outcome], text: str) -> argparse.ArgumentParser:
        sub: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=text, parents=[shared])
        sub.set_defaults(run=run)
        return sub

    up = verb("up", _local_up, "start it in the background, with what every environment takes as given")
    up.add_argument(
        "--port", type=_port, metavar="N", help="listen here (default 4566, or a free one; 0: a free one)"
    )
    up.set_defaults(port=None)
    verb("down", _local_down, "stop it; everything in it is gone")
    verb("status", _local_status, "tell whether it is up, and where")
    env = verb("env", _local_env, "print what sets a shell up for it, for eval")
    env.add_argument("environment", metavar="ENV", help="a folder of environments/")


def _yes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", default=argparse.SUPPRESS, help="do not ask")


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def _port(text: str) -> int:
    highest = 65535
    if not text.isdigit() or int(text) > highest:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: 0 to {highest}")
    return int(text)


def _digest(text: str) -> str:
    digits = text.removeprefix("sha256:")
    if not text.startswith("sha256:") or len(digits) != 64 or set(digits) - set("0123456789abcdef"):  # noqa: PLR2004
        raise argparse.ArgumentTypeError(f"{text!r} is not a digest: sha256: and 64 hexadecimal digits")
    return text
