"""Calls over a link: file operations by our scripts, and supervised programs; sources and receivers of their bytes.

Error messages of a device's tools are translated into the causes that all transports share. Tools of coreutils, busybox
and toybox end their messages with the C library's text for the error number, which is the same in glibc, musl and
bionic for all causes distinguished here.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from devices.errors import CommandError, FileCause, FileError
from devices.processes import Deadline, ProcessEnd
from devices.transports.shell.conversation import Conversation, Patience
from devices.transports.shell.link import Link
from devices.transports.shell.scripts import operation_script, plain_path, program_script
from devices.transports.transport import OnBytes, OutputBudget
from foundation.text import printable

_CANNOT_START = (126, 127)
_CHUNK_BYTES = 256 << 10
_SIZE_LINE_BYTES = 32
_NUMBER_OF_TEXT = {os.strerror(number): number for number in errno.errorcode}
_TEXT = re.compile(
    rf"(?:^|[\s:(])({'|'.join(map(re.escape, sorted(_NUMBER_OF_TEXT, key=len, reverse=True)))})\)?$", re.M
)
# dash's own messages when it can't open or create something; the last is also every shell's for a missing program.
_SHELL_WORDS = (
    (re.compile(r"(?:No such file|[Dd]irectory nonexistent)$", re.M), errno.ENOENT),
    (re.compile(r"(?:inaccessible or )?not found$", re.M), errno.ENOENT),
)
_MISSING_TOOL = re.compile(r"(?:^|[\s:])([a-z0-9]{2,20}): (?:command |inaccessible or )?not found$", re.M)
_TOOL_IS_MISSING = 127
_NOT_REGULAR = "Not a regular file"


@dataclass(frozen=True)
class Calls:
    """Runs scripts and programs on the device.

    `require_hold` is called during every call, and raises if we no longer hold the device.
    """

    link: Link
    patience: Patience
    require_hold: Callable[[], None] = lambda: None

    def operate(
        self,
        body: str,
        arguments: Sequence[str],
        *,
        what: str,
        deadline: Deadline,
        on_output: Callable[[bytes], None],
        feed: Iterator[bytes] | None = None,
    ) -> ProcessEnd:
        """Runs one of our scripts. Raises `CommandError` if the device lacks a tool for it."""
        token = secrets.token_hex(16)
        script = operation_script(token, body, arguments)
        self.require_hold()
        talk = Conversation(self.link, token, what, deadline, self.patience, on_output, self.require_hold)
        end = talk.hold(script, feed)
        self.require_hold()
        missing = missing_tool(end)
        if missing is not None:
            raise missing
        return end

    def collect(
        self, action: str, path: str, body: str, arguments: Sequence[str] = (), *, timeout_s: float, limit_bytes: int
    ) -> bytes:
        """Returns the output of a script about `path`, its first argument. Raises `FileError` if it fails."""
        content = Collected(limit_bytes)
        deadline = Deadline(timeout_s)
        what = f"the attempt to {action} {printable(path)!r}"
        end = self.operate(
            body, (path_argument(action, path), *arguments), what=what, deadline=deadline, on_output=content
        )
        if end.rc:
            raise file_error(action, path, end.stderr_tail)
        return bytes(content.data)

    def watch(
        self,
        argv: Sequence[str],
        *,
        deadline: Deadline,
        cwd: str | None,
        on_output: Callable[[bytes], None],
        pid_file: str | None = None,
        while_waiting: Callable[[], None] = lambda: None,
    ) -> ProcessEnd:
        """Runs a program in its own session. Raises `CommandError` if it can't be started."""
        if isinstance(argv, str) or not argv:
            raise ValueError(f"a command is a list of at least one argument, not {argv!r}")
        token = secrets.token_hex(16)
        command = printable(argv[0])
        try:
            script = program_script(
                token,
                argv,
                cwd=plain_path(cwd) if cwd else None,
                pid_file=plain_path(pid_file) if pid_file else None,
                grace_s=self.patience.grace_s,
            )
        except ValueError as error:
            raise CommandError(f"the command {command!r} can't be started: {error}; correct its arguments.") from error
        watch = _Watch(on_output)
        what = f"the command {command!r}"

        def meanwhile() -> None:
            self.require_hold()
            while_waiting()

        self.require_hold()
        talk = Conversation(self.link, token, what, deadline, self.patience, watch, meanwhile)
        end = talk.hold(script)
        self.require_hold()
        refusal = _refusal(end, talk.failed_stage, argv[0], cwd, pid_file, printed=watch.any)
        if refusal is not None:
            raise refusal
        return end


