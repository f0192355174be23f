"""Programs named docker, podman, buildah and skopeo that take ECR's address for that of the local AWS.

A client finds a registry by its name, and ECR's names are AWS's own: no variable that the clients read would lead
them elsewhere, for logging in least of all. So each program stands before the real one on PATH, names the registry as
127.0.0.1 where its arguments name ECR, and becomes the real one. Docker takes a registry on 127.0.0.0/8 without TLS;
the others are told to. Where there is no docker, podman stands in for it, as its package podman-docker has it.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

PROGRAMS = ("buildah", "docker", "podman", "skopeo")
ADDRESS_VARIABLE = "MCLASS_TF_LOCAL_REGISTRY"

_ECR = re.compile(r"(^|=|//)\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?(?=/|$)")
_WITH_TLS_OPTION = frozenset(
    ["build", "bud", "create", "from", "login", "manifest", "pull", "push", "run", "search"]
)
_SWITCHES = frozenset(["--debug", "--remote", "-r", "--syslog", "--noout", "--transient-store"])
_NO_TLS = "--tls-verify=false"


def install(folder: Path) -> None:
    """Write the programs; they do nothing but run this module."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in PROGRAMS:
        program = folder / name
        program.write_text(
            f"#!{sys.executable} -I\n"
            f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
            f"import clients; clients.run({name!r}, sys.argv)\n",
            encoding="utf-8",
        )
        program.chmod(0o700)


def command(program: str, arguments: Sequence[str], *, address: str) -> list[str]:
    """The arguments with ECR's names replaced by `address`, and TLS off for the client that asks for it."""
    replaced = [_ECR.sub(rf"\g<1>{address}", argument) for argument in arguments]
    if replaced == list(arguments) or program == "docker":
        return replaced
    if program == "skopeo":
        return [_NO_TLS, *replaced]
    verb = _verb(replaced)
    if verb is None:
        return replaced
    if replaced[verb] == "manifest":  # its own verb comes next
        verb += 1
    return [*replaced[: verb + 1], _NO_TLS, *replaced[verb + 1 :]]


def _verb(arguments: Sequence[str]) -> int | None:
    """Where the verb stands: the value of an option before it (`--runroot run`) may be the same word."""
    before = ["", *arguments]
    return next(
        (
            place
            for place, word in enumerate(arguments)
            if word in _WITH_TLS_OPTION and (not before[place].startswith("-") or before[place] in _SWITCHES)
        ),
        None,
    )


def _is_podman(docker: Path) -> bool:
    """Whether the program named docker is a link to podman, or a script that starts it."""
    if docker.resolve().name == "podman":
        return True
    with docker.open("rb") as file:
        head = file.read(4096)
    return head.startswith(b"#!") and b"podman" in head


def run(program: str, argv: Sequence[str]) -> None:
    """Become the real program."""
    folder = Path(argv[0]).resolve().parent
    places = os.environ.get("PATH", os.defpath).split(os.pathsep)
    path = os.pathsep.join(place for place in places if Path(place).resolve() != folder)
    real = shutil.which(program, path=path)
    if program == "docker" and (real is None or _is_podman(Path(real))):
        program, real = "podman", real or shutil.which("podman", path=path)
    if real is None:
        sys.exit(f"{Path(argv[0]).name}: command not found")
    address = os.environ.get(ADDRESS_VARIABLE)
    arguments = list(argv[1:])
    os.execv(real, [real, *(command(program, arguments, address=address) if address else arguments)])  # noqa: S606
