"""Write examples and the tables of inputs and outputs into the READMEs of the Terraform folders.

    python tests/terraform/readme_tables.py [--check] [FOLDER ...]

FOLDER is every module and the root by default. With --check nothing is written, and stale tables are an error.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
REGENERATE = "python tests/terraform/readme_tables.py"
BEGIN = "<!-- tables:begin (python tests/terraform/readme_tables.py) -->"
END = "<!-- tables:end -->"

# `terraform fmt` is enforced, so a block starts and ends in the first column and its arguments are indented by two.
_BLOCK = re.compile(
    r'^(variable|output|resource) "([^"]+)"(?: "([^"]+)")? \{\n(.*?)^\}\n', re.MULTILINE | re.DOTALL
)
_ARGUMENT = re.compile(r"^  (\w+) += (.*(?:\n(?:    .*|  [\]})].*|$))*)", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A variable, output or resource: its labels and its arguments, as written."""

    kind: str
    labels: tuple[str, ...]
    arguments: Mapping[str, str]

    @property
    def description(self) -> str:
        return _text(self.arguments["description"]).replace("|", "\\|").replace("<", "&lt;")


def read_blocks(folder: Path) -> Iterator[Block]:
    """Read the blocks of a folder's .tf files in the order of file and line."""
    for path in sorted(folder.glob("*.tf")):
        for kind, label, second, body in _BLOCK.findall(path.read_text()):
            arguments = {name: value.rstrip() for name, value in _ARGUMENT.findall(body)}
            yield Block(kind=kind, labels=tuple(filter(None, (label, second))), arguments=arguments)


def tables(folder: Path) -> str:
    """Return the generated part of a folder's README."""
    blocks = list(read_blocks(folder))
    inputs = [_input(block) for block in blocks if block.kind == "variable"]
    outputs = [f"| `{block.labels[0]}` | {block.description} |" for block in blocks if block.kind == "output"]
    resources = sorted({block.labels[0] for block in blocks if block.kind == "resource"})
    return "\n".join(
        [
            *_examples(folder),
            "## Inputs",
            "",
            "| name | description | type | default |",
            "|---|---|---|---|",
            *inputs,
            "",
            "## Outputs",
            "",
            "| name | description |",
            "|---|---|",
            *outputs,
            *(
                ["", "## Resources", "", ", ".join(f"`{name}`" for name in resources) + "."]
                if resources
                else []
            ),
        ]
    )


def _examples(folder: Path) -> Iterator[str]:
    for path in sorted(folder.glob("examples/*/main.tf")):
        yield f"## Example: [{path.parent.name}](examples/{path.parent.name}/main.tf)"
        yield f"\n```hcl\n{path.read_text()}```\n"


def _input(block: Block) -> str:
    default = _code(block.arguments["default"]) if "default" in block.arguments else "required"
    return f"| `{block.labels[0]}` | {block.description} | {_code(block.arguments['type'])} | {default} |"


def _text(source: str) -> str:
    """Return the text of a string or heredoc on one line."""
    if source.startswith("<<-EOT"):
        return " ".join(source.removeprefix("<<-EOT").split())
    return source.strip().strip('"').replace('\\"', '"')


def _code(source: str) -> str:
    """Fold HCL into one line of a table."""
    line = re.sub(r"\s+", " ", source.strip()).replace("({ ", "({").replace(" })", "})")
    # What stood on lines of its own is separated by commas on one.
    line = re.sub(r"(?<=[\w)\"\]}]) (?=\w+ = )", ", ", line)
    return f"`{re.sub(r' +', ' ', line)}`".replace("|", "\\|")


def rendered(readme: str, *, generated: str) -> str:
    """Return the README's text with its generated part replaced."""
    head, begin, rest = readme.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"the README has no lines\n{BEGIN}\n{END}")
    return f"{head}{BEGIN}\n\n{generated}\n\n{END}{tail}"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, fail when a table is stale")
    parser.add_argument("folder", nargs="*", type=Path)
    options = parser.parse_args(arguments)
    stale = []
    for folder in options.folder or [
        *sorted(path.parent for path in ROOT.glob("modules/*/main.tf")),
        ROOT / "terraform",
    ]:
        readme = folder / "README.md"
        before = readme.read_text()
        after = rendered(before, generated=tables(folder))
        if after != before:
            stale.append(str(readme))
            if not options.check:
                readme.write_text(after)
    if options.check and stale:
        sys.stderr.write(f"stale tables in {', '.join(stale)}; regenerate them with: {REGENERATE}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
