"""A board on the network: a real OpenSSH for aarch64 on a port of loopback, with a board's /sys in plain files."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.support.twins.twin_boards import Board
from tests.support.twins.twin_link import Link
from tests.support.twins.twin_machine import START_TIMEOUT_S, Machine, until
from tests.support.twins.twin_packages import remove_tree, run_tool
from tests.support.twins.twin_power import PoweredTwin
from tests.support.twins.twin_root import PASSWORD, USER, USER_ID, new_root, place_busybox_tools

LOOPBACK = "127.0.0.1"
_RESERVED: list[socket.socket] = []
_CONFIG = """\
ListenAddress {host}:{port}
HostKey /etc/ssh/host_key
PidFile none
UsePAM no
StrictModes yes
PasswordAuthentication yes
Subsystem sftp /usr/lib/openssh/sftp-server
SetEnv {environ}
MaxStartups 100
MaxSessions 100
"""


class SshTwin(PoweredTwin):
    """Made in `folder`, which must be empty. `start` it, and `close` it at the end; or use it as a context.

    With `cable` it is reached over a link of its own, which can be unplugged; else on loopback. With `busybox` its
    shell and tools are busybox's, as on a small system; else Debian's.

    `root` is its file tree; `write` changes a file there, of /sys for instance, at once for all readers.
    """

    def __init__(self, folder: Path, board: Board, *, cable: bool = False, busybox: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.board, self.folder = board, folder
        self.link = Link() if cable else None
        self.root = new_root(folder / "root", board.processor.machine)
        if busybox:
            place_busybox_tools(self.root / "usr/local/bin")
            users = self.root / "etc/passwd"
            users.write_text(users.read_text().replace(f"/home/{USER}:/bin/bash", f"/home/{USER}:/usr/local/bin/sh"))
        self.machine = Machine(self.root, board.processor, board.kernel, self.link)
        self.host = self.link.address if self.link else LOOPBACK
        self.port, self.user, self.password = free_port(), USER, PASSWORD
        self.client_key, self.host_key = folder / "client_key", self.root / "etc/ssh/host_key"
        self.log = folder / "sshd.log"
        self._prepare()

    @property
    def environ(self) -> Mapping[str, str]:
        """A client's environment to reach it: nothing."""
        return MappingProxyType({})

    @property
    def home(self) -> Path:
        """The user's home, as the host sees it."""
        return self.root / "home" / self.user

    @property
    def workdir(self) -> Path:
        """Where the suite's default folder is, as the host sees it."""
        return self.home

    @property
    def host_public_key(self) -> str:
        """Type and key, as a known_hosts file has them."""
        return " ".join(self.host_key.with_suffix(".pub").read_text().split()[:2])

    @property
    def fingerprint(self) -> str:
        """`SHA256:…` of the host key, as `ssh-keygen -l` prints it."""
        return run_tool("ssh-keygen", "-l", "-f", str(self.host_key.with_suffix(".pub"))).split()[1]

    @property
    def known_hosts_line(self) -> str:
        """The line that makes a client trust it."""
        return f"[{self.host}]:{self.port} {self.host_public_key}\n"

    def entry(self, **more: Any) -> dict[str, Any]:
        """The values of an inventory entry for it."""
        return {
            "kind": self.board.kind,
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "key_file": str(self.client_key),
            "host_keys": [f"ssh-ed25519 {self.fingerprint}"],
            "emulated": True,
        } | more

    def start(self) -> None:
        """Powers it on, or starts sshd again after `kill`. Waits until sshd answers."""
        if not self.machine.running:
            self.machine.boot()
        daemon = self.machine.spawn("/usr/sbin/sshd", "-D", "-e", "-f", "/etc/ssh/sshd_config", log=self.log)
        for _ in until(START_TIMEOUT_S, f"sshd on port {self.port}"):
            if daemon.poll() is not None:
                raise RuntimeError(f"sshd ended with {daemon.returncode}: {self.log.read_text()[-400:]}")
            with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), 1.0) as stream:
                stream.settimeout(START_TIMEOUT_S / 4)  # asking again makes a busy host busier
                if stream.recv(4) == b"SSH-":
                    return

    def kill(self) -> None:
        """Kills sshd and its sessions; programs that were started through it go on, as on a real device."""
        self.machine.kill_named("sshd")

    def new_host_key(self) -> None:
        """Makes another host key, used from the next start on."""
        for path in (self.host_key, self.host_key.with_suffix(".pub")):
            path.unlink(missing_ok=True)
        _make_key(self.host_key)

    def close(self) -> None:
        """Powers it off and removes its root."""
        self.stop()
        if self.link is not None:
            self.link.remove()
        remove_tree(self.root)

    def _prepare(self) -> None:
        _make_key(self.client_key)
        _make_key(self.host_key)
        environ = " ".join(f"{key}={value}" for key, value in self.machine.environ.items())
        config = _CONFIG.format(host=self.host, port=self.port, environ=environ)
        (self.root / "etc/ssh/sshd_config").write_text(config)
        authorized = self.home / ".ssh/authorized_keys"
        authorized.parent.mkdir(mode=0o700)
        authorized.write_text(self.client_key.with_suffix(".pub").read_text())
        authorized.chmod(0o600)
        run_tool("chown", "-R", f"{USER_ID}:{USER_ID}", str(authorized.parent))
        self.board.place(self.root)


def free_port() -> int:
    """A port of loopback that nobody else gets while this process lives, and at which nobody listens yet.

    It stays bound to a socket that doesn't listen, which keeps only those from listening there that don't set
    SO_REUSEADDR: OpenSSH, adb and qemu do.
    """
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind((LOOPBACK, 0))
    _RESERVED.append(reserved)
    return int(reserved.getsockname()[1])


def _make_key(path: Path) -> None:
    run_tool("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "twin", "-f", str(path))
