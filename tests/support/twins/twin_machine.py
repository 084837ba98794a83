"""A machine from a root folder, with its own processes, mounts, /proc and boot id; network and kernel are the host's.

Process 1 does nothing but reap. Daemons are started beside it, so that one can be killed and started again while what
it had started goes on, as on a real device. When the test process dies, the machine dies too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.twins.twin_link import Link
from tests.support.twins.twin_needs import find_program
from tests.support.twins.twin_processors import Processor

START_TIMEOUT_S = 120.0  # a second, on a host that does nothing else
_POLL_S = 0.02
# A machine dies with the thread that started it (PR_SET_PDEATHSIG): this one lasts as long as the process.
_STARTER = ThreadPoolExecutor(1, thread_name_prefix="twins")
_STILL = "TtZX"  # stopped, or over
# $1 is the root. A file below proc.d/ there stands in for the one of that name in the kernel's /proc, and each boot has
# a boot id of its own.
_BOOT = """
set -e
mkdir -p "$1/proc" "$1/run" "$1/dev/pts"
mount --bind "$1" "$1"
mount -t proc proc "$1/proc"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$1/dev/pts"
rm -f "$1/dev/ptmx"; ln -s pts/ptmx "$1/dev/ptmx"
for file in "$1"/proc.d/*; do
    [ -f "$file" ] && mount --bind "$file" "$1/proc/${file##*/}"
