"""A Terraform provider that knows its schema and nothing else: enough to validate, and to test with mocks.

    python schema_provider.py SCHEMA SOCKET

serves SCHEMA, shaped as `terraform providers schema -json`, on the unix socket SOCKET until its standard input closes, and
prints one line when it is ready: the value of TF_REATTACH_PROVIDERS that sends Terraform here.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from tf.gen import tfplugin_pb2 as messages
from tf.gen import tfplugin_pb2_grpc as services

_NESTING = {
    "single": messages.Schema.NestedBlock.SINGLE,
    "list": messages.Schema.NestedBlock.LIST,
    "set": messages.Schema.NestedBlock.SET,
    "map": messages.Schema.NestedBlock.MAP,
    "group": messages.Schema.NestedBlock.GROUP,
}
_NO_LIMIT = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


def schema_message(schema: Mapping[str, Any]) -> Any:
    """Turn one entry of the JSON (`block`, `version`) into the protocol's message."""
    return messages.Schema(version=schema.get("version", 0), block=_block(schema.get("block", {})))


def _block(block: Mapping[str, Any]) -> Any:
    return messages.Schema.Block(
        attributes=[_attribute(name, attribute) for name, attribute in block.get("attributes", {}).items()],
        block_types=[_nested(name, nested) for name, nested in block.get("block_types", {}).items()],
    )


def _attribute(name: str, attribute: Mapping[str, Any]) -> Any:
    return messages.Schema.Attribute(
        name=name,
        type=json.dumps(attribute["type"]).encode(),
        required=attribute.get("required", False),
        optional=attribute.get("optional", False),
        computed=attribute.get("computed", False),
    )


def _nested(name: str, nested: Mapping[str, Any]) -> Any:
    return messages.Schema.NestedBlock(
        type_name=name,
        block=_block(nested["block"]),
        nesting=_NESTING[nested["nesting_mode"]],
        min_items=nested.get("min_items", 0),
        max_items=nested.get("max_items", 0),
    )


class SchemaProvider(services.ProviderServicer):  # type: ignore[misc] # the stubs are untyped
    """Answers what Terraform asks before it would ask for a resource. Every configuration of the right shape is valid."""

    def __init__(self, *, schema: Mapping[str, Any]) -> None:
        self._schema = messages.GetProviderSchema.Response(
            provider=schema_message(schema["provider"]),
            resource_schemas={name: schema_message(one) for name, one in schema["resource_schemas"].items()},
            data_source_schemas={
                name: schema_message(one) for name, one in schema["data_source_schemas"].items()
            },
            server_capabilities=messages.ServerCapabilities(get_provider_schema_optional=True),
        )

    def GetMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's names, here and below
        return messages.GetMetadata.Response(
            server_capabilities=self._schema.server_capabilities,
            resources=[
                messages.GetMetadata.ResourceMetadata(type_name=name)
                for name in self._schema.resource_schemas
            ],
            data_sources=[
                messages.GetMetadata.DataSourceMetadata(type_name=name)
                for name in self._schema.data_source_schemas
            ],
        )

    def GetProviderSchema(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._schema

    def ValidateProviderConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        return messages.ValidateProviderConfig.Response()

    def ValidateResourceConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        return messages.ValidateResourceConfig.Response()

    def ValidateDataResourceConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        return messages.ValidateDataResourceConfig.Response()

    def ConfigureProvider(self, request: Any, context: Any) -> Any:  # noqa: N802
        return messages.ConfigureProvider.Response()

    def StopProvider(self, request: Any, context: Any) -> Any:  # noqa: N802
        return messages.StopProvider.Response()


def reattach(*, address: str, socket: Path) -> str:
    """Return the value of TF_REATTACH_PROVIDERS for this process."""
    target = {
        "Protocol": "grpc",
        "ProtocolVersion": 6,
        "Pid": os.getpid(),
        "Test": True,
        "Addr": {"Network": "unix", "String": str(socket)},
    }
    return json.dumps({address: target})


def main(schema_path: Path, socket: Path) -> None:
    ((address, schema),) = json.loads(schema_path.read_text())["provider_schemas"].items()
    server = grpc.server(ThreadPoolExecutor(max_workers=4), options=_NO_LIMIT)
    services.add_ProviderServicer_to_server(SchemaProvider(schema=schema), server)
    server.add_insecure_port(f"unix:{socket}")
    server.start()
    sys.stdout.write(reattach(address=address, socket=socket) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    server.stop(grace=None).wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
