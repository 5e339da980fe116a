"""Bytes of a file on a server: its size, and parts of it by HTTP ranges, with patience for cut connections."""

import logging
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import requests
import urllib3

from isosweep.download import pages
from isosweep.errors import UserError

log = logging.getLogger("isosweep")
PIECE = 1 << 16
"""Bytes that are taken from a connection at once."""
PAGE_BYTES = 1 << 18
"""A page is read up to here: enough for its title and its form."""
BUSY = {408, 429, 500, 502, 503, 504}
"""Statuses of a server that may answer a later request."""
LONGEST_WAIT = 60.0
"""Seconds; a server that asks for more is told to the user instead."""


class DownloadError(UserError):
    """A download that cannot go on: what was sought, what came, what to do."""


class _Cut(Exception):
    """A connection that ended early, or a server that is busy: to be tried again."""

    def __init__(self, why: str, wait: float | None = None) -> None:
        super().__init__(why)
        self.wait = wait


@dataclass(frozen=True)
class Remote:
    """A file on a server, as its first answer described it."""

    url: str
    size: int | None
    ranges: bool
    """Whether the server gives parts of it."""
    version: str | None
    """ETag or date: changes when the file does."""


class Server:
    """Requests with a limit on waiting and on tries."""

    def __init__(
        self, *, tries: int = 5, pause: float = 1.0, timeout: tuple[float, float] = (15, 60)
    ) -> None:
        """
        Args:
            tries: how often in a row a request may fail. A request that brought bytes begins the count anew.
            pause: seconds before the second try; doubled before each later one.
            timeout: seconds to wait for a connection, and for bytes on it.
        """
        self.session = requests.Session()
        # a compressed answer would have other byte positions than the file
        self.session.headers.update({"Accept-Encoding": "identity", "User-Agent": "isosweep (data.py)"})
        self.tries, self.pause, self.timeout = tries, pause, timeout

    def look(self, url: str) -> Remote:
        """Ask for a file's first byte: tells its size and whether the server gives parts.

        Raises:
            DownloadError: there is no such file, or the answer is a page.
        """
        for _ in range(3):
            answer, page = self._patiently(lambda url=url: self._look(url), url)
            if page is None:
                assert answer is not None
                return answer
            onward = pages.past_virus_page(url, page)
            if onward is None or onward == url:
                raise DownloadError(f"{url} gave {pages.explain(page)}")
            url = onward
        raise DownloadError(f"{url} asks again and again before it gives the file: download it in a browser")

    def _look(self, url: str) -> tuple[Remote | None, bytes | None]:
        with self._get(url, {"Range": "bytes=0-0"}) as response:
            if response.status_code == 416:
                raise DownloadError(f"{url} is an empty file: the address may have moved")
            first = next(response.iter_content(PAGE_BYTES), b"")
            if pages.is_page(response.headers.get("Content-Type"), first):
                return None, first
            version = response.headers.get("ETag") or response.headers.get("Last-Modified")
            if response.status_code == 206:
                return Remote(url, _content_range(response, url)[2], True, version), None
            length = response.headers.get("Content-Length", "")
            return Remote(url, int(length) if length.isdecimal() else None, False, version), None

    def stream(self, remote: Remote, start: int, end: int | None) -> Iterator[bytes]:
        """The bytes start <= i < end of a file. A connection that is cut is opened again at the next byte.

        Args:
            end: None for the end of a file whose size is not known.

        Raises:
            DownloadError: the connection fails too often, or the server gives something else.
        """
        position, failed = start, 0
        while end is None or position < end:
            before = position
            try:
                for piece in self._part(remote, position, end):
                    position += len(piece)
                    yield piece
                if end is None or position >= end:
                    return
                raise _Cut("the connection ended early")
            except _Cut as cut:
                if not remote.ranges and position > 0:
                    raise DownloadError(
                        f"{remote.url}: {cut} after {position:,} of {_told(remote.size)} bytes, and this server gives"
                        " no parts, so it has to begin anew: start the same command again"
                    ) from cut
                failed = 1 if position > before else failed + 1
                self._wait(cut, failed, remote.url, f"at byte {position:,} of {_told(remote.size)}")

    def _part(self, remote: Remote, start: int, end: int | None) -> Iterator[bytes]:
        headers = {}
        if remote.ranges:
            headers["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        with self._get(remote.url, headers) as response:
            if remote.ranges:
                self._check_part(response, remote, start)
            left = None if end is None else end - start
            try:
                # read1 hands out what has come: iter_content would lose the bytes of a piece that was cut
                while piece := response.raw.read1(PIECE):
                    if start == 0 and pages.is_page(response.headers.get("Content-Type"), piece):
                        raise DownloadError(f"{remote.url} gave {pages.explain(piece)}")
                    if left is not None:
                        piece, left = piece[:left], left - len(piece)
                    yield piece
                    if left is not None and left <= 0:
                        return
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                raise _Cut(f"the connection was cut ({_reason(error)})") from error

    def _check_part(self, response: requests.Response, remote: Remote, start: int) -> None:
        if response.status_code != 206:
            first = next(response.iter_content(PAGE_BYTES), b"")
            if pages.is_page(response.headers.get("Content-Type"), first):
                raise DownloadError(f"{remote.url} gave {pages.explain(first)}")
            raise DownloadError(
                f"{remote.url} gave the whole file (status {response.status_code}) where a part was asked for: try"
                " again later, or download it whole with --whole"
            )
        first, _, size = _content_range(response, remote.url)
        if first != start or size != remote.size:
            raise DownloadError(
                f"{remote.url}: asked for bytes from {start:,} of {_told(remote.size)}, got bytes from {first:,} of"
                f" {_told(size)}: the file was changed on the server; start the same command again"
            )

    def _get(self, url: str, headers: dict[str, str]) -> requests.Response:
        """One request. The body is not read yet."""
        try:
            response = self.session.get(url, headers=headers, stream=True, timeout=self.timeout)
        except requests.exceptions.SSLError as error:
            raise DownloadError(
                f"the certificate of {urlsplit(url).hostname} was refused ({_reason(error)}): nothing was downloaded."
                " Is this machine's clock right? Behind a proxy that opens connections, name its certificate with"
                " REQUESTS_CA_BUNDLE=FILE"
            ) from error
        except (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema) as error:
            raise DownloadError(f"{url} is no address: {error}") from error
        except requests.exceptions.TooManyRedirects as error:
            raise DownloadError(
                f"{url} leads in a circle: open it in a browser to see what it says"
            ) from error
        except (requests.ConnectionError, requests.Timeout) as error:
            raise _Cut(f"no connection to {urlsplit(url).hostname} ({_reason(error)})") from error
        status = response.status_code
        if status in (200, 206, 416):
            return response
        with response:
            if status in BUSY:
                asked = response.headers.get("Retry-After", "")
                raise _Cut(
                    f"the server answered {status} {response.reason}",
                    float(asked) if asked.isdecimal() else None,
                )
            page = next(response.iter_content(PAGE_BYTES), b"")
        gone = status in (404, 410)
        quota = b"quota" in page.lower() or b"too many users" in page.lower()
        raise DownloadError(
            f"{url} answered {status} {response.reason}: "
            + (
                "the file is not there any more. Look on the authors' page, and give what you find with --archive"
                if gone
                else pages.explain(page)
                if quota
                else "the server refuses it. Open the address in a browser to see why; a file downloaded there can be"
                " given with --archive"
            )
        )

    def _patiently(self, call, url: str):
        """``call`` until it does not raise `_Cut`."""
        failed = 0
        while True:
            try:
                return call()
            except _Cut as cut:
                failed += 1
                self._wait(cut, failed, url, "at the first byte")

    def _wait(self, cut: _Cut, failed: int, url: str, where: str) -> None:
        """Wait before the next try.

        Raises:
            DownloadError: there were enough tries, or the server asks for a long wait.
        """
        if cut.wait is not None and cut.wait > LONGEST_WAIT:
            raise DownloadError(
                f"{url}: {cut}, and asks to wait {cut.wait:.0f} s: start the same command again then; what has come is"
                " kept"
            ) from cut
        if failed >= self.tries:
            raise DownloadError(
                f"{url}: {cut}, {failed} times in a row {where}. Is there a network (https_proxy is obeyed)? Start the"
                " same command again: it goes on where it was cut"
            ) from cut
        seconds = cut.wait if cut.wait is not None else min(self.pause * 2 ** (failed - 1), LONGEST_WAIT)
        log.info("%s: %s %s; trying again in %.0f s", url, cut, where, seconds)
        time.sleep(seconds)


def without_ranges(remote: Remote) -> Remote:
    """The same file, read in one piece."""
    return replace(remote, ranges=False)


def _content_range(response: requests.Response, url: str) -> tuple[int, int, int]:
    """First byte, last byte and size of the file, from the answer's Content-Range."""
    given = response.headers.get("Content-Range", "")
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", given.strip())
    if found is None:
        raise DownloadError(f"{url} answered with Content-Range '{given}', expected 'bytes FIRST-LAST/SIZE'")
    first, last, size = map(int, found.groups())
    return first, last, size


def _told(size: int | None) -> str:
    return "an unknown number of" if size is None else f"{size:,}"


def _reason(error: BaseException) -> str:
    """The innermost reason of a library's error, in one line."""
    seen: set[int] = set()
    inner: BaseException = error
    while id(inner) not in seen:
        seen.add(id(inner))
        reasons = [getattr(inner, "reason", None), inner.__cause__, *inner.args]
        inner = next((r for r in reasons if isinstance(r, BaseException)), inner)
    return " ".join(str(inner).split())[:200] or type(inner).__name__
