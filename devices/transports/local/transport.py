"""The transport to this machine: subprocesses and the host's own file system."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from devices.errors import DamagedFile, FileCause, FileError
from devices.processes import Deadline, ProcessEnd, end_process_group, running_pid, supervise, write_pid_file
from devices.transports.hold import Claim
from devices.transports.local.shell import LocalShellLink
from devices.transports.shell.conversation import Patience
from devices.transports.shell.holding import Holding, hold
from devices.transports.transport import (
    FILE_TIMEOUT_S,
    READ_LIMIT_BYTES,
    RESUME_BLOCK_BYTES,
    RUN_OUTPUT_LIMIT_BYTES,
    STREAM_OUTPUT_LIMIT_BYTES,
    FileStat,
    LineSplitter,
    OnBytes,
    OnLine,
    OutputBudget,
    Result,
    WhileWaiting,
)
from foundation.atomic import replacing, write_atomic
from foundation.text import decode

_CHUNK_BYTES = 4 << 20
# Errors of copy_file_range after which read and write are used instead (other file system, old kernel).
_NO_RANGE_COPY = frozenset({errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM})


class LocalTransport:
    """This machine as a device. The same script holds it as other devices; everything else is done without a shell."""

    name = "local"

    def __init__(self, *, grace_s: float = 5.0) -> None:
        self._grace_s = grace_s
        self._holding: Holding | None = None

    def run(self, argv: Sequence[str], *, timeout_s: float, cwd: str | None = None) -> Result:
        output = bytearray()
        budget = OutputBudget(RUN_OUTPUT_LIMIT_BYTES)

        def take(chunk: bytes) -> None:
            budget.spend(len(chunk))
            output.extend(chunk)

        end = supervise(argv, deadline=Deadline(timeout_s), cwd=cwd, on_output=take, grace_s=self._grace_s)
        return Result(decode(output), end)

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
        lines = LineSplitter(on_line, OutputBudget(output_limit_bytes))

        def meanwhile() -> None:
            if self._holding is not None:
                self._holding.require()
            while_waiting()

        pid_path = Path(pid_file) if pid_file else None

        def name_process(pid: int) -> None:
            if pid_path:
                with _reported("write", str(pid_path)):
                    write_pid_file(pid_path, pid)

        try:
            end = supervise(
                argv,
                deadline=Deadline(timeout_s),
                cwd=cwd,
                on_output=lines.feed,
                on_start=name_process,
                while_waiting=meanwhile,
                grace_s=self._grace_s,
            )
        finally:
            if pid_path:
                with contextlib.suppress(OSError):
                    pid_path.unlink(missing_ok=True)
        if end.rc and self._holding is not None:
            self._holding.require_record(self.read_bytes)
        lines.finish()
        return end

    def end_left_over(self, pid_file: str, *, timeout_s: float = FILE_TIMEOUT_S) -> int | None:
        deadline = Deadline(timeout_s)
        pid = running_pid(Path(pid_file))
        if pid is not None:
            end_process_group(pid, deadline, grace_s=min(self._grace_s, timeout_s / 2))
        # A read-only file system even refuses to remove a missing file.
        if os.path.lexists(pid_file):
            self.remove(pid_file)
        return pid

    def hold(self, folder: str, claim: Claim) -> bool:
        self._holding = hold(LocalShellLink(), Patience(), folder, claim)
        return self._holding is not None

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
        if offset_bytes % RESUME_BLOCK_BYTES:
            raise ValueError(f"a push resumes at a multiple of {RESUME_BLOCK_BYTES} bytes, not at {offset_bytes}")
        # A copy rather than a hard link, through which a damaged device folder would also damage the host's cache. If
        # the file system shares blocks between files (btrfs, XFS), copy_file_range costs no disk space.
        mode = 0o755 if executable else 0o644
        with _reported("read the host's file", str(source)):
            source.open("rb").close()
        with _reported("write", destination):
            truncate = 0 if offset_bytes else os.O_TRUNC
            handle = os.open(destination, os.O_WRONLY | os.O_CREAT | truncate | os.O_CLOEXEC, mode)
            try:
                if offset_bytes:
                    os.ftruncate(handle, offset_bytes)
                    os.lseek(handle, offset_bytes, os.SEEK_SET)
                _copy(source, handle, Deadline(timeout_s), on_progress, offset_bytes)
                os.fchmod(handle, mode)
                os.fsync(handle)
            finally:
                os.close(handle)

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
        self.push(
            source,
            part,
            timeout_s=timeout_s,
            on_progress=on_progress,
            executable=executable,
            offset_bytes=offset_bytes,
        )
        if self.sha256(part, timeout_s=timeout_s) != sha256:
            raise DamagedFile(destination, self.size(part))
        self.rename(part, destination)
        return self.stat(destination)

    def pull(self, source: str, destination: Path, *, timeout_s: float, on_progress: OnBytes | None = None) -> None:
        _require_file(source)
        with _reported("copy", source), replacing(destination) as stream:
            _copy(Path(source), stream.fileno(), Deadline(timeout_s), on_progress)

    def read_bytes(self, path: str, *, limit_bytes: int = READ_LIMIT_BYTES, timeout_s: float = FILE_TIMEOUT_S) -> bytes:
        deadline = Deadline(timeout_s)
        content = bytearray()
        with _reported("read", path), _opened(path) as handle:
            while chunk := os.read(handle, min(_CHUNK_BYTES, limit_bytes + 1 - len(content))):
                content.extend(chunk)
                if len(content) > limit_bytes:
                    raise FileError("read", path, FileCause.TOO_LARGE, detail=f"over {limit_bytes} bytes")
                deadline.check(f"reading {path!r}")
        return bytes(content)

    def read_text(self, path: str, *, limit_bytes: int = READ_LIMIT_BYTES, timeout_s: float = FILE_TIMEOUT_S) -> str:
        return decode(self.read_bytes(path, limit_bytes=limit_bytes, timeout_s=timeout_s))

    def read_texts(self, paths: Sequence[str], *, timeout_s: float = FILE_TIMEOUT_S) -> Mapping[str, str | FileError]:
        deadline = Deadline(timeout_s)
        texts: dict[str, str | FileError] = {}
        for path in paths:
            deadline.check(f"reading {len(paths)} files")
            try:
                texts[path] = self.read_text(path)
            except FileError as error:
                texts[path] = error
        return texts

    def write(self, path: str, data: bytes, *, timeout_s: float = FILE_TIMEOUT_S) -> None:
        deadline = Deadline(timeout_s)
        with _reported("write", path):
            write_atomic(Path(path), data)
        deadline.check(f"writing {path!r}")

    def exists(self, path: str, *, timeout_s: float = FILE_TIMEOUT_S) -> bool:
        del timeout_s  # one system call
        return os.path.lexists(path)

    def existing(self, paths: Sequence[str], *, timeout_s: float = FILE_TIMEOUT_S) -> frozenset[str]:
        return frozenset(path for path in paths if self.exists(path, timeout_s=timeout_s))

    def stat(self, path: str, *, timeout_s: float = FILE_TIMEOUT_S) -> FileStat:
        del timeout_s  # one system call
        with _reported("look at", path):
            status = Path(path).stat()
        # Every write, truncation or replacement changes the inode's change time, which no program can reset.
        return FileStat(status.st_size, f"{status.st_mtime_ns}:{status.st_ctime_ns}:{status.st_ino}")

    def stats(self, paths: Sequence[str], *, timeout_s: float = FILE_TIMEOUT_S) -> Mapping[str, FileStat]:
        found = {}
        for path in paths:
            with contextlib.suppress(FileError):
                found[path] = self.stat(path, timeout_s=timeout_s)
        return found

    def size(self, path: str, *, timeout_s: float = FILE_TIMEOUT_S) -> int:
        return self.stat(path, timeout_s=timeout_s).size_bytes

    def sha256(self, path: str, *, timeout_s: float) -> str:
        deadline = Deadline(timeout_s)
        digest = hashlib.sha256()
        buffer = memoryview(bytearray(_CHUNK_BYTES))
        with _reported("read", path), _opened(path) as handle:
            while count := os.readv(handle, [buffer]):
                digest.update(buffer[:count])
                deadline.check(f"hashing {path!r}")
        return digest.hexdigest()

    def rename(self, source: str, destination: str, *, timeout_s: float = FILE_TIMEOUT_S) -> None:
        del timeout_s  # one system call
        with _reported("rename", source):
            Path(source).replace(destination)

    def remove(self, path: str, *, recursive: bool = False, timeout_s: float = FILE_TIMEOUT_S) -> None:
        del timeout_s  # unlinking is quick, and half a removed tree would be useless
        target = Path(path)
        with _reported("remove", path):
            if recursive and target.is_dir() and not target.is_symlink():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)

    def mkdir(self, path: str, *, timeout_s: float = FILE_TIMEOUT_S) -> None:
        del timeout_s  # a few system calls
        with _reported("make the folder", path):
            Path(path).mkdir(parents=True, exist_ok=True)

    def list_dir(self, path: str, *, timeout_s: float = FILE_TIMEOUT_S) -> tuple[str, ...]:
        del timeout_s  # one pass over a folder
        with _reported("list", path):
            return tuple(sorted(entry.name for entry in Path(path).iterdir()))

    def list_dirs(self, paths: Sequence[str], *, timeout_s: float = FILE_TIMEOUT_S) -> Mapping[str, tuple[str, ...]]:
        found = {}
        for path in paths:
            with contextlib.suppress(FileError):
                found[path] = self.list_dir(path, timeout_s=timeout_s)
        return {path: names for path, names in found.items() if names}

    def free_bytes(self, path: str, *, timeout_s: float = FILE_TIMEOUT_S) -> int:
        del timeout_s  # one system call
        with _reported("look at the file system of", path):
            return shutil.disk_usage(path).free

    def close(self) -> None:
        if self._holding is not None:
            self._holding.release()


@contextlib.contextmanager
def _reported(action: str, path: str) -> Iterator[None]:
    """Turns the system's refusals into `FileError`."""
    try:
        yield
    except OSError as error:
        raise FileError.from_os_error(action, path, error) from error
    except ValueError as error:  # a null character in the path
        raise FileError(action, path, FileCause.OTHER, detail=str(error)) from error


