"""A Jetson with the real jtop service: jetson-stats on the Python of a Debian root, in its test mode.

In that mode (`JTOP_TESTING=1`) the service takes its power monitors from /fake_sys, and all else from where a board has
it. The trees are laid out as a board's: /sys/class/thermal and /sys/bus/i2c/devices are links into the devices, so that
the kernel's files and the service show the same hardware. Group, socket and settings of jtop are those of the root.

Python runs on this host's own processor, since it takes ten times as long emulated; it reports the board's kernel, by
which jtop recognises a Jetson.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.support.twins.twin_boards import JETSON_ORIN, Board
from tests.support.twins.twin_machine import until
from tests.support.twins.twin_needs import need_programs, need_root
from tests.support.twins.twin_packages import cached, debian_architecture, run_tool, unpack_debian
from tests.support.twins.twin_root import RELEASE
from tests.support.twins.twin_ssh import SshTwin

_DEBIAN = ("python3", "mount", "debianutils")  # its service calls swapon, its client calls which
_UNUSED = ("usr/share", "usr/lib/python3.11/test", "usr/lib/python3.11/idlelib", "usr/lib/python3.11/ensurepip")
# Jetson-stats is under AGPL-3.0: it is fetched for this test, and is no part of this repository.
_COMMON = (
    "smbus2==0.6.1 --hash=sha256:650feeb27ca0ed58b07db4c10201c2a662c41305b7bf6e5fab9d888056f48180",
    "distro==1.9.0 --hash=sha256:7bffd925d65168f85027d8da9af6bddab658135b840670a223589bc0c8ef02b2",
)
#: The last release for the Python of JetPack 4, and the current one.
JETSON_STATS = {
    "4.3.2": (
        *_COMMON,
        "jetson-stats==4.3.2 --hash=sha256:2b033cb02b9d4cf70d13cdb915b5cf58b864a742d612704513e196943dc0a397",
    ),
    "7.2.2": (
        *_COMMON,
        "jetson-stats==7.2.2 --hash=sha256:78fd12fcec5d84c2fbd6291b91b6256ec02b61cb747195ae8948589ba39e4b9c",
        "nvidia-ml-py==13.615.71 --hash=sha256:959bf4adf6fe1308e4bd739e722236b0d1ec8392e2cefad33ff70c311380b9b6",
    ),
}
OLDEST = "4.3.2"
_MODULES = "usr/lib/python3/dist-packages"
_GROUP = "jtop:x:900:"
_SOCKET = "run/jtop.sock"
_SERVICE_TIMEOUT_S = 120.0  # a few seconds on an idle host
_MODES = "var/lib/twin-firmware/nvpmodel"
_NVPMODEL = f"""\
case "$1" in
    -p) cat /{_MODES}.all ;;
    *) cat /{_MODES} ;;
