"""A phone: a real adbd behind a cable of its own, with Android's paths, commands and battery files.

adbd is Debian's (Android 14's), whose authorisation is off. The tools are busybox's, only under names that
Android's toybox has too. What Android has and this hasn't: SELinux, seccomp for apps, Binder.
"""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import adbutils

from tests.support.twins.twin_boards import Board
from tests.support.twins.twin_link import Link
from tests.support.twins.twin_machine import START_TIMEOUT_S, Machine, until
from tests.support.twins.twin_needs import need_programs, need_programs_of, need_root
from tests.support.twins.twin_packages import (
    cached,
    copy_tree,
    debian_architecture,
    remove_tree,
    run_tool,
    unpack_debian,
)
from tests.support.twins.twin_power import PoweredTwin
from tests.support.twins.twin_root import BUSYBOX_TOOLS, place_busybox_tools
from tests.support.twins.twin_ssh import free_port

SHELL_ID = 2000  # the user `shell` of Android
WORKDIR = "/data/local/tmp"
PORT = 6555  # above those on which an adb server looks for emulators
_RELEASE = "trixie"
_PACKAGES = ("adbd", "busybox-static", "libstdc++6")
_ADBD = "/usr/lib/android-sdk/platform-tools/adbd"
_UNUSED = ("usr/share/doc", "usr/share/man", "usr/share/locale", "var/cache")
_VERSION = 1


class AdbTwin(PoweredTwin):
    """Made in `folder`, which must be empty. `start` it, and `close` it at the end; or use it as a context.

    It brings an adb server of its own on a private port: `environ` makes clients use that one.
    """

    def __init__(self, folder: Path, board: Board) -> None:
        need_root()
        need_programs("mmdebstrap", "arch-test", "unshare", "nsenter", "setpriv")
        need_programs_of(board.processor.machine)
        folder.mkdir(parents=True, exist_ok=True)
        self.board, self.folder = board, folder
        self.root = folder / "root"
        copy_tree(phone_template(board.processor.machine), self.root)
        board.place(self.root)
        self.link = Link()
        self.machine = Machine(self.root, board.processor, board.kernel, self.link)
        self.host, self.port = self.link.address, PORT
        self.server_port = free_port()
        self.log = folder / "adbd.log"

    @property
    def serial(self) -> str:
        """What adb calls it."""
        return f"{self.host}:{self.port}"

    @property
    def environ(self) -> Mapping[str, str]:
        """A client's environment to use this twin's server."""
        return {"ANDROID_ADB_SERVER_PORT": str(self.server_port)}

    @property
    def workdir(self) -> Path:
        """/data/local/tmp as the host sees it."""
        return self.root / WORKDIR.lstrip("/")

    def entry(self, **more: Any) -> dict[str, Any]:
        """The values of an inventory entry for it."""
        return {"kind": self.board.kind, "host": self.host, "port": self.port, "emulated": True} | more

    def adb(self, *argv: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Runs the adb client to its end; the server is started if it isn't there."""
        environ = {**self.environ, "HOME": str(self.folder), "PATH": "/usr/bin:/bin", "ADB_MDNS_OPENSCREEN": "0"}
        command = [adbutils.adb_path(), *argv]
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=timeout_s, check=False)

    def start(self) -> None:
        """Powers it on, or starts adbd again after `kill`. Waits until the adb server has it as a device."""
        if not self.machine.running:
            self.machine.boot()
        self.machine.spawn(_ADBD, log=self.log, user=SHELL_ID, environ={"ADBD_PORT": str(self.port), "HOME": "/data"})
        for _ in until(START_TIMEOUT_S, f"adbd at {self.serial}"):
            self.adb("disconnect", self.serial)
            self.adb("connect", self.serial)
            if self.adb("-s", self.serial, "get-state").stdout.strip() == "device":
                return

    def kill(self) -> None:
        """Kills adbd; programs that were started through it go on, as on a real device."""
        self.machine.kill_named("platform-tools/adbd")

    def close(self) -> None:
        """Ends its server, powers it off and removes its root."""
        self.adb("kill-server")
        self.stop()
        self.link.remove()
        remove_tree(self.root)


@functools.cache
def phone_template(machine: str = "aarch64") -> Path:
    """The root that is copied for each twin; made if it isn't in the cache. Skips the test where that is impossible."""
    recipe = {
        "version": _VERSION,
        "release": _RELEASE,
        "packages": _PACKAGES,
        "tools": BUSYBOX_TOOLS,
        "unused": _UNUSED,
    }
    return cached(f"phone-{machine}", recipe, functools.partial(_make, machine)) / "root"


def _make(machine: str, folder: Path) -> None:
    root = folder / "root"
    unpack_debian(root, _RELEASE, _PACKAGES, debian_architecture(machine), _UNUSED)
    (root / "etc/passwd").write_text(f"root:x:0:0::/:/bin/sh\nshell:x:{SHELL_ID}:{SHELL_ID}::/data:/bin/sh\n")
    (root / "etc/group").write_text(f"root:x:0:\ntty:x:5:\nshell:x:{SHELL_ID}:\n")
    system = root / "system/bin"
    system.mkdir(parents=True)
    place_busybox_tools(system)
    (root / "usr/bin/sh").symlink_to("busybox")
    workdir = root / WORKDIR.lstrip("/")
    workdir.mkdir(parents=True)
    run_tool("chown", f"{SHELL_ID}:{SHELL_ID}", str(workdir))
    workdir.chmod(0o771)
