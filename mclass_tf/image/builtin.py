"""The built-in builder: builds an image of the app for the local AWS of this machine, without containers.

The result is an OCI image with the layout of the Dockerfile's (`/srv/lib` the dependencies, `/srv/app` the app), but without an
operating system or Python. To run it, unpack the layers and start `python -m app` in `/srv` with this machine's Python and the
environment of the configuration. Builds are deterministic: the same inputs on the same Python give the same digest. Layers are not
compressed, because compressors differ and loopback is fast.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import shutil
import sys
import sysconfig
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from mclass_tf.errors import BuilderError
from mclass_tf.image.architectures import ARCHITECTURES
from mclass_tf.image.layout import BUILDER, MANIFEST, REVISION, Descriptor, Images, blob_path, digest_of_file
from mclass_tf.system.process import Command, Runner

_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_FORMAT = "1"  # of cached layers: a change invalidates them
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_NOT_IN_THE_IMAGE = frozenset(["precompile.py", "requirements.in", "requirements.txt"])
_REASON_LINES = 3


@dataclass(frozen=True, kw_only=True)
class BuiltinBuilder:
    """Builds from `project`, with a layer cache in the folder of `images`."""

    project: Path
    images: Images
    env: Mapping[str, str]
    run: Runner
    report: Callable[[str], None]

    def write(
        self, layout: Path, *, revision: str, variables: Mapping[str, str], architecture: str = ""
    ) -> None:
        """Write the image's layout into an empty folder. `variables` override the default environment.

        Raise BuilderError if `architecture`, as ECS names it, is another than this machine's.
        """
        app = self.project / "app"
        requirements = app / "requirements.txt"
        _require_machine(architecture)
        if not requirements.is_file():
            raise BuilderError(
                f"there is no {requirements}", hint="the built-in builder needs the app and its requirements"
            )
        layers = [
            self._cached("dependencies", [requirements], self._dependencies),
            self._cached("app", _app_files(app), self._app),
        ]
        (layout / "blobs" / "sha256").mkdir(parents=True)
        for layer in layers:
            _link(layer.path, blob_path(layout, layer.descriptor.digest))
        _write_image(layout, [layer.descriptor for layer in layers], revision=revision, variables=variables)

    def _cached(self, name: str, inputs: Iterable[Path], make: Callable[[Path], None]) -> _Layer:
        """Return the layer that `make` fills a root folder for, from the cache if the inputs are unchanged."""
        machine = f"{sys.version} {sysconfig.get_platform()}"
        key = hashlib.sha256(f"{_FORMAT} {name} {machine}".encode())
        for path in inputs:
            data = path.read_bytes()
            key.update(f"{path.relative_to(self.project)}\0{len(data)}\0".encode() + data)
        cached = self.images.folder / "cache" / f"{name}-{key.hexdigest()}"
        layer = _Layer(cached)
        if not layer.is_whole:
            self.report(f"making the layer of the {name}")
            with self.images.draft() as draft:
                (draft / "root").mkdir()
                make(draft / "root")
                done = draft / "layer"
                done.mkdir()
                digest = _write_tar(draft / "root", done / "layer.tar")
                (done / "digest").write_text(digest, encoding="ascii")
                cached.parent.mkdir(mode=0o700, exist_ok=True)
                if not layer.is_whole:  # another build may have been faster
                    self.images.put(done, cached)
            self._forget_others(name, cached)
        return layer

    def _forget_others(self, name: str, cached: Path) -> None:
        for other in cached.parent.glob(f"{name}-*"):
            if other != cached:
                shutil.rmtree(other, ignore_errors=True)

    def _dependencies(self, root: Path) -> None:
        target = root / "srv" / "lib"
        target.mkdir(parents=True)
        self._python(
            *("-m", "pip", "install", "--require-hashes", "--only-binary", ":all:", "--no-deps"),
            *("--no-compile", "--no-input", "--quiet", "--disable-pip-version-check"),
            *("--target", str(target), "--requirement", str(self.project / "app" / "requirements.txt")),
            failed="pip could not install the app's dependencies",
        )
        # Scripts contain the path of this machine's Python, and nothing runs them.
        shutil.rmtree(target / "bin", ignore_errors=True)
        for record in target.glob("*.dist-info/RECORD"):
            lines = record.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if not line.startswith(("bin/", "../../bin/"))]
            record.write_text("".join(kept), encoding="utf-8")
        self._compile(root, "srv/lib")

    def _app(self, root: Path) -> None:
        for path in _app_files(self.project / "app"):
            copy = root / "srv" / path.relative_to(self.project)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        self._compile(root, "srv/app")

    def _compile(self, root: Path, folder: str) -> None:
        """Compile in advance, so that a task starts as fast as from an image of the Dockerfile."""
        self._python(
            *("-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"),
            *("-s", str(root), "-p", "/", str(root / folder)),
            failed=f"{folder} does not compile",
        )

    def _python(self, *arguments: str, failed: str) -> None:
        # Without a fixed seed, the order of sets in compiled files varies.
        env = {**self.env, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
        done = self.run(Command(argv=(sys.executable, *arguments), cwd=self.project, env=env))
        if done.status != 0:
            reason = (done.stderr or done.stdout).strip().splitlines()[-_REASON_LINES:]
            if "No space left on device" in done.stderr:
                raise OSError(errno.ENOSPC, "No space left on device", str(self.images.folder))
            raise BuilderError(
                f"{failed}: {' '.join(line.strip() for line in reason)}",
                hint="the dependencies come from the package index, pinned by hash in app/requirements.txt",
            )


@dataclass(frozen=True)
class _Layer:
    """A finished layer in the cache."""

    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / "layer.tar"

    @property
    def is_whole(self) -> bool:
        """Whether the layer exists and is undamaged. Images hard-link the file, so they share any damage."""
        try:
            return (self.folder / "digest").read_bytes() == digest_of_file(self.path).encode()
        except FileNotFoundError:
            return False

    @property
    def descriptor(self) -> Descriptor:
        digest = (self.folder / "digest").read_text(encoding="ascii")
        return Descriptor(media_type=_LAYER, digest=digest, size=self.path.stat().st_size)


def _machine() -> str:
    """Return this machine's architecture as images name it."""
    name = platform.machine().lower()
    return _ARCHITECTURES.get(name, name)