esac
"""
_RAILS = "sys/bus/i2c/drivers/ina3221/1-0040"
_FAKE = "fake_sys"
_AT_START = "usr/lib/python3.11/sitecustomize.py"
_KERNEL = f"""\
import os
_host = os.uname()
os.uname = lambda: os.uname_result((_host.sysname, _host.nodename, "{JETSON_ORIN.kernel}", _host.version, "aarch64"))
"""

#: A board without a rail that feeds the whole module: 4500, 600 and 1200 mW.
JETSON_AGX_ORIN = replace(
    JETSON_ORIN,
    model="NVIDIA Jetson AGX Orin Developer Kit",
    files={
        **JETSON_ORIN.files,
        f"{_RAILS}/hwmon/hwmon3/in1_label": "VDD_GPU_SOC\n",
        f"{_RAILS}/hwmon/hwmon3/in2_label": "VDD_CPU_CV\n",
        f"{_RAILS}/hwmon/hwmon3/in3_label": "VIN_SYS_5V0\n",
    },
)


class JtopTwin(SshTwin):
    """Used like `SshTwin`; its service is started with it.

    Its user is in group jtop, and may read all that the kernel shows.
    """

    def __init__(self, folder: Path, board: Board = JETSON_ORIN, version: str = OLDEST) -> None:
        super().__init__(folder, board.on_this_host())
        self.service_log = folder / "jtop.log"
        run_tool("cp", "--archive", str(jtop_template(version) / "usr"), str(self.root))
        group = self.root / "etc/group"
        group.write_text(f"{group.read_text()}{_GROUP}{self.user}\n")
        (self.root / "dev/shm").chmod(0o1777)  # where its client's locks are
        self._lay_out()
        self.set_power_mode("15W", 0)

    def entry(self, **more: Any) -> dict[str, Any]:
        """The values of an inventory entry for it, jtop among them."""
        return super().entry(**{"jtop": True, **more})

    def set_power_mode(self, name: str, number: int) -> None:
        """Sets the output of `nvpmodel -q`."""
        self.write(_MODES, f"NV Power Mode: {name}\n{number}\n")

    def set_rail(self, channel: int, milliamperes: int) -> None:
        """Sets a rail's current, at 5 V. Writes in place, as a driver does."""
        (self.root / _RAILS / f"hwmon/hwmon3/curr{channel}_input").write_text(f"{milliamperes}\n")

    def remove_rail(self, channel: int) -> None:
        """Makes its current unreadable."""
        (self.root / _RAILS / f"hwmon/hwmon3/curr{channel}_input").unlink()

    def start(self) -> None:
        """Powers it on. Waits until sshd and the service answer."""
        super().start()
        if not self.machine.named("-m jtop"):
            self.start_service()

    def start_service(self) -> None:
        """Starts it as its systemd unit does. Raises RuntimeError if it ends."""
        environ = {"JTOP_SERVICE": "True", "JTOP_TESTING": "1"}
        argv = ("/usr/bin/python3", "-m", "jtop", "--force")
        (self.root / _SOCKET).unlink(missing_ok=True)
        self.service_log.unlink(missing_ok=True)
        service = self.machine.spawn(*argv, log=self.service_log, environ=environ)
        for _ in until(_SERVICE_TIMEOUT_S, "the service of jtop"):
            log = self.service_log.read_text() if self.service_log.exists() else ""
            if service.poll() is not None:
                raise RuntimeError(f"the service of jtop ended with {service.returncode}: {log[-400:]}")
            if "service ready" in log:
                return

    def kill_service(self) -> None:
        """Kills it; its socket stays, as nothing cleans up after a killed process."""
        self.machine.kill_named("-m jtop")

    def pause_service(self) -> None:
        """Stops the process that reads the hardware; the one that answers clients goes on, with the last values."""
        pids = self.machine.named("-m jtop")
        stats = {pid: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids}
        first = next(pid for pid in pids if int(stats[pid][1]) not in pids)
        children = [pid for pid in pids if int(stats[pid][1]) == first]
        self.machine.send(signal.SIGSTOP, [max(children, key=lambda pid: int(stats[pid][19]))])  # it is started last

    def add_supply(self, name: str, microvolts: int, microamperes: int) -> None:
        """Adds a port that powers the board; the service finds it at its next start."""
        files = {"type": "USB", "online": "1", "voltage_now": str(microvolts), "current_now": str(microamperes)}
        for file, text in files.items():
            self.write(f"sys/class/power_supply/{name}/{file}", f"{text}\n")
        (self.root / _FAKE / "class/power_supply" / name).symlink_to(f"/sys/class/power_supply/{name}")

    @contextlib.contextmanager
    def outside_the_group(self) -> Iterator[None]:
        """Takes its user out of group jtop, for connections made while the block runs."""
        group = self.root / "etc/group"
        text = group.read_text()
        group.write_text(text.replace(f"{_GROUP}{self.user}\n", f"{_GROUP}\n"))
        try:
            yield
        finally:
            group.write_text(text)

    @contextlib.contextmanager
    def private(self) -> Iterator[None]:
        """Lets only root read rails, temperatures and power mode, so that jtop's service is the only way to them."""
        files = [*(self.root / _RAILS / "hwmon/hwmon3").glob("*_input"), self.root / "usr/sbin/nvpmodel"]
        files += (self.root / "sys/devices/virtual/thermal").glob("*/temp")
        modes = {path: path.stat().st_mode for path in files}
        for path, mode in modes.items():
            path.chmod(mode & 0o700)
        try:
            yield
        finally:
            for path, mode in modes.items():
                path.chmod(mode)

    def _lay_out(self) -> None:
        zones, devices = self.root / "sys/class/thermal", self.root / "sys/devices/virtual/thermal"
        devices.mkdir(parents=True)
        for zone in sorted(zones.iterdir()):
            zone.rename(devices / zone.name)
            zone.symlink_to(f"../../devices/virtual/thermal/{zone.name}")
        chips = self.root / _FAKE / "bus/i2c/devices"
        chips.mkdir(parents=True)
        (self.root / _RAILS / "name").write_text("ina3221\n")
        (chips / "1-0040").symlink_to(f"/{_RAILS}")
        for name in ("class/power_supply", "class/hwmon", "class/devfreq", "devices/system/cpu/cpu0"):
            (self.root / _FAKE / name).mkdir(parents=True)
        (self.root / _FAKE / "stat").write_text("cpu  100 0 100 900 0 0 0 0 0 0\ncpu0 100 0 100 900 0 0 0 0 0 0\n")
        nvpmodel = self.root / "usr/sbin/nvpmodel"
        nvpmodel.write_text(f"#!/bin/sh\n{_NVPMODEL}")
        modes = "POWER_MODEL: ID=0 NAME=15W\nPOWER_MODEL: ID=1 NAME=7W\nPM_CONFIG: DEFAULT=15W(0)\n"
        self.write(f"{_MODES}.all", modes)


