"""What a way to a device must offer so that `ShellTransport` can do the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Received:
    """Bytes of the standard and of the error output; `ended` when no more can come. All empty: nothing came in time."""

    out: bytes = b""
    err: bytes = b""
    ended: bool = False


class Channel(Protocol):
    """A `sh` on the device that reads its script from its standard input. A gone peer is `DeviceLost` everywhere."""

    def send(self, data: bytes, *, timeout_s: float) -> int:
        """Hands over the beginning of `data`: how many bytes were taken, 0 if none could be in time."""

    def finish(self) -> None:
        """Ends the input."""

    def receive(self, *, timeout_s: float) -> Received:
        """What has come, after waiting for it at most so long."""

    def close(self) -> None:
        """Gives the channel up; never raises."""


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
        """Gives the connection up; may be called twice."""
