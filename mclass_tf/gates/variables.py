"""The inputs of an environment in a form that Checkov reads: its parser of HCL reads less than Terraform does."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mclass_tf.environment import Environment


@contextmanager
def variables_file(environment: Environment) -> Iterator[Path]:
    """Yield a file with the values of terraform.tfvars as Terraform has them, in a folder that only its owner may enter.

    Checkov takes JSON as it is; its own parser would have put each value into a list of one.
    """
    with tempfile.TemporaryDirectory(prefix="mclass-gate-") as folder:
        file = Path(folder, f"{environment.variables_file.name}.json")
        values = {name: [value] for name, value in environment.variables.items()}
        file.write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")
        yield file
