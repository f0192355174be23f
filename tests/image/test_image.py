"""The built image runs as in the task definition: read-only, as user 10001, on port 3000."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection

import pytest

from tests.commands import ROOT
from tests.image.conftest import BASE, Image
from tests.image.podman import PATIENCE, Container

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("image")]
_MIB = 1 << 20


@pytest.fixture(scope="module")
def container(image: Image) -> Iterator[Container]:
    """A container shared by tests that do not change it."""
    with image.podman.running(image.id) as container:
        yield container


def test_it_answers_on_port_3000_with_the_revision_that_it_was_built_from(
    image: Image, container: Container
) -> None:
    assert container.get("/").json() == {
        "service": "mclass-server",
        "version": "1.0.0",
        "revision": image.revision,
        "task": None,
    }
    assert container.get("/health").status_code == container.get("/ready").status_code == 200


def test_it_runs_as_10001_on_a_root_that_is_read_only_with_a_tmp_of_its_own(container: Container) -> None:
    assert container.run("id", "-u") == container.run("id", "-g") == "10001"
    assert container.run("stat", "--format", "%u:%g", "/tmp") == "10001:10001"
    container.run("touch", "/tmp/x")
    for path in ("/x", "/srv/app/x"):
        with pytest.raises(AssertionError, match="Read-only file system"):
            container.run("touch", path)


def test_a_request_in_flight_is_answered_when_the_container_is_stopped(image: Image) -> None:
    with (
        image.podman.running(image.id, MCLASS_LAME_DUCK_SECONDS="3") as container,
        closing(HTTPConnection(container.url.removeprefix("http://"), timeout=PATIENCE)) as work,
        ThreadPoolExecutor(1) as pool,
    ):
        work.request("GET", "/work?ms=6000")
        container.get(
            "/version"
        )  # sent after the other request: its response proves that the other is being served
        before = time.monotonic()
        stopped = pool.submit(image.podman, "stop", "--time", str(PATIENCE), container.name)
        assert container.logged("lame duck")["in_flight"] == 1
        assert container.get("/ready").status_code == 503
        assert container.get("/version").status_code == 200

        answer = work.getresponse()
        assert (answer.status, answer.read()) == (200, b'{"worked_ms":6000}')
        stopped.result()
        # Long before SIGKILL.
        assert time.monotonic() - before < PATIENCE / 2
        assert container.exit_code() == 0
        assert [record["message"] for record in container.log()][-1] == "ended"


def test_the_health_checks_of_the_image_and_of_the_task_definition_pass_in_it(container: Container) -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    found = re.search(r"^HEALTHCHECK .*CMD (\[.*\])$", dockerfile, re.MULTILINE)
    assert found
    definition = (ROOT / "modules/ecs-service/task_definition.tf").read_text(encoding="utf-8")
    joined = re.search(r'"CMD", "python", "-ISc", join\("; ", (\[.*?\n    \])\)', definition, re.DOTALL)
    assert joined
    values = {"container.port": "3000", "container_health_check.path": "/health"}
    filled = re.sub(r"\$\{var\.([\w.]+)\}", lambda name: values.get(name[1], "5"), joined[1])
    ecs = "; ".join(json.loads(re.sub(r",\s*\]", "]", filled)))

    container.run(*json.loads(found[1]))
    container.run("python", "-ISc", ecs)
    with pytest.raises(AssertionError, match="exec"):
        container.run("python", "-ISc", ecs.replace("/health", "/no-such-page"))


def test_nothing_is_compiled_at_the_start(container: Container) -> None:
    """With a read-only root, Python would compile it at every start."""
    code = "import app.__main__, uvicorn.protocols.http.httptools_impl"
    told = container.run("sh", "-c", f"python -v -c '{code}' 2>&1")

    assert "/srv/pycache/srv/app/server." in told
    assert re.findall(r"# code object from '?(\S+\.py)'?$", told, re.MULTILINE) == []


def test_the_labels_name_the_revision_and_only_the_service_is_in_it(
    image: Image, container: Container
) -> None:
    labels = json.loads(image.podman("image", "inspect", "--format", "{{json .Labels}}", image.id))
    files = container.run("ls", "/srv/app", "/srv").split()

    assert labels["org.opencontainers.image.revision"] == image.revision
    assert labels["org.opencontainers.image.title"] == "mclass-server"
    assert (labels["mclass-tf.host-variable"], labels["mclass-tf.port-variable"]) == (
        "MCLASS_HOST",
        "MCLASS_PORT",
    )
    assert "__main__.py" in files
    assert not {"precompile.py", "requirements.txt", "tests", "terraform", "__pycache__"} & set(files)


def test_what_it_adds_to_its_base_is_small(image: Image) -> None:
    base = json.loads(image.podman("image", "inspect", "--format", "{{json .RootFS.Layers}}", BASE))
    ours = image.manifest["layers"][len(base) :]

    _, dependencies, app, empty = [layer["size"] for layer in ours]
    assert dependencies < 10 * _MIB
    assert app < 0.1 * _MIB, "a new version of the app is a small layer of its own"
    assert empty < 1024
