"""Lambda functions, as far as deployments call them: Python from a zip file, run in a process of this machine.

They are the `[[release.hooks]]` of an environment. moto keeps the functions, and would run them in Docker.
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
_MOST_FILES = 50_000
_LARGEST_CODE = 250 * 1024 * 1024
_LARGEST_ANSWER = 6 * 1024 * 1024
_OUTPUT = 256 * 1024  # bytes of what a function writes that are kept
_CREDENTIALS_SECONDS = 3600


@dataclass(frozen=True, kw_only=True)
class Function:
    """A function that can be run here. `timeout` is in seconds, which are this machine's at any speed of the clock."""

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
class Answer:
    """What came of a call: `value` is what the function returned, `error` why it returned nothing; `output` what it wrote."""

    value: Any = None
    error: str = ""
    output: str = ""


def find(arn: str) -> Any:
    """Return the function as moto keeps it, or None."""
    parts = arn.split(":")
    if len(parts) not in (_ARN_PARTS, _QUALIFIED) or parts[2] != "lambda" or not regions.is_known(parts[3]):
        return None
    qualifier = parts[7] if len(parts) == _QUALIFIED else None
    try:
        return lambda_backends[parts[4]][parts[3]].get_function(parts[6], qualifier)
    except (UnknownFunctionException, UnknownAliasException):
        return None


def refusal(arn: str) -> str | None:
    """Return why the function cannot be run, None where it can."""
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
    """Return a function to which `refusal` has no objection."""
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
    """Write what a function has written where Lambda would: the log group `/aws/lambda/NAME`.

    https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs.html
    """
    function = find(arn)
    if function is None or not output:
        return
    if function.logs_group_name not in function.logs_backend.groups:
        function.logs_backend.create_log_group(function.logs_group_name, {})
    function.save_logs(output)


def credentials(function: Function) -> dict[str, str]:
    """Return variables with which the function acts in its role."""
    made = sts.issue(
        account_id=function.account_id,
        region=function.region,
        role_arn=function.role_arn,
        name=function.name,
        seconds=_CREDENTIALS_SECONDS,
    )
    return {
        "AWS_ACCESS_KEY_ID": str(made.access_key_id),
        "AWS_SECRET_ACCESS_KEY": str(made.secret_access_key),
        "AWS_SESSION_TOKEN": str(made.session_token),
    }


def install() -> None:
    LambdaFunction._invoke_lambda = _run_nothing  # noqa: SLF001


def _run_nothing(function: Any, *_: Any, **__: Any) -> Any:
    """Run no function: deployments invoke them, not events of other services, for which moto would start Docker."""
    raise NotImplementedError(
        f"the local AWS runs {function.function_arn} where a deployment asks it, and nowhere else"
    )


class Functions:
    """Runs functions. Must be used in one loop; `url` is where this AWS answers them."""

    def __init__(self, *, home: Path, url: str) -> None:
        self._folder = home / "functions"
        self._url = url
        remove(self._folder)
        self._folder.mkdir(mode=0o700, parents=True)
        self._children = ChildProcesses()

    async def call(self, function: Function, event: Any, *, variables: Mapping[str, str]) -> Answer:
        """Return what the function answers; its process has ended then."""
        place = self._folder / uuid.uuid4().hex
        try:
            await in_thread(_lay_out, place, function, event)
            return await self._run(function, place, variables)
        except (OSError, ValueError, zipfile.BadZipFile, ExecError) as error:
            return Answer(error=f"{function.name} cannot be run: {error}")
        finally:
            await asyncio.to_thread(remove, place)

    async def close(self) -> None:
        await self._children.close()
        await asyncio.to_thread(remove, self._folder)

    async def _run(self, function: Function, place: Path, variables: Mapping[str, str]) -> Answer:
        output = Tail(_OUTPUT)
        # Isolated from the caller's variables; the packages that are installed here are there, boto3 among them, as in Lambda.
        argv = (sys.executable, "-I", str(_RUNTIME), str(place / "code"), function.handler, str(place))
        child = await self._children.start(
            Program(
                argv=argv,
                cwd=place / "code",
                env={**self._environment(function, place), **variables},
                stdout=output.take,
                stderr=output.take,
                is_supervised=True,
            )
        )
        try:
            async with asyncio.timeout(function.timeout):
                status = await child.wait()
        except TimeoutError:
            return Answer(error=f"Task timed out after {function.timeout:.2f} seconds", output=output.text)
        finally:
            child.kill()
            await child.wait()
        return _answer(place, status=status, output=output.text)

    def _environment(self, function: Function, place: Path) -> dict[str, str]:
        """https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html"""
        return {
            **function.variables,
            "AWS_DEFAULT_REGION": function.region,
            "AWS_ENDPOINT_URL": self._url,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory),
            "AWS_LAMBDA_FUNCTION_NAME": function.name,
            "AWS_LAMBDA_FUNCTION_VERSION": function.version,
            "AWS_REGION": function.region,
            "HOME": str(place),
            "LANG": "en_US.UTF-8",
            "LAMBDA_TASK_ROOT": str(place / "code"),
            "PATH": os.defpath,
            "TMPDIR": str(place),
            "TZ": "UTC",
        }


def _lay_out(place: Path, function: Function, event: Any) -> None:
    (place / "code").mkdir(parents=True)
    try:
        with zipfile.ZipFile(io.BytesIO(function.code)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > _LARGEST_CODE:
                raise ValueError("its code is larger than 250 MB when unpacked")
            if len(archive.infolist()) > _MOST_FILES:
                raise ValueError(f"its code has more than {_MOST_FILES} files")
            archive.extractall(place / "code")
    except (RuntimeError, zlib.error) as error:  # encrypted, or compressed in another way
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
        (place / f"{name}.json").write_text(json.dumps(document), encoding="utf-8")


def _answer(place: Path, *, status: int, output: str) -> Answer:
    file = place / "answer.json"
    if not file.is_file():
        return Answer(error=f"Runtime exited with status {status}", output=output)
    if file.stat().st_size > _LARGEST_ANSWER:
        return Answer(error="Response payload size exceeded the maximum of 6 MB", output=output)
    document = documents.parse_object(file.read_bytes())
    error = str(document.get("error") or "")
    return Answer(
        value=document.get("value"), error=error, output=f"{output}\n[ERROR] {error}" if error else output
    )
