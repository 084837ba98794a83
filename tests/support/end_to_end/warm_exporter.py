"""Exporting processes that are forked from one that has imported everything, as imports take most of a small export.

Whoever starts one gets a client in its place, which passes its arguments, folder, environment and descriptors on to
the server, and ends as the forked process ends; if the client is killed, so is that process. A client that finds no
server, or has other paths for modules than it, becomes the real process.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

import suite.preparing.export_process
from suite.planning.plan import Plan
from suite.preparing.exporting import PROCESS
from suite.preparing.preparation import load_inputs, workloads_of
from workloads.export.artifact import ArtifactCache

_LONGEST = 1 << 17  # bytes of a message, most of which is the environment

_CLIENT = r"""
import json, os, signal, socket, sys

place, real, path, *arguments = sys.argv[1:]
if os.environ.get("PYTHONPATH", "") != path:
    os.execv(sys.executable, [*json.loads(real), *arguments])
link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
try:
    link.connect(place)
except OSError:
    os.execv(sys.executable, [*json.loads(real), *arguments])
message = json.dumps({"arguments": arguments, "folder": os.getcwd(), "environ": dict(os.environ)}).encode()
socket.send_fds(link, [message], [0, 1, 2])
os.closerange(0, 3)  # what has the other ends sees the forked process close them
code = link.recv(1)
os.kill(os.getpid(), signal.SIGKILL) if not code else os._exit(code[0])
"""


@contextlib.contextmanager
def warm_exporter(place: Path) -> Iterator[None]:
    """Serves at a socket for the block, if nobody does or is about to."""
    try:
        place.with_suffix(".claimed").touch(exist_ok=False)
    except FileExistsError:
        yield
        return
    argv = [sys.executable, "-m", __spec__.name, str(place)]
    environ = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1"}  # a fork has but one thread
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environ) as server:
        yield
        assert server.stdin is not None
        server.stdin.close()


def client_of(place: Path) -> tuple[str, ...]:
    """Returns the command that stands for `PROCESS`."""
    path = os.environ.get("PYTHONPATH", "")
    return sys.executable, "-IS", "-c", _CLIENT, str(place), json.dumps(PROCESS), path


def _serve(place: Path) -> None:
    """Forks a process for each client, until standard input ends."""
    _export_once()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # clients hear how their processes end
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(place))
        listener.listen(64)
        while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
            link, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _stand_in(link)
            link.close()


def _export_once() -> None:
    """Has everything imported and initialized that the first export needs."""
    plan = Plan(devices=(), model="tiny", q=1, b=1, T=8, quants=("fp32",))
    inputs = load_inputs(plan, lambda _note: None)
    with tempfile.TemporaryDirectory() as folder:
        for workload in workloads_of(plan, inputs.data):
            ArtifactCache(Path(folder)).export(workload, inputs.weights)


def _stand_in(link: socket.socket) -> None:
    """Becomes the exporting process of a client."""
    code = 1
    try:
        message, descriptors, *_ = socket.recv_fds(link, _LONGEST, 3)
        order = json.loads(message)
        for standard, descriptor in enumerate(descriptors):
            os.dup2(descriptor, standard)
            os.close(descriptor)
        os.setsid()
        os.chdir(order["folder"])
        os.environ.clear()
        os.environ.update(order["environ"])
        tempfile.tempdir = None  # the server's own goes away with the worker that has started it
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        threading.Thread(target=_end_with, args=(link,), daemon=True).start()
        suite.preparing.export_process.main(order["arguments"])
        code = 0
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        link.send(bytes([code]))
        os._exit(code)


def _end_with(link: socket.socket) -> None:
    """Ends this process when its client is gone."""
    link.recv(1)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
