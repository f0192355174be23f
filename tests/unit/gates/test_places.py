"""Locates the addresses of a plan in the HCL."""

from __future__ import annotations

from pathlib import Path

from mclass_tf.gates.places import SourceLocation, places


def test_a_block_is_found_through_nested_modules_of_the_project(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    inner = tmp_path / "modules/outer/inner"
    inner.mkdir(parents=True)
    (tmp_path / "root/main.tf").write_text('\nresource "aws_vpc" "this" {\n}\ndata "aws_region" "now" {}\n')
    (inner / "main.tf").write_text('# a comment\nresource "aws_subnet" "this" {\n}\n')
    plan = {
        "configuration": {
            "root_module": {
                "module_calls": {
                    "a": {
                        "source": "../modules/outer",
                        "module": {"module_calls": {"b": {"source": "./inner", "module": {}}}},
                    },
                    "far": {"source": "terraform-aws-modules/vpc/aws", "module": {}},
                }
            }
        }
    }
    assert places(plan=plan, root=tmp_path / "root") == {
        "aws_vpc.this": SourceLocation(file=tmp_path / "root/main.tf", line=2),
        "data.aws_region.now": SourceLocation(file=tmp_path / "root/main.tf", line=4),
        "module.a.module.b.aws_subnet.this": SourceLocation(file=inner / "main.tf", line=2),
    }