def path_argument(action: str, path: str) -> str:
    """Returns a path as an argument of a script. Raises `FileError` for a path that no device accepts."""
    try:
        return plain_path(path)
    except ValueError as error:
        raise file_error(action, path, str(error)) from error


@dataclass
class _Watch:
    """Passes output on and remembers whether there was any."""

    on_output: Callable[[bytes], None]
    any: bool = False

    def __call__(self, chunk: bytes) -> None:
        self.any = True
        self.on_output(chunk)


def _refusal(
    end: ProcessEnd, stage: str | None, program: str, cwd: str | None, pid_file: str | None, *, printed: bool
) -> CommandError | FileError | None:
    """Returns the error if the program was never started.

    bash skips its exit trap if it can't start a file. The signs are then the shell's exit code for that, a message that
    names the program and ends with the system's reason, and no output.
    """
    message = end.stderr_tail
    missing = missing_tool(end)
    if stage is None and missing is not None and not printed and not _names(program, message):
        return missing
    if stage == "pid" and pid_file:
        return file_error("write", pid_file, message)
    unstarted = end.rc in _CANNOT_START and not printed and _names(program, message)
    if stage is None and not (unstarted and _error_number(message)):
        return None
    place = f" in {printable(cwd)!r}" if cwd else ""
    return CommandError(
        f"the command {printable(program)!r} can't be started{place} because "
        f"{file_error('start', program, message).reason}; "
        "check that it is installed, executable and built for this machine."
    )


def _names(program: str, message: str) -> bool:
    return f"{program}:" in message


class Collected:
    """Keeps all output. Raises `OutputLimitError` beyond the limit."""

    def __init__(self, limit_bytes: int) -> None:
        self.data = bytearray()
        self._budget = OutputBudget(limit_bytes)

    def __call__(self, chunk: bytes) -> None:
        self._budget.spend(len(chunk))
        self.data.extend(chunk)


class Pulled:
    """Writes a file that follows a line with its size, which is 0 for pseudo files."""

    def __init__(self, stream: BinaryIO, on_progress: OnBytes | None) -> None:
        self._stream, self._on_progress = stream, on_progress
        self._head: bytes | None = b""
        self._size = 0
        self._done = 0

    def __call__(self, chunk: bytes) -> None:
        if self._head is not None:
            self._head += chunk
            line, newline, chunk = self._head.partition(b"\n")
            if not newline and len(line) < _SIZE_LINE_BYTES:
                return
            self._size = int(line) if line.isdigit() else 0
            self._head = None
        if chunk:
            self._stream.write(chunk)
            self._done += len(chunk)
            if self._on_progress:
                self._on_progress(self._done, max(self._done, self._size))


class Counted:
    """Passes chunks on and counts their bytes, starting from those already there."""

    def __init__(self, chunks: Iterator[bytes], there_bytes: int) -> None:
        self.total_bytes = there_bytes
        self._chunks = chunks

    def __iter__(self) -> Counted:
        return self

    def __next__(self) -> bytes:
        chunk = next(self._chunks)
        self.total_bytes += len(chunk)
        return chunk


def chunks_of(stream: BinaryIO, offset_bytes: int, size_bytes: int, on_progress: OnBytes | None) -> Iterator[bytes]:
    """Yields the content of a file from `offset_bytes` on. A chunk is reported when the next one is requested."""
    stream.seek(offset_bytes)
    done = offset_bytes
    while chunk := stream.read(_CHUNK_BYTES):
        yield chunk
        done += len(chunk)
        if on_progress:
            on_progress(done, max(done, size_bytes))


def _error_number(message: str) -> int | None:
    """Returns the first error number that a tool's message names, None if it names none."""
    found = _TEXT.findall(message)
    if found:
        return _NUMBER_OF_TEXT[found[0]]
    return next((number for words, number in _SHELL_WORDS if words.search(message)), None)


def file_error(action: str, path: str, message: str) -> FileError:
    """Returns our error for a tool's message about a file."""
    number = _error_number(message)
    if number is None and message.strip() == _NOT_REGULAR:
        return FileError(action, path, FileCause.OBSTRUCTED, detail="not a regular file")
    if number is None:
        return FileError(action, path, FileCause.OTHER, detail=printable(message, 120) or "no reason given")
    return FileError.from_os_error(action, path, OSError(number, os.strerror(number)))


def missing_tool(end: ProcessEnd) -> CommandError | None:
    """Returns the error if a script ended because a tool is missing."""
    match = _MISSING_TOOL.search(end.stderr_tail) if end.rc == _TOOL_IS_MISSING else None
    if match is None:
        return None
    return CommandError(
        f"the device has no {match[1]!r}, which the suite needs there; install coreutils and util-linux, or busybox."
    )