def _require_machine(architecture: str) -> None:
    if architecture and ARCHITECTURES[architecture] != _machine():
        raise BuilderError(
            f"the built-in builder builds for this machine ({_machine()}), not for {architecture} "
            f"({ARCHITECTURES[architecture]})",
            hint="build with docker, podman or buildah, or run the local environment on this machine's processor: "
            '`cpu_architecture = "ARM64"` or "X86_64" under `task` in terraform.tfvars',
        )


def _app_files(app: Path) -> list[Path]:
    files = (path for path in app.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return sorted(path for path in files if path.name not in _NOT_IN_THE_IMAGE)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


class _Hashing:
    """Hashes what is written to a file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.hash = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.hash.update(data)
        return self._file.write(data)


def _write_tar(root: Path, target: Path) -> str:
    """Write a reproducible tar of the files below `root`; return its digest."""
    with target.open("wb") as file:
        hashing = _Hashing(file)
        with tarfile.open(
            fileobj=cast("IO[bytes]", hashing), mode="w|", format=tarfile.PAX_FORMAT
        ) as archive:
            for path, entry in _entries(root):
                if path.is_dir():
                    archive.addfile(entry)
                else:
                    with path.open("rb") as content:
                        archive.addfile(entry, content)
    return f"sha256:{hashing.hash.hexdigest()}"


def _entries(root: Path) -> Iterator[tuple[Path, tarfile.TarInfo]]:
    for path in sorted(root.rglob("*")):
        entry = tarfile.TarInfo(path.relative_to(root).as_posix())
        if path.is_dir():
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
        else:
            status = path.stat()
            entry.size = status.st_size
            entry.mode = 0o755 if status.st_mode & 0o100 else 0o644
        yield path, entry


def _write_image(
    layout: Path, layers: list[Descriptor], *, revision: str, variables: Mapping[str, str]
) -> None:
    configuration = _configuration(layers, revision=revision, variables=variables)
    config = _add_json(layout, configuration, media_type=_CONFIG)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.to_json(),
        "layers": [layer.to_json() for layer in layers],
        "annotations": {BUILDER: "builtin"},
    }
    made = _add_json(layout, manifest, media_type=MANIFEST)
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}', encoding="ascii")
    index = {"schemaVersion": 2, "manifests": [made.to_json()]}
    (layout / "index.json").write_text(json.dumps(index), encoding="utf-8")


def _configuration(
    layers: list[Descriptor], *, revision: str, variables: Mapping[str, str]
) -> dict[str, Any]:
    env = {
        "PYTHONPATH": "/srv/lib",
        "PYTHONUNBUFFERED": "1",
        "MCLASS_REVISION": revision,
        **dict(sorted(variables.items())),
    }
    return {
        "architecture": _machine(),
        "os": platform.system().lower(),
        "config": {
            "Entrypoint": ["python", "-m", "app"],
            "Env": [f"{name}={value}" for name, value in env.items()],
            "ExposedPorts": {"3000/tcp": {}},
            "Labels": {
                BUILDER: "builtin",
                "mclass-tf.host-variable": "MCLASS_HOST",
                "mclass-tf.port-variable": "MCLASS_PORT",
                "mclass-tf.python": f"{sys.implementation.cache_tag}-{sysconfig.get_platform()}",
                REVISION: revision,
                "org.opencontainers.image.title": "mclass-server",
            },
            "StopSignal": "SIGTERM",
            "User": "10001:10001",
            "WorkingDir": "/srv",
        },
        "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
        "history": [{"created_by": "mclass-tf: dependencies"}, {"created_by": "mclass-tf: app"}],
    }


def _add_json(layout: Path, document: dict[str, Any], *, media_type: str) -> Descriptor:
    data = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    blob_path(layout, digest).write_bytes(data)
    return Descriptor(media_type=media_type, digest=digest, size=len(data))
