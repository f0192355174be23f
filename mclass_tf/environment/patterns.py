"""Patterns of names and ARNs that several files of an environment share."""

from __future__ import annotations

import re
from typing import Final

ACCOUNT: Final = re.compile(r"\d{12}")
BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
BUCKET_RULE: Final = "the name of a bucket: 3 to 63 lowercase letters, digits, dots and hyphens"
CERTIFICATE: Final = re.compile(r"arn:aws[a-z-]*:acm:[a-z0-9-]+:\d{12}:certificate/.+")
NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,30}")
REGION: Final = re.compile(r"[a-z]{2,4}(-[a-z]+)+-\d")
ROLE: Final = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/.+")
