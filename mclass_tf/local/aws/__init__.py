"""moto as AWS: its backends with what AWS really does added, one module per service."""

from __future__ import annotations

from typing import Any
from unittest import mock


def _import_without_instance_types() -> None:
    """moto.ec2 reads 120 MB of instance types and their offerings when it is imported, by whichever service.

    Tasks run on Fargate: no call on instances is modelled (see `operations`), so that nothing reads them.
    """

    def nothing(_path: str) -> dict[str, Any]:
        return {}

    with mock.patch("moto.utilities.utils.load_resource", nothing):
        import moto.ec2.models.instance_types  # noqa: PLC0415, F401


_import_without_instance_types()
