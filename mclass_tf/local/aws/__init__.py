"""moto as AWS: its backends with what AWS really does added, one module per service."""

from __future__ import annotations

import functools
import gzip
import re
from pathlib import Path
from typing import Any
from unittest import mock

import botocore.session
import moto.core.responses
from moto.core.utils import method_names_from_class

_METADATA_CHARACTERS = 4000  # it comes first


def _read_models_once() -> None:
    """Let all sessions of botocore in this process share what they read: moto makes one wherever it needs a list of regions."""
    botocore.session.create_loader = functools.cache(botocore.session.create_loader)


def _list_regions_without_models() -> None:
    """Read of a service's model no more than its first lines, to know its name in the list of endpoints.

    A quarter of the local AWS's start went by with the model of EC2, which is not needed for anything else.
    """
    list_with_model = botocore.session.Session.get_available_regions

    def regions(  # botocore's signature
        session: Any,
        service_name: str,
        partition_name: str = "aws",
        allow_non_regional: bool = False,  # noqa: FBT001, FBT002
    ) -> list[str]:
        prefix = endpoint_prefix(service_name)
        if prefix is None:
            return list(list_with_model(session, service_name, partition_name, allow_non_regional))
        resolver = session._get_internal_component("endpoint_resolver")  # noqa: SLF001  as botocore's own does
        return list(resolver.get_available_endpoints(prefix, partition_name, allow_non_regional))

    botocore.session.Session.get_available_regions = regions  # type: ignore[assignment, method-assign]


@functools.cache
def endpoint_prefix(service_name: str) -> str | None:
    """Return what the service is called in the list of endpoints; None where botocore has no model where it should be."""
    models = sorted(Path(botocore.__file__).parent.glob(f"data/{service_name}/*/service-2.json.gz"))
    if not models:
        return None
    with gzip.open(models[-1], "rt", encoding="utf-8") as model:
        found = re.search(r'"endpointPrefix"\s*:\s*"([^"]+)"', model.read(_METADATA_CHARACTERS))
    return found and found[1]


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
_list_regions_without_models()
_look_for_methods_once()
_import_without_instance_types()
