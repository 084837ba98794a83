"""An SSH server with one password, for which OpenSSH would need a system account."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import paramiko
from paramiko.common import AUTH_FAILED, AUTH_SUCCESSFUL


class _Gate(paramiko.ServerInterface):
    def __init__(self, password: str, attempts: list[str]) -> None:
        self._password, self._attempts = password, attempts

    def get_allowed_auths(self, username: str) -> str:
        return "publickey,password"

    def check_auth_password(self, username: str, password: str) -> int:
        self._attempts.append(f"{username}:{password}")
        return AUTH_SUCCESSFUL if password == self._password else AUTH_FAILED


@contextlib.contextmanager
def password_server(password: str, host_key: str) -> Iterator[tuple[int, list[str]]]:
    """Yields its port, and the attempted logins."""
    attempts: list[str] = []
    opened: list[paramiko.Transport] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    transport = paramiko.Transport(connection)
                    transport.add_server_key(paramiko.PKey.from_path(host_key))
                    opened.append(transport)
                    with contextlib.suppress(paramiko.SSHException, EOFError):
                        transport.start_server(server=_Gate(password, attempts))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1], attempts
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(20)
            for transport in opened:
                transport.close()
