"""A runner that the user built, for example with Android's NDK: checked by its ELF header, deployed like our own."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from devices.built_runner import BuiltRunner, read_built
from devices.deploy import DeployFile
from foundation.errors import UserError
from foundation.text import printable

# e_machine of elf(5), and the names that `uname -m` has for processors which run such a program.
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
    """The user's program, or a folder with a program `runner` and what else it needs (libraries in `lib/`, say).

    A folder as `make bundle` leaves it, from another host for instance, is started as its manifest says. The hash is
    that of all the files. Raises `UserError` if it isn't there, is no program, or is for another machine
    than `machine` (as `uname -m` of the device has it).
    """
    folder = path if path.is_dir() else path.parent
    program = path / "runner" if path.is_dir() else path
    shown = printable(str(program))
    try:
        with program.open("rb") as stream:
            header = stream.read(_HEADER_BYTES)
        _require_machine(header, shown, machine)
        if path.is_dir() and (bundle := read_built(path)) is not None:
            return bundle
        sources = sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [program]
        files = tuple(_file(source, folder, program) for source in sources)
    except OSError as error:
        raise UserError(
            f"the runner {shown} can't be read ({error.strerror}, error {error.errno}): correct `runner` in the "
            "inventory."
        ) from error
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name}\0{file.sha256}\0".encode())
    return BuiltRunner(folder, digest.hexdigest()[:32], machine, files)


def _require_machine(header: bytes, shown: str, machine: str) -> None:
    if len(header) < _HEADER_BYTES or header[:4] != b"\x7fELF" or header[5] != _LITTLE_ENDIAN:
        raise UserError(
            f"{shown} is no program for Linux or Android (its first bytes are {header[:4].hex() or 'none'}, not "
            "7f454c46): name a compiled runner with `runner` in the inventory."
        )
    number = int.from_bytes(header[18:20], "little")
    machines = _MACHINES.get(number, (f"machine number {number}",))
    if machine not in machines:
        raise UserError(
            f"{shown} is for {machines[0]}, but the device is a {printable(machine)!r}: build it for the device, or "
            "leave `runner` out of the inventory."
        )


def _file(source: Path, folder: Path, program: Path) -> DeployFile:
    content = source.read_bytes()
    started = source == program
    name = "runner" if started else source.relative_to(folder).as_posix()
    executable = started or os.access(source, os.X_OK)
    return DeployFile(source, name, hashlib.sha256(content).hexdigest(), len(content), executable)
