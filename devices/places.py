"""Where things lie on a device, below its workdir (docs/contracts.md)."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass


@dataclass(frozen=True)
class Places:
    """Paths on the device. A job in `jobs/ID/` reaches its program as `../../artifacts/HASH/program.pte`."""

    workdir: str

    def artifact(self, artifact_hash: str) -> str:
        """The folder of a program."""
        return posixpath.join(self.workdir, "artifacts", artifact_hash)

    def runner(self, runner_hash: str) -> str:
        """The folder of a runner with its libraries."""
        return posixpath.join(self.workdir, "runner", runner_hash)

    def job(self, session: str) -> str:
        """The folder of one session's job file and inputs."""
        return posixpath.join(self.workdir, "jobs", session)

    @property
    def pid_file(self) -> str:
        """Names the runner while one runs: one per device, as there is one run at a time."""
        return posixpath.join(self.workdir, "runner.pid")

    @property
    def hold(self) -> str:
        """Who holds the device (devices/hold.py)."""
        return posixpath.join(self.workdir, "hold")
