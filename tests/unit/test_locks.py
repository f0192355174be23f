"""The dependencies: locked with hashes, in step with what is asked for, and looked up in a database that answers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = ("constraints.txt", "app/requirements.txt", ".ci/tools.txt", ".ci/foreign.txt")


def entries(file: str) -> list[str]:
    text = (ROOT / file).read_text(encoding="utf-8")
    return [entry for entry in re.split(r"\n(?! )", text) if entry and not entry.startswith("#")]


@pytest.mark.parametrize("file", LOCKS)
def test_every_dependency_is_locked_to_one_version_with_its_digests(file: str) -> None:
    assert entries(file)
    for entry in entries(file):
        assert re.match(r"[a-z0-9-]+==\S+", entry), entry
        assert "--hash=sha256:" in entry, entry
        assert "://" not in entry, entry


def test_every_javascript_package_is_locked_to_one_version_with_its_digest() -> None:
    lock = json.loads((ROOT / ".ci/foreign-javascript/package-lock.json").read_text(encoding="utf-8"))
    asked = json.loads((ROOT / ".ci/foreign-javascript/package.json").read_text(encoding="utf-8"))
    packages = {name: package for name, package in lock["packages"].items() if name}

    assert lock["packages"][""]["dependencies"] == asked["dependencies"]
    for name, package in packages.items():
        assert package["integrity"].startswith("sha512-"), name
        assert "resolved" not in package, name
    assert {f"node_modules/{name}" for name in asked["dependencies"]} <= packages.keys()


def test_programs_install_javascript_as_it_is_locked() -> None:
    """`npm install` takes versions that no lock file names."""
    text = (ROOT / "noxfile.py").read_text(encoding="utf-8")

    assert '("npm", "ci", ' in text
    assert '"npm", "install"' not in text


def asked_for(name: str) -> list[Requirement]:
    if name == "constraints.txt":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        extras = project["optional-dependencies"].values()
        named = [*project["dependencies"], *(each for extra in extras for each in extra)]
    else:
        text = (ROOT / name.replace(".txt", ".in")).read_text(encoding="utf-8")
        named = [line.partition("#")[0].strip() for line in text.splitlines()]
    return [Requirement(each) for each in named if each and not each.startswith("mclass-tf[")]


@pytest.mark.parametrize("file", LOCKS)
def test_the_lock_has_what_is_asked_for_in_a_version_that_is(file: str) -> None:
    locked = dict(entry.split()[0].split("==") for entry in entries(file))
    for requirement in asked_for(file):
        version = locked.get(canonicalize_name(requirement.name), "none")
        assert version in requirement.specifier, f"{requirement} is locked to {version}: `nox -s lock`"


def audit(folder: Path, answers: dict[str, object], *options: str) -> tuple[int, str]:
    """Run the audit of one locked package with a pip-audit that answers so, by what the file names."""
    (folder / "python").symlink_to(sys.executable)
    (folder / "pip-audit").write_text(
        f"""#!{sys.executable}
import json, sys
text = open(sys.argv[-1]).read()
for word, answer in json.loads({json.dumps(answers)!r}).items():
    if word in text:
        print(json.dumps(answer))
        break
else:
    sys.exit("no connection")
"""
    )
    (folder / "pip-audit").chmod(0o755)
    (folder / "lock.txt").write_text("mine==1\n")
    argv = [str(folder / "python"), str(ROOT / ".ci" / "audit"), *options, str(folder / "lock.txt")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=dict(os.environ), timeout=60)
    return done.returncode, done.stdout


def answer(name: str, **entry: object) -> dict[str, object]:
    return {"dependencies": [{"name": name, "version": "1", **entry}]}


KNOWN = {"id": "PYSEC-1", "fix_versions": ["2"]}
ALIVE = {"jinja2": answer("jinja2", vulns=[KNOWN])}


def test_a_dependency_with_a_known_vulnerability_fails_the_audit(tmp_path: Path) -> None:
    status, said = audit(tmp_path, {**ALIVE, "mine": answer("mine", vulns=[KNOWN])})

    assert (status, said.splitlines()[0]) == (1, "mine 1: PYSEC-1, mended in 2")


def test_dependencies_without_one_pass(tmp_path: Path) -> None:
    assert audit(tmp_path, {**ALIVE, "mine": answer("mine", vulns=[])}) == (
        0,
        "1 looked up: 0 vulnerable, 0 not checked\n",
    )


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param({}, id="nothing answers"),
        pytest.param({"jinja2": answer("jinja2", skip_reason="not there")}, id="no database"),
        pytest.param({"jinja2": answer("jinja2", vulns=[])}, id="an empty database"),
        pytest.param({**ALIVE, "mine": answer("mine", skip_reason="not there")}, id="one is skipped"),
        pytest.param({**ALIVE, "mine": {}}, id="no answer for the file"),
    ],
)
def test_what_could_not_be_looked_up_is_no_pass_unless_that_is_asked_for(
    tmp_path: Path, answers: dict[str, object]
) -> None:
    for number, (option, status) in enumerate((((), 3), (("--if-possible",), 0))):
        (tmp_path / str(number)).mkdir()
        ended, said = audit(tmp_path / str(number), answers, *option)

        assert ended == status
        assert "NOT CHECKED" in said or "could not read" in said
