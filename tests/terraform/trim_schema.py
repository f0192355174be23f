"""Keep, of a provider's large schema, what this project's configuration uses.

    python tests/terraform/trim_schema.py LARGE.json > tests/terraform/aws-6.69.1.json

LARGE.json is shaped as `terraform providers schema -json`. Run it again when a module uses a new type of resource.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_TYPES = re.compile(r'^(resource|data) "(aws_\w+)"', re.MULTILINE)

# What the root's provider block may say; schemas that come from bindings have no provider.
_PROVIDER = {
    "version": 0,
    "block": {
        "attributes": {
            "allowed_account_ids": {"type": ["set", "string"], "optional": True},
            "region": {"type": "string", "optional": True},
        },
        "block_types": {
            "default_tags": {
                "nesting_mode": "list",
                "max_items": 1,
                "block": {"attributes": {"tags": {"type": ["map", "string"], "optional": True}}},
            },
        },
    },
}


def used_types(*folders: Path) -> dict[str, set[str]]:
    """Return the types of resources ("resource") and data sources ("data") that the .tf files below `folders` name."""
    found: dict[str, set[str]] = {"resource": set(), "data": set()}
    for path in sorted(path for folder in folders for path in folder.rglob("*.tf")):
        for kind, name in _TYPES.findall(path.read_text()):
            found[kind].add(name)
    return found


def trim(large: dict[str, Any], *, used: dict[str, set[str]]) -> dict[str, Any]:
    """Return `large` with the types that are used; a type that it lacks is an error that names it."""
    ((address, schema),) = large["provider_schemas"].items()
    sections = {"resource_schemas": used["resource"], "data_source_schemas": used["data"]}
    missing = sorted(name for section, names in sections.items() for name in names - schema[section].keys())
    if missing:
        raise SystemExit(f"the schema has no {', '.join(missing)}")
    kept = {
        section: {name: schema[section][name] for name in sorted(names)}
        for section, names in sections.items()
    }
    return {"format_version": "1.0", "provider_schemas": {address: {"provider": _PROVIDER, **kept}}}


def dump(schema: dict[str, Any]) -> str:
    """One line for each type: compact, and a difference shows which type changed."""
    ((address, sections),) = schema["provider_schemas"].items()
    lines = [f'{{"format_version":"1.0","provider_schemas":{{{json.dumps(address)}:{{']
    lines.append(f'"provider":{_compact(sections["provider"])},')
    for section in ("resource_schemas", "data_source_schemas"):
        entries = [f"{json.dumps(name)}:{_compact(one)}" for name, one in sections[section].items()]
        lines.append(
            f'"{section}":{{\n' + ",\n".join(entries) + "\n}" + ("," if section == "resource_schemas" else "")
        )
    return "\n".join([*lines, "}}}", ""])


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


if __name__ == "__main__":
    used = used_types(ROOT / "modules", ROOT / "terraform")
    sys.stdout.write(dump(trim(json.loads(Path(sys.argv[1]).read_text()), used=used)))
