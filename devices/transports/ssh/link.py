"""SSH as a link to a device's shell."""

from __future__ import annotations

import contextlib
import select
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType

import paramiko

from devices.errors import DeviceLost
from devices.inventory.entry import DeviceEntry
from devices.transports.shell.conversation import Patience
from devices.transports.shell.link import Received
from devices.transports.shell.transport import ShellTransport
from devices.transports.ssh.connection import Connection, connect
from devices.transports.ssh.endpoint import PEER_ERRORS

_READ_BYTES = 256 << 10
# Every login shell understands `exec`; everything that needs quoting goes to the standard input of sh.
_SHELL = "exec sh"
# A server may still count a session that has just ended.
_SLOT_S = 1.0
_SLOT_POLL_S = 0.05


def ssh_transport(entry: DeviceEntry, *, patience: Patience | None = None) -> ShellTransport:
    """Returns the transport to a device. Raises `DeviceLost`, `HostKeyRefused`, `AccessRefused`."""
    patience = patience or Patience()
    link = SshLink(connect(entry), stuck_s=patience.answer_s, another=lambda: connect(entry))
    return ShellTransport(link, patience=patience)


class SshLink:
    """A connection on which shells are started: the one that holds the device, and one other at a time.

    If the server allows only one session per connection, `another` opens a second connection. `stuck_s`: how long the
    socket may accept nothing.
    """

    name = "ssh"

    def __init__(
        self, connection: Connection, *, stuck_s: float = 20.0, another: Callable[[], Connection] | None = None
    ) -> None:
        self._connection = connection
        self._stuck_s = stuck_s
        self._watch = _SendWatch(connection, stuck_s)
        self._another = another
        self._outgrown: list[tuple[Connection, _SendWatch]] = []

    def open(self, *, timeout_s: float) -> SshChannel:
        patient_until_s = time.monotonic() + _SLOT_S
        while True:
            try:
                return self._started(timeout_s)
            except paramiko.ChannelException as error:
                if time.monotonic() < patient_until_s:
                    time.sleep(_SLOT_POLL_S)
                elif self._another is not None:
                    self._connect_once_more(self._another)
                    patient_until_s = time.monotonic() + _SLOT_S
                else:
                    raise DeviceLost(
                        f"{self._connection.label} refuses another session ({error}); raise MaxSessions of its SSH "
                        "server."
                    ) from error

    def _connect_once_more(self, another: Callable[[], Connection]) -> None:
        """Opens a second connection for all further work; the first one continues to hold the device."""
        self._outgrown.append((self._connection, self._watch))
        self._connection, self._another = another(), None
        self._watch = _SendWatch(self._connection, self._stuck_s)

    def _started(self, timeout_s: float) -> SshChannel:
        with self._reported("start a shell", timeout_s):
            channel = self._connection.transport.open_session(timeout=timeout_s)
            channel.settimeout(timeout_s)
            channel.exec_command(_SHELL)
        return SshChannel(channel, self._connection, self._watch)

    def require_answer(self, *, timeout_s: float) -> None:
        # Opening and closing a session starts no process on the server, and a refusal is an answer too.
        with contextlib.suppress(paramiko.ChannelException), self._reported("answer", timeout_s):
            self._connection.transport.open_session(timeout=timeout_s).close()

    def close(self) -> None:
        for connection, watch in (*self._outgrown, (self._connection, self._watch)):
            watch.stop()
            connection.close()

    @contextlib.contextmanager
    def _reported(self, what: str, timeout_s: float) -> Iterator[None]:
        """Turns the library's errors into `DeviceLost` and closes the connection."""
        try:
            yield
        except paramiko.ChannelException:
            raise
        except PEER_ERRORS as error:
            active = self._connection.transport.is_active()
            self.close()
            cause = f"did not {what} within {timeout_s:g} s" if active else "ended the connection"
            raise DeviceLost(
                f"{self._connection.label} {cause}; check that it is on and connected, then run again."
            ) from error


class SshChannel:
    """A shell over SSH."""

    def __init__(self, channel: paramiko.Channel, connection: Connection, watch: _SendWatch) -> None:
        self._channel, self._connection, self._watch = channel, connection, watch
        self._poll = select.poll()
        self._poll.register(channel.fileno(), select.POLLIN)

    def send(self, data: bytes, *, timeout_s: float) -> int:
        self._channel.settimeout(timeout_s)
        try:
            with self._watch:
                return self._channel.send(data)
        except TimeoutError:
            self._require_connection()
            return 0
        except (OSError, EOFError, paramiko.SSHException):
            # Closed by the peer: what it sent before can still be read.
            self._require_connection()
            return 0

    def finish(self) -> None:
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException), self._watch:
            self._channel.shutdown_write()

    def receive(self, *, timeout_s: float) -> Received:
        channel = self._channel
        self._poll.poll(max(0.0, timeout_s) * 1000)
        # Checked before the buffers: what arrives in between is read next time.
        ended = bool(channel.closed or channel.eof_received)
        out = channel.recv(_READ_BYTES) if channel.recv_ready() else b""
        err = channel.recv_stderr(_READ_BYTES) if channel.recv_stderr_ready() else b""
        if out or err:
            return Received(out, err)
        if ended:
            self._require_connection()
        return Received(ended=ended)

    def close(self) -> None:
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException), self._watch:
            self._channel.close()

    def _require_connection(self) -> None:
        if not self._connection.transport.is_active():
            raise DeviceLost(
                f"{self._connection.label} ended the connection; check that it is on and connected, then run again."
            )


class _SendWatch:
    """Ends the connection if a write to its socket takes too long, as the library would try forever."""

    def __init__(self, connection: Connection, stuck_s: float) -> None:
        self._connection, self._stuck_s = connection, stuck_s
        self._started_s: float | None = None
        self._stopped = threading.Event()
        threading.Thread(target=self._look, name="ssh send watch", daemon=True).start()

    def __enter__(self) -> None:
        self._started_s = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._started_s = None

    def stop(self) -> None:
        """Ends the thread."""
        self._stopped.set()

    def _look(self) -> None:
        while not self._stopped.wait(min(1.0, self._stuck_s / 4)):
            started_s = self._started_s
            if started_s is not None and time.monotonic() - started_s > self._stuck_s:
                self._connection.close()
                return
