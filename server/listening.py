"""A listening socket, taken before anything else is started."""

from __future__ import annotations

import socket

from protocol.errors import RheostatError


class AddressTaken(RheostatError):
    """Something else listens where the gateway should."""

    default_code = "address_taken"


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to the address; port 0 takes a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise AddressTaken(f"cannot listen on {host}:{port}: {error.strerror}") from error
    # Connections inherit it. asyncio sets it only on sockets made with an explicit protocol, and without it
    # an answer written in two parts waits 40 ms for the caller's delayed acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
