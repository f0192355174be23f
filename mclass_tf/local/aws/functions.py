"""Runs the Lambda functions that deployments invoke (`[[release.hooks]]`): Python from a zip file, in a local process.

moto stores the functions, and would run them in Docker.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
import time
import uuid
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moto.awslambda.exceptions import UnknownAliasException, UnknownFunctionException
from moto.awslambda.models import LambdaFunction, lambda_backends

from mclass_tf.local import documents
from mclass_tf.local.aws import regions, sts
from mclass_tf.local.containers.child_processes import ChildProcesses, ExecError, Program
from mclass_tf.local.containers.output import Tail
from mclass_tf.local.containers.threads import in_thread
from mclass_tf.local.containers.unpack import remove

_ARN_PARTS, _QUALIFIED = 7, 8
_RUNTIME = Path(__file__).with_name("function_runtime.py")
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
_MAX_FILES = 50_000
_MAX_CODE = 250 * 1024 * 1024
_MAX_RESPONSE = 6 * 1024 * 1024
_MAX_OUTPUT = 256 * 1024  # bytes of a function's output that are kept
_CREDENTIALS_SECONDS = 3600


@dataclass(frozen=True, kw_only=True)
class Function:
    """A function that can be run here. `timeout` is in real seconds at any speed of the simulated clock."""

    arn: str
    name: str
    version: str
    handler: str
    role_arn: str
    code: bytes
    timeout: float
    memory: int
    variables: Mapping[str, str]
    account_id: str
    region: str


@dataclass(frozen=True, kw_only=True)
class FunctionResult:
    """The result of an invocation: the returned `value`, or an `error` if there is none, and the function's `output`."""

    value: Any = None
    error: str = ""
    output: str = ""


def find(arn: str) -> Any:
    """Return moto's function, or None."""
    parts = arn.split(":")
    if len(parts) not in (_ARN_PARTS, _QUALIFIED) or parts[2] != "lambda" or not regions.is_known(parts[3]):
        return None
    qualifier = parts[7] if len(parts) == _QUALIFIED else None
    try:
        return lambda_backends[parts[4]][parts[3]].get_function(parts[6], qualifier)
    except (UnknownFunctionException, UnknownAliasException):
        return None


def refusal(arn: str) -> str | None:
    """Return why the function cannot be run, or None if it can."""
    function = find(arn)
    if function is None:
        return f"The function {arn} does not exist"
    runtime = str(function.run_time or function.package_type)
    if not runtime.startswith("python") or not getattr(function, "code_bytes", b""):
        return f"The local AWS runs functions in Python from a zip file alone, and {arn} is {runtime}"
    if function.layers:
        return f"The local AWS does not model layers of functions: {arn}"
    return None


def runnable(arn: str) -> Function:
    """Return a function for which `refusal` returned None."""
    function = find(arn)
    return Function(
        arn=arn,
        name=function.function_name,
        version=str(function.version),
        handler=function.handler or "",
        role_arn=function.role,
        code=function.code_bytes,
        timeout=float(function.timeout),
        memory=int(function.memory_size),
        variables=dict(function.environment_vars),
        account_id=function.account_id,
        region=function.region,
    )


def keep_output(arn: str, output: str) -> None:
    """Write a function's output to its log group, `/aws/lambda/NAME`, as Lambda does.

    https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs.html
    """
    function = find(arn)
    if function is None or not output:
        return
    if function.logs_group_name not in function.logs_backend.groups:
        function.logs_backend.create_log_group(function.logs_group_name, {})
    function.save_logs(output)


def credentials(function: Function) -> dict[str, str]:
    """Return environment variables with credentials of the function's role."""
    issued = sts.issue(
        account_id=function.account_id,
        region=function.region,
        role_arn=function.role_arn,
        name=function.name,
        seconds=_CREDENTIALS_SECONDS,
    )
    return {
        "AWS_ACCESS_KEY_ID": str(issued.access_key_id),
        "AWS_SECRET_ACCESS_KEY": str(issued.secret_access_key),
        "AWS_SESSION_TOKEN": str(issued.session_token),
    }


def install() -> None:
    LambdaFunction._invoke_lambda = _refuse_invocation  # noqa: SLF001


def _refuse_invocation(function: Any, *_: Any, **__: Any) -> Any:
    """Refuse invocations by events of other services, for which moto would start Docker. Only deployments invoke functions."""
    raise NotImplementedError(f"the local AWS runs {function.function_arn} only if a deployment invokes it")


