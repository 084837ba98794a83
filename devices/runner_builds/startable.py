"""Finds out which machine's programs a device starts, by starting one there.

`uname -m` names the kernel as a process sees it, not the programs it starts: a 64-bit kernel calls itself `armv8l` to a
32-bit shell (linux32(8), many Android systems) and starts programs for aarch64; one that calls itself `aarch64` may or
may not start those for 32-bit ARM as well.
"""

from __future__ import annotations

import posixpath
import struct
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from devices.errors import CommandError, FileError
from devices.runner_builds.bundle import machines_of
from devices.transports.transport import FILE_TIMEOUT_S, Transport
from foundation.text import printable

# A processor's name in a 32-bit process, whose kernel may be the 64-bit one.
_WIDER = {
    **dict.fromkeys(("armv6l", "armv7l", "armv8l"), "aarch64"),
    **dict.fromkeys(("i386", "i486", "i586", "i686"), "x86_64"),
}
_PROOF = 42
_ADDRESS = 0x40_0000


@dataclass(frozen=True)
class _Machine:
    """Parts of a program for it: class and number of elf(5), flags, and code that ends with exit code 42."""

    bits: int
    number: int
    flags: int
    code: bytes


_ARM = _Machine(32, 40, 0x0500_0000, bytes.fromhex("2a00a0e3 0170a0e3 000000ef"))  # mov r0, 42; mov r7, 1; svc 0
_I386 = _Machine(32, 3, 0, bytes.fromhex("bb2a000000 b801000000 cd80"))  # mov ebx, 42; mov eax, 1; int 0x80
_PROGRAMS = {
    "aarch64": _Machine(64, 183, 0, bytes.fromhex("400580d2 a80b80d2 010000d4")),  # mov x0, 42; mov x8, 93; svc 0
    "x86_64": _Machine(64, 62, 0, bytes.fromhex("bf2a000000 b83c000000 0f05")),  # mov edi, 42; mov eax, 60; syscall
    **dict.fromkeys(("armv6l", "armv7l", "armv8l"), _ARM),
    **dict.fromkeys(("i386", "i486", "i586", "i686"), _I386),
}


def startable_machine(
    transport: Transport, folder: str, reported: str, notify: Callable[[str], None], *, own: Path | None = None
) -> str:
    """Returns the machine to send programs for: `reported` (`uname -m`), or the wanted one if its programs start too.

    The wanted machine is that of the user's `own` runner, else the 64-bit machine if a 32-bit one is reported. If in
    doubt, a small program is started in `folder`, the workdir. Raises `DeviceError` if the device is gone.
    """
    candidates = (_WIDER[reported],) if own is None and reported in _WIDER else machines_of(own) if own else ()
    wanted = next((machine for machine in candidates if machine in _PROGRAMS), None)
    if wanted is None or reported in candidates:
        return reported
    why_not = _why_not(transport, folder, wanted)
    if why_not is None:
        notify(
            f"its system calls its processor {printable(reported, 40)} but starts programs for {wanted}: these are used"
        )
        return wanted
    notify(f"its processor is {printable(reported, 40)}, and programs for {wanted} don't start there ({why_not})")
    return reported


def _why_not(transport: Transport, folder: str, machine: str) -> str | None:
    """Returns why programs for that machine don't start; None if they do."""
    path = posixpath.join(folder, f".starts-{machine}-{uuid.uuid4().hex[:8]}")
    try:
        transport.mkdir(folder)
        with tempfile.NamedTemporaryFile() as program:
            program.write(make_program(machine))
            program.flush()
            transport.push(Path(program.name), path, timeout_s=FILE_TIMEOUT_S, executable=True)
        try:
            ended = transport.run([path], timeout_s=FILE_TIMEOUT_S).end
        finally:
            transport.remove(path)
    except (CommandError, FileError) as error:
        return printable(str(error).partition("; ")[0], 200)
    return None if ended.rc == _PROOF else f"exit code {ended.rc}, signal {ended.signal or 'none'}"


def make_program(machine: str) -> bytes:
    """Returns a program of about 130 bytes, without any library, that ends with exit code 42 (elf(5))."""
    made = _PROGRAMS[machine]
    wide = made.bits == 64
    header_bytes, segment_bytes = (64, 56) if wide else (52, 32)
    start = header_bytes + segment_bytes
    size = start + len(made.code)
    identity = b"\x7fELF" + bytes((2 if wide else 1, 1, 1)) + bytes(9)
    header = struct.pack(
        "<HHIQQQIHHHHHH" if wide else "<HHIIIIIHHHHHH",
        *(2, made.number, 1, _ADDRESS + start, header_bytes, 0, made.flags),
        *(header_bytes, segment_bytes, 1, 0, 0, 0),
    )
    readable_and_executable, page = 5, 0x1_0000
    segment = (
        struct.pack("<IIQQQQQQ", 1, readable_and_executable, 0, _ADDRESS, _ADDRESS, size, size, page)
        if wide
        else struct.pack("<IIIIIIII", 1, 0, _ADDRESS, _ADDRESS, size, size, readable_and_executable, page)
    )
    return identity + header + segment + made.code
