"""Finds or builds the runners of a run's devices, when a device first needs one of that kind.

As a program (`make bundle`), it builds the runners for boards and phones before the first run.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from devices.access.connect import Device
from devices.deployment.built_runner import BuiltRunner
from devices.errors import DeployError
from devices.inventory.entry import DeviceEntry
from devices.runner_builds.build import build_hash, build_runner, native_toolchain
from devices.runner_builds.bundle import BUNDLE_MACHINE, build_bundle, runner_for
from devices.runner_builds.startable import startable_machine
from foundation.errors import UserError
from suite.display import Display
from suite.errors import ExitCode
from suite.home import Home

_NATIVE = "native"


class Runners:
    """The runners, shared by the devices' threads: one builds, the others wait and get the same runner.

    A runner, or the failure to get one, stays the same for the whole run, even if its source changes meanwhile.
    """

    def __init__(self, folder: Path, display: Display) -> None:
        self._folder, self._display = folder, display
        self._building = threading.Lock()
        self._known: dict[str, BuiltRunner | UserError] = {}

    def build_ahead(self, entries: Sequence[DeviceEntry]) -> None:
        """Builds the native runner if a device needs it, so that a missing compiler is reported before the export.

        Raises UserError if it is unavailable and no other device could be measured.
        """
        others = [entry for entry in entries if not _is_native(entry)]
        if len(others) == len(entries):
            return
        try:
            self._made(_NATIVE, self._native)
        except UserError as error:
            if not others:
                raise
            self._display.note(f"this machine can't be measured: {error}")

    def native(self) -> BuiltRunner | None:
        """Returns the native runner, if `build_ahead` has built it."""
        found = self._known.get(_NATIVE)
        return found if isinstance(found, BuiltRunner) else None

    def for_device(self, device: Device, machine: str, notify: Callable[[str], None]) -> BuiltRunner:
        """Returns the runner for a connected device, which may run programs for another machine than it reports.

        `machine` is the output of `uname -m` there. Raises what `runner_of` raises, and other DeviceErrors.
        """
        entry = device.entry
        if not _is_native(entry):
            own = None if entry.runner is None else Path(entry.runner)
            machine = startable_machine(device.transport, device.places.workdir, machine, notify, own=own)
        return self.runner_of(entry, machine, notify)

    def runner_of(self, entry: DeviceEntry, machine: str, notify: Callable[[str], None]) -> BuiltRunner:
        """Returns the user's own runner, the native one on this host, or a bundle.

        `machine` is the device's processor as `uname -m` names it. Raises DeployError, as an unavailable runner
        concerns only this device.
        """
        try:
            if entry.runner is not None:
                return runner_for(machine, self._folder, notify, own=Path(entry.runner))
            if _is_native(entry):
                return self._made(_NATIVE, self._native)
            return self._made(machine, lambda: runner_for(machine, self._folder, notify))
        except UserError as error:
            raise DeployError(str(error)) from error

    def _made(self, name: str, make: Callable[[], BuiltRunner]) -> BuiltRunner:
        with self._building:
            if name not in self._known:
                try:
                    self._known[name] = make()
                except UserError as error:
                    self._known[name] = error
            found = self._known[name]
        if isinstance(found, UserError):
            raise found
        return found

    def _native(self) -> BuiltRunner:
        toolchain = native_toolchain()
        there = (self._folder / build_hash(toolchain)).is_dir()
        with self._display.waiting("looking for the runner") if there else self._display.busy("building the runner"):
            return build_runner(self._folder, toolchain)


def _is_native(entry: DeviceEntry) -> bool:
    return entry.transport == "local" and entry.runner is None


def main() -> int:
    """Prints the bundle's folder and size. The exit code is 2, with a sentence, if the user has something to fix."""
    try:
        bundle = build_bundle(BUNDLE_MACHINE, Home.locate().runner, print)
    except UserError as error:
        print(error, file=sys.stderr)
        return ExitCode.USAGE
    print(f"{bundle.folder}: {len(bundle.files)} files, {bundle.size_bytes / 1e6:.1f} MB, for {bundle.machine}")
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
