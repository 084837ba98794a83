"""What a session needs on the device: the runner, the programs, and room for both."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from devices.connect import Device
from devices.deploy import DeployFile, Deployment, OnProgress, deploy
from devices.preflight import Needs
from devices.runner_build import BuiltRunner
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
