"""Opens SSH connections: socket, jump host, host key and login, each within its timeout."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Sequence
from dataclasses import dataclass

import paramiko

from devices.errors import DeviceLost, HostKeyRefused
from devices.inventory.entry import DeviceEntry
from devices.processes import Deadline
from devices.transports.ssh.authentication import log_in
from devices.transports.ssh.endpoint import (
    PEER_ERRORS,
    Endpoint,
    changed,
    endpoints,
    require_enrolled,
    wanted_algorithms,
)

# Errors reach the user as our own sentences; without this, the library's background thread prints tracebacks.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

_KEEPALIVE_S = 30
_UNACKNOWLEDGED_MS = 20_000
_WINDOW_BYTES = 4 << 20


@dataclass(frozen=True)
class Connection:
    """A logged-in connection and those it is tunnelled through, the first hop first."""

    hops: tuple[paramiko.Transport, ...]
    label: str

    @property
    def transport(self) -> paramiko.Transport:
        """The connection to the device itself."""
        return self.hops[-1]

    def close(self) -> None:
        """Closes all of them, the device's first."""
        _close(self.hops)


def connect(entry: DeviceEntry) -> Connection:
    """Connects and logs in. Raises `DeviceLost` if the device can't be reached, `HostKeyRefused`, `AccessRefused`."""
    hops: list[paramiko.Transport] = []
    with contextlib.ExitStack() as undo:
        undo.callback(lambda: _close(hops))
        servers = endpoints(entry)
        for endpoint in servers:
            transport, key = shake_hands(endpoint, entry.connect_timeout_s, through=hops[-1] if hops else None)
            hops.append(transport)
            require_enrolled(endpoint, key)
            log_in(transport, endpoint)
            transport.set_keepalive(_KEEPALIVE_S)
        undo.pop_all()
    return Connection(tuple(hops), servers[-1].label)


def _close(hops: Sequence[paramiko.Transport]) -> None:
    for hop in reversed(hops):
        hop.close()


def shake_hands(
    endpoint: Endpoint, timeout_s: float, *, through: paramiko.Transport | None = None
) -> tuple[paramiko.Transport, paramiko.PKey]:
    """Returns an encrypted connection, not logged in, and the host key that the server has proved to own.

    The caller must check the key. Raises `DeviceLost`, and `HostKeyRefused` if the server no longer has a key of an
    enrolled type.
    """
    algorithms = wanted_algorithms(endpoint.host_keys)
    try:
        return _negotiated(endpoint, timeout_s, through, algorithms)
    except paramiko.ssh_exception.IncompatiblePeer as error:
        if algorithms is not None:
            raise changed(endpoint, _any_key(endpoint, timeout_s, through)) from error
        raise DeviceLost(
            f"{endpoint.label} has no encryption method in common with this suite ({error}); update its SSH server."
        ) from error


def _any_key(endpoint: Endpoint, timeout_s: float, through: paramiko.Transport | None) -> paramiko.PKey:
    try:
        transport, key = _negotiated(endpoint, timeout_s, through, None)
    except paramiko.ssh_exception.IncompatiblePeer as error:
        raise HostKeyRefused(
            f"{endpoint.label} offers no host key of the enrolled type ({' and '.join(endpoint.host_keys)}) and no "
            "encryption method in common with this suite; update its SSH server."
        ) from error
    transport.close()
    return key


def _negotiated(
    endpoint: Endpoint, timeout_s: float, through: paramiko.Transport | None, algorithms: tuple[str, ...] | None
) -> tuple[paramiko.Transport, paramiko.PKey]:
    deadline = Deadline(timeout_s)
    channel = _open_socket(endpoint, timeout_s) if through is None else _open_tunnel(endpoint, timeout_s, through)
    with contextlib.ExitStack() as undo:
        undo.callback(channel.close)
        transport = paramiko.Transport(channel, default_window_size=_WINDOW_BYTES)
        undo.callback(transport.close)
        transport.daemon = True
        transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = timeout_s
        transport.channel_timeout = timeout_s
        if algorithms is not None:
            known = transport.get_security_options().key_types
            transport.get_security_options().key_types = tuple(name for name in algorithms if name in known)
        try:
            transport.start_client(timeout=deadline.remaining_s())
            key = transport.get_remote_server_key()
        except paramiko.ssh_exception.IncompatiblePeer:
            raise
        except PEER_ERRORS as error:
            raise _silent(endpoint, timeout_s, error) from error
        undo.pop_all()
    return transport, key


def _silent(endpoint: Endpoint, timeout_s: float, error: Exception) -> DeviceLost:
    # The library's message if its own timeout ends before its reading thread's.
    reason = "no answer" if str(error) == "No existing session" else str(error) or type(error).__name__
    return DeviceLost(
        f"{endpoint.label} accepted the connection but did not complete the SSH handshake within {timeout_s:g} s "
        f"({reason}); check that an SSH server listens there and answers."
    )


class _PromptSocket(socket.socket):
    """Acknowledges received data at once.

    Without a terminal, an SSH server sends small replies with Nagle's algorithm: each waits for the acknowledgement of
    the previous one, which systems delay by 40 ms. Linux resets the option by itself, so it is set at every read.
    """

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        data = super().recv(size, flags)
        if hasattr(socket, "TCP_QUICKACK"):
            with contextlib.suppress(OSError):
                self.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return data


def _open_socket(endpoint: Endpoint, timeout_s: float) -> socket.socket:
    try:
        connection = socket.create_connection((endpoint.host, endpoint.port), timeout=timeout_s)
    except (OSError, UnicodeError) as error:
        reason = (
            "no answer came in time" if isinstance(error, TimeoutError) else getattr(error, "strerror", None) or error
        )
        raise DeviceLost(
            f"{endpoint.label} can't be reached within {timeout_s:g} s: {reason}; check that it is on and in the "
            "network, and `host` and `port` in the inventory."
        ) from error
    sock = _PromptSocket(connection.family, connection.type, connection.proto, connection.detach())
    sock.settimeout(timeout_s)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED_MS)
    return sock


def _cause(error: Exception) -> str:
    return error.text if isinstance(error, paramiko.ChannelException) else str(error) or type(error).__name__


def _open_tunnel(endpoint: Endpoint, timeout_s: float, through: paramiko.Transport) -> paramiko.Channel:
    try:
        return through.open_channel("direct-tcpip", (endpoint.host, endpoint.port), ("", 0), timeout=timeout_s)
    except PEER_ERRORS as error:
        raise DeviceLost(
            f"{endpoint.label} can't be reached from its jump host within {timeout_s:g} s ({_cause(error)}); check "
            "that it is on, that the jump host allows forwarding, and `host` and `port` in the inventory."
        ) from error
