"""Deploys what a session needs on the device: the runner, the programs with their data files, and room for them."""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from devices.access.connect import Device
from devices.checks.preflight import Needs
from devices.deployment.built_runner import BuiltRunner
from devices.deployment.cache import make_room, mark_used
from devices.deployment.deploy import DeployFile, Deployment, OnProgress, deploy
from devices.errors import DeployError, DeviceLost, FileError
from foundation.text import printable
from suite.preparing.preparation import Prepared
from workloads.export.artifact import PROGRAM, Artifact
from workloads.export.data_files import DataFile

COPY_TIMEOUT_S = 600.0


def needs(device: Device, prepared: Iterable[Prepared], states_bytes: int = 0) -> Needs:
    """Returns the disk space for missing programs, data files and states, and the memory of the smallest setting."""
    items, places = list(prepared), device.places
    sizes: dict[str, int] = {}  # each file once, even if several programs share it
    for artifact in (item.artifact for item in items):
        sizes[posixpath.join(places.artifact(artifact.hash), PROGRAM)] = artifact.program_bytes
        sizes |= {posixpath.join(places.weights(file.hash), file.name): file.size_bytes for file in artifact.data}
    there = device.transport.existing(list(sizes))
    missing = sum(size_bytes for path, size_bytes in sizes.items() if path not in there)
    return Needs(disk_bytes=missing + states_bytes, memory_bytes=min(item.estimate.memory_bytes for item in items))


@dataclass(frozen=True)
class CacheRoom:
    """The device's cache during a run. `kept`: what the run needs there; `notify` gets a line on what is removed."""

    device: Device
    kept: frozenset[str]
    notify: Callable[[str], None]

    @classmethod
    def of(
        cls,
        device: Device,
        runners: Iterable[BuiltRunner],
        artifacts: Iterable[Artifact],
        notify: Callable[[str], None],
    ) -> CacheRoom:
        """Returns the cache for a run with these runners and programs, and the programs' data files."""
        programs = list(artifacts)
        names = {_runner_name(runner) for runner in runners} | {_program_name(artifact) for artifact in programs}
        names |= {_data_name(file) for artifact in programs for file in artifact.data}
        return cls(device, frozenset(names), notify)

    def make(self, name: str, size_bytes: int) -> None:
        """Makes room for a file within the device's limit. Raises DeployError."""
        limit_mb = self.device.entry.cache_limit_mb
        gone = make_room(self.device.transport, self.device.places, limit_mb, name, size_bytes, self.kept)
        if gone:
            freed = sum(item.size_bytes for item in gone) / 1e6
            self.notify(
                f"removed {len(gone)} of the programs used longest ago, {freed:.1f} MB, to keep its cache_limit_mb"
            )

    def mark_used(self) -> None:
        """Records on the device that the files were used now. A full disk must not keep anybody from measuring."""
        with contextlib.suppress(FileError):
            mark_used(self.device.transport, self.device.places, self.kept, datetime.now(UTC))


def deploy_runner(
    device: Device, runner: BuiltRunner, room: CacheRoom | None = None, on_progress: OnProgress | None = None
) -> Deployment:
    """Deploys the runner to the device. Raises DeployError."""
    if room is not None:
        room.make(_runner_name(runner), runner.size_bytes)
    return deploy(device.transport, runner.files, device.places.runner(runner.hash), on_progress=on_progress)


def deploy_program(
    device: Device, artifact: Artifact, room: CacheRoom | None = None, on_progress: OnProgress | None = None
) -> list[Deployment]:
    """Deploys a program to the device, after its missing data files. Raises DeployError."""
    deployed = [_deploy_data(device, file, room, on_progress) for file in artifact.data]
    if room is not None:
        room.make(_program_name(artifact), artifact.program_bytes)
    file = DeployFile(artifact.program, PROGRAM, artifact.program_sha256, artifact.program_bytes)
    folder = device.places.artifact(artifact.hash)
    return [*deployed, deploy(device.transport, [file], folder, on_progress=on_progress)]


def load_afresh(device: Device, artifact: Artifact) -> None:
    """Replaces a program and its data files on the device by copies, so that they lie elsewhere on disk and in memory.

    Raises DeployError and DeviceLost.
    """
    places, transport = device.places, device.transport
    paths = [posixpath.join(places.artifact(artifact.hash), PROGRAM)]
    paths += [posixpath.join(places.weights(file.hash), file.name) for file in artifact.data]
    for path in paths:
        copied = transport.run(["cp", path, f"{path}.copy"], timeout_s=COPY_TIMEOUT_S).end
        if copied.lost is not None:
            raise DeviceLost(copied.lost)
        if copied.rc != 0:
            transport.remove(f"{path}.copy")
            why = copied.stopped or copied.stderr_tail.strip() or f"cp ended with {copied.rc}"
            raise DeployError(f"{path} can't be copied on the device to load it afresh: {printable(why, 200)}")
        transport.rename(f"{path}.copy", path)


def _deploy_data(device: Device, file: DataFile, room: CacheRoom | None, on_progress: OnProgress | None) -> Deployment:
    if room is not None:
        room.make(_data_name(file), file.size_bytes)
    deployed = DeployFile(file.path, file.name, file.sha256, file.size_bytes)
    return deploy(device.transport, [deployed], device.places.weights(file.hash), on_progress=on_progress)


def _runner_name(runner: BuiltRunner) -> str:
    return f"runner/{runner.hash}"


def _program_name(artifact: Artifact) -> str:
    return f"artifacts/{artifact.hash}"


def _data_name(file: DataFile) -> str:
    return f"weights/{file.hash}"


def remove_old_jobs(device: Device) -> None:
    """Removes the job folders that a killed run left. The device's lock ensures that nobody uses them."""
    device.transport.remove(posixpath.dirname(device.places.job("any")), recursive=True)
