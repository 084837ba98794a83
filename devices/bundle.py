"""The runner with everything it needs beside it, for devices whose C library is older than this host's or not there.

The same sources as the native build, compiled with Debian's cross compiler against the executorch wheel of the device's
machine; the loader and the libraries of C and C++ come from the cross compiler's packages. `make bundle`
builds it, and so does the first run that needs it.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import shutil
from pathlib import Path

from devices.built_runner import PLAIN_LAUNCH, BuiltRunner, kept_builds, read_built
from devices.compiler import RunnerBuildError
from devices.own_runner import own_runner
from devices.runner_build import (
    Toolchain,
    build_hash,
    build_runner,
    native_toolchain,
    sources_sha256,
    toolchain_for,
)
from devices.system_libraries import LOADERS, system_libraries
from devices.wheels import Notify, executorch_of, fetch, pinned_wheel

BUNDLE_MACHINE = "aarch64"
_WHEELS = "wheels"


def bundle_toolchain(machine: str, runner_home: Path) -> Toolchain:
    """What compiles a bundle for `machine`; the executorch it names may still have to be fetched.

    Raises `RunnerBuildError` if the compiler, its libraries or a pinned wheel is missing.
    """
    if machine == os.uname().machine:
        chosen, remedy = native_toolchain(), "install it with `sudo apt install g++`"
    else:
        name, package = f"{machine}-linux-gnu-g++", f"g++-{machine.replace('_', '-')}-linux-gnu"
        remedy = f"install it with `sudo apt install {package}`"
        found = shutil.which(name)
        if found is None:
            raise RunnerBuildError(f"the cross compiler {name} was not found: {remedy}.")
        version = importlib.metadata.version("executorch")
        wheel = pinned_wheel(version, machine)
        chosen = toolchain_for(Path(found), executorch_of(wheel, runner_home / _WHEELS), version)
    return dataclasses.replace(chosen, system=system_libraries(chosen.compiler, machine, remedy))


def build_bundle(machine: str, runner_home: Path, notify: Notify) -> BuiltRunner:
    """The bundle for `machine` from `runner_home`; built when it isn't there (about 30 s of work and a download).

    A host that can't build one (no cross compiler, say) takes the one that was built before, or on another host, from
    the same sources and executorch. `notify` gets a line before anything that takes long. Raises `RunnerBuildError`.
    """
    try:
        toolchain = bundle_toolchain(machine, runner_home)
    except RunnerBuildError as error:
        kept = _kept_bundle(machine, runner_home)
        if kept is None:
            raise
        notify(f"taking the runner for {machine} that was built before, as it can't be built here: {error}")
        return kept
    if read_built(runner_home / build_hash(toolchain)) is None:
        if machine != os.uname().machine:
            _fetch_executorch(machine, runner_home, notify)
        notify(f"building the runner for {machine} with its own libraries (once, about half a minute)")
    return build_runner(runner_home, toolchain)


def runner_for(
    machine: str, runner_home: Path, notify: Notify, *, here: bool = False, own: Path | None = None
) -> BuiltRunner:
    """The runner for a device that calls its processor `machine`.

    `here`: the device is this host, which runs the native build. Every other device gets a bundle, which needs nothing
    of it; also one with this host's processor, whose C library may be older. `own` is the user's runner, which goes
    before both. Raises `UserError`.
    """
    if own is not None:
        return own_runner(own, machine)
    if here:
        return build_runner(runner_home)
    if machine not in LOADERS or (machine != BUNDLE_MACHINE and machine != os.uname().machine):
        known = sorted({BUNDLE_MACHINE, os.uname().machine})
        raise RunnerBuildError(
            f"this host builds runners for {len(known)} kinds of machines ({', '.join(known)}), and the device is a "
            f"{machine!r}: name a runner of your own for it with `runner: PATH` in the inventory."
        )
    return build_bundle(machine, runner_home, notify)


def _kept_bundle(machine: str, runner_home: Path) -> BuiltRunner | None:
    """Whichever compiler made it; one that needs the device's libraries is no bundle."""
    version = importlib.metadata.version("executorch")
    facts = {"machine": machine, "executorch": version, "sources": sources_sha256()}
    return next((built for built in kept_builds(runner_home, facts) if built.launch != PLAIN_LAUNCH), None)


def _fetch_executorch(machine: str, runner_home: Path, notify: Notify) -> None:
    wheel, cache = pinned_wheel(importlib.metadata.version("executorch"), machine), runner_home / _WHEELS
    try:
        fetch(wheel, cache, notify)
    except OSError as error:
        raise RunnerBuildError(
            f"executorch for {machine} can't be kept in {cache} ({error.strerror}, error {error.errno}): "
            "free space there or set SUITE_HOME to another folder."
        ) from error
