"""A user's systemd as a plain process, with its own namespaces and control group, so that timers fire."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.end_to_end.suite_runs import wait_for

_SYSTEMD = Path("/lib/systemd/systemd")
_GROUPS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))

# A user's systemd only starts where it finds /run/systemd/system, and wants to make control groups below its own.
_BEGIN = """\
set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system
umount -l /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 none /sys/fs/cgroup
mount -t proc proc /proc
{systemd} --user --unit=timers.target &
wait
"""
# Systemd doesn't answer processes outside its PID namespace, so systemctl is run inside.
_SYSTEMCTL = """\
#!/bin/sh
exec nsenter --target {pid} --pid --mount --cgroup {systemctl} "$@"
"""


def need_user_systemd() -> None:
    """Skips the test where no user's systemd can be started."""
    missing = [name for name in ("systemctl", "systemd-analyze", "unshare", "nsenter") if shutil.which(name) is None]
    if missing or not _SYSTEMD.is_file():
        pytest.skip(f"{', '.join(missing) or _SYSTEMD} not found: install systemd")
    if os.geteuid() != 0:
        pytest.skip(f"a systemd of its own needs root for its namespaces, and this is user {os.geteuid()}: use sudo")
    if _group_root() is None:
        pytest.skip("no cgroup2 that can be written to: mount one at /sys/fs/cgroup")


class UserSystemd:
    """A user's systemd; what it enabled, and when its timers last fired, stays in `folder` while it is stopped."""

    def __init__(self, folder: Path) -> None:
        self.runtime, self.config, self.data, self.tools = (folder / name for name in ("r", "config", "data", "tools"))
        for path in (self.runtime, self.config, self.data, self.tools):
            path.mkdir(mode=0o700)
        self._path = os.environ.get("PATH", os.defpath)
        self.log = folder / "systemd.log"
        root = _group_root()
        assert root is not None
        self._group = root / f"user-systemd-{os.getpid()}-{folder.name}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environ(self) -> dict[str, str]:
        """The environment in which `systemctl --user` finds it."""
        return {
            "XDG_RUNTIME_DIR": str(self.runtime),
            "XDG_CONFIG_HOME": str(self.config),
            "XDG_DATA_HOME": str(self.data),
            "PATH": f"{self.tools}:{self._path}",
        }

    def stamp(self, timer: str) -> Path:
        """Returns the file whose modification time is when a persistent timer last fired."""
        return self.data / "systemd" / "timers" / f"stamp-{timer}"

    def start(self) -> None:
        """Starts it and waits until it answers."""
        self._group.mkdir(exist_ok=True)
        inside = ["unshare", "--mount", "--pid", "--cgroup", "--fork", "--kill-child", "--propagation", "private"]
        entered = f"echo $$ > {self._group}/cgroup.procs; exec " + " ".join(inside)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", f'{entered} sh -c "$0"', _BEGIN.format(systemd=_SYSTEMD)],
                env={**os.environ, **self.environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        (inner,) = wait_for(lambda: children.read_text().split(), "the begin of its namespaces")
        self._write_systemctl(inner)
        wait_for(self._answers, "the user's systemd")

    def stop(self) -> None:
        """Ends it and whatever it started, as when the host goes down."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(30)
            self._process = None
        (self.runtime / "systemd" / "private").unlink(missing_ok=True)
        if self._group.is_dir():
            wait_for(lambda: not self._members(), "the end of its processes")
            for path in [*sorted(self._group.rglob("*/"), reverse=True), self._group]:
                if path.is_dir():
                    path.rmdir()

    def show(self, unit: str, what: str) -> str:
        """Returns one property of a unit, or of systemd itself."""
        return self._ask("show", unit, f"--property={what}", "--value").stdout.strip()

    def systemctl(self, *words: str) -> None:
        """Runs systemctl, which must succeed."""
        assert self._ask(*words).returncode == 0, self.log.read_text()

    def _write_systemctl(self, pid: str) -> None:
        program = self.tools / "systemctl"
        program.write_text(_SYSTEMCTL.format(pid=pid, systemctl=shutil.which("systemctl", path=self._path)))
        program.chmod(0o755)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        return self._ask("is-active", "timers.target").stdout.strip() == "active"

    def _ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.tools / "systemctl"), "--user", *words]
        return subprocess.run(command, env={**os.environ, **self.environ}, capture_output=True, text=True, check=False)

    def _members(self) -> list[str]:
        return [pid for path in self._group.rglob("cgroup.procs") for pid in path.read_text().split()]


def _group_root() -> Path | None:
    return next(
        (path for path in _GROUPS[::-1] if (path / "cgroup.procs").is_file() and os.access(path, os.W_OK)), None
    )
