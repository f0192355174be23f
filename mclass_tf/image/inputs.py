"""The inputs of a build."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mclass_tf.image.revision import Revision


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The inputs of a build.

    `tag` None means the revision, plus a part of the digest if files differ from the commit. `arguments` and `contexts` are build
    arguments and contexts of the Dockerfile. `variables` are for the built-in builder: additional environment variables in the
    image's configuration, and so in its digest.
    """

    project: Path
    revision: Revision
    tag: str | None
    arguments: tuple[str, ...] = ()
    contexts: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
