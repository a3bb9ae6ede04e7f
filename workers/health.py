"""`python -m workers.health`: whether the worker beside us is fit, for probes of containers.

Asks the worker's own metrics port what state it is in. It needs nothing beyond the standard library, so a
probe costs no more than an interpreter's start.
"""

from __future__ import annotations

import http.client
import os
import re
import sys

PORT_VARIABLE = "RHEOSTAT_WORKER_METRICS_PORT"
DEFAULT_PORT = 9100
FIT = ("ready", "draining")
"""A draining worker still runs its jobs; to end it early would lose them."""
_TIMEOUT_S = 3.0
_STATE = re.compile(r'^rheostat_worker_state\{state="(\w+)"\} 1(?:\.0)?$', re.MULTILINE)


def state_of(port: int) -> str | None:
    """The state of the worker whose metrics are at `port`; None if it says nothing.

    Raises:
        OSError: nobody answers.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/metrics")
        found = _STATE.search(connection.getresponse().read().decode())
    finally:
        connection.close()
    return found.group(1) if found else None


def main() -> int:
    """0 if the worker is ready or drains, else 1."""
    port = int(os.environ.get(PORT_VARIABLE, DEFAULT_PORT))
    try:
        state = state_of(port)
    except (OSError, http.client.HTTPException) as error:
        print(f"no worker answers at port {port}: {error}", file=sys.stderr)
        return 1
    print(state or "no state")
    return 0 if state in FIT else 1


if __name__ == "__main__":
    sys.exit(main())
