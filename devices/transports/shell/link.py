"""The interface that a connection to a device must have; `ShellTransport` does the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Received:
    """Bytes of standard output and error output; `ended` if no more can come. All empty: nothing arrived in time."""

    out: bytes = b""
    err: bytes = b""
    ended: bool = False


class Channel(Protocol):
    """A `sh` on the device that reads its script from standard input. Every method raises `DeviceLost` if the peer is
    gone.
    """

    def send(self, data: bytes, *, timeout_s: float) -> int:
        """Sends the start of `data`; returns the number of bytes accepted, 0 if none was accepted in time."""

    def finish(self) -> None:
        """Ends the input."""

    def receive(self, *, timeout_s: float) -> Received:
        """Returns what has arrived, after waiting at most `timeout_s`."""

    def close(self) -> None:
        """Closes the channel; never raises."""


class Link(Protocol):
    """The connection to a device."""

    @property
    def name(self) -> str:
        """The transport's name: `ssh`, `adb`."""

    def open(self, *, timeout_s: float) -> Channel:
        """Starts `sh`. Raises `DeviceLost`."""

    def require_answer(self, *, timeout_s: float) -> None:
        """Asks the peer for a sign of life. Raises `DeviceLost` if none comes in time."""

    def close(self) -> None:
        """Closes the connection; may be called twice."""
