"""The input variables of an environment as JSON for Checkov, whose HCL parser supports less than Terraform's."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mclass_tf.environment import Environment


@contextmanager
def variables_file(environment: Environment) -> Iterator[Path]:
    """Yield a file with the values of terraform.tfvars as Terraform reads them, in a folder private to its owner.

    Checkov takes the JSON unchanged. Each value is a list of one, as Checkov's own parser would have returned it.
    """
    with tempfile.TemporaryDirectory(prefix="mclass-gate-") as folder:
        file = Path(folder, f"{environment.variables_file.name}.json")
        values = {name: [value] for name, value in environment.variables.items()}
        file.write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")
        yield file
