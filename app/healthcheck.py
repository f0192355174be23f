"""`python -m app.healthcheck`: exits 0 if the service on this machine answers; the container's HEALTHCHECK."""

from __future__ import annotations

import http.client
import os
import sys

_SECONDS = 5
_OK = 200


def main() -> int:
    """Ask for /health; return 0 if the answer is 200."""
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("MCLASS_PORT") or 3000), _SECONDS)
    try:
        connection.request("GET", "/health")
        status = connection.getresponse().status
    except OSError as error:
        print(f"no answer: {error}", file=sys.stderr)
        return 1
    finally:
        connection.close()
    return int(status != _OK)


if __name__ == "__main__":
    sys.exit(main())
