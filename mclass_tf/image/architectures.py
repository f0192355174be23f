"""The names of processors, which ECS writes otherwise than images do.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RuntimePlatform.html
https://github.com/opencontainers/image-spec/blob/v1.1.1/config.md
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

ARCHITECTURES: Final[Mapping[str, str]] = MappingProxyType({"X86_64": "amd64", "ARM64": "arm64"})
"""The names of processors in images, by their names in ECS."""
DEFAULT_ARCHITECTURE: Final = "X86_64"
"""What a task definition without one runs on."""


def platform_name(architecture: str) -> str:
    """Return the platform of builders and indexes for a processor as ECS names it, such as "linux/amd64"."""
    return f"linux/{ARCHITECTURES[architecture]}"
