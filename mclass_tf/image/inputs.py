"""The inputs of a build."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mclass_tf.image.architectures import platform_name
from mclass_tf.image.revision import Revision


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The inputs of a build.

    `architecture` is the processor to build for, as ECS names it; "" for this machine's. `tag` None means the revision, plus a part of the digest if files differ from the commit. `arguments` and `contexts` are build
    arguments and contexts of the Dockerfile. `variables` are for the built-in builder: additional environment variables in the
    image's configuration, and so in its digest.
    """

    project: Path
    revision: Revision
    tag: str | None
    arguments: tuple[str, ...] = ()
    contexts: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    architecture: str = ""

    @property
    def platform(self) -> str:
        """The platform to build for, such as "linux/amd64"; "" for this machine's."""
        return platform_name(self.architecture) if self.architecture else ""
