"""A real OpenSSH server on loopback, with its own keys and configuration."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import psutil

from devices.inventory.entry import DeviceEntry
from tests.support.devices.real_processes import is_running, wait_until
from tests.support.twins.twin_ssh import free_port

_CONFIGURATION = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
MaxStartups 100
LogLevel VERBOSE
Subsystem sftp internal-sftp
# The profile of whoever runs the tests must not take part.
SetEnv HOME={folder}
"""


def make_key(path: Path, kind: str = "ed25519", passphrase: str = "") -> Path:
    """Makes a key pair; `path` is the private key."""
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-f", str(path)], check=True, timeout=60)
    return path


def fingerprint_of(path: Path) -> str:
    """Returns `SHA256:...` as computed by OpenSSH."""
    output = subprocess.run(
        ["ssh-keygen", "-l", "-f", str(path)], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    return output.split()[1]


class LoopbackSshd:
    """A server to `start`, `kill` and `start` again on the same port."""

    environ: Mapping[str, str] = MappingProxyType({})

    def __init__(self, folder: Path, *settings: str) -> None:
        """`settings` are more lines of its configuration."""
        self.folder, self.settings = folder, settings
        folder.mkdir(parents=True, exist_ok=True)
        self.host_key = make_key(folder / "host_key")
        self.client_key = make_key(folder / "client_key")
        shutil.copy(f"{self.client_key}.pub", folder / "authorized_keys")
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # the server's own requirement when root runs it

    @property
    def host_key_text(self) -> str:
        """The host key as in the inventory."""
        kind = Path(f"{self.host_key}.pub").read_text().split()[0]
        return f"{kind} {fingerprint_of(self.host_key)}"

    def entry(self, **changes: Any) -> DeviceEntry:
        """Returns an inventory entry that logs in here."""
        values: dict[str, Any] = {
            "name": "board",
            "kind": "linux",
            "transport": "ssh",
            "workdir": str(self.folder / "work"),
            "host": "127.0.0.1",
            "port": self.port,
            "key_file": str(self.client_key),
            "host_keys": [self.host_key_text],
        }
        return DeviceEntry.model_validate(values | changes)

    def start(self, *, restore_signals: bool = True) -> None:
        """Starts it and waits until it answers."""
        configuration = self.folder / "sshd_config"
        lines = [_CONFIGURATION.format(port=self.port, folder=self.folder), *self.settings]
        configuration.write_text("\n".join(lines) + "\n")
        sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        assert sshd is not None, "openssh-server is needed: .ci/system-packages openssh-server"
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sshd, "-D", "-e", "-f", str(configuration)], stderr=log, restore_signals=restore_signals
            )
        try:
            wait_until(self._answers)
        except BaseException:
            self.kill()  # or `revive` would take it for running
            raise

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text()
        # Each attempt costs the server a process, so on a busy host one that waits is worth many.
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=20) as probe:
            return probe.recv(4) == b"SSH-"
        return False

    def connections(self) -> int:
        """Returns the number of open connections, each of which has its own processes."""
        return len(self.serving())

    def serving(self) -> list[psutil.Process]:
        """Returns the processes of its open connections."""
        if self.process is None or self.process.poll() is not None:
            return []
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # it may have ended meanwhile
                if child.name() == "sshd":
                    found.append(child)
        return found

    def stop_moving(self) -> None:
        """Sends SIGSTOP: its system still accepts connections and acknowledges every packet."""
        self._signal(signal.SIGSTOP)

    def move_again(self) -> None:
        """Sends SIGCONT."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        for process in (psutil.Process(self.process.pid), *self.serving()):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def revive(self) -> None:
        """Makes it run again, whatever was done to it."""
        if self.process is None:
            self.start()
        self.move_again()

    def kill(self) -> None:
        """Kills the server and all of its connections."""
        if self.process is None:
            return
        connections = self.serving()
        self.process.kill()
        for process in connections:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(timeout=20)
        self.process = None
        # One that was just forked still has the socket on which the next server will listen.
        wait_until(lambda: not any(is_running(process.pid) for process in connections))

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_raised: object) -> None:
        self.kill()
