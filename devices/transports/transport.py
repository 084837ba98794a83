"""The Protocol of all transports: how commands and bytes get to a device.

Rules for every transport:
- Arguments are lists. Only the transport quotes, if its peer needs a shell.
- Every call has a deadline, after which it raises `TransportTimeout`; if the peer is gone, it raises `DeviceLost`.
- A failed file operation raises `FileError` with one of its causes, whatever the peer calls it.
- Paths are strings in the device's own notation and may contain blanks, quotes and newlines.
- Text is decoded as UTF-8 with replacement characters and is untrusted: see `foundation.text.printable`. Output is cut
  into lines within bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from devices.errors import FileError, OutputLimitError
from devices.processes import ProcessEnd
from devices.transports.hold import Claim

OnLine = Callable[[str], None]
OnBytes = Callable[[int, int], None]  # bytes done, bytes in all
WhileWaiting = Callable[[], None]

FILE_TIMEOUT_S = 30.0
READ_LIMIT_BYTES = 1 << 20
RUN_OUTPUT_LIMIT_BYTES = 16 << 20
STREAM_OUTPUT_LIMIT_BYTES = 256 << 20
LINE_LIMIT_BYTES = 1 << 20
RESUME_BLOCK_BYTES = 64 << 10


@dataclass(frozen=True)
class Result:
    """A short command's output, and how it ended."""

    stdout: str
    end: ProcessEnd


@dataclass(frozen=True)
class FileStat:
    """Size, and an opaque stamp that changes whenever the content does; to be compared only for equality."""

    size_bytes: int
    stamp: str


