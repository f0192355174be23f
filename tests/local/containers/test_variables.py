"""A container's variables are passed to podman and docker in a file, without affecting these programs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from mclass_tf.local.containers.driver import MOST_PROCESSES, ContainerSpec, ContainerStartError
from mclass_tf.local.containers.engine import ContainerEngine
from mclass_tf.local.containers.variables import VariableError, Variables

ENGINE = ContainerEngine(name="podman", path="/usr/bin/podman", home="h", instance_id="i")


def container(**more: object) -> ContainerSpec:
    return ContainerSpec(
        name="web", task_id="t", manifest_digest="sha256:0", environment={}, output=print, **more  # type: ignore[arg-type]
    )  # fmt: skip


def create(variables: Variables, of: ContainerSpec | None = None) -> tuple[str, ...]:
    return ENGINE.create(
        of or container(), name="n", variables=variables, variables_file="/home/x.env", hosts={}
    )


_names = some.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True)


@given(
    environment=some.dictionaries(
        _names, some.text(alphabet=some.characters(exclude_characters="\0", exclude_categories=["Cs"]))
    )
)
def test_a_value_stands_in_the_file_or_is_inherited_and_in_no_command_line(
    environment: dict[str, str],
) -> None:
    marked = {f"X{name}": f"secret {value}" for name, value in environment.items()}

    found = Variables.of(marked)

    lines = found.text.decode(errors="surrogateescape").removesuffix("\n").split("\n")
    in_file = dict(line.split("=", 1) for line in lines if line)
    assert marked == {**in_file, **found.inherited}
    assert not in_file.keys() & found.inherited.keys()
    assert not [word for word in create(found) if "secret" in word]


@pytest.mark.parametrize(
    "name", ["HOME", "PATH", "CONTAINERS_CONF", "CONTAINER_HOST", "DOCKER_HOST", "LD_PRELOAD", "GODEBUG", "LANG", "XDG_DATA_HOME", "http_proxy"]
)  # fmt: skip
def test_what_the_engine_heeds_is_never_in_its_own_environment(name: str) -> None:
    assert Variables.of({name: "one line"}).inherited == {}
    with pytest.raises(VariableError, match=f"{name} has a value of several lines") as error:
        Variables.of({name: "secret\nof two lines"})
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("name", ["SSH_PRIVATE_KEY", "CONTAINER", "CONTAINERISED", "LANGUAGES", "PATH_OF"])
def test_a_name_that_only_begins_like_one_is_as_any_other(name: str) -> None:
    assert Variables.of({name: "a\nb"}).inherited == {name: "a\nb"}


@pytest.mark.parametrize("name", ["", "*", "A*", "A B", "A=B", "#A", "A\nB=C", "A\0", "A\ud800"])
def test_a_name_that_would_mean_something_else_is_refused(name: str) -> None:
    """`A*` stands for all of podman's own variables with this prefix."""
    with pytest.raises(VariableError, match="a name or a value that none can have"):
        Variables.of({name: "value"})


@pytest.mark.parametrize("path", ["/etc:/host", "/etc:/host:rw", ":", "relative", "", "/a:Z"])
def test_a_mount_of_this_machine_is_refused(path: str) -> None:
    with pytest.raises(ContainerStartError, match="mount"):
        create(Variables.of({}), container(writable_paths=[path]))


def test_a_container_has_a_limit_of_processes() -> None:
    assert f"--pids-limit={MOST_PROCESSES}" in create(Variables.of({}))