@functools.cache
def jtop_template(version: str = OLDEST) -> Path:
    """Python with jetson-stats, as a `usr` to be laid over a root's. Skips where it can't be made."""
    need_root()
    need_programs("mmdebstrap", "arch-test", "chroot")
    python, machine = JETSON_STATS[version], os.uname().machine
    recipe = {"version": 4, "machine": machine, "release": RELEASE, "debian": _DEBIAN, "python": python}
    recipe |= {"unused": _UNUSED, "kernel": _KERNEL}
    return cached(f"jtop-{version}", recipe, lambda folder: _make(folder, python)) / "root"


def _make(folder: Path, python: Sequence[str]) -> None:
    root, fetched = folder / "root", folder / "fetched"
    unpack_debian(root, RELEASE, _DEBIAN, debian_architecture(os.uname().machine), _UNUSED)
    (root / "usr/bin/which").symlink_to("which.debianutils")  # installing makes this link, unpacking doesn't
    fetched.mkdir()
    (fetched / "requirements.txt").write_text("\n".join(python))
    run_tool(
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
        *("--dest", str(fetched), "--requirement", str(fetched / "requirements.txt")),
    )
    modules = root / _MODULES
    modules.mkdir(parents=True, exist_ok=True)
    for wheel in fetched.glob("*.whl"):
        run_tool(sys.executable, "-m", "zipfile", "--extract", str(wheel), str(modules))
    # Its own installer is not run: it would set up a group and a service on this host.
    for archive in fetched.glob("*.tar.gz"):
        run_tool(sys.executable, "-m", "tarfile", "--filter", "data", "--extract", str(archive), str(fetched))
    for package in fetched.glob("jetson*stats-*/jtop"):
        package.rename(modules / "jtop")
    run_tool("rm", "-rf", str(fetched))
    (root / _AT_START).unlink(missing_ok=True)  # a link to settings that only an installation has
    (root / _AT_START).write_text(_KERNEL)
    # Compiled once, here, even if this host turns that off for its own Python.
    run_tool(
        *("env", "--unset=PYTHONDONTWRITEBYTECODE", "--unset=PYTHONPYCACHEPREFIX", "chroot", str(root)),
        *("/usr/bin/python3", "-c", "import jtop.__main__, multiprocessing.resource_tracker"),
    )
