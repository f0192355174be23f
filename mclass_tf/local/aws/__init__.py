"""moto as AWS: its backends with what AWS really does added, one module per service."""

from __future__ import annotations

import functools
from typing import Any
from unittest import mock

import botocore.session
import moto.core.responses
from moto.core.utils import method_names_from_class


def _read_models_once() -> None:
    """Let all sessions of botocore in this process share what they read.

    moto makes a session wherever it needs a list of regions, and each would read its own endpoints and its own model of
    the service: a quarter of the local AWS's start went by with the model of EC2 alone, read three times.
    """
    botocore.session.create_loader = functools.cache(botocore.session.create_loader)


def _look_for_methods_once() -> None:
    """List the methods of a service's class once: moto does at every call, to see whether one has the call's name."""
    moto.core.responses.method_names_from_class = functools.cache(method_names_from_class)


def _import_without_instance_types() -> None:
    """moto.ec2 reads 120 MB of instance types and their offerings when it is imported, by whichever service.

    Tasks run on Fargate: no call on instances is modelled (see `operations`), so that nothing reads them.
    """

    def nothing(_path: str) -> dict[str, Any]:
        return {}

    with mock.patch("moto.utilities.utils.load_resource", nothing):
        import moto.ec2.models.instance_types  # noqa: PLC0415, F401


_read_models_once()
_look_for_methods_once()
_import_without_instance_types()
