"""A real adbd (Android 14's, from Debian) on this host's own files, behind its own cable, with its own adb server.

It runs natively as the user of the tests, so all its effects are visible here. It doesn't ask for authorisation, so it
must not listen on any other network.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import adbutils
import psutil

from devices.inventory.entry import DeviceEntry
from devices.transports.adb.server import AdbServer, adb_program
from tests.support.devices.real_processes import wait_until
from tests.support.twins.twin_adbd import adbd_command
from tests.support.twins.twin_link import Link
from tests.support.twins.twin_needs import find_program, need_programs, need_root
from tests.support.twins.twin_ssh import free_port

PORT = 6555  # above those on which an adb server looks for emulators


class LoopbackAdbd:
    """A daemon to `start`, `kill` and `start` again at the same address, and to `close`. Its adb server serves it
    alone.
    """

    def __init__(self, folder: Path) -> None:
        need_root()
        need_programs("unshare", "setpriv", "ip", "nsenter")
        self._command = adbd_command()
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.link = Link()
        self.address = f"{self.link.address}:{PORT}"
        self.server = AdbServer(port=free_port())
        self.process: subprocess.Popen[bytes] | None = None
        self._servers: list[subprocess.Popen[bytes]] = []

    @property
    def environ(self) -> Mapping[str, str]:
        """A client's environment for its adb server."""
        return {"ANDROID_ADB_SERVER_PORT": str(self.server.port)}

    def connections(self) -> int:
        """Returns the number of open client connections at its server."""
        return sum(
            connection.status == psutil.CONN_ESTABLISHED and connection.laddr[1:2] == (self.server.port,)
            for connection in psutil.net_connections("tcp")
        )

    def entry(self, **changes: Any) -> DeviceEntry:
        """The inventory entry of this device."""
        values: dict[str, Any] = {
            "name": "phone",
            "kind": "linux",
            "transport": "adb",
            "workdir": str(self.folder / "work"),
            "host": self.link.address,
            "port": PORT,
        }
        return DeviceEntry.model_validate(values | changes)

    def start(self, *, restore_signals: bool = True) -> None:
        """Starts it and waits until it listens; its adb server is running then, but may not know it yet."""
        self._start_server()
        self.process = self._spawn(
            [*_program("unshare"), "--net", "--", *self._command], {"ADBD_PORT": str(PORT)}, restore_signals
        )
        try:
            wait_until(lambda: Path(f"/proc/{self._pid}/cmdline").read_text().startswith(self._command[0]))
            self.link.attach(self._pid)
            wait_until(self._listens)
        except BaseException:
            self.kill()  # or `revive` would take it for running
            raise

    def _start_server(self) -> None:
        """Starts an adb server that ends with the tests, however they end."""
        if not self.server.running():
            self._servers.append(self._spawn([adb_program(), "-P", str(self.server.port), "nodaemon", "server"], {}))
            wait_until(self.server.running)

    def _spawn(
        self, command: list[str], environ: dict[str, str], restore_signals: bool = True
    ) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [*_program("setpriv"), "--pdeathsig", "KILL", "--", *command],
                env={"HOME": str(self.folder), "PATH": f"{self.folder}/bin:{os.environ['PATH']}"} | environ,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                restore_signals=restore_signals,
            )

    @property
    def _pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def _listens(self) -> bool:
        tables = (Path(f"/proc/{self._pid}/net/{name}").read_text() for name in ("tcp", "tcp6"))
        return any(f":{PORT:04X} " in table for table in tables)

    def stop_moving(self) -> None:
        """Sends SIGSTOP: its system still accepts connections and acknowledges every packet."""
        os.kill(self._pid, signal.SIGSTOP)

    def move_again(self) -> None:
        """Sends SIGCONT."""
        os.kill(self._pid, signal.SIGCONT)

    def revive(self) -> None:
        """Makes it run again, with its server, whatever was done to either."""
        if self.process is None:
            self.start()
        self._start_server()
        self.move_again()
        self.link.plug()

    def kill(self) -> None:
        """Kills the daemon alone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(timeout=20)
            self.process = None

    @staticmethod
    def process_on(port: int) -> psutil.Process:
        """Returns the process that listens there."""
        (found,) = {
            connection.pid
            for connection in psutil.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:2] == (port,)
        }
        return psutil.Process(found)

    def kill_server(self) -> None:
        """Kills the adb server, if there is one."""
        if self.server.running():
            process = self.process_on(self.server.port)
            process.kill()
            psutil.wait_procs([process], timeout=20)
        for server in self._servers:
            server.wait(timeout=20)
        self._servers.clear()

    def state(self) -> str | None:
        """Returns its state as `adb devices` lists it."""
        attached = adbutils.AdbClient(self.server.host, self.server.port).list()
        return next((device.state for device in attached if device.serial == self.address), None)

    def close(self) -> None:
        """Ends both and removes the cable."""
        self.kill_server()
        self.kill()
        self.link.remove()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()


def _program(name: str) -> list[str]:
    found = find_program(name)
    assert found is not None, name
    return [found]