def _require_file(path: str) -> None:
    with _reported("read", path):
        mode = Path(path).stat().st_mode
    if not stat.S_ISREG(mode):
        raise FileError("read", path, FileCause.OBSTRUCTED, detail="not a regular file")


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    """A regular file, open for reading. A pipe or device in its place would block, so it is refused."""
    _require_file(path)
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        yield handle
    finally:
        os.close(handle)


def _copy(
    source: Path, destination: int, deadline: Deadline, on_progress: OnBytes | None, offset_bytes: int = 0
) -> None:
    with source.open("rb", buffering=0) as stream:
        total, done, by_range = os.fstat(stream.fileno()).st_size, stream.seek(offset_bytes), True
        while True:
            deadline.check(f"copying {str(source)!r}")
            try:
                count = _copy_chunk(stream.fileno(), destination, by_range)
            except OSError as error:
                if not by_range or done > offset_bytes or error.errno not in _NO_RANGE_COPY:
                    raise
                by_range = False
                continue
            # Pseudo files report size 0 and copy_file_range returns nothing: only a plain read finds the end.
            if not count and by_range:
                by_range = False
                continue
            if not count:
                return
            done += count
            if on_progress:
                on_progress(done, max(done, total))


def _copy_chunk(source: int, destination: int, by_range: bool) -> int:
    if by_range:
        return os.copy_file_range(source, destination, _CHUNK_BYTES)
    rest = memoryview(os.read(source, _CHUNK_BYTES))
    count = len(rest)
    while rest:
        rest = rest[os.write(destination, rest) :]
    return count
