"""The images that a recording releases: the project's own, in variants that differ by their environment alone."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mclass_tf import image
from mclass_tf.errors import RevisionError
from mclass_tf.flows.environments import applied_state
from mclass_tf.image import Image, Images
from mclass_tf.image.layout import blob_path
from mclass_tf.session import Session
from mclass_tf.system import process

_CRASH = {"MCLASS_FAULT_CRASH_AFTER_SECONDS": "0"}


@dataclass(frozen=True, kw_only=True)
class Versions:
    """Digests: two versions that serve, and one that crashes when it starts."""

    one: str
    two: str
    crashing: str


NONE = Versions(one="", two="", crashing="")


def push_versions(session: Session) -> Versions:
    """Build the image, and push its variants to the environment's repository.

    AWS needs an image with an operating system, which docker, podman or buildah must build.
    """
    folder = session.project.home / "conformance" / "images"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    images = Images(folder)
    try:
        revision = image.read_revision(session.project.folder, env=session.env, run=process.run)
    except RevisionError:
        revision = image.UNKNOWN
    built = image.build(
        image.Inputs(project=session.project.folder, revision=revision, tag="conform"),
        images=images,
        builder="builtin" if session.cloud.is_local else None,
        may_use_builtin=session.cloud.is_local,
        env=session.env,
        run=process.run,
        report=session.report,
    )
    registry = image.Registry(
        image.log_in(session.aws),
        applied_state(session).outputs["repository_name"],
        environment=session.environment.name,
        report=session.report,
    )

    def pushed(name: str, variables: Mapping[str, str]) -> str:
        variant = _variant(images, built, {"MCLASS_VERSION": name, **variables}, revision=revision)
        registry.push(variant, tag=f"conform-{name}")
        return str(variant.digest)

    return Versions(one=pushed("one", {}), two=pushed("two", {}), crashing=pushed("crashing", _CRASH))


def _variant(
    images: Images, built: Image, variables: Mapping[str, str], *, revision: image.Revision
) -> Image:
    """Return the image with more environment variables in its configuration, and so with another digest."""
    with images.draft() as draft:
        layout = draft / "layout"
        shutil.copytree(built.folder, layout)
        manifest = json.loads(built.path(built.digest).read_bytes())
        config: dict[str, Any] = json.loads(built.path(manifest["config"]["digest"]).read_bytes())
        own = config.setdefault("config", {})
        kept = [each for each in own.get("Env") or () if each.partition("=")[0] not in variables]
        own["Env"] = [*kept, *(f"{name}={value}" for name, value in variables.items())]
        manifest["config"] |= _written(layout, config)
        index = json.loads((layout / "index.json").read_bytes())
        index["manifests"][0] |= _written(layout, manifest)
        (layout / "index.json").write_text(json.dumps(index), encoding="utf-8")
        tag = f"conform-{variables['MCLASS_VERSION']}"
        return images.keep(layout, tag=tag, revision=revision, builder=built.builder)


def _written(layout: Path, document: Mapping[str, Any]) -> dict[str, Any]:
    """Write a blob; return its digest and size as a descriptor has them."""
    content = json.dumps(document).encode()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    blob_path(layout, digest).write_bytes(content)
    return {"digest": digest, "size": len(content)}
