"""Wrappers named docker, podman, buildah and skopeo that replace ECR's address by that of the local AWS.

Clients resolve a registry by its name, and ECR's names are AWS's. No environment variable of the clients redirects them, least
of all for a login. So each wrapper precedes the real program on PATH, replaces ECR's names in the arguments by 127.0.0.1, and
executes the real program. Docker accepts a registry on 127.0.0.0/8 without TLS; the others need an option. Without docker,
podman replaces it, as with the package podman-docker.
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
    """Write the wrappers, which only run this module."""
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
    """Return the arguments with ECR's names replaced by `address`, and with TLS off for clients other than docker."""
    replaced = [_ECR.sub(rf"\g<1>{address}", argument) for argument in arguments]
    if replaced == list(arguments) or program == "docker":
        return replaced
    if program == "skopeo":
        return [_NO_TLS, *replaced]
    verb = _verb(replaced)
    if verb is None:
        return replaced
    if replaced[verb] == "manifest":  # followed by its own verb
        verb += 1
    return [*replaced[: verb + 1], _NO_TLS, *replaced[verb + 1 :]]


def _verb(arguments: Sequence[str]) -> int | None:
    """Return the index of the verb. The value of an earlier option (`--runroot run`) may be the same word."""
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
    """Return whether the program named docker is a link to podman or a script that starts it."""
    if docker.resolve().name == "podman":
        return True
    with docker.open("rb") as file:
        head = file.read(4096)
    return head.startswith(b"#!") and b"podman" in head


def run(program: str, argv: Sequence[str]) -> None:
    """Replace this process by the real program."""
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
