"""Run one provider process for several Terraform commands, instead of a new one for each."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mclass_tf.hcl import module, syntax
from mclass_tf.hcl.expression import Literal, is_literal, literal
from mclass_tf.plan import digest
from mclass_tf.system import runs

VARIABLE = "TF_REATTACH_PROVIDERS"
# The only provider known to support this. OpenTofu's is excluded: its configurations may use for_each.
_SOURCE = "registry.terraform.io/hashicorp/aws"
_START_SECONDS = 30.0  # normally 0.1
_ATTACH = re.compile(rf"{VARIABLE}='(.*)'")
# The shell ends the provider when its own standard input closes, which also happens if our process is killed.
_WATCH = """
"$0" -debug </dev/null &
exec >/dev/null 2>&1
command -p cat
kill "$!"
wait
command -p rm -rf -- "$TMPDIR"
"""


@dataclass(frozen=True, kw_only=True)
class Package:
    """An installed provider: its program, and the hashes that the lock file allows."""

    source: str
    program: Path
    hashes: frozenset[str]

    @property
    def folder(self) -> Path:
        return self.program.parent


def find_package(*, root: Path, data: Path, cli_config: Path) -> Package | None:
    """Return the only provider of the configuration in `root`, None if a single process is not enough.

    It returns None for several providers, for several configurations of one (a process has only one), for a provider not known
    to support this, with `dev_overrides`, and if a file that Terraform writes has unexpected content.
    """
    try:
        lock = syntax.parse((root / ".terraform.lock.hcl").read_bytes())
        modules = [module.read(folder) for folder in _modules(root, data)]
        is_overridden = "dev_overrides" in cli_config.read_text(encoding="utf-8")
    except (OSError, ValueError, KeyError):
        return None
    blocks = [block for each in modules for block in each.providers]
    # A configuration with an alias exists beside Terraform's implied default one.
    is_one = len(lock.body.blocks) == len(blocks) == 1 and blocks[0].body.attribute("alias") is None
    is_understood = lock.error_line is None and all(each.is_complete for each in modules)
    if is_overridden or not is_one or not is_understood:
        return None
    return _installed(lock.body.blocks[0], data)


def _installed(locked: syntax.Block, data: Path) -> Package | None:
    """Return the package of an entry of the lock file, None if the entry or the installation is unexpected."""
    version, hashes = (locked.body.attribute(name) for name in ("version", "hashes"))
    if locked.labels != (_SOURCE,) or not isinstance(version, Literal) or hashes is None:
        return None
    programs = list((data / "providers" / _SOURCE / str(version.value)).glob("*/terraform-provider-*"))
    if len(programs) != 1 or not is_literal(hashes):
        return None
    allowed = frozenset(each for each in literal(hashes) if str(each).startswith("h1:"))
    return Package(source=_SOURCE, program=programs[0].resolve(), hashes=allowed)


def is_locked(package: Package, *, memory: Path) -> bool:
    """Return whether the lock file allows the package, as Terraform checks before it starts a provider.

    Hashing 700 MB takes 0.4 s, so `memory` caches the hash for unchanged files.
    """
    files = {
        file.relative_to(package.folder).as_posix(): file
        for file in package.folder.rglob("*")
        if file.is_file()
    }
    stamp = hashlib.sha256(json.dumps(sorted(map(_identity, files.values()))).encode()).hexdigest()
    known = memory.read_text(encoding="ascii").partition(" ") if memory.is_file() else ("", "", "")
    if known[0] == stamp:
        return known[2] in package.hashes
    content_hash = _hash(files)
    memory.write_text(f"{stamp} {content_hash}", encoding="ascii")
    return content_hash in package.hashes


@contextmanager
def running(package: Package, *, root: Path, env: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Run the provider in `root` with `env`; yield the variables that attach Terraform to it, {} if it does not start."""
    # The provider's socket needs a private folder with a short path.
    with (
        tempfile.TemporaryDirectory(prefix="mclass-tf-", ignore_cleanup_errors=True) as folder,
        subprocess.Popen(
            ("/bin/sh", "-c", _WATCH, str(package.program)),
            cwd=root,  # as Terraform does: the configuration may have relative paths
            env={**env, "TMPDIR": folder},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # Terraform handles an interrupt, and stops the provider
        ) as process,
    ):
        address: Future[str] = Future()
        reader = threading.Thread(target=_read_address, args=(process.stdout or (), address), daemon=True)
        reader.start()
        try:
            yield _attached(package, address)
        finally:
            os.killpg(process.pid, signal.SIGTERM)  # a child that Checkov forked may hold the pipe open
            reader.join()


def end_left_behind(*, group: int) -> None:
    """Kill the providers that a dead Terraform left in its process group; 0 means no group.

    A Terraform that was killed, as by the OOM killer, leaves its providers waiting forever. Other processes of the group, such
    as a provisioner's command, are left alone.
    """
    if not group:
        return
    try:
        os.killpg(group, 0)
    except OSError:
        return  # usually, nothing is left
    pids = runs.members(group)
    if group in pids:
        return  # the system has reused the process id
    for pid, command in pids.items():
        if "/terraform-provider-" in command:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _modules(root: Path, data: Path) -> list[Path]:
    # Terraform lists the modules at `init` if the root calls any.
    listing = data / "modules" / "modules.json"
    if not listing.is_file():
        return [root]
    modules: list[dict[str, str]] = json.loads(listing.read_text(encoding="utf-8"))["Modules"]
    return [root / module["Dir"] for module in modules]


def _identity(file: Path) -> tuple[str, int, int, int, int, int]:
    stat = file.stat()
    return str(file), stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _hash(files: Mapping[str, Path]) -> str:
    """Return the h1 hash of Terraform's lock file. Source: package dirhash of golang.org/x/mod, Hash1."""
    total = hashlib.sha256()
    for name in sorted(files):
        total.update(f"{digest(files[name])}  {name}\n".encode())
    return "h1:" + base64.b64encode(total.digest()).decode()


def _read_address(lines: Iterable[str], address: Future[str]) -> None:
    """Find the line with the provider's address, then drain the pipe: a full pipe would block the provider."""
    matches = (_ATTACH.search(line) for line in lines)
    address.set_result(next((each[1] for each in matches if each), ""))
    for _ in lines:
        pass


def _attached(package: Package, address: Future[str]) -> dict[str, str]:
    try:
        value = address.result(timeout=_START_SECONDS)
        named = set(json.loads(value))
    except (TimeoutError, ValueError):
        return {}
    return {VARIABLE: value} if named == {package.source} else {}
