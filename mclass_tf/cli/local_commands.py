"""The commands on the local AWS: start, stop, save, status, shell settings."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import asdict
from pathlib import Path

from mclass_tf import cloud, environment, flows, load_balancer_endpoint, local
from mclass_tf.cli import shell
from mclass_tf.cli.call import Call, engine
from mclass_tf.cli.outcome import CommandOutcome
from mclass_tf.errors import ConfigurationError, DamagedObjectError, EndpointError, Hint, MclassError
from mclass_tf.local.registry import clients
from mclass_tf.session import Session, open_session
from mclass_tf.terraform import commands


def up(call: Call) -> CommandOutcome:
    arguments = call.arguments
    running = cloud.start_local(
        call.project.home,
        port=arguments.port,
        speed=arguments.speed,
        tasks=arguments.tasks,
        client_address=arguments.client_address,
        session_seconds=arguments.session_seconds,
        snapshot=arguments.snapshot,
    )
    # A snapshot contains the prerequisites of the environments.
    for name in () if arguments.snapshot else environment.names(call.project.folder):
        try:
            _open_local(call, name)
        except MclassError as error:
            # The local AWS still serves the other environments. Commands on this one will report the error again.
            call.reporter.line(f"{name} is not ready: {error}")
    text = f"the local AWS is up at {running.url} (pid {running.pid})\n" + _HOW_TO_ENTER
    return CommandOutcome(text=text, document={"up": True, **running.document})


_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_SHOWN = 80  # characters of an invalid digest
_HOW_TO_ENTER = 'for any AWS client: eval "$(python -m mclass_tf local env ENV)"'


def down(call: Call) -> CommandOutcome:
    try:
        stopped = local.down(home=cloud.local_home(call.project.home))
    except local.LocalAwsError as error:
        raise ConfigurationError(error.message, hint=Hint(*error.hint)) from None
    text = "the local AWS was not up" if stopped is None else f"the local AWS (pid {stopped.pid}) is down"
    return CommandOutcome(text=text, document={"up": False, "stopped": stopped and stopped.document})


def save(call: Call) -> CommandOutcome:
    path: Path = call.arguments.file
    try:
        size = local.save(home=cloud.local_home(call.project.home), path=path.absolute())
    except local.LocalAwsError as error:
        raise ConfigurationError(error.message, hint=Hint(*error.hint)) from None
    text = f"saved to {path} ({size / 1e6:.1f} MB)\nstart from it: python -m mclass_tf local up --from {shlex.quote(str(path))}"
    return CommandOutcome(text=text, document={"file": str(path), "bytes": size})


def status(call: Call) -> CommandOutcome:
    home = cloud.local_home(call.project.home)
    running, log = local.status(home=home), str(home / "server.log")
    if running is None:
        return CommandOutcome(text="the local AWS is not up", document={"up": False})
    client_address = local.client_address(running)
    balancers, problems = _load_balancers(running), local.problems(running)
    lines = [
        f"the local AWS is up at {running.url} (pid {running.pid}, since {running.started_at})",
        f"its log: {log}",
        f"clients of its load balancers come from {client_address}",
        *(f"problem: {problem}" for problem in problems),
        *(_listener_line(balancer, listener) for balancer in balancers for listener in balancer.listeners),
    ]
    document = {
        "up": True,
        **running.document,
        "log": log,
        "client_address": client_address,
        "problems": problems,
        "load_balancers": [asdict(b) for b in balancers],
    }
    return CommandOutcome(text="\n".join(lines), document=document)


def _load_balancers(running: local.LocalAws) -> tuple[load_balancer_endpoint.LocalLoadBalancer, ...]:
    try:
        return load_balancer_endpoint.load_balancers(cloud.of_local(running))
    except EndpointError:
        return ()  # it is up nevertheless; see its log


def _listener_line(
    balancer: load_balancer_endpoint.LocalLoadBalancer, listener: load_balancer_endpoint.LocalListener
) -> str:
    scheme = listener.protocol.lower()
    return (
        f"{scheme}://{balancer.dns_name}:{listener.port} is {scheme}://{listener.host}:{listener.local_port}"
    )


# Variables that an earlier `local env`, or settings for AWS, may have left in the shell.
_UNSET = (
    *("AWS_CA_BUNDLE", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN"),
    *("TF_CLI_ARGS", "TF_WORKSPACE", "TF_VAR_image_digest", "TF_REATTACH_PROVIDERS"),
)


def env(call: Call) -> CommandOutcome:
    session = _open_local(call, call.arguments.environment)
    variables = {**_shell_variables(session), **_registry_variables(session)}
    stray = {key for key in os.environ if key.startswith(("TF_VAR_", "TF_CLI_ARGS"))}
    unset = sorted({*_UNSET, *stray} - set(variables))
    lines = [
        f"unset {' '.join(unset)}",
        *(f"export {k}={shell.quote(v)}" for k, v in sorted(variables.items())),
    ]
    return CommandOutcome(text="\n".join(lines), document=variables, is_exact=True)


def _registry_variables(session: Session) -> dict[str, str]:
    """Return the variables by which docker, podman, buildah and skopeo reach the local AWS under ECR's name."""
    folder = cloud.local_home(session.project.home) / "bin"
    clients.install(folder)
    others = [other for other in os.environ.get("PATH", os.defpath).split(os.pathsep) if other != str(folder)]
    return {
        "PATH": os.pathsep.join([str(folder), *others]),
        clients.ADDRESS_VARIABLE: (session.cloud.endpoint_url or "").partition("//")[2],
    }


def _open_local(call: Call, name: str) -> Session:
    return open_session(call.project, name, use_local=True, engine=engine, report=call.reporter.line)


def _image(session: Session) -> str | None:
    """Return the digest of the image in force, None if there is none or it is unsafe; report why if it is not the state's."""
    try:
        chosen = flows.image_in_force(session, session.state())
    except DamagedObjectError as error:  # the user needs the other variables to repair it
        session.report(f"{error.message}: no TF_VAR_image_digest is set; {error.hint}")
        return None
    if chosen.digest and not _DIGEST.fullmatch(chosen.digest):  # a shell evaluates the text
        shown = repr(chosen.digest[:_SHOWN])
        session.report(f"the state names no digest, but {shown}: no TF_VAR_image_digest is set")
        return None
    if chosen.differs:
        session.report(f"TF_VAR_image_digest is {chosen}")
    return chosen.digest


def _shell_variables(session: Session) -> dict[str, str]:
    """Return the variables by which plain `terraform init`, `plan`, `apply` in terraform/ and any AWS client use the local AWS."""
    image = _image(session)
    # The shell outlives this command, and so its endpoint for credentials.
    access = session.aws.access.lasting()
    child = session.terraform_variables({"image_digest": image} if image else {}, access=access)
    ours = {
        key: value for key, value in child.items() if value != os.environ.get(key) or key.startswith("AWS_")
    }
    for key in ("GOGC", "TF_INPUT", "TF_IN_AUTOMATION"):
        ours.pop(key, None)  # in an interactive shell, the user decides and can be asked
    backend = commands.relative(session.environment.backend.file, root=session.workspace.root)
    ours["TF_CLI_ARGS_init"] = f"-backend-config={shlex.quote(str(backend))}"
    for command in ("plan", "apply", "destroy", "refresh", "import", "console"):
        ours[f"TF_CLI_ARGS_{command}"] = f"-var-file={shlex.quote(str(session.environment.variables_file))}"
    return ours
