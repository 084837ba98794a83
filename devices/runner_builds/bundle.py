"""Bundles the runner with everything it needs, for devices whose C library is missing or older than this host's.

A bundle is built from the executorch wheel for the device's machine, which pip fetches once, verified by a pinned hash.
A user's own runner, for example built with Android's NDK, is checked by its ELF header and deployed like ours.
"""

from __future__ import annotations

import base64
import csv
import dataclasses
import hashlib
import importlib.metadata
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from devices.deployment.built_runner import PLAIN_LAUNCH, BuiltRunner, kept_builds, read_built
from devices.deployment.deploy import DeployFile
from devices.runner_builds.build import (
    LOADERS,
    RunnerBuildError,
    Toolchain,
    build_hash,
    build_runner,
    native_toolchain,
    sources_sha256,
    system_libraries,
    toolchain_for,
)
from foundation.errors import UserError
from foundation.foreign_files import open_regular
from foundation.host_tools import PipError, download_wheel
from foundation.text import printable

Notify = Callable[[str], None]

_PARTIAL = ".fetching-"


@dataclass(frozen=True)
class Wheel:
    """A release of executorch for one machine, for any Python: only its C++ libraries are used."""

    version: str
    machine: str
    sha256: str
    size_bytes: int
    platform: str
    python: str = "3.11"

    @property
    def folder(self) -> str:
        """The name of its folder in the cache."""
        return f"executorch-{self.version}-{self.machine}-{self.sha256[:16]}"


# Each supported release of executorch has a line here; `pip hash FILE` prints the hash.
WHEELS = (
    Wheel(
        "1.5.1",
        "aarch64",
        "8ee02348a3ea80ddf770822911ebf78da616b73afce0fbaaa79f23311c88c66a",
        17_810_491,
        "manylinux_2_28_aarch64",
    ),
)


def pinned_wheel(version: str, machine: str) -> Wheel:
    """Returns the wheel of that version for that machine. Raises `RunnerBuildError` if none is pinned."""
    for wheel in WHEELS:
        if (wheel.version, wheel.machine) == (version, machine):
            return wheel
    known = ", ".join(f"{wheel.version} for {wheel.machine}" for wheel in WHEELS)
    raise RunnerBuildError(
        f"no wheel of executorch {version} for {machine} is pinned (known: {known}): install one of these versions, "
        "or add its sha256 to devices/runner_builds/bundle.py."
    )


def executorch_of(wheel: Wheel, cache: Path) -> Path:
    """Returns the path of the wheel's package `executorch` in `cache`, whether it exists yet or not."""
    return cache / wheel.folder / "executorch"


def fetch(wheel: Wheel, cache: Path, notify: Notify) -> Path:
    """Returns the unpacked package `executorch`; downloads it if it is missing or has been changed.

    It appears complete or not at all. Raises `RunnerBuildError` if it can't be fetched, OSError if it can't be stored.
    """
    target = cache / wheel.folder
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f".{wheel.folder}.lock"):
        if target.is_dir() and not _is_whole(target):
            notify(f"executorch in {target} was changed or is damaged: fetching it again")
            shutil.rmtree(target)
        if not target.is_dir():
            for left_over in cache.glob(f"{_PARTIAL}*"):  # left by a killed process
                shutil.rmtree(left_over, ignore_errors=True)
            notify(f"fetching executorch {wheel.version} for {wheel.machine} ({wheel.size_bytes / 1e6:.0f} MB, once)")
            with tempfile.TemporaryDirectory(dir=cache, prefix=_PARTIAL) as scratch:
                _unpack(_download(wheel, Path(scratch)), wheel, Path(scratch) / "unpacked")
                (Path(scratch) / "unpacked").rename(target)
    return executorch_of(wheel, cache)


def _download(wheel: Wheel, destination: Path) -> Path:
    try:
        return download_wheel(
            f"executorch=={wheel.version}",
            destination,
            options=["--python-version", wheel.python, "--platform", wheel.platform],
        )
    except PipError as error:
        advice = "connect to the network and try again, or name a runner of your own with `runner: PATH`"
        raise RunnerBuildError(f"{error}, for {wheel.platform}: {advice} in the inventory.") from error


def _unpack(file: Path, wheel: Wheel, destination: Path) -> None:
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != wheel.sha256:
        raise RunnerBuildError(
            f"{file.name} has sha256 {found}, but {wheel.sha256} is pinned: nothing was kept; check where pip "
            "downloads from."
        )
    with zipfile.ZipFile(file) as archive:
        archive.extractall(destination)


def _is_whole(folder: Path) -> bool:
    """Whether an unpacked wheel has exactly the files of its RECORD, with their hashes.

    RECORD's format: https://packaging.python.org/en/latest/specifications/recording-installed-packages/
    """
    try:
        (record,) = folder.glob("*.dist-info/RECORD")
        listed = {name: digest for name, digest, _ in csv.reader(record.read_text(encoding="utf-8").splitlines())}
        files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if not path.is_dir()}
        own = record.relative_to(folder).as_posix()
        return files.keys() == listed.keys() and all(
            name == own or _record_digest(files[name]) == digest for name, digest in listed.items()
        )
    except (OSError, ValueError, csv.Error, UserError):
        return False


def _record_digest(path: Path) -> str:
    with open_regular(path, what="a file of a wheel") as stream:
        digest = hashlib.file_digest(stream, "sha256").digest()
    return f"sha256={base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


