"""Makes the parts of the local AWS that live between the calls, each with what it needs of the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mclass_tf.local.aws.dispatch import Aws
from mclass_tf.local.registry.store import Store
from mclass_tf.local.runtime import Part


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What parts are made of. `url` is where this AWS answers; `driver` runs the tasks ("" chooses by the image)."""

    aws: Aws
    images: Store
    home: Path
    url: str
    driver: str = ""


def build(_surroundings: Surroundings) -> Mapping[str, Part]:
    """Return the parts by name, in the order of their start."""
    return {}
