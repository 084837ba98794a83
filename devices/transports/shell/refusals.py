"""Translates the error messages of a device's tools into the causes that all transports share.

Tools of coreutils, busybox and toybox end their message with the C library's text for the error number, which is the
same in glibc, musl and bionic for all causes distinguished here.
"""

from __future__ import annotations

import errno
import os
import re

from devices.errors import CommandError, FileCause, FileError
from devices.processes import ProcessEnd
from foundation.text import printable

_NUMBER_OF_TEXT = {os.strerror(number): number for number in errno.errorcode}
_TEXT = re.compile(
    rf"(?:^|[\s:(])({'|'.join(map(re.escape, sorted(_NUMBER_OF_TEXT, key=len, reverse=True)))})\)?$", re.M
)
# dash's own messages for what it can't open or create; the last is also every shell's for a missing program.
_SHELL_WORDS = (
    (re.compile(r"(?:No such file|[Dd]irectory nonexistent)$", re.M), errno.ENOENT),
    (re.compile(r"(?:inaccessible or )?not found$", re.M), errno.ENOENT),
)
_MISSING_TOOL = re.compile(r"(?:^|[\s:])([a-z0-9]{2,20}): (?:command |inaccessible or )?not found$", re.M)
_TOOL_IS_MISSING = 127
NOT_REGULAR = "Not a regular file"


def error_number(message: str) -> int | None:
    """Returns the error number that a tool's message names first, None if it names none."""
    found = _TEXT.findall(message)
    if found:
        return _NUMBER_OF_TEXT[found[0]]
    return next((number for words, number in _SHELL_WORDS if words.search(message)), None)


def file_error(action: str, path: str, message: str) -> FileError:
    """Returns our error for a tool's message about a file."""
    number = error_number(message)
    if number is None and message.strip() == NOT_REGULAR:
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
