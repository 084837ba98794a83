"""A whole computer: aarch64 with its own kernel, /proc, /sys and clock, emulated; its OpenSSH is reached on loopback.

The root is a folder of the host, shared over 9p. Debian's kernel is started with a small initial file system that only
loads the drivers and goes over to that root. Slow: half a minute to start, and steps take a hundred times as long.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from tests.support.twins.twin_boards import Board
from tests.support.twins.twin_machine import until
from tests.support.twins.twin_needs import find_program, need_programs
from tests.support.twins.twin_packages import cached, debian_mirror, run_tool
from tests.support.twins.twin_processors import PI_4
from tests.support.twins.twin_root import RELEASE
from tests.support.twins.twin_ssh import SshTwin

COMPUTER = Board("linux", "linux,dummy-virt", PI_4, "6.1", 1_000_000)
# One core, whose clock goes on by a nanosecond with every instruction; while it is idle, with the host's.
_COUNTING = ("-smp", "1", "-icount", "shift=0")
BOOT_TIMEOUT_S = 900.0  # tens of seconds, on a host that does nothing else
_GUEST_PORT = 22
_PACKAGES = ("linux-image-arm64", "busybox-static")
# In the order in which they need each other.
_DRIVERS = (
    *("virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "failover", "net_failover", "virtio_net"),
    *("9pnet", "9pnet_virtio", "netfs", "fscache", "9p"),
)
_INIT = f"""#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
for driver in {" ".join(_DRIVERS)}; do /bin/busybox insmod /drivers/$driver.ko; done
/bin/busybox mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=mmap root /new
/bin/busybox umount /proc
exec /bin/busybox switch_root /new /twin-init
"""
_ROOT_INIT = """#!/bin/sh
PATH=/usr/sbin:/usr/bin; export PATH
busybox mount -t proc proc /proc; busybox mount -t sysfs sysfs /sys; busybox mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts; busybox mount -t devpts devpts /dev/pts
busybox ip link set lo up; busybox ip address add 10.0.2.15/24 dev eth0; busybox ip link set eth0 up
/usr/sbin/sshd -e -f /etc/ssh/sshd_config
while :; do sleep 86400 & wait $!; done
"""
_VERSION = 1


class SystemTwin(SshTwin):
    """Used like `SshTwin`; `write` reaches the disk alone, since /sys and /proc are those of its own kernel.

    With `counting` a nanosecond of its clock is an instruction, so every time it measures is a number of instructions.
    """

    def __init__(self, folder: Path, board: Board = COMPUTER, *, counting: bool = False) -> None:
        need_programs("qemu-system-aarch64", "cpio")
        super().__init__(folder, board)
        self._cores = _COUNTING if counting else ("-smp", "2")
        config = self.root / "etc/ssh/sshd_config"
        own = f"ListenAddress {self.host}:{self.port}\n"
        config.write_text(config.read_text().replace(own, f"ListenAddress 0.0.0.0:{_GUEST_PORT}\n"))
        (self.root / "twin-init").write_text(_ROOT_INIT)
        (self.root / "twin-init").chmod(0o755)
        self.forwarded = {self.port: _GUEST_PORT}  # ports of the host's loopback to its own
        self._computer: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Switches it on. Waits until sshd answers."""
        boot, console = kernel_template(), self.folder / "console.log"
        forwards = "".join(f",hostfwd=tcp:{self.host}:{here}-:{there}" for here, there in self.forwarded.items())
        argv = [
            *(find_program("setpriv") or "", "--pdeathsig", "KILL", "--", find_program("qemu-system-aarch64") or ""),
            *("-machine", "virt", "-cpu", self.board.processor.emulated_as, *self._cores, "-m", "1024"),
            *("-nodefaults", "-display", "none", "-no-reboot", "-monitor", "none", "-serial", f"file:{console}"),
            *("-kernel", str(boot / "vmlinuz"), "-initrd", str(boot / "initrd")),
            *("-append", "console=ttyAMA0 panic=1 quiet"),
            *("-netdev", f"user,id=net,restrict=on{forwards}"),
            *("-device", "virtio-net-pci,netdev=net,romfile="),
            *("-virtfs", f"local,path={self.root},mount_tag=root,security_model=passthrough"),
        ]
        with self.log.open("ab") as output:
            self._computer = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        for _ in until(BOOT_TIMEOUT_S, f"sshd on port {self.port}"):
            if self._computer.poll() is not None:
                words = self.log.read_text()[-400:] + console.read_text(errors="replace")[-400:]
                raise RuntimeError(f"the computer ended with {self._computer.returncode}: {words}")
            with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), 5.0) as stream:
                stream.settimeout(10.0)
                if stream.recv(4) == b"SSH-":
                    return

    def stop(self) -> None:
        """Cuts the power."""
        if self._computer is not None:
            self._computer.kill()
            self._computer.wait()
            self._computer = None

    def kill(self) -> None:
        """The same as `stop`: no process of it can be reached from the host alone."""
        self.stop()

    def pause(self) -> None:
        """Its processor stands still, and its clock with it."""
        if self._computer is not None:
            self._computer.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Resumes after `pause`."""
        if self._computer is not None:
            self._computer.send_signal(signal.SIGCONT)


@functools.cache
def kernel_template() -> Path:
    """A folder with `vmlinuz` and `initrd`; made if it isn't in the cache. Skips the test where that is impossible."""
    recipe = {"version": _VERSION, "release": RELEASE, "packages": _PACKAGES, "drivers": _DRIVERS, "init": _INIT}
    return cached("kernel", recipe, _make)


def _make(folder: Path) -> None:
    root, mirror = folder / "root", debian_mirror()
    run_tool(
        *("mmdebstrap", "--quiet", "--arch=arm64", "--variant=extract", f"--include={','.join(_PACKAGES)}"),
        *(RELEASE, str(root), *([mirror] if mirror else [])),
    )
    start = folder / "start"
    for name in ("bin", "drivers", "new", "proc", "dev"):
        (start / name).mkdir(parents=True)
    shutil.copy(next(path for path in root.rglob("busybox") if path.parent.name == "bin"), start / "bin/busybox")
    found = {path.stem: path for path in root.rglob("*.ko")}
    for driver in _DRIVERS:
        shutil.copy(found[driver], start / "drivers")
    (start / "init").write_text(_INIT)
    (start / "init").chmod(0o755)
    names = "\n".join(str(path.relative_to(start)) for path in sorted(start.rglob("*")))
    run_tool("cpio", "--quiet", "-o", "-H", "newc", "-F", str(folder / "initrd"), cwd=start, stdin=names)
    shutil.copy(next((root / "boot").glob("vmlinuz-*")), folder / "vmlinuz")
    run_tool("rm", "-rf", str(root), str(start))
