"""What an image is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mclass_tf.image.revision import Revision


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What an image is made of.

    `tag` None: the revision's, and with a part of the digest where files differ from the commit. `arguments` and `contexts` are the Dockerfile's build arguments and contexts; `variables` the built-in builder's:
    more environment variables, in the image's configuration and so in its digest.
    """

    project: Path
    revision: Revision
    tag: str | None
    arguments: tuple[str, ...] = ()
    contexts: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