done
cat /proc/sys/kernel/random/uuid > "$1/run/boot_id"
mount --bind "$1/run/boot_id" "$1/proc/sys/kernel/random/boot_id"
: > "$1/run/booted"
while :; do sleep 86400 & wait $!; done
"""


class Machine:
    """Boots, runs programs in its root, is paused, and loses power. With `link` it has a network of its own."""

    def __init__(self, root: Path, processor: Processor, kernel: str, link: Link | None = None) -> None:
        self.root, self.processor, self.kernel, self.link = root, processor, kernel, link
        self._init: subprocess.Popen[bytes] | None = None
        self._daemons: list[subprocess.Popen[bytes]] = []

    @property
    def environ(self) -> Mapping[str, str]:
        """What the programs in the machine need for the emulator to be the right processor and kernel."""
        path = {"PATH": "/system/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        if not self.processor.emulated_as:
            return path
        return {"QEMU_CPU": self.processor.emulated_as, "QEMU_UNAME": self.kernel} | path

    def boot(self) -> None:
        """Starts process 1 with fresh mounts. Raises TimeoutError or RuntimeError if it doesn't come up."""
        booted = self.root / "run/booted"
        booted.unlink(missing_ok=True)
        argv = [
            *(_program("setpriv"), "--pdeathsig", "KILL", "--", _program("unshare"), "--mount", "--pid", "--fork"),
            *(("--net",) if self.link else ()),
            *("--kill-child", "--propagation", "private", "--", "/bin/sh", "-c", _BOOT, "boot", str(self.root)),
        ]
        null = subprocess.DEVNULL
        starting = _STARTER.submit(subprocess.Popen[bytes], argv, stdin=null, stdout=null, stderr=subprocess.PIPE)
        self._init = starting.result(START_TIMEOUT_S)
        for _ in until(START_TIMEOUT_S, f"the machine in {self.root} to boot"):
            if booted.exists():
                break
            if self._init.poll() is not None:
                output = self._init.stderr.read().decode("utf-8", "replace") if self._init.stderr else ""
                raise RuntimeError(f"the machine in {self.root} did not boot: {output.strip()[-400:]}")
        if self.link is not None:
            self.link.attach(self._first())

    @property
    def running(self) -> bool:
        """Whether it was booted and has not lost power."""
        return self._init is not None and self._init.poll() is None

    def spawn(
        self, *argv: str, log: Path, user: int = 0, environ: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Starts a daemon by its path within the root, as the user with that number."""
        with log.open("ab") as output:
            daemon = subprocess.Popen(
                self._entering(argv, user),
                env={**self.environ, **(environ or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self._daemons.append(daemon)
        return daemon

    def run(self, *argv: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Runs a program of the root to its end, as root and without any transport."""
        return subprocess.run(
            self._entering(argv), env=dict(self.environ), capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def processes(self) -> dict[int, tuple[str, ...]]:
        """Arguments of its processes by the host's process id, without process 1 and what that starts."""
        first, namespace = self._first(), self._namespace()
        found = {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                with contextlib.suppress(OSError):
                    if (folder / "ns/pid").readlink() == namespace:
                        found[int(folder.name)] = _arguments(int(folder.name))
        waiting = found.pop(first, ())  # its child has the same arguments until it is `sleep`
        return {pid: argv for pid, argv in found.items() if argv not in ((), waiting) and argv[0] != "sleep"}

    def named(self, word: str) -> list[int]:
        """Returns its processes that have `word` in their arguments."""
        return [pid for pid, argv in self.processes().items() if word in " ".join(argv)]

    def send(self, number: signal.Signals, pids: Sequence[int]) -> None:
        """Signals processes, those that are gone left out."""
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill_named(self, word: str) -> None:
        """Kills the processes that have `word` in their arguments, and waits until they are gone."""
        for _ in until(START_TIMEOUT_S, f"{word} to die"):
            pids = [pid for pid in self.named(word) if _state(pid) not in "ZX"]
            if not pids:
                break
            self.send(signal.SIGKILL, pids)
        for daemon in [daemon for daemon in self._daemons if daemon.poll() is not None]:
            self._daemons.remove(daemon)

    def pause(self) -> None:
        """Stops all of its processes and waits until they stand still."""
        for _ in until(START_TIMEOUT_S, "the machine to stand still"):
            moving = [pid for pid in self.processes() if _state(pid) not in _STILL]
            if not moving:
                return
            self.send(signal.SIGSTOP, moving)

    def resume(self) -> None:
        """Lets all of them go on. nsenter, which stops when its child does, would else never reap it."""
        self.send(signal.SIGCONT, [*self.processes(), *(daemon.pid for daemon in self._daemons)])

    def power_off(self) -> None:
        """Cuts its power: everything in it ends at once, without notice to any peer."""
        if self._init is None:
            return
        if self._init.poll() is None:
            self.send(signal.SIGKILL, [self._first()])
            self.send(signal.SIGCONT, [daemon.pid for daemon in self._daemons])
        self._init.wait(START_TIMEOUT_S)
        if self._init.stderr:
            self._init.stderr.close()
        for daemon in self._daemons:
            daemon.wait(START_TIMEOUT_S)
        self._init, self._daemons = None, []

    def _entering(self, argv: Sequence[str], user: int = 0) -> list[str]:
        chroot = [_program("chroot"), *([f"--userspec={user}:{user}", "--groups="] if user else [])]
        enter = [_program("nsenter"), "--target", str(self._first()), "--mount", "--pid", "--net", "--"]
        return [*enter, _program("setpriv"), "--pdeathsig", "KILL", "--", *chroot, str(self.root), *argv]

    def _first(self) -> int:
        """Process 1, by the host's process id."""
        assert self._init is not None, "boot the machine first"
        for _ in until(START_TIMEOUT_S, "process 1"):
            children = Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children").read_text().split()
            if children:
                return int(children[0])
        raise AssertionError

    def _namespace(self) -> Path:
        return Path(f"/proc/{self._first()}/ns/pid").readlink()


def until(timeout_s: float, what: str) -> Iterator[None]:
    """Yields repeatedly until the loop is left. Raises TimeoutError after `timeout_s`."""
    end_s = time.monotonic() + timeout_s
    while time.monotonic() < end_s:
        yield
        time.sleep(_POLL_S)
    raise TimeoutError(f"waited {timeout_s:.0f} s for {what}")


def _arguments(pid: int) -> tuple[str, ...]:
    """Returns a process's arguments, none if it is over. Raises OSError if it is gone."""
    for _ in until(START_TIMEOUT_S, f"process {pid} to have arguments"):  # it has none while exec replaces its program
        argv = tuple(Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1])
        if argv or _state(pid) in "ZX":
            return argv
    raise AssertionError


def _state(pid: int) -> str:
    """Returns a process's state letter of proc(5); X if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def _program(name: str) -> str:
    path = find_program(name)
    assert path is not None, name
    return path
