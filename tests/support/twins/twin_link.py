"""A cable between this host and a machine: a pair of interfaces, one of them in the machine's own network.

The addresses (10.213.N.0/30) exist on this host alone. While the cable is unplugged, connections stay open and silent.
Unplugging takes the machine's end down: without an end of its own, the host would send the packets to its gateway.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from tests.support.twins.twin_needs import need_programs, need_root
from tests.support.twins.twin_packages import run_tool

_CABLES = 200


class Link:
    """A cable with a number that no other process uses. `attach` it to a machine, and `remove` it at the end."""

    def __init__(self) -> None:
        need_root()
        need_programs("ip", "nsenter")
        folder = user_cache_path("edge-training-suite") / "twins"
        folder.mkdir(parents=True, exist_ok=True)
        self._lock, self.number = _claim(str(folder))
        self.host_address, self.address = f"10.213.{self.number}.1", f"10.213.{self.number}.2"
        self._here, self._there = f"twin{self.number}h", f"twin{self.number}t"
        self._pid = 0

    def attach(self, pid: int) -> None:
        """Plugs it into the network namespace of process `pid`. The test skips where the kernel has no such pairs."""
        self._delete()  # left by a test process that was killed
        try:
            run_tool("ip", "link", "add", self._here, "type", "veth", "peer", "name", self._there)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no veth interfaces can be made here ({error.stderr.strip()}): load the kernel's module veth")
        run_tool("ip", "address", "add", f"{self.host_address}/30", "dev", self._here)
        run_tool("ip", "link", "set", self._here, "up")
        run_tool("ip", "link", "set", self._there, "netns", str(pid))
        self._pid = pid
        self._ip_there("address", "add", f"{self.address}/30", "dev", self._there)
        self._ip_there("link", "set", "lo", "up")
        self.plug()

    def unplug(self) -> None:
        """Unplugs it: nothing gets through."""
        self._ip_there("link", "set", self._there, "down")

    def plug(self) -> None:
        """Plugs it in again. The host forgets that it found nobody there, or it would refuse new connections yet."""
        self._ip_there("link", "set", self._there, "up")
        run_tool("ip", "neighbour", "flush", "dev", self._here)

    def _ip_there(self, *arguments: str) -> None:
        run_tool("nsenter", "--target", str(self._pid), "--net", "--", "ip", *arguments)

    def remove(self) -> None:
        """Removes it and frees its number."""
        self._delete()
        self._lock.release()

    def _delete(self) -> None:
        try:
            run_tool("ip", "link", "delete", self._here)
        except subprocess.CalledProcessError:
            # It goes with its other end when the machine does, perhaps just now.
            if Path(f"/sys/class/net/{self._here}").exists():
                raise


def _claim(folder: str) -> tuple[FileLock, int]:
    for number in range(_CABLES):
        lock = FileLock(f"{folder}/.cable-{number}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            continue
        return lock, number
    raise RuntimeError(f"all {_CABLES} cables are in use")