class Functions:
    """Runs functions. Use it in one event loop. `url` is the endpoint of this local AWS."""

    def __init__(self, *, home: Path, url: str) -> None:
        self._folder = home / "functions"
        self._url = url
        remove(self._folder)
        self._folder.mkdir(mode=0o700, parents=True)
        self._children = ChildProcesses()

    async def call(self, function: Function, event: Any, *, variables: Mapping[str, str]) -> FunctionResult:
        """Run the function until its process exits, and return the result."""
        folder = self._folder / uuid.uuid4().hex
        try:
            await in_thread(_prepare, folder, function, event)
            return await self._run(function, folder, variables)
        except (OSError, ValueError, zipfile.BadZipFile, ExecError) as error:
            return FunctionResult(error=f"{function.name} cannot be run: {error}")
        finally:
            await asyncio.to_thread(remove, folder)

    async def close(self) -> None:
        await self._children.close()
        await asyncio.to_thread(remove, self._folder)

    async def _run(self, function: Function, folder: Path, variables: Mapping[str, str]) -> FunctionResult:
        output = Tail(_MAX_OUTPUT)
        # -I isolates it from the user's variables. The installed packages, such as boto3, are available, as in Lambda.
        argv = (sys.executable, "-I", str(_RUNTIME), str(folder / "code"), function.handler, str(folder))
        child = await self._children.start(
            Program(
                argv=argv,
                cwd=folder / "code",
                env={**self._environment(function, folder), **variables},
                stdout=output.take,
                stderr=output.take,
                is_supervised=True,
            )
        )
        try:
            async with asyncio.timeout(function.timeout):
                status = await child.wait()
        except TimeoutError:
            return FunctionResult(
                error=f"Task timed out after {function.timeout:.2f} seconds", output=output.text
            )
        finally:
            child.kill()
            await child.wait()
        return _answer(folder, status=status, output=output.text)

    def _environment(self, function: Function, folder: Path) -> dict[str, str]:
        """https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html"""
        return {
            **function.variables,
            "AWS_DEFAULT_REGION": function.region,
            "AWS_ENDPOINT_URL": self._url,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory),
            "AWS_LAMBDA_FUNCTION_NAME": function.name,
            "AWS_LAMBDA_FUNCTION_VERSION": function.version,
            "AWS_REGION": function.region,
            "HOME": str(folder),
            "LANG": "en_US.UTF-8",
            "LAMBDA_TASK_ROOT": str(folder / "code"),
            "PATH": os.defpath,
            "TMPDIR": str(folder),
            "TZ": "UTC",
        }


def _prepare(folder: Path, function: Function, event: Any) -> None:
    (folder / "code").mkdir(parents=True)
    try:
        with zipfile.ZipFile(io.BytesIO(function.code)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > _MAX_CODE:
                raise ValueError("its code is larger than 250 MB when unpacked")
            if len(archive.infolist()) > _MAX_FILES:
                raise ValueError(f"its code has more than {_MAX_FILES} files")
            archive.extractall(folder / "code")
    except (RuntimeError, zlib.error) as error:  # encrypted, or an unsupported compression
        raise ValueError(f"its code cannot be unpacked: {error}") from None
    context = {
        "aws_request_id": str(uuid.uuid4()),
        "ends_at": time.time() + function.timeout,
        "function_name": function.name,
        "function_version": function.version,
        "invoked_function_arn": function.arn,
        "log_group_name": f"/aws/lambda/{function.name}",
        "memory_limit_in_mb": str(function.memory),
    }
    for name, document in (("event", event), ("context", context)):
        (folder / f"{name}.json").write_text(json.dumps(document), encoding="utf-8")


def _answer(folder: Path, *, status: int, output: str) -> FunctionResult:
    file = folder / "answer.json"
    if not file.is_file():
        return FunctionResult(error=f"Runtime exited with status {status}", output=output)
    if file.stat().st_size > _MAX_RESPONSE:
        return FunctionResult(error="Response payload size exceeded the maximum of 6 MB", output=output)
    document = documents.parse_object(file.read_bytes())
    error = str(document.get("error") or "")
    return FunctionResult(
        value=document.get("value"), error=error, output=f"{output}\n[ERROR] {error}" if error else output
    )
