"""The site over HTTP, for browsers on this machine: the files of one folder, computed pages, and nothing else.

Only GET and HEAD are answered. Folders are not listed, no path leaves the folder (by dots or links), and only known
types of files are served. A Host header with another name is refused, so that a page elsewhere can't read the reports
through the browser.
"""

import contextlib
import io
import ipaddress
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

from reports.files import ServerNotStarted

LOOPBACK = "127.0.0.1"
# plotly sets inline styles on what it draws; everything else is as strict as possible.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
}
_CHUNK_BYTES = 1 << 16
#: Time limit for a client to send a whole request, including the silence before it, and for it to receive the whole
#: answer: otherwise a byte now and then would occupy a thread forever.
_REQUEST_S = 30.0
_ANSWER_S = 300.0
#: Simultaneous connections, each with its own thread; a browser opens about six.
_MOST_CONNECTIONS = 100
_BUSY = b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n"


Computed: TypeAlias = Callable[[], tuple[str, bytes]]


class NotNow(Exception):  # noqa: N818 - named after the answer, not the error
    """The content of a place can't be computed now; the message says why."""


class SiteServer(ThreadingHTTPServer):
    """Serves ``folder`` at ``host``:``port`` (0: any free port) once :meth:`serve_forever` is called.

    ``computed`` are other places, such as ``/metrics``: each computes its type and content for every request, one
    request at a time, or raises :class:`NotNow`.

    Raises:
        ServerNotStarted: it can't listen at the address.
    """

    daemon_threads = True

    def __init__(
        self, folder: Path, host: str = LOOPBACK, port: int = 0, computed: Mapping[str, Computed] | None = None
    ) -> None:
        self.folder = folder.resolve()
        self._computed = dict(computed or {})
        self._computing = threading.Lock()
        self._free = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        try:
            self.address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise ServerNotStarted(host, port, error) from error
        self.host = host

    @property
    def url(self) -> str:
        """The address to open."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.server_port}/"

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)

    def allows(self, host: str) -> bool:
        """Whether a Host header names this server.

        A server that others can reach accepts every name, as it doesn't know its own.
        """
        if not self.is_local:
            return True
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:  # a bracket that is never closed
            return False
        return is_loopback(name)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Starts a thread for a connection; above the limit, the client is asked to retry."""
        if not self._free.acquire(blocking=False):
            with contextlib.suppress(OSError):
                request.settimeout(0)
                request.sendall(_BUSY)
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serves a connection in its thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Prints the traceback of our own errors; a client that leaves or is too slow is not an error."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def computed_at(self, target: str) -> tuple[str, bytes] | None:
        """Returns the type and content of a computed place, None for any other. Raises NotNow."""
        compute = self._computed.get(urlsplit(target).path)
        if compute is None:
            return None
        with self._computing:
            return compute()

    def file_at(self, target: str) -> Path | None:
        """Returns the requested file, None if it is not part of the site.

        Raises ValueError, OSError or (for a loop of links) RuntimeError for a name that can't be one.
        """
        path = unquote(urlsplit(target).path, errors="strict")
        if "\0" in path or "\\" in path or not path.startswith("/"):
            return None
        parts = [part for part in path.split("/") if part]
        if any(part.startswith(".") for part in parts):
            return None
        found = self.folder.joinpath(*parts)
        found = (found / "index.html" if path.endswith("/") else found).resolve()
        inside = found.is_relative_to(self.folder)
        return found if inside and found.suffix in _KINDS and found.is_file() else None


class _Request(io.RawIOBase):
    """A client's request, which must have arrived completely by the `deadline` (of `time.monotonic`)."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.deadline = 0.0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._connection.settimeout(_left(self.deadline))
        return self._connection.recv_into(buffer)


def _left(deadline: float) -> float:
    """Returns the seconds until the deadline. Raises TimeoutError if it has passed."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class _Handler(BaseHTTPRequestHandler):
    server_version, sys_version = "suite", ""
    protocol_version = "HTTP/1.1"
    server: SiteServer

    def setup(self) -> None:
        super().setup()
        self._request = _Request(self.connection)
        self.rfile = io.BufferedReader(self._request)

    def handle_one_request(self) -> None:
        self._request.deadline = time.monotonic() + _REQUEST_S
        super().handle_one_request()

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def end_headers(self) -> None:
        for name, content in _HEADERS.items():
            self.send_header(name, content)
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Logs nothing, as the person who browses also started the server."""

    def _answer(self, *, with_body: bool) -> None:
        if not self.server.allows(self.headers.get("Host", "")):
            self._refuse(HTTPStatus.MISDIRECTED_REQUEST, "This server answers only to its own name.")
            return
        try:
            computed = self.server.computed_at(self.path)
        except NotNow as error:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
            return
        except ValueError:  # a target that is no address
            computed = None
        if computed is not None:
            self._send(HTTPStatus.OK, *computed)
            return
        try:
            path = self.server.file_at(self.path)
        except (ValueError, OSError, RuntimeError):
            path = None
        if path is None:
            self._refuse(HTTPStatus.NOT_FOUND, "There is no such page; the overview is at /.")
            return
        try:
            file = path.open("rb")
        except OSError:
            self._refuse(HTTPStatus.NOT_FOUND, "This page can't be read.")
            return
        deadline = time.monotonic() + _ANSWER_S
        with file:
            self.connection.settimeout(_left(deadline))
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", _KINDS[path.suffix])
            size = os.fstat(file.fileno()).st_size
            self.send_header("Content-Length", str(size))
            # Assets carry the hash of their content in their names.
            lasting = path.parent == self.server.folder / "assets"
            self.send_header("Cache-Control", "max-age=31536000, immutable" if lasting else "no-cache")
            self.end_headers()
            while with_body and size > 0 and (chunk := file.read(min(size, _CHUNK_BYTES))):
                self.connection.settimeout(_left(deadline))
                self.wfile.write(chunk)
                size -= len(chunk)

    def _refuse(self, status: HTTPStatus, sentence: str) -> None:
        self._send(status, "text/plain; charset=utf-8", f"{status.phrase}: {sentence}\n".encode())

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.connection.settimeout(_ANSWER_S)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def is_loopback(name: str) -> bool:
    """Whether a host name can only mean this machine."""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
