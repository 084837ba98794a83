"""A shell of this host as a link, for scripts that must be the same on every device."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess

from devices.errors import CommandError, FileError
from devices.transports.shell.link import Received

_READ_BYTES = 64 << 10
# How long a shell may outlive its input before it is killed.
_END_TIMEOUT_S = 5.0


class LocalShellLink:
    """Starts `sh` in its own session: Ctrl-C at the terminal is for the suite, which then ends the shell's input."""

    name = "local"

    def open(self, *, timeout_s: float) -> LocalShellChannel:
        del timeout_s  # not needed on this machine
        try:
            process = subprocess.Popen(
                ["sh"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            reason = FileError.from_os_error("start", "sh", error).reason
            raise CommandError(f"the command 'sh' can't be started because {reason}; check PATH.") from error
        return LocalShellChannel(process)

    def require_answer(self, *, timeout_s: float) -> None:
        """Does nothing, as this machine always answers."""

    def close(self) -> None:
        """Does nothing, as each channel is closed by its owner."""


class LocalShellChannel:
    """A running shell. Nothing here waits longer than its timeout."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise ValueError("a channel needs a process with three pipes")
        self._process, self._input = process, process.stdin
        self._out, self._err = process.stdout.fileno(), process.stderr.fileno()
        self._open = {self._out, self._err}
        os.set_blocking(self._input.fileno(), False)

    def send(self, data: bytes, *, timeout_s: float) -> int:
        try:
            select.select([], [self._input], [], timeout_s)
            return os.write(self._input.fileno(), data)
        except (OSError, ValueError):  # full, or closed: earlier output can still be read
            return 0

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            self._input.close()

    def receive(self, *, timeout_s: float) -> Received:
        if not self._open:
            return Received(ended=True)
        ready, _, _ = select.select(list(self._open), [], [], timeout_s)
        chunks = {pipe: os.read(pipe, _READ_BYTES) for pipe in ready}
        self._open -= {pipe for pipe, chunk in chunks.items() if not chunk}
        return Received(chunks.get(self._out, b""), chunks.get(self._err, b""))

    def close(self) -> None:
        self.finish()
        try:
            self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(_END_TIMEOUT_S)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
