"""How commands and bytes get to a device: the Protocol that `local`, `ssh` and `adb` share.

Rules that every transport keeps:
- Arguments are lists. Only the transport quotes, if its peer needs a shell.
- Every call has a deadline and raises `TransportTimeout` after it; a peer that is gone is `DeviceLost`.
- A failed file operation is a `FileError` with one of its causes, whatever the peer called it.
- Paths are strings in the device's own notation and may hold blanks, quotes and newlines.
- Text is decoded as UTF-8 with replacement characters and is untrusted: see `foundation.text.printable`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from devices.errors import FileError
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
    """What `run` gives: exit status (128 + n when signal n ended it), output, and the end of the error output."""

    rc: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Exit:
    """How a streamed program ended. `signal` is a name such as SIGSEGV when one ended it, and `rc` is then 128 + n."""

    rc: int
    signal: str | None
    stderr_tail: str
    lines: int


@dataclass(frozen=True)
class FileStat:
    """Size, and a stamp that changes with every change of the content (opaque: compare it for equality only)."""

    size_bytes: int
    stamp: str


class Transport(Protocol):
    """The way to one device."""

    @property
    def name(self) -> str:
        """What kind of way it is: `local`, `ssh`, `adb`."""

    def run(self, argv: Sequence[str], *, timeout_s: float, cwd: str | None = None) -> Result:
        """Runs a short command and gives its output. Raises `CommandError` if it can't be started."""

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
    ) -> Exit:
        """Runs a program in its own process group and hands over each line of its output as it comes.

        `while_waiting` is called at least every half second, in the same thread as `on_line`: it is where another
        thread's wish to stop is seen. When the deadline passes, or anything is raised meanwhile (by either of the two,
        KeyboardInterrupt included), the whole group gets SIGTERM and after a grace period SIGKILL before the exception
        goes on. `pid_file` names the process
        while it runs, so that `end_left_over` can end what an orchestrator that was killed left behind.
        """

    def end_left_over(self, pid_file: str, *, timeout_s: float = FILE_TIMEOUT_S) -> int | None:
        """Ends the process that `pid_file` names if it is still that one; gives its pid, or None if there was none."""

    def hold(self, folder: str, claim: Claim) -> bool:
        """Holds the device until `close`, for all that use the same folder of holds: whether it is held now.

        False where nothing can be put into the workdir that the folder is in. Raises `DeviceBusy` if another
        orchestrator holds it and gives a sign of life. Once held, a hold that is ended by others is `DeviceLost` in
        every later call.
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
        """Copies a file of the host onto the device and makes it durable; not atomic (see `devices.deployment.deploy`).

        With `offset_bytes`, a multiple of `RESUME_BLOCK_BYTES`, the destination keeps so many bytes of what it holds
        and gets the source's bytes from there on: a push that broke off goes on. Other offsets are a `ValueError`.
        """

    def pull(self, source: str, destination: Path, *, timeout_s: float, on_progress: OnBytes | None = None) -> None:
        """Copies a file of the device to the host; `destination` appears whole or not at all."""

    def read_bytes(self, path: str, *, limit_bytes: int = READ_LIMIT_BYTES, timeout_s: float = FILE_TIMEOUT_S) -> bytes:
        """The content of a file; raises `FileError(TOO_LARGE)` rather than give a part of it."""

    def read_text(self, path: str, *, limit_bytes: int = READ_LIMIT_BYTES, timeout_s: float = FILE_TIMEOUT_S) -> str:
        """The same as text."""

    def read_texts(self, paths: Sequence[str], *, timeout_s: float = FILE_TIMEOUT_S) -> Mapping[str, str | FileError]:
        """Many small files in one round trip; what can't be read has its error in place of its text."""

    def write(self, path: str, data: bytes, *, timeout_s: float = FILE_TIMEOUT_S) -> None:
        """Writes a small file atomically: a reader sees the old content or the new one."""

    def exists(self, path: str, *, timeout_s: float = FILE_TIMEOUT_S) -> bool:
        """Whether there is something at `path`."""

    def existing(self, paths: Sequence[str], *, timeout_s: float = FILE_TIMEOUT_S) -> frozenset[str]:
        """Those of the paths at which there is something, in one round trip."""

    def stat(self, path: str, *, timeout_s: float = FILE_TIMEOUT_S) -> FileStat:
        """Size and change stamp of a file."""

    def stats(self, paths: Sequence[str], *, timeout_s: float = FILE_TIMEOUT_S) -> Mapping[str, FileStat]:
        """The same of many files in one round trip; those that can't be looked at are left out."""

    def size(self, path: str, *, timeout_s: float = FILE_TIMEOUT_S) -> int:
        """Bytes of a file."""

    def sha256(self, path: str, *, timeout_s: float) -> str:
        """The hash of a file, computed on the device: 64 hexadecimal digits."""

    def rename(self, source: str, destination: str, *, timeout_s: float = FILE_TIMEOUT_S) -> None:
        """Renames within one file system, over an existing file if there is one."""

    def remove(self, path: str, *, recursive: bool = False, timeout_s: float = FILE_TIMEOUT_S) -> None:
        """Removes a file, or a folder with all that is in it if `recursive`; nothing there is no error."""

    def mkdir(self, path: str, *, timeout_s: float = FILE_TIMEOUT_S) -> None:
        """Makes a folder and those above it; one that exists is no error."""

    def list_dir(self, path: str, *, timeout_s: float = FILE_TIMEOUT_S) -> tuple[str, ...]:
        """The names in a folder, sorted."""

    def list_dirs(self, paths: Sequence[str], *, timeout_s: float = FILE_TIMEOUT_S) -> Mapping[str, tuple[str, ...]]:
        """The same of many folders in one round trip; those that are empty or can't be listed are left out."""

    def free_bytes(self, path: str, *, timeout_s: float = FILE_TIMEOUT_S) -> int:
        """What an unprivileged user can still write to the file system of `path`."""

    def close(self) -> None:
        """Gives the connection up; may be called twice."""
