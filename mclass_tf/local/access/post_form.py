"""Reads the forms by which browsers upload to S3 (presigned POSTs), and checks them against their policies.

https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from werkzeug.exceptions import HTTPException
from werkzeug.formparser import FormDataParser

from mclass_tf.local import documents

_MOST_FIELDS = 100
_LARGEST_FIELDS = 20_000  # bytes: https://docs.aws.amazon.com/AmazonS3/latest/API/RESTObjectPOST.html
_UNCONDITIONAL = frozenset({"bucket", "file", "policy", "x-amz-signature"})
_OPERATORS: dict[str, Callable[[str, str], bool]] = {"eq": str.__eq__, "starts-with": str.startswith}


@dataclass(frozen=True, kw_only=True)
class PostForm:
    """A form with a policy. `fields` have lower-case names and include the bucket; `length` is that of the file.

    `filename` is the file's, "" for a field. `problem` says why S3 takes no such form, whatever its policy allows; "" if it does.
    """

    policy: str
    fields: Mapping[str, str]
    length: int
    filename: str = ""
    problem: str = ""

    @property
    def key(self) -> str:
        """The key of the object to store."""
        return self.fields.get("key", "").replace("${filename}", os.path.basename(self.filename))  # noqa: PTH119

    @property
    def expires_at(self) -> float:
        """The end of the policy, in seconds since the epoch; raise ValueError if the policy is malformed."""
        moment = dt.datetime.fromisoformat(str(self._document().get("expiration")))
        return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()

    def refusal(self) -> str | None:
        """Return what the policy does not allow, in S3's words, or None."""
        if self.problem:
            return self.problem
        try:
            return self._violation(list(self._conditions()))
        except (TypeError, ValueError):
            return "Invalid Policy: a condition is malformed"

    def _violation(self, conditions: Sequence[tuple[str, str, Any]]) -> str | None:
        for operator, name, value in conditions:
            if not self._holds(operator, name, value):
                return f'Policy Condition failed: ["{operator}", "${name}", "{value}"]'
        covered = {name for _, name, _ in conditions}
        extra = [
            name
            for name in self.fields
            if name not in covered | _UNCONDITIONAL and not name.startswith("x-ignore-")
        ]
        return f"Extra input fields: {', '.join(extra)}" if extra else None

    def _holds(self, operator: str, name: str, value: Any) -> bool:
        if operator == "content-length-range":
            return int(name) <= self.length <= int(value)
        compare = _OPERATORS.get(operator)
        return compare is not None and compare(self.fields.get(name, ""), str(value))

    def _conditions(self) -> Iterator[tuple[str, str, Any]]:
        for condition in self._document().get("conditions") or ():
            if isinstance(condition, Mapping):
                yield from (("eq", str(name).lower(), value) for name, value in condition.items())
            else:
                operator, name, value = condition
                yield str(operator).lower(), str(name).removeprefix("$").lower(), value

    def _document(self) -> dict[str, Any]:
        try:
            return documents.parse_object(base64.b64decode(self.policy, validate=True))
        except binascii.Error as error:
            raise ValueError(str(error)) from None


def read(environ: Mapping[str, Any]) -> PostForm | None:
    """Return the form of a presigned POST; None for any other request. The body can be read again afterwards.

    The policy allows nothing but an upload, so a form signs no call that its URL names otherwise, such as `?delete`.
    """
    is_form = str(environ.get("CONTENT_TYPE", "")).startswith("multipart/form-data")
    bucket, _, rest = str(environ["PATH_INFO"]).strip("/").partition("/")
    is_other_call = bool(rest or environ.get("QUERY_STRING"))
    if environ["REQUEST_METHOD"] != "POST" or not is_form or is_other_call:
        return None
    parser = FormDataParser(max_form_memory_size=_LARGEST_FIELDS, max_form_parts=_MOST_FIELDS, silent=False)
    try:
        _, form, files = parser.parse_from_environ(dict(environ))
    except (HTTPException, ValueError):
        return None
    finally:
        environ["wsgi.input"].seek(0)
    fields = {name.lower(): value for name, value in form.items()}
    file = files.get("file")
    length = len(fields.get("file", "").encode()) if file is None else file.stream.seek(0, os.SEEK_END)
    for uploaded in files.listvalues():
        for each in uploaded:
            each.close()
    if "policy" not in fields:
        return None
    return PostForm(
        policy=fields["policy"],
        fields={**fields, "bucket": bucket},
        length=length,
        filename="" if file is None else file.filename or "",
        problem=_problem(
            fields=[name for name, _ in form.items(multi=True)],
            files=[name for name, _ in files.items(multi=True)],
        ),
    )


def _problem(*, fields: Sequence[str], files: Sequence[str]) -> str:
    """Return why the form is ambiguous: what the policy is compared with must be what is stored."""
    if [*files, *(name for name in fields if name.lower() == "file")] != ["file"]:
        return "POST requires exactly one file upload per request."
    if len({name.lower() for name in fields}) < len(fields):
        return "A field of the form is there twice."
    return "" if "key" in fields else "Bucket POST must contain a field named 'key'."
