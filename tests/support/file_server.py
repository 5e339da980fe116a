"""A web server on this machine that gives files, with ranges or without, and fails in the ways that servers do."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Behaviour:
    """What the server has, and what it does wrong. A test changes it while the server runs."""

    files: dict[str, bytes] = field(default_factory=dict)
    """Path -> bytes."""
    pages: dict[str, bytes] = field(default_factory=dict)
    """Path -> a page that is given in place of a file."""
    ranges: bool = True
    cut_after: list[int] = field(default_factory=list)
    """For the next answers with a body of more than 1,000 bytes: how many of them come before the cut."""
    statuses: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    """Answers that are given before anything else."""
    wrong_total: int = 0
    """Added to the size in Content-Range from the second request on."""
    version: str = '"one"'
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and Range of every request."""
    sent: int = 0
    """Bytes of bodies, in all."""


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[str]:
    """The address of a server that behaves so."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path
            wanted = self.headers.get("Range")
            behaviour.asked.append((path, wanted))
            if behaviour.statuses:
                return self._give(*behaviour.statuses.pop(0))
            if path in behaviour.pages:
                return self._give(200, {"Content-Type": "text/html; charset=utf-8"}, behaviour.pages[path])
            if path not in behaviour.files:
                return self._give(404, {"Content-Type": "text/html"}, b"<html>no</html>")
            data = behaviour.files[path]
            headers = {"Content-Type": "application/octet-stream", "ETag": behaviour.version}
            found = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted or "")
            if not behaviour.ranges or found is None:
                return self._give(200, headers, data)
            first = int(found[1])
            last = min(int(found[2]) if found[2] else len(data) - 1, len(data) - 1)
            if first >= len(data):
                return self._give(416, {"Content-Range": f"bytes */{len(data)}"}, b"")
            total = len(data) + (behaviour.wrong_total if len(behaviour.asked) > 1 else 0)
            headers["Content-Range"] = f"bytes {first}-{last}/{total}"
            return self._give(206, headers, data[first : last + 1])

        def _give(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if behaviour.cut_after and len(body) > 1000:
                body = body[: behaviour.cut_after.pop(0)]
                self.close_connection = True
            behaviour.sent += len(body)
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    class QuietServer(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """A client that goes away is part of the tests."""

    server = QuietServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
