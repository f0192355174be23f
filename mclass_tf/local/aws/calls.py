"""Identifies the AWS call of a request: service, operation, region and protocol."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import IO, Any
from urllib.parse import parse_qs, unquote

_CREDENTIAL = re.compile(r"Credential=[^/]+/\d{8}/(?P<region>[^/]*)/(?P<service>[^/]+)/aws4_request")
_CBOR_PATH = re.compile(r"^/service/(?P<service>[^/]+)/operation/(?P<operation>[^/]+)$")
_ACTION = re.compile(rb"(?:^|&)Action=([A-Za-z0-9]+)")
_XML_SERVICES = frozenset({"s3", "s3express", "route53", "cloudfront"})  # the REST services with XML
_ACTION_SEARCH_BYTES = 65536
_FORM = "application/x-www-form-urlencoded"  # of the query and the EC2 protocol

UNKNOWN_SERVICE = "unknown"


class Protocol(Enum):
    """The protocols of AWS: https://smithy.io/2.0/aws/protocols/index.html ."""

    JSON = "json"
    CBOR = "cbor"
    QUERY = "query"
    EC2 = "ec2"
    REST_JSON = "rest-json"
    REST_XML = "rest-xml"


@dataclass(frozen=True, kw_only=True)
class Call:
    """`service` is the signing name. `operation` is the API's name of it or, for REST, method and path."""

    service: str
    operation: str
    region: str
    protocol: Protocol

    @property
    def name(self) -> str:
        return f"{self.service}:{self.operation}"


def identify(environ: dict[str, Any]) -> Call:
    """Return the call that headers, query and form name. It never fails: unknown parts get the best available name."""
    service, region = _scope(environ)
    target = environ.get("HTTP_X_AMZ_TARGET", "")
    path = str(environ.get("PATH_INFO", "/"))
    if target:
        return Call(
            service=service or target.split(".")[0].split("_")[0].lower(),
            operation=target.rsplit(".", 1)[-1],
            region=region,
            protocol=Protocol.JSON,
        )
    cbor = _CBOR_PATH.match(path)
    if cbor and "rpc-v2-cbor" in environ.get("HTTP_SMITHY_PROTOCOL", ""):
        return Call(
            service=service or cbor["service"].lower(),
            operation=cbor["operation"],
            region=region,
            protocol=Protocol.CBOR,
        )
    action = _action(environ) if service not in _XML_SERVICES else None
    if action or _is_form(environ, service):
        # The action of a compressed form is read later. Its errors are in XML all the same.
        return Call(
            service=service or UNKNOWN_SERVICE,
            operation=action or f"{environ.get('REQUEST_METHOD')} {path}",
            region=region,
            protocol=Protocol.EC2 if service == "ec2" else Protocol.QUERY,
        )
    return Call(
        service=service or "s3",  # only S3 accepts unsigned requests
        operation=f"{environ.get('REQUEST_METHOD')} {path}",
        region=region,
        protocol=Protocol.REST_XML if (service or "s3") in _XML_SERVICES else Protocol.REST_JSON,
    )


def _scope(environ: dict[str, Any]) -> tuple[str, str]:
    signed = environ.get("HTTP_AUTHORIZATION", "")
    if not signed and "X-Amz-Credential=" in environ.get("QUERY_STRING", ""):
        signed = unquote(environ["QUERY_STRING"].replace("X-Amz-Credential=", "Credential="))
    credential = _CREDENTIAL.search(signed)
    return (credential["service"].lower(), credential["region"]) if credential else ("", "")


def _is_form(environ: dict[str, Any], service: str) -> bool:
    return service not in {"", *_XML_SERVICES} and environ.get("CONTENT_TYPE", "").startswith(_FORM)


def _action(environ: dict[str, Any]) -> str | None:
    query = parse_qs(environ.get("QUERY_STRING", ""))
    if query.get("Action"):
        return str(query["Action"][0])
    if not environ.get("CONTENT_TYPE", "").startswith(_FORM):
        return None
    body: IO[bytes] = environ["wsgi.input"]
    action = _ACTION.search(body.read(_ACTION_SEARCH_BYTES))
    body.seek(0)
    return bytes(action[1]).decode() if action else None
