"""`Transport` over a link to a POSIX shell."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from devices.errors import DamagedFile, FileCause, FileError
from devices.processes import Deadline, ProcessEnd, parse_record
from devices.transports.hold import Claim
from devices.transports.shell import scripts
from devices.transports.shell.calls import Calls, Collected, Counted, Pulled, chunks_of, file_error, path_argument
from devices.transports.shell.conversation import Patience
from devices.transports.shell.holding import Holding, hold
from devices.transports.shell.link import Link
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
from foundation.atomic import replacing
from foundation.text import decode, printable

_PID_FILE_LIMIT_BYTES = 4096
_SHORT_ANSWER_BYTES = 64 << 10


class ShellTransport:
    """A device at the other end of a link. A lost link stays lost; connect again."""

    def __init__(self, link: Link, *, patience: Patience | None = None) -> None:
        self._link = link
        self._patience = patience or Patience()
        self._holding: Holding | None = None
        self._calls = Calls(link, self._patience, self._require_hold)

    @property
    def name(self) -> str:
        return self._link.name

    def run(self, argv: Sequence[str], *, timeout_s: float, cwd: str | None = None) -> Result:
        output = Collected(RUN_OUTPUT_LIMIT_BYTES)
        end = self._calls.watch(argv, deadline=Deadline(timeout_s), cwd=cwd, on_output=output)
        return Result(decode(output.data), end)

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
        end = self._calls.watch(
            argv,
            deadline=Deadline(timeout_s),
            cwd=cwd,
            on_output=lines.feed,
            pid_file=pid_file,
            while_waiting=while_waiting,
        )
        if end.rc and self._holding is not None:
            self._holding.require_record(self.read_bytes)
        lines.finish()
        return end

    def end_left_over(self, pid_file: str, *, timeout_s: float = FILE_TIMEOUT_S) -> int | None:
        try:
            record = parse_record(self.read_bytes(pid_file, limit_bytes=_PID_FILE_LIMIT_BYTES, timeout_s=timeout_s))
        except FileError as error:
            if error.cause is FileCause.MISSING:
                return None
            if error.cause is not FileCause.TOO_LARGE:
                raise
            record = None
        process = ("0", "-", "-") if record is None else (str(record.pid), str(record.start_ticks), record.boot_id)
        polls = str(round(min(self._patience.grace_s, timeout_s / 2) * 10))
        answer = self._ask("remove", pid_file, scripts.END_LEFT_OVER, *process, polls, timeout_s=timeout_s)
        return record.pid if record is not None and "ended" in answer.split() else None

    def hold(self, folder: str, claim: Claim) -> bool:
        self._holding = hold(self._link, self._patience, folder, claim)
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
        self._copy(source, destination, Deadline(timeout_s), on_progress, executable, offset_bytes)

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
        whole = (destination, sha256)
        arrived, stat = self._copy(source, part, Deadline(timeout_s), on_progress, executable, offset_bytes, whole)
        if not stat:
            raise DamagedFile(destination, arrived)
        return _file_stat(destination, stat)

    def pull(self, source: str, destination: Path, *, timeout_s: float, on_progress: OnBytes | None = None) -> None:
        path = path_argument("read", source)
        what, deadline = f"the copy of {printable(source)!r}", Deadline(timeout_s)
        try:
            with replacing(destination) as stream:
                sink = Pulled(stream, on_progress)
                end = self._calls.operate(scripts.PULL, (path,), what=what, deadline=deadline, on_output=sink)
                if end.rc:
                    raise file_error("read", source, end.stderr_tail)
        except OSError as error:
            raise FileError.from_os_error("write the host's file", str(destination), error) from error

    def read_bytes(self, path: str, *, limit_bytes: int = READ_LIMIT_BYTES, timeout_s: float = FILE_TIMEOUT_S) -> bytes:
        limit = str(limit_bytes + 1)
        content = self._calls.collect(
            "read", path, scripts.READ, (limit,), timeout_s=timeout_s, limit_bytes=limit_bytes + 1
        )
        if len(content) > limit_bytes:
            raise FileError("read", path, FileCause.TOO_LARGE, detail=f"over {limit_bytes} bytes")
        return content

    def read_text(self, path: str, *, limit_bytes: int = READ_LIMIT_BYTES, timeout_s: float = FILE_TIMEOUT_S) -> str:
        return decode(self.read_bytes(path, limit_bytes=limit_bytes, timeout_s=timeout_s))

    def read_texts(self, paths: Sequence[str], *, timeout_s: float = FILE_TIMEOUT_S) -> Mapping[str, str | FileError]:
        if not paths:
            return {}
        mark = secrets.token_hex(16)
        output = Collected(STREAM_OUTPUT_LIMIT_BYTES)
        arguments = [mark, str(READ_LIMIT_BYTES + 1), *(path_argument("read", path) for path in paths)]
        what, deadline = f"reading {len(paths)} files", Deadline(timeout_s)
        self._calls.operate(scripts.READ_MANY, arguments, what=what, deadline=deadline, on_output=output)
        pieces = bytes(output.data).split(b"\x1e" + mark.encode("ascii"))
        if len(pieces) != 2 * len(paths) + 1:
            raise FileError("read", paths[0], FileCause.OTHER, detail="the device's shell ended early")
        return {path: _text_or_error(path, *pieces[2 * at : 2 * at + 2]) for at, path in enumerate(paths)}

    def write(self, path: str, data: bytes, *, timeout_s: float = FILE_TIMEOUT_S) -> None:
        folder, slash, name = path.rpartition("/")
        temporary = f"{folder}{slash}.{name[:60]}.{secrets.token_hex(4)}.tmp"
        self._put(Counted(iter((data,) if data else ()), 0), len(data), temporary, "644", Deadline(timeout_s), path)

    def exists(self, path: str, *, timeout_s: float = FILE_TIMEOUT_S) -> bool:
        return path in self.existing([path], timeout_s=timeout_s)

    def existing(self, paths: Sequence[str], *, timeout_s: float = FILE_TIMEOUT_S) -> frozenset[str]:
        if not paths:
            return frozenset()
        others = [path_argument("look at", path) for path in paths[1:]]
        answers = self._ask("look at", paths[0], scripts.EXIST, *others, timeout_s=timeout_s).split()
        if len(answers) != len(paths):
            raise FileError("look at", paths[0], FileCause.OTHER, detail="the device's shell ended early")
        return frozenset(path for path, answer in zip(paths, answers, strict=True) if answer == "yes")

    def stat(self, path: str, *, timeout_s: float = FILE_TIMEOUT_S) -> FileStat:
        return _file_stat(path, self._ask("look at", path, scripts.STAT, timeout_s=timeout_s))

    def stats(self, paths: Sequence[str], *, timeout_s: float = FILE_TIMEOUT_S) -> Mapping[str, FileStat]:
        if not paths:
            return {}
        others = [path_argument("look at", path) for path in paths[1:]]
        listed = self._calls.collect(
            "look at", paths[0], scripts.STAT_MANY, others, timeout_s=timeout_s, limit_bytes=RUN_OUTPUT_LIMIT_BYTES
        )
        lines = decode(listed).split("\n")[:-1]
        if len(lines) != len(paths):
            raise FileError("look at", paths[0], FileCause.OTHER, detail="the device's shell ended early")
        return {path: _file_stat(path, line) for path, line in zip(paths, lines, strict=True) if line}

    def size(self, path: str, *, timeout_s: float = FILE_TIMEOUT_S) -> int:
        return self.stat(path, timeout_s=timeout_s).size_bytes

    def sha256(self, path: str, *, timeout_s: float) -> str:
        answer = self._ask("read", path, scripts.SHA256, timeout_s=timeout_s)
        match = re.match(r"\\?([0-9a-f]{64})\b", answer)
        if match is None:
            raise FileError("read", path, FileCause.OTHER, detail="the device returned no hash")
        return match[1]

    def rename(self, source: str, destination: str, *, timeout_s: float = FILE_TIMEOUT_S) -> None:
        target = path_argument("rename", destination)
        self._ask("rename", source, scripts.RENAME, target, timeout_s=timeout_s)

    def remove(self, path: str, *, recursive: bool = False, timeout_s: float = FILE_TIMEOUT_S) -> None:
        # With a trailing slash, a link would be followed.
        target = path.rstrip("/") or path
        self._ask("remove", target, scripts.REMOVE_TREE if recursive else scripts.REMOVE, timeout_s=timeout_s)

    def mkdir(self, path: str, *, timeout_s: float = FILE_TIMEOUT_S) -> None:
        self._ask("make the folder", path, scripts.MAKE_FOLDER, timeout_s=timeout_s)

    def list_dir(self, path: str, *, timeout_s: float = FILE_TIMEOUT_S) -> tuple[str, ...]:
        listing = self._calls.collect(
            "list", path, scripts.LIST, timeout_s=timeout_s, limit_bytes=RUN_OUTPUT_LIMIT_BYTES
        )
        return _names_below(path, listing.split(b"\0"))

    def list_dirs(self, paths: Sequence[str], *, timeout_s: float = FILE_TIMEOUT_S) -> Mapping[str, tuple[str, ...]]:
        if not paths:
            return {}
        others = [path_argument("list", path) for path in paths[1:]]
        listing = self._calls.collect(
            "list", paths[0], scripts.LIST_MANY, others, timeout_s=timeout_s, limit_bytes=RUN_OUTPUT_LIMIT_BYTES
        )
        entries = listing.split(b"\0")
        return {path: names for path in paths if (names := _names_below(path, entries))}

    def free_bytes(self, path: str, *, timeout_s: float = FILE_TIMEOUT_S) -> int:
        action = "look at the file system of"
        blocks, _, block_bytes = self._ask(action, path, scripts.FREE, timeout_s=timeout_s).partition(" ")
        return _number(blocks, action, path) * _number(block_bytes, action, path)

    def close(self) -> None:
        if self._holding is not None:
            self._holding.release()
        self._link.close()

    def _require_hold(self) -> None:
        if self._holding is not None:
            self._holding.require()

    def _ask(self, action: str, path: str, body: str, *arguments: str, timeout_s: float) -> str:
        answer = self._calls.collect(
            action, path, body, arguments, timeout_s=timeout_s, limit_bytes=_SHORT_ANSWER_BYTES
        )
        return decode(answer).strip()

    def _copy(
        self,
        source: Path,
        destination: str,
        deadline: Deadline,
        on_progress: OnBytes | None,
        executable: bool,
        offset_bytes: int,
        whole: tuple[str, str] = ("", ""),
    ) -> tuple[int, str]:
        try:
            stream = source.open("rb")
            size = os.fstat(stream.fileno()).st_size
        except OSError as error:
            raise FileError.from_os_error("read the host's file", str(source), error) from error
        with stream:
            chunks = Counted(chunks_of(stream, offset_bytes, size, on_progress), offset_bytes)
            return self._put(chunks, size, destination, "755" if executable else "644", deadline, *whole)

    def _put(
        self,
        chunks: Counted,
        size_bytes: int,
        destination: str,
        mode: str,
        deadline: Deadline,
        final: str = "",
        sha256: str = "",
    ) -> tuple[int, str]:
        """Appends what `chunks` yields to the bytes already there and syncs the file.

        With `final`, the complete file is renamed to it, if it has the `sha256`. Returns its size and, if renamed, its
        stat.
        """
        blocks, odd = divmod(chunks.total_bytes, RESUME_BLOCK_BYTES)
        if odd:
            raise ValueError(f"a push resumes at a multiple of {RESUME_BLOCK_BYTES} bytes, not at {chunks.total_bytes}")
        path = final or destination
        target = path_argument("write", destination)
        name = final and path_argument("write", final)
        arguments = (target, str(blocks), str(RESUME_BLOCK_BYTES), mode, name, str(size_bytes), sha256)
        answer = Collected(_SHORT_ANSWER_BYTES)
        end = self._calls.operate(
            scripts.PUSH,
            arguments,
            what=f"the copy to {printable(path)!r}",
            deadline=deadline,
            on_output=answer,
            feed=chunks,
        )
        if end.rc:
            raise file_error("write", path, end.stderr_tail)
        size, _, stat = decode(answer.data).strip().partition("\n")
        arrived = _number(size, "write", path)
        if arrived != chunks.total_bytes:
            detail = f"{arrived} of {chunks.total_bytes} bytes arrived"
            raise FileError("write", path, FileCause.OTHER, detail=detail)
        return arrived, stat


def _file_stat(path: str, line: str) -> FileStat:
    size, _, stamp = line.partition(" ")
    return FileStat(_number(size, "look at", path), stamp)


def _names_below(folder: str, entries: Sequence[bytes]) -> tuple[str, ...]:
    """Returns the names that `find` listed directly in the folder."""
    beginning = path_argument("list", folder).encode("utf-8", "surrogateescape") + b"/./"
    names = [entry.removeprefix(beginning) for entry in entries if entry.startswith(beginning)]
    return tuple(sorted(name.decode("utf-8", "surrogateescape") for name in names))


def _number(text: str, action: str, path: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise FileError(action, path, FileCause.OTHER, detail=f"the device answered {printable(text, 60)!r}")
    return int(text)


def _text_or_error(path: str, content: bytes, error: bytes) -> str | FileError:
    if error:
        return file_error("read", path, decode(error))
    if len(content) > READ_LIMIT_BYTES:
        return FileError("read", path, FileCause.TOO_LARGE, detail=f"over {READ_LIMIT_BYTES} bytes")
    return decode(content)
