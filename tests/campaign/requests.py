"""Odd requests to `suite serve`: each is answered or its connection closed, and the server keeps serving."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
import socket
import tempfile
import time
from pathlib import Path

from reports.site.serving import SiteServer
from tests.campaign.limits import Ended, Outcome
from tests.campaign.mutations import mutate

_TIMEOUT_S = 30.0
_REQUESTS = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
    b"HEAD /runs/a/index.html?x=%20 HTTP/1.1\r\nHost: [::1]:80\r\nConnection: close\r\n\r\n",
    b"GET /%2e%2e/secret.html HTTP/1.0\r\nHost: localhost\r\nRange: bytes=0-4\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
    b"GET /loop.html HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nIf-None-Match: *\r\n\r\n",
)

_servers: dict[Path, tuple[int, Path]] = {}


def ask(seed: int, folder: Path) -> Outcome:
    """Sends one odd request, then a plain one. The server runs in a process of its own, started once."""
    if folder not in _servers:
        _servers[folder] = _start(folder)
    port, log = _servers[folder]
    random_ = random.Random(f"request {seed}")
    began, known = time.monotonic(), log.stat().st_size
    sent = mutate(random_.choice(_REQUESTS), random_)[: 1 << 20]
    fault = None
    try:
        _send(port, sent, random_)
    except TimeoutError:
        fault = f"hang: no answer within {_TIMEOUT_S:g} s"
    answer = b""
    if fault is None:
        with contextlib.suppress(OSError):
            answer = _send(port, _REQUESTS[0], random.Random(0))
        if not (answer.startswith(b"HTTP/1.") and b" 200 " in answer[:20]):
            fault = f"it served no more: {answer[:60]!r}"
    err = log.read_bytes()[known:].decode(errors="replace")
    if "Traceback" in err:
        fault = f"traceback: {err.strip().splitlines()[-1]}"
    return Outcome(Ended(0, "", err, time.monotonic() - began, 0), fault)


def _send(port: int, data: bytes, random_: random.Random) -> bytes:
    """Sends the data in one or two pieces; reads the whole answer, or hangs up before."""
    with socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_S) as connection:
        answer = b""
        try:
            cut = random_.randrange(len(data) + 1) if random_.random() < 0.3 else len(data)
            connection.sendall(data[:cut])
            connection.sendall(data[cut:])
            if random_.random() < 0.1:
                return b""
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65536):
                answer += part
        except TimeoutError:
            raise
        except OSError:  # it answered and hung up before it had read everything
            return answer
        return answer


def _start(folder: Path) -> tuple[int, Path]:
    """Starts a server of a small site; returns its port and the file of its output."""
    (folder / "runs" / "a").mkdir(parents=True)
    (folder / "index.html").write_text("overview")
    (folder / "runs" / "a" / "index.html").write_text("run a")
    (folder / "loop.html").symlink_to(folder / "loop.html")
    log = Path(tempfile.mkstemp(prefix="serve-", suffix=".log", dir=folder.parent)[1])
    server = SiteServer(folder)
    if os.fork() == 0:
        signal.alarm(0)
        with log.open("wb", buffering=0) as stream:
            os.dup2(stream.fileno(), 2)
        _die_with_parent()
        server.serve_forever()
        os._exit(0)
    server.socket.close()
    return server.server_port, log


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
