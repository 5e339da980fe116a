"""Where a viewer can be reached, and what hinders it."""

import errno
import importlib.util
import socket

from isosweep.config.settings import ViewSettings
from isosweep.errors import InputError

OWN = ("127.0.0.1", "localhost", "::1")
"""Addresses that only this machine can reach."""
LAST = 65535
TRIES = 20
"""Ports after a busy one that are tried for the message."""


def require(settings: ViewSettings) -> None:
    """Check, before anything loads, that a viewer can be opened.

    Raises:
        InputError: viser is not installed, the port is in use, or the host is no address of this machine.
    """
    if importlib.util.find_spec("viser") is None:
        raise InputError(
            "the viewer needs the package viser, which is not installed: pip install 'isosweep[view]' (or leave out "
            "view=true)"
        )
    if settings.port > LAST:
        raise InputError(f"view.port={settings.port}: the last port is {LAST}")
    problem = _problem(settings.host, settings.port)
    if problem is None:
        return
    if problem.errno != errno.EADDRINUSE:
        raise InputError(
            f"the viewer cannot be opened at view.host={settings.host} view.port={settings.port} "
            f"({problem.strerror or problem}): set an address of this machine and a port from 1024 on"
        )
    free = range(settings.port + 1, min(settings.port + TRIES, LAST + 1))
    other = next((port for port in free if _problem(settings.host, port) is None), None)
    raise InputError(
        f"port {settings.port} of {settings.host} is in use, perhaps by the viewer of another run: set view.port="
        f"{other or '<a free port>'}"
    )


def lines(settings: ViewSettings) -> str:
    """What to tell the user: the address, and the way to it from another machine."""
    shown = f"[{settings.host}]" if ":" in settings.host else settings.host
    here = f"the viewer is at http://{shown}:{settings.port}"
    if settings.host not in OWN:
        return f"{here}, for everybody who can reach this machine"
    return (
        f"{here}; from another machine: ssh -L {settings.port}:127.0.0.1:{settings.port} {socket.gethostname()}, and "
        "then the same address there"
    )


def _problem(host: str, port: int) -> OSError | None:
    """Why nobody can listen there; None if one can."""
    try:
        kind, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(kind, socket.SOCK_STREAM) as tried:
            tried.setsockopt(
                socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
            )  # as servers do: no wait after the last one
            tried.bind(place)
    except OSError as error:
        return error
    return None
