"""Runs moto's own tests, of its source distribution, against a local AWS that they may empty."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path

from mclass_tf import local
from tests.foreign.expectations import Result

SERVICES = (
    "acm",
    "applicationautoscaling",
    "awslambda",
    "cloudwatch",
    "ecr",
    "ecs",
    "elbv2",
    "iam",
    "kms",
    "logs",
    "s3",
    "sts",
)
"""The services that environments use. The tests of EC2 that concern networks are named one by one."""
FILES = {
    "ec2": (
        "test_internet_gateways.py",
        "test_network_acls.py",
        "test_route_tables.py",
        "test_security_groups.py",
        "test_subnets.py",
        "test_vpcs.py",
    )
}
_LEFT_OUT = (
    # Tests of moto's own web server, in their process: they send nothing to an endpoint.
    "*/test_server.py",
    "*_server.py",
    # Functions run where deployments ask them, and EventBridge is told nothing: these tests wait for minutes for either.
    "*/test_s3_eventbridge_integration.py",
    "*/test_s3_lambda_integration.py",
    "*/test_lambda_invoke.py",
    "*/test_lambda_layers_invoked.py",
    "*/test_lambda_eventsourcemapping.py",
    "*/test_logs/test_integration.py",
)
_SPEED = 100.0
_SUITE_SECONDS = 1800
_PLUGIN = Path(__file__).with_name("moto_plugin")


class SuiteError(Exception):
    """moto's tests could not be run."""


def unpack(archive: Path, *, into: Path) -> Path:
    """Return the folder of the source distribution, unpacked once."""
    folder = into / archive.name.removesuffix(".tar.gz")
    if not (folder / "tests").is_dir():
        into.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as packed:
            packed.extractall(into, filter="data")
    return folder


def run(
    service: str, *, suite: Path, python: Path, home: Path, options: Iterable[str] = ()
) -> dict[str, Result]:
    """Return the results of the tests of one service, by id such as `test_ecs/test_ecs.py::test_create_cluster`."""
    # Its pages are long: moto's tests read only the first one.
    server = local.up(home=home, port=0, speed=_SPEED, resettable=True)
    results = home / "results.jsonl"
    results.unlink(missing_ok=True)
    try:
        ended = subprocess.run(
            [
                *(str(python), "-m", "pytest", "-q", "-p", "foreign_adapter", "-p", "no:cacheprovider"),
                *("-o", "addopts=", "--timeout=120", "--tb=short"),
                *(f"--ignore-glob={pattern}" for pattern in _LEFT_OUT),
                *options,
                *paths(service),
            ],
            cwd=suite,
            env=_environment(server, results),
            stdout=(home / "pytest.log").open("wb"),
            stderr=subprocess.STDOUT,
            timeout=_SUITE_SECONDS,
            check=False,
        )
    finally:
        local.down(home=home)
    if ended.returncode not in {0, 1} or not results.is_file():
        end = "\n".join((home / "pytest.log").read_text(errors="replace").splitlines()[-30:])
        raise SuiteError(f"pytest ended with {ended.returncode} on the tests of {service}:\n{end}")
    lines = results.read_text(encoding="utf-8").splitlines()
    read = [json.loads(line) for line in lines]
    return {
        entry["test"].removeprefix("tests/"): Result(outcome=entry["outcome"], message=entry["message"])
        for entry in read
    }


def paths(service: str) -> list[str]:
    folder = f"tests/test_{service}"
    return [f"{folder}/{name}" for name in FILES[service]] if service in FILES else [folder]


def _environment(server: local.LocalAws, results: Path) -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MOTO_", "PYTEST"))
    }
    return {
        **kept,
        "AWS_ACCESS_KEY_ID": server.key.access_key_id,
        "AWS_CONFIG_FILE": str(_PLUGIN / "config"),
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "2",  # a result says so where the only attempt failed
        "AWS_SECRET_ACCESS_KEY": server.key.secret_access_key,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "FOREIGN_RESULTS": str(results),
        "PYTHONPATH": str(_PLUGIN),
        "TEST_SERVER_MODE": "true",
        "TEST_SERVER_MODE_ENDPOINT": server.url,
    }