# e_machine of elf(5), and `uname -m` of the processors that run such programs.
_MACHINES = {
    3: ("i386", "i486", "i586", "i686", "x86_64"),
    40: ("armv6l", "armv7l", "armv8l"),
    62: ("x86_64",),
    183: ("aarch64",),
    243: ("riscv64", "riscv32"),
}
_HEADER_BYTES = 20
_LITTLE_ENDIAN = 1


def own_runner(path: Path, machine: str) -> BuiltRunner:
    """Returns the user's own runner: a program, or a folder with a program `runner` and its libraries in `lib/`.

    A folder made by `make bundle`, perhaps on another host, is started with the command in its manifest. The hash
    covers all files. Raises `UserError` if there is none, or if it is not a program for `machine` (`uname -m` of the
    device).
    """
    folder = path if path.is_dir() else path.parent
    program = path / "runner" if path.is_dir() else path
    label = printable(str(program))
    try:
        with program.open("rb") as stream:
            header = stream.read(_HEADER_BYTES)
        _require_machine(header, label, machine)
        if path.is_dir() and (bundle := read_built(path)) is not None:
            return bundle
        sources = sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [program]
        files = tuple(_file(source, folder, program) for source in sources)
    except OSError as error:
        raise UserError(
            f"the runner {label} can't be read ({error.strerror}, error {error.errno}): correct `runner` in the "
            "inventory."
        ) from error
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name}\0{file.sha256}\0".encode())
    return BuiltRunner(folder, digest.hexdigest()[:32], machine, files)


def machines_of(path: Path) -> tuple[str, ...]:
    """Returns the processors (names of `uname -m`) that the user's runner is for; empty if it isn't a program."""
    program = path / "runner" if path.is_dir() else path
    try:
        with program.open("rb") as stream:
            header = stream.read(_HEADER_BYTES)
    except OSError:
        return ()  # `own_runner` reports it
    return _MACHINES.get(int.from_bytes(header[18:20], "little"), ()) if header[:4] == b"\x7fELF" else ()


def _require_machine(header: bytes, label: str, machine: str) -> None:
    if len(header) < _HEADER_BYTES or header[:4] != b"\x7fELF" or header[5] != _LITTLE_ENDIAN:
        raise UserError(
            f"{label} is not a program for Linux or Android (its first bytes are {header[:4].hex() or 'none'}, not "
            "7f454c46): name a compiled runner with `runner` in the inventory."
        )
    number = int.from_bytes(header[18:20], "little")
    machines = _MACHINES.get(number, (f"machine number {number}",))
    if machine not in machines:
        raise UserError(
            f"{label} is for {machines[0]}, but the device is a {printable(machine)!r}: build it for the device, or "
            "leave `runner` out of the inventory."
        )


def _file(source: Path, folder: Path, program: Path) -> DeployFile:
    content = source.read_bytes()
    started = source == program
    name = "runner" if started else source.relative_to(folder).as_posix()
    executable = started or os.access(source, os.X_OK)
    return DeployFile(source, name, hashlib.sha256(content).hexdigest(), len(content), executable)


BUNDLE_MACHINE = "aarch64"
_WHEELS = "wheels"


def bundle_toolchain(machine: str, runner_home: Path) -> Toolchain:
    """Returns the toolchain for bundles for `machine`; the executorch it names may still have to be fetched.

    Raises `UserError` if the compiler, its libraries or a pinned wheel is missing.
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
    """Returns the bundle for `machine` from `runner_home`; builds it (a download and about 30 s) if there is none.

    A host that can't build one (without a cross compiler, for instance) uses an existing one with the same sources and
    executorch, perhaps from another host. `notify` gets a line before anything that takes long. Raises `UserError`.
    """
    try:
        toolchain = bundle_toolchain(machine, runner_home)
    except UserError as error:
        kept = _kept_bundle(machine, runner_home)
        if kept is None:
            raise
        notify(f"using an earlier build of the runner for {machine}, as it can't be built here: {error}")
        return kept
    if read_built(runner_home / build_hash(toolchain)) is None:
        if machine != os.uname().machine:
            _fetch_executorch(machine, runner_home, notify)
        notify(f"building the runner for {machine} with its own libraries (once, about half a minute)")
    return build_runner(runner_home, toolchain)


def runner_for(
    machine: str, runner_home: Path, notify: Notify, *, here: bool = False, own: Path | None = None
) -> BuiltRunner:
    """Returns the runner for a device that calls its processor `machine`.

    `here`: the device is this host, which runs the native build. Every other device gets a bundle, even one with this
    host's processor, as its C library may be older. `own` is the user's runner, which takes precedence over both.
    Raises `UserError`.
    """
    if own is not None:
        return own_runner(own, machine)
    if here:
        return build_runner(runner_home)
    if machine not in LOADERS or (machine != BUNDLE_MACHINE and machine != os.uname().machine):
        known = sorted({BUNDLE_MACHINE, os.uname().machine})
        raise RunnerBuildError(
            f"this host builds runners for {len(known)} kinds of machines ({', '.join(known)}), but the device is a "
            f"{machine!r}: name a runner of your own for it with `runner: PATH` in the inventory."
        )
    return build_bundle(machine, runner_home, notify)


def _kept_bundle(machine: str, runner_home: Path) -> BuiltRunner | None:
    """Returns an existing bundle, whatever compiler built it; builds that need the device's libraries don't count."""
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
