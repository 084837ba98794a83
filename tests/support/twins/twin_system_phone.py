"""The emulated computer with adbd for aarch64: a device over adb that has its own kernel and clock."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import adbutils

from tests.support.twins.twin_adb import PORT, SHELL_ID, WORKDIR, phone_template
from tests.support.twins.twin_machine import until
from tests.support.twins.twin_packages import copy_tree
from tests.support.twins.twin_ssh import free_port
from tests.support.twins.twin_system import BOOT_TIMEOUT_S, SystemTwin

_ADBD = "/usr/lib/android-sdk/platform-tools/adbd"
_AS_SHELL = f"/usr/sbin/chroot --userspec={SHELL_ID}:{SHELL_ID} --groups= /phone"
_START = f"""\
for place in proc sys dev; do mkdir -p /phone/$place; busybox mount -o rbind /$place /phone/$place; done
ADBD_PORT={PORT} HOME=/data PATH=/system/bin:/usr/bin {_AS_SHELL} {_ADBD} &
"""


class SystemPhone(SystemTwin):
    """Used like `SystemTwin`; `entry` and `environ` are those of a device over adb, whose root is `phone`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        copy_tree(phone_template(), self.root / "phone")
        self.adb_port, self.server_port = free_port(), free_port()
        self.forwarded[self.adb_port] = PORT
        init = self.root / "twin-init"
        init.write_text(init.read_text().replace("/usr/sbin/sshd", f"{_START}/usr/sbin/sshd", 1))

    @property
    def environ(self) -> Mapping[str, str]:
        """A client's environment to use its adb server."""
        return {"ANDROID_ADB_SERVER_PORT": str(self.server_port)}

    def entry(self, **more: Any) -> dict[str, Any]:
        """The values of an inventory entry for it."""
        values = {"kind": "linux", "transport": "adb", "host": self.host, "port": self.adb_port, "emulated": True}
        return values | {"workdir": f"{WORKDIR}/edge-training-suite"} | more

    def start(self) -> None:
        """Switches it on. Waits until adbd answers too."""
        super().start()
        serial = f"{self.host}:{self.adb_port}"
        for _ in until(BOOT_TIMEOUT_S, f"adbd at {serial}"):
            self._adb("disconnect", serial)
            self._adb("connect", serial)
            if self._adb("-s", serial, "get-state") == "device":
                return

    def close(self) -> None:
        """Ends its adb server, cuts the power and removes its root."""
        self._adb("kill-server")
        super().close()

    def _adb(self, *argv: str) -> str:
        environ = {**self.environ, "HOME": str(self.folder), "PATH": "/usr/bin:/bin", "ADB_MDNS_OPENSCREEN": "0"}
        command = [adbutils.adb_path(), *argv]
        ended = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
        return ended.stdout.strip()
