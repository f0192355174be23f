"""`python -m app.healthcheck`: the container's HEALTHCHECK, which exits 0 if the service is healthy."""

from __future__ import annotations

import http.client
import os
import sys

_SECONDS = 5
_OK = 200
# The address to connect to if the service listens on all addresses.
_LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


def main() -> int:
    """Ask for /health; return 0 if the answer is 200."""
    host = os.environ.get("MCLASS_HOST", "").strip()
    port = int(os.environ.get("MCLASS_PORT") or 3000)
    connection = http.client.HTTPConnection(_LOOPBACK.get(host, host), port, _SECONDS)
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