class Transport(Protocol):
    """The connection to one device."""

    @property
    def name(self) -> str:
        """The kind of transport: `local`, `ssh`, `adb`."""

    def run(self, argv: Sequence[str], *, timeout_s: float, cwd: str | None = None) -> Result:
        """Runs a short command and returns its output. Raises `CommandError` if it can't be started."""

    def stream(
        self,
        argv: Sequence[str],
        on_line: OnLine,
        *,
        timeout_s: float,
        cwd: str | None = None,
        pid_file: str | None = None,
        output_limit_bytes: int = STREAM_OUTPUT_LIMIT_BYTES,
        while_waiting: WhileWaiting = lambda: None,
    ) -> ProcessEnd:
        """Runs a program in its own process group and passes on each line of its output as it arrives.

        `while_waiting` is called at least every half second, in the same thread as `on_line`: it can raise to stop the
        program. If the deadline passes or anything is raised meanwhile (KeyboardInterrupt included), the whole group
        gets SIGTERM, and SIGKILL after a grace period, before the exception propagates. `pid_file` identifies the
        process while it runs, so that `end_left_over` can end a process that a killed orchestrator left behind.
        """

    def end_left_over(self, pid_file: str, *, timeout_s: float = FILE_TIMEOUT_S) -> int | None:
        """Ends the process identified by `pid_file`, if it is still running; returns its pid, or None."""

    def hold(self, folder: str, claim: Claim) -> bool:
        """Holds the device until `close`, against all that use the same folder of holds.

        Returns False if nothing can be written to the workdir that contains the folder. Raises `DeviceBusy` if another
        orchestrator holds the device and gives a sign of life. If others end our hold, every later call raises
        `DeviceLost`.
        """

    def push(
        self,
        source: Path,
        destination: str,
        *,
        timeout_s: float,
        on_progress: OnBytes | None = None,
        executable: bool = False,
        offset_bytes: int = 0,
    ) -> None:
        """Copies a file of the host to the device and syncs it; not atomic (see `place`).

        `offset_bytes`, a multiple of `RESUME_BLOCK_BYTES`, resumes a push: the destination keeps that many bytes and
        gets the rest. Other offsets raise `ValueError`.
        """

    def place(
        self,
        source: Path,
        destination: str,
        *,
        part: str,
        sha256: str,
        timeout_s: float,
        on_progress: OnBytes | None = None,
        executable: bool = False,
        offset_bytes: int = 0,
    ) -> FileStat:
        """Pushes a file under the name `part` and renames it to `destination` if its sha256 there is the given one.

        Takes one round trip. Returns its stat. Raises `DamagedFile` if the content differs. On any error, the bytes
        that arrived stay under `part`.
        """

    def pull(self, source: str, destination: Path, *, timeout_s: float, on_progress: OnBytes | None = None) -> None:
        """Copies a file of the device to the host; `destination` appears complete or not at all."""

    def read_bytes(self, path: str, *, limit_bytes: int = READ_LIMIT_BYTES, timeout_s: float = FILE_TIMEOUT_S) -> bytes:
        """Returns the content of a file; raises `FileError(TOO_LARGE)` rather than return only a part."""

    def read_text(self, path: str, *, limit_bytes: int = READ_LIMIT_BYTES, timeout_s: float = FILE_TIMEOUT_S) -> str:
        """Returns the content of a file as text."""

    def read_texts(self, paths: Sequence[str], *, timeout_s: float = FILE_TIMEOUT_S) -> Mapping[str, str | FileError]:
        """Reads many small files in one round trip; a file that can't be read has an error instead of a text."""

    def write(self, path: str, data: bytes, *, timeout_s: float = FILE_TIMEOUT_S) -> None:
        """Writes a small file atomically: readers see either the old or the new content."""

    def exists(self, path: str, *, timeout_s: float = FILE_TIMEOUT_S) -> bool:
        """Returns whether there is something at `path`."""

    def existing(self, paths: Sequence[str], *, timeout_s: float = FILE_TIMEOUT_S) -> frozenset[str]:
        """Returns the paths that exist, in one round trip."""

    def stat(self, path: str, *, timeout_s: float = FILE_TIMEOUT_S) -> FileStat:
        """Returns the size and change stamp of a file."""

    def stats(self, paths: Sequence[str], *, timeout_s: float = FILE_TIMEOUT_S) -> Mapping[str, FileStat]:
        """Returns the stats of many files in one round trip; files that can't be read are left out."""

    def size(self, path: str, *, timeout_s: float = FILE_TIMEOUT_S) -> int:
        """Returns the size of a file."""

    def sha256(self, path: str, *, timeout_s: float) -> str:
        """Returns the sha256 of a file, computed on the device, in hexadecimal."""

    def rename(self, source: str, destination: str, *, timeout_s: float = FILE_TIMEOUT_S) -> None:
        """Renames within one file system, replacing an existing file."""

    def remove(self, path: str, *, recursive: bool = False, timeout_s: float = FILE_TIMEOUT_S) -> None:
        """Removes a file, or a whole folder if `recursive`; a missing one isn't an error."""

    def mkdir(self, path: str, *, timeout_s: float = FILE_TIMEOUT_S) -> None:
        """Creates a folder and its parents; an existing one isn't an error."""

    def list_dir(self, path: str, *, timeout_s: float = FILE_TIMEOUT_S) -> tuple[str, ...]:
        """Returns the names in a folder, sorted."""

    def list_dirs(self, paths: Sequence[str], *, timeout_s: float = FILE_TIMEOUT_S) -> Mapping[str, tuple[str, ...]]:
        """Lists many folders in one round trip; those that are empty or can't be listed are left out."""

    def free_bytes(self, path: str, *, timeout_s: float = FILE_TIMEOUT_S) -> int:
        """Returns the bytes that an unprivileged user can still write to the file system of `path`."""

    def close(self) -> None:
        """Closes the connection; may be called twice."""


class OutputBudget:
    """Counts bytes and raises `OutputLimitError` over the limit."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._spent_bytes = 0

    def spend(self, count: int) -> None:
        """Deducts `count` bytes from the budget."""
        self._spent_bytes += count
        if self._spent_bytes > self._limit_bytes:
            raise OutputLimitError(
                f"the program printed more than {self._limit_bytes} bytes and was ended; check what it prints."
            )


class LineSplitter:
    """Splits chunks into lines and passes on each one without its newline, even a last line that has none."""

    def __init__(self, on_line: OnLine, budget: OutputBudget, line_limit_bytes: int = LINE_LIMIT_BYTES) -> None:
        self._on_line = on_line
        self._budget = budget
        self._limit_bytes = line_limit_bytes
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> None:
        """Takes a chunk of output. Raises `OutputLimitError`, and anything that the receiver of lines raises."""
        self._budget.spend(len(chunk))
        *complete, rest = chunk.split(b"\n")
        for line in complete:
            self._rest += line
            self._check_length()
            self._deliver()
        self._rest += rest
        self._check_length()

    def finish(self) -> None:
        """Passes on what came after the last newline."""
        if self._rest:
            self._deliver()

    def _check_length(self) -> None:
        if len(self._rest) > self._limit_bytes:
            raise OutputLimitError(
                f"the program printed a line of over {self._limit_bytes} bytes and was ended; check what it prints."
            )

    def _deliver(self) -> None:
        line = bytes(self._rest).decode("utf-8", errors="replace")
        self._rest.clear()
        self._on_line(line)
