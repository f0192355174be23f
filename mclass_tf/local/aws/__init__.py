"""AWS on moto: moto's backends, extended by behaviour of AWS that moto lacks, one module per service."""

from __future__ import annotations

import functools
import gzip
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import botocore.session
import moto.core.responses
import moto.utilities.utils

from mclass_tf.local.aws.replacement import replace, replaced

_METADATA_CHARACTERS = 4000  # a model begins with its metadata


def _regions_without_model(list_with_model: Callable[..., list[str]]) -> Callable[..., list[str]]:
    """Return a replacement that reads only the first lines of a service's model, which contain its endpoint prefix.

    Loading the model of EC2, which nothing else needs, took a quarter of the local AWS's start time.
    """

    def get_available_regions(  # botocore's signature
        self: Any,
        service_name: str,
        partition_name: str = "aws",
        allow_non_regional: bool = False,  # noqa: FBT001, FBT002
    ) -> list[str]:
        prefix = endpoint_prefix(service_name)
        if prefix is None:
            return list(list_with_model(self, service_name, partition_name, allow_non_regional))
        resolver = self._get_internal_component("endpoint_resolver")
        return list(resolver.get_available_endpoints(prefix, partition_name, allow_non_regional))

    return get_available_regions


@functools.cache
def endpoint_prefix(service_name: str) -> str | None:
    """Return the service's name in the list of endpoints, or None if botocore has no model at the expected path."""
    models = sorted(Path(botocore.__file__).parent.glob(f"data/{service_name}/*/service-2.json.gz"))
    if not models:
        return None
    with gzip.open(models[-1], "rt", encoding="utf-8") as model:
        prefix = re.search(r'"endpointPrefix"\s*:\s*"([^"]+)"', model.read(_METADATA_CHARACTERS))
    return prefix and prefix[1]


def _no_resource(_load: Callable[..., Any]) -> Callable[..., Any]:
    def load_resource(resource: str) -> dict[str, Any]:  # noqa: ARG001  moto's signature
        return {}

    return load_resource


# moto creates a botocore session wherever it needs a list of regions. With one loader, they share the loaded models.
replace(botocore.session, "create_loader", functools.cache)
replace(botocore.session.Session, "get_available_regions", _regions_without_model)
# moto lists the methods of a service's class at every call, to look up the action.
replace(moto.core.responses, "method_names_from_class", functools.cache)
# When any service imports moto.ec2, it reads 120 MB of instance types and offerings. Tasks run on Fargate and calls on
# instances are not modelled (see `operations`), so nothing needs them.
with replaced(moto.utilities.utils, "load_resource", _no_resource):
    import moto.ec2.models.instance_types
