"""How the processes of one run learn that one of them has ended.

A process that waits for another one in the middle of a sum over the team may wait for ever: on graphics cards the sum
does not notice that a process is gone. So each process holds a connection to the first one, which the system closes
when either of them ends, for whatever reason. A thread watches it. Whoever ends in order says so before.
"""

import json
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable

from isosweep.errors import UserError
from isosweep.runtime.interrupts import RunPreempted

GRACE_S = 10.0
"""Seconds for the main thread to notice by itself. torchrun kills what is left 30 seconds after a process has ended."""
CONNECT_S = 60.0
_GOOD, _STOPPED = "good", "stopped"


class ProcessLost(UserError, RuntimeError):
    """Another process of this run has ended, so the run cannot go on."""


class Lifeline:
    """The connections between the first process of a run (rank 0) and each of the others.

    Args:
        on_lost: is called from the watching thread if the main thread has not learned of a loss (``lost``, ``heed``)
            within ``grace_s``. It ends this process.
    """

    def __init__(
        self, rank: int, size: int, on_lost: Callable[[ProcessLost], None], grace_s: float = GRACE_S
    ) -> None:
        self.rank, self.size, self.grace_s = rank, size, grace_s
        self._on_lost = on_lost
        self._lost: ProcessLost | RunPreempted | None = None
        self._noticed, self._heeded = threading.Event(), threading.Event()
        self._closed = False
        self._peers: dict[socket.socket, str] = {}
        self._server: socket.socket | None = None

    def listen(self) -> int:
        """Open the first process's port; returns its number."""
        self._server = socket.create_server(("", 0), backlog=self.size)
        self._server.settimeout(CONNECT_S)
        return self._server.getsockname()[1]

    def accept(self) -> None:
        """Wait until each of the other processes has connected, and watch them."""
        assert self._server is not None
        while len(self._peers) < self.size - 1:
            try:
                peer, _ = self._server.accept()
            except TimeoutError:
                raise ProcessLost(
                    f"{len(self._peers)} of {self.size - 1} processes have connected to process 0 within "
                    f"{CONNECT_S:g} s: see their messages above, or a firewall between the machines"
                ) from None
            peer.settimeout(CONNECT_S)
            hello = json.loads(peer.makefile("r").readline())
            self._peers[peer] = (
                f"process {hello['rank']} of {self.size} (pid {hello['pid']} on {hello['host']})"
            )
        self._server.close()
        self._watch()

    def connect(self, host: str, port: int) -> None:
        """Connect to the first process, and watch it."""
        peer = socket.create_connection((host, port), timeout=CONNECT_S)
        self._peers[peer] = f"process 0 of {self.size}"
        self._send(peer, {"rank": self.rank, "pid": os.getpid(), "host": socket.gethostname()})
        self._watch()

    def lost(self, wait_s: float = 0.0) -> ProcessLost | RunPreempted | None:
        """The loss of another process, if there is one; waits up to ``wait_s`` to learn of it."""
        self._noticed.wait(wait_s)
        if self._lost is not None:
            self.heed()
        return self._lost

    def heed(self) -> None:
        """This process ends by itself, whatever becomes of the others."""
        self._heeded.set()

    def close(self, failed: str | None = None) -> None:
        """Say goodbye: in order, or with the message of the error that ends this process."""
        self._end(_GOOD if failed is None else failed)

    def stopped(self) -> None:
        """Say goodbye: a signal has stopped this process."""
        self._end(_STOPPED)

    def _end(self, word: str) -> None:
        self.heed()
        if self._closed:
            return
        self._closed = True
        for peer in self._peers:
            self._send(peer, {"end": word})

    def _send(self, peer: socket.socket, message: dict[str, object]) -> None:
        try:
            peer.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            self._noticed.wait(1.0)  # the other end is gone, which the watching thread says

    def _watch(self) -> None:
        threading.Thread(target=self._run, name="lifeline", daemon=True).start()

    def _run(self) -> None:
        said: dict[socket.socket, bytes] = dict.fromkeys(self._peers, b"")
        with selectors.DefaultSelector() as selector:
            for peer in self._peers:
                peer.setblocking(True)
                selector.register(peer, selectors.EVENT_READ)
            while selector.get_map() and self._lost is None:
                for key, _ in selector.select():
                    peer = key.fileobj
                    assert isinstance(peer, socket.socket)
                    data = _received(peer)
                    said[peer] += data
                    if not data:
                        selector.unregister(peer)
                        self._judge(self._peers[peer], said[peer])
        if self._lost is None:
            return
        self._noticed.set()
        # Where a process was stopped, the signal reaches all, or is agreed upon at the end of the step.
        if isinstance(self._lost, ProcessLost) and not self._heeded.wait(self.grace_s):
            self._on_lost(self._lost)

    def _judge(self, who: str, said: bytes) -> None:
        """What the end of a process means, from the last line it has said."""
        lines = said.splitlines()
        end = json.loads(lines[-1])["end"] if lines and said.endswith(b"\n") else None
        if end == _GOOD or self._lost is not None:
            return
        if end == _STOPPED:
            self._lost = RunPreempted(f"{who} was asked to stop")
            return
        how = (
            "has ended without a word (killed, or its machine had no memory left)"
            if end is None
            else f"has ended: {end}"
        )
        self._lost = ProcessLost(f"{who} {how}. The same command goes on from the last checkpoint")


def _received(peer: socket.socket) -> bytes:
    try:
        return peer.recv(65536)
    except OSError:
        return b""  # a connection that was reset is one that has ended


def end_this_process() -> None:
    """End at once, without waiting for a main thread that may never return from a sum over the team."""
    time.sleep(0.1)  # what was printed leaves the pipe
    os._exit(1)
