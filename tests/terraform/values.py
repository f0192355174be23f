"""Values in HCL: each form that Terraform accepts and a reader may stumble over, and documents made of them at random."""

from __future__ import annotations

from hypothesis import strategies as some

# One each, as `name = FORM`; Terraform accepts them all.
FORMS = (
    "1",
    "-1",
    "- 1",
    "1e1",
    "1E+3",
    "12e-1",
    "1.5e3",
    "-1e1",
    "007",
    "1234567890123456789012345678901234567890",
    "0.1",
    "true",
    "null",
    '""',
    '"값"',
    '"e\u0301"',
    '"😀"',
    '"\ufeff"',
    r'"\n\r\t\"\\"',
    r'"\u00e9\U0001F600"',
    '"$${a} %%{b}"',
    '"$$${1}"',
    '"$"',
    '"100%"',
    '"$$ %% {}"',
    '"# no // comment /* at all */"',
    '"${1}"',
    '"a${1}b${"c${"d"}"}"',
    '"${~ "x" ~}"',
    '"%{ if true }a%{ else }b%{ endif }"',
    "<<EOT\nEOT",
    "<<A\nx\nA",
    "<<A\n\\n $${x} %%{y}\nA",
    "<<A\n ${1 + 1}\n  A",
    "<<-A\n    x\n\n      y\n  A",
    "<<-A\n\tx\n\t  y\n\tA",
    "<<E-T\nx\nE-T",
    "<<가\nx\n가",
    "<<A\nAB\n A B\nA",
    "[]",
    "{}",
    "[1, 2,]",
    "[\n  1, # one\n  2\n]",
    "[<<A\nx\nA\n, 1]",
    "{ a = 1, b = 2, }",
    "{\n  a = 1\n\n  b = 2 // two\n}",
    "{ a : 1, b = 2 }",
    '{ "a" = 1, "b" : 2 }',
    "{ 이름 = 1, 키-1 = 2 }",
    "{ 1 = 2, 1e1 = 3, 1.5 = 4 }",
    "{ true = 1, null = 2, if = 3 }",
    '{ ("a") = 1, (1 + 1) = 2 }',
    '{ "a${1}" = 1 }',
    "{ a = 1, a = 2 }",
    "{ e\u0301 = 1 }",
    "{ a = { b = [{ c = null }] } }",
    "{ a = /* here */ 1 }",
    "(1)",
    "((\n  1\n))",
    "1 + 2 * 3",
    "!true",
    '1 == 1 ? "a" : "b"',
    "[for x in [1, 2] : x * 2]",
    '{ for k, v in { a = 1 } : "${k}!" => v if v > 0 }',
    "[1, 2][1]",
    "{ a = { b = 1 } }.a.b",
    "[{ a = 1 }, { a = 2 }][*].a",
)

_WORDS = some.text(
    some.characters(exclude_characters='"\\\n\r\0', exclude_categories=("Cs", "Cc", "Cn")), max_size=12
)


def _quoted(text: str) -> str:
    return '"' + text.replace("${", "$${").replace("%{", "%%{") + '"'


_NAMES = some.sampled_from(("a", "b", "c-d", "이름", "_e", "if", "null"))
_NUMBERS = some.builds(
    "{}{}{}{}".format,
    some.sampled_from(("", "-")),
    some.integers(0, 10**20),
    some.sampled_from(("", ".5", ".25")),
    some.sampled_from(("", "e1", "E+2", "e-1")),
)
_SPACES = some.sampled_from(("", " ", "\t", " /* c */ "))
_BREAKS = some.sampled_from(("\n", ",\n", " # c\n", "\n\n", ", // c\n", "\r\n"))
_HEREDOCS = some.builds(
    lambda dash, mark, lines, indent: (
        f"<<{dash}{mark}\n" + "".join(f"{line}\n" for line in lines) + f"{indent}{mark}\n"
    ),
    some.sampled_from(("", "-")),
    some.sampled_from(("A", "EOT", "E-1", "가")),
    some.lists(some.sampled_from(("", "x", "  y", "\t# z", '"q"', "\\n", "$${a}", "B A")), max_size=4),
    some.sampled_from(("", "  ")),
)
_SCALARS = some.one_of(
    _NUMBERS,
    some.sampled_from(("true", "false", "null")),
    _WORDS.map(_quoted),
    some.sampled_from((r'"\u00e9\n"', '"a${1}"', "1 + 1", '"$$${1}"')),
)


def _objects(values: some.SearchStrategy[str]) -> some.SearchStrategy[str]:
    keys = some.one_of(_NAMES, _WORDS.map(_quoted), some.integers(0, 20).map(str))
    item = some.builds("{}{}{}{}{}".format, keys, _SPACES, some.sampled_from(("=", ":")), _SPACES, values)
    return some.lists(some.tuples(item, _BREAKS), max_size=4).map(
        lambda items: "{\n" + "".join(item + end for item, end in items) + "}"
    )


def _tuples(values: some.SearchStrategy[str]) -> some.SearchStrategy[str]:
    return some.lists(values, max_size=4).map(lambda items: "[" + ",\n".join(items) + "]")


values = (
    some.recursive(_SCALARS, lambda inner: some.one_of(_objects(inner), _tuples(inner)), max_leaves=12)
    | _HEREDOCS
)
"""The text of one value; what it is, Terraform says."""
