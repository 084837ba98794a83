"""What a session needs on the device: the runner, the programs, and room for both."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable
from pathlib import Path

from devices.built_runner import BuiltRunner
from devices.bundle import runner_for
from devices.connect import Device
from devices.deploy import DeployFile, Deployment, OnProgress, deploy
from devices.entry import DeviceEntry
from devices.errors import DeployError, UserError
from devices.preflight import Needs
from suite.preparation import Prepared
from workloads.artifact import PROGRAM, Artifact


def needs(device: Device, prepared: Iterable[Prepared]) -> Needs:
    """Room for the programs that are not there yet, and memory for the smallest of the settings."""
    items = list(prepared)
    missing = [
        item.artifact.program_bytes
        for item in items
        if not device.transport.exists(posixpath.join(device.places.artifact(item.artifact.hash), PROGRAM))
    ]
    return Needs(disk_bytes=sum(missing), memory_bytes=min(item.estimate.memory_bytes for item in items))


def choose_runner(
    entry: DeviceEntry, machine: str, native: BuiltRunner, runner_home: Path, notify: Callable[[str], None]
) -> BuiltRunner:
    """The user's own runner, `native` on this host, or a bundle, built now if it is missing.

    `machine` is the device's processor as `uname -m` has it. Raises DeployError: a runner that can't be had is a matter
    of this device alone.
    """
    if entry.runner is None and entry.transport == "local":
        return native
    try:
        return runner_for(machine, runner_home, notify, own=None if entry.runner is None else Path(entry.runner))
    except UserError as error:
        raise DeployError(str(error)) from error


def deploy_runner(device: Device, runner: BuiltRunner) -> Deployment:
    """Bring the runner onto the device. Raises DeployError."""
    return deploy(device.transport, runner.files, device.places.runner(runner.hash))


def deploy_program(device: Device, artifact: Artifact, on_progress: OnProgress | None = None) -> Deployment:
    """Bring a program onto the device. Raises DeployError."""
    file = DeployFile(artifact.program, PROGRAM, artifact.program_sha256, artifact.program_bytes)
    return deploy(device.transport, [file], device.places.artifact(artifact.hash), on_progress=on_progress)


def remove_old_jobs(device: Device) -> None:
    """Remove the job folders that a killed run left; the device's lock makes sure that nobody uses them."""
    device.transport.remove(posixpath.dirname(device.places.job("any")), recursive=True)
