"""One provider process for a plan and the reading of it, in the place of those that Terraform starts one after the other."""

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
# Known to be one that can be run so, and never tofu's: its configurations may be made by for_each.
_SOURCE = "registry.terraform.io/hashicorp/aws"
_PATIENCE = 30.0  # seconds; it takes 0.1
_ATTACH = re.compile(rf"{VARIABLE}='(.*)'")
# The end of our standard output is the end of the provider's; when whoever holds our standard input is gone, killed even, so is
# the provider.
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
    """A provider that `terraform init` has installed: its program, and the hashes that the lock file lets it have."""

    source: str
    program: Path
    hashes: frozenset[str]

    @property
    def folder(self) -> Path:
        return self.program.parent


def find_package(*, root: Path, data: Path, cli_config: Path) -> Package | None:
    """Return the one provider of the configuration in `root`, or None where a single process would not do.

    That is so with several providers, with several configurations of one (a process has one), with a provider that is not
    known to be fit, where a developer's build takes its place, and where a file that Terraform writes is not as expected.
    """
    try:
        lock = syntax.parse((root / ".terraform.lock.hcl").read_bytes())
        modules = [module.read(folder) for folder in _modules(root, data)]
        is_overridden = "dev_overrides" in cli_config.read_text(encoding="utf-8")
    except (OSError, ValueError, KeyError):
        return None
    blocks = [block for each in modules for block in each.providers]
    # One with an alias stands beside the one that Terraform supposes for the rest.
    is_one = len(lock.body.blocks) == len(blocks) == 1 and blocks[0].body.attribute("alias") is None
    is_understood = lock.error_line is None and all(each.is_complete for each in modules)
    if is_overridden or not is_one or not is_understood:
        return None
    return _installed(lock.body.blocks[0], data)


def _installed(locked: syntax.Block, data: Path) -> Package | None:
    """Return the package of an entry of the lock file, None where it is not as Terraform writes it."""
    version, hashes = (locked.body.attribute(name) for name in ("version", "hashes"))
    if locked.labels != (_SOURCE,) or not isinstance(version, Literal) or hashes is None:
        return None
    programs = list((data / "providers" / _SOURCE / str(version.value)).glob("*/terraform-provider-*"))
    if len(programs) != 1 or not is_literal(hashes):
        return None
    allowed = frozenset(each for each in literal(hashes) if str(each).startswith("h1:"))
    return Package(source=_SOURCE, program=programs[0].resolve(), hashes=allowed)


def is_locked(package: Package, *, memory: Path) -> bool:
    """Return whether the package is one that the lock file allows, as Terraform checks it before it starts a provider.

    To hash 700 MB takes 0.4 s: what it came to is kept in `memory`, for files that were not touched since.
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
    """Keep the provider running in `root` and `env`; yield the variables that lead Terraform to it, none where it does not start."""
    # For its socket: a folder of its owner alone, and of a short name.
    with (
        tempfile.TemporaryDirectory(prefix="mclass-tf-", ignore_cleanup_errors=True) as folder,
        subprocess.Popen(
            ("/bin/sh", "-c", _WATCH, str(package.program)),
            cwd=root,  # as Terraform starts it: files that the configuration names may be relative
            env={**env, "TMPDIR": folder},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # an interrupt is Terraform's to handle, which tells the provider
        ) as process,
    ):
        address: Future[str] = Future()
        reader = threading.Thread(target=_read_address, args=(process.stdout or (), address), daemon=True)
        reader.start()
        try:
            yield _attached(package, address)
        finally:
            os.killpg(process.pid, signal.SIGTERM)  # the pipe may be open in a child that Checkov has forked
            reader.join()


def end_left_behind(*, group: int) -> None:
    """End the providers that a Terraform which has ended left in its process group; 0 is none.

    A Terraform that was killed, by whoever is short of memory, ends none of them, and they wait for it for ever. What else
    is in its group may be wanted: a command of a provisioner that goes on.
    """
    if not group:
        return
    try:
        os.killpg(group, 0)
    except OSError:
        return  # as a rule, nothing is left
    pids = runs.members(group)
    if group in pids:
        return  # a number that the system has given anew
    for pid, command in pids.items():
        if "/terraform-provider-" in command:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _modules(root: Path, data: Path) -> list[Path]:
    """Return the folders of the configuration. Terraform lists them at `init`, where the root calls modules."""
    listing = data / "modules" / "modules.json"
    if not listing.is_file():
        return [root]
    modules: list[dict[str, str]] = json.loads(listing.read_text(encoding="utf-8"))["Modules"]
    return [root / module["Dir"] for module in modules]


def _identity(file: Path) -> tuple[str, int, int, int, int, int]:
    stat = file.stat()
    return str(file), stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _hash(files: Mapping[str, Path]) -> str:
    """Return what Terraform's lock file calls h1. Source: package dirhash of golang.org/x/mod, Hash1."""
    total = hashlib.sha256()
    for name in sorted(files):
        total.update(f"{digest(files[name])}  {name}\n".encode())
    return "h1:" + base64.b64encode(total.digest()).decode()


def _read_address(lines: Iterable[str], address: Future[str]) -> None:
    """Find the line that says where the provider is; read on, since a full pipe would stop it."""
    matches = (_ATTACH.search(line) for line in lines)
    address.set_result(next((each[1] for each in matches if each), ""))
    for _ in lines:
        pass


def _attached(package: Package, address: Future[str]) -> dict[str, str]:
    try:
        value = address.result(timeout=_PATIENCE)
        named = set(json.loads(value))
    except (TimeoutError, ValueError):
        return {}
    return {VARIABLE: value} if named == {package.source} else {}
