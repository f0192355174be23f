"""EC2: the network that tasks run in."""

from __future__ import annotations

from typing import Any
from unittest import mock


def _import_without_instance_types() -> None:
    """moto reads 120 MB of instance types and their offerings when it is imported.

    Tasks run on Fargate, so that no call on instances is modelled (see `operations`) and nothing reads them.
    """

    def nothing(_path: str) -> dict[str, Any]:
        return {}

    with mock.patch("moto.utilities.utils.load_resource", nothing):
        import moto.ec2.models.instance_types  # noqa: PLC0415


_import_without_instance_types()


def install() -> None:
    """Nothing yet."""
