"""Duration of `build` and `push` for a new commit of an unchanged app, with the built-in builder, compared with skopeo."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.command import Done, Took, run, typical
from benchmarks.figure import Figure, Result
from benchmarks.stage import Stage, stage
from tests.image.project import git, write_service

SECONDS = 3.0


def measure(rounds: int) -> Result:
    with stage() as made:
        project = write_service(made.folder / "project")
        for command in (("local", "up", "--port", "0"), ("apply", "dev", "--local", "--yes"), *_STEPS):
            _mclass_tf(made, project, *command)
        builds: list[Took] = []
        pushes: list[Took] = []
        copies: list[Took] = []
        for number in range(rounds):
            git(project, "commit", "-q", "--allow-empty", "-m", f"unchanged {number}")
            built, pushed = (_mclass_tf(made, project, *step) for step in _STEPS)
            builds.append(built.took)
            pushes.append(pushed.took)
            if shutil.which("skopeo"):
                copies.append(_skopeo(made, json.loads(built.stdout)["layout"], tag=f"copy-{number}"))
    both = typical([build + push for build, push in zip(builds, pushes, strict=True)])
    return Result(
        benchmark="build-push",
        figures=(
            Figure(
                name="`build` and `push`, a new commit of an unchanged app",
                value=both.wall,
                unit="s",
                limit=SECONDS,
                note=f"build {typical(builds).wall:.2f} s, push {typical(pushes).wall:.2f} s; "
                f"processor time {both.cpu:.2f} s",
            ),
            *_floor(pushes, copies),
        ),
        runs={"build": builds, "push": pushes, "skopeo copy": copies},
    )


_STEPS = (("build", "--builder", "builtin", "--json"), ("push", "dev", "--local", "--json"))


def _floor(pushes: Sequence[Took], copies: Sequence[Took]) -> tuple[Figure, ...]:
    if not copies:
        return ()
    push, copy = typical(pushes), typical(copies)
    note = f"{push.wall / copy.wall:.1f} times the floor is `push`, a Python that also reads the state"
    return (
        Figure(
            name="floor: `skopeo copy` of the same layout to another tag",
            value=copy.wall,
            unit="s",
            note=note,
        ),
    )


def _mclass_tf(made: Stage, project: Path, *arguments: str) -> Done:
    argv = (sys.executable, "-m", "mclass_tf", "--project", str(project), *arguments)
    return run(argv, folder=Path(__file__).parents[1], env=made.env)


def _skopeo(made: Stage, layout: str, *, tag: str) -> Took:
    """Push with skopeo, which reads the repository's token from its own file."""
    env = made.shell("dev")
    file = made.folder / "auth.json"
    address = env["MCLASS_TF_LOCAL_REGISTRY"]
    path = f"{Path(sys.executable).parent}:{env['PATH']}"
    login = f"aws ecr get-login-password | skopeo login --tls-verify=false --authfile {file} --username AWS --password-stdin {address}"
    subprocess.run(
        ["sh", "-c", login], env={**env, "PATH": path}, check=True, capture_output=True, timeout=60
    )
    skopeo = shutil.which("skopeo") or "skopeo"
    target = f"docker://{address}/web:{tag}"
    argv = (skopeo, "copy", "--dest-tls-verify=false", "--authfile", str(file), f"oci:{layout}", target)
    return run(argv, folder=made.folder, env=env).took
