"""Errors of devices, in two families.

A `UserError` is something the user can fix before anything starts (the inventory, a name on the command line).
A `DeviceError` is the outcome of one device: it is recorded for that device, and the others go on.
Every message is one sentence with the cause, a number if there is one, and the next action.
"""

from __future__ import annotations

import enum
import errno
from collections.abc import Iterable

from foundation.errors import UserError, listed
from foundation.text import did_you_mean, printable


class InventoryError(UserError):
    """The inventory can't be used. Messages start with `file:line`."""


class UnknownDevice(UserError):  # noqa: N818 - the vocabulary's word
    """A requested device isn't in the inventory; the message offers the nearest names, else how to `add` it.

    `what` is what the name refers to: a device, a group, or a kind.
    """

    def __init__(
        self, name: str, known: Iterable[str], where: str, *, add: str | None = None, what: str = "device"
    ) -> None:
        self.name = name
        self.known = tuple(known)
        how = f"; add it with `{add}`." if add else "."
        hint = did_you_mean(name, self.known) or f"known are: {listed(self.known)}{how}"
        super().__init__(f"{where} has no {what} {printable(name)!r} among its {len(self.known)}; {hint}")


class UnsupportedDevice(UserError):  # noqa: N818 - the vocabulary's word
    """The entry is valid, but this version has no class for its kind or transport."""


class DeviceError(Exception):
    """One device failed; the others go on."""


class DeviceLost(DeviceError):  # noqa: N818 - the vocabulary's word
    """The device or the connection to it is gone; anything it printed afterwards doesn't count."""


class AccessRefused(DeviceError):  # noqa: N818 - the vocabulary's word
    """The device refuses access; trying again doesn't help."""


class HostKeyRefused(AccessRefused):
    """The machine that answers can't be verified to be the enrolled device."""


class DeviceBusy(DeviceError):  # noqa: N818 - the vocabulary's word
    """Somebody else holds the device."""


class TransportTimeout(DeviceError):  # noqa: N818 - the vocabulary's word
    """A call missed its deadline, and everything it had started was ended."""


class CommandError(DeviceError):
    """A program could not be started on the device (missing, not executable, wrong architecture)."""


class OutputLimitError(DeviceError):
    """A program exceeded its output limit and was ended."""


class DeployError(DeviceError):
    """Files could not be copied to the device intact."""


class FileCause(enum.Enum):
    """Why a file operation on a device failed. The value completes the phrase "... because ..."."""

    MISSING = "it doesn't exist"
    FULL = "the disk is full"
    READ_ONLY = "the file system is read-only"
    DENIED = "permission is denied"
    OBSTRUCTED = "something of another type has that name"
    TOO_LARGE = "it is larger than allowed"
    OTHER = "the system refused"


_REMEDIES = {
    FileCause.MISSING: "check the path",
    FileCause.FULL: "free space there or set another `workdir` in the inventory",
    FileCause.READ_ONLY: "remount it writable or set another `workdir` in the inventory",
    FileCause.DENIED: "give the user access or set another `workdir` in the inventory",
    FileCause.OBSTRUCTED: "move it away or set another `workdir` in the inventory",
    FileCause.TOO_LARGE: "look at the file: it isn't what was expected",
    FileCause.OTHER: "check the device's storage",
}

_CAUSE_OF_ERRNO = {
    errno.ENOENT: FileCause.MISSING,
    errno.ENOSPC: FileCause.FULL,
    errno.EDQUOT: FileCause.FULL,
    errno.EFBIG: FileCause.FULL,
    errno.EROFS: FileCause.READ_ONLY,
    errno.EACCES: FileCause.DENIED,
    errno.EPERM: FileCause.DENIED,
    errno.ENOTDIR: FileCause.OBSTRUCTED,
    errno.EISDIR: FileCause.OBSTRUCTED,
    errno.EEXIST: FileCause.OBSTRUCTED,
    errno.ENOTEMPTY: FileCause.OBSTRUCTED,
}


class FileError(DeviceError):
    """A file operation on a device failed. Every transport raises this with the same causes."""

    def __init__(self, action: str, path: str, cause: FileCause, *, detail: str = "") -> None:
        self.action = action
        self.path = path
        self.cause = cause
        self.detail = detail
        extra = f" ({detail})" if detail else ""
        super().__init__(
            f"cannot {action} {printable(path)!r} on the device because {cause.value}{extra}; {self.remedy}."
        )

    @property
    def remedy(self) -> str:
        """What the user can do about it: an imperative without a full stop."""
        return _REMEDIES[self.cause]

    @property
    def reason(self) -> str:
        """The cause with its detail, for tables."""
        return f"{self.cause.value} ({self.detail})" if self.detail else self.cause.value

    @classmethod
    def from_os_error(cls, action: str, path: str, error: OSError) -> FileError:
        """Returns the error for an `OSError` of the host, or of a device that reports errno numbers."""
        number = error.errno or 0
        cause = _CAUSE_OF_ERRNO.get(number, FileCause.OTHER)
        return cls(action, path, cause, detail=errno.errorcode.get(number, f"errno {number}"))


class DamagedFile(FileError):  # noqa: N818 - the vocabulary's word
    """A file arrived with unexpected content. `size_bytes` is the size that arrived."""

    def __init__(self, path: str, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        detail = f"{size_bytes} bytes arrived, with a different sha256"
        super().__init__("write", path, FileCause.OTHER, detail=detail)
