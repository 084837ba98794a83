"""A single call: sends a script to the device's `sh`, receives its marked output, and leaves nothing behind.

Marks in the byte stream separate a program's output from its surroundings, and a proper end from a broken stream.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from devices.errors import DeviceError, DeviceLost, TransportTimeout
from devices.processes import STDERR_TAIL_BYTES, Deadline, ProcessEnd, signal_name
from devices.transports.shell.link import Channel, Link
from foundation.text import decode, printable

_RS = 0x1E
_MARK_LIMIT_BYTES = 4096

OnMark = Callable[[str, str], None]


class MarkedStream:
    """Passes on the bytes between the marks `B` and `E`, and every mark to `on_mark`."""

    def __init__(self, token: str, on_output: Callable[[bytes], None], on_mark: OnMark | None = None) -> None:
        self.ended = False
        self._prefix = bytes([_RS]) + token.encode("ascii") + b" "
        self._on_output = on_output
        self._on_mark = on_mark
        self._begun = False
        self._rest = b""

    def feed(self, chunk: bytes) -> None:
        """Takes a chunk; a possible start of a mark is kept for the next one."""
        data = self._rest + chunk
        self._rest = b""
        while data:
            at = data.find(self._prefix)
            if at < 0:
                rest_bytes = self._partial(data)
                self._deliver(data[: len(data) - rest_bytes])
                self._rest = data[len(data) - rest_bytes :]
                return
            self._deliver(data[:at])
            end = data.find(b"\n", at)
            if end < 0 and len(data) - at < _MARK_LIMIT_BYTES:
                self._rest = data[at:]
                return
            mark = data[at + len(self._prefix) : end if end >= 0 else len(data)].decode("utf-8", "replace")
            data = data[end + 1 :] if end >= 0 else b""
            self._note(*mark.partition(" ")[::2])

    def _note(self, letter: str, value: str) -> None:
        if letter == "B":
            self._begun = True
        elif letter == "E":
            self.ended = True
        if self._on_mark is not None:
            self._on_mark(letter, value)

    def _deliver(self, data: bytes) -> None:
        if data and self._begun and not self.ended:
            self._on_output(data)

    def _partial(self, data: bytes) -> int:
        """Returns the number of bytes at the end that may be the start of a mark."""
        at = data.rfind(_RS, max(0, len(data) - len(self._prefix) + 1))
        return len(data) - at if at >= 0 and self._prefix.startswith(data[at:]) else 0


_SIGNAL_BASE, _LAST_SIGNAL = 128, 64
_POLL_S = 0.25
# How long the device may take to end a group, beyond the grace period.
_END_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Patience:
    """Limits of a peer's silence before a question, of its time to answer, and of a program's after SIGTERM."""

    silence_s: float = 15.0
    answer_s: float = 20.0
    grace_s: float = 5.0


@dataclass
class _State:
    on_other_mark: OnMark
    rc: int | None = None
    begun: bool = False
    failed_stage: str | None = None
    stderr: bytearray = field(default_factory=bytearray)

    def on_error_output(self, chunk: bytes) -> None:
        self.stderr.extend(chunk)
        del self.stderr[:-STDERR_TAIL_BYTES]

    def on_mark(self, letter: str, value: str) -> None:
        if letter == "B":
            self.begun = True
        elif letter == "F":
            self.failed_stage = value
        elif letter == "E":
            self.rc = int(value) if value.isascii() and value.isdecimal() else None
        else:
            self.on_other_mark(letter, value)


class Conversation:
    """A running script. `what` is a noun phrase for messages; `on_output` gets the standard output as it arrives,
    `on_mark` the marks that have no meaning here."""

    def __init__(
        self,
        link: Link,
        token: str,
        what: str,
        deadline: Deadline,
        patience: Patience,
        on_output: Callable[[bytes], None],
        while_waiting: Callable[[], None] = lambda: None,
        on_mark: OnMark = lambda _letter, _value: None,
    ) -> None:
        self._link, self._what, self._deadline, self._patience = link, what, deadline, patience
        self._while_waiting = while_waiting
        self._state = _State(on_mark)
        self._giving_up = False
        self._on_output = on_output
        self._out = MarkedStream(token, self._take, self._state.on_mark)
        self._err = MarkedStream(token, self._state.on_error_output)
        # The deadline limits the wait for the first sign of life, to distinguish a dead peer from a slow program.
        self._silence_s = min(patience.silence_s, deadline.timeout_s / 2)
        self._heard_s = time.monotonic()

    def hold(self, script: bytes, feed: Iterator[bytes] | None = None) -> ProcessEnd:
        """Sends the script, then what `feed` yields as its input, and waits for its end.

        Raises `DeviceLost`, `TransportTimeout`, and what the receivers raise, after ending the program.
        """
        channel = self._link.open(timeout_s=self._for_an_answer())
        try:
            self._send(channel, script)
            if feed is not None:
                self._feed(channel, feed)
            self._listen_until(channel, self._ended, self._deadline)
        except DeviceLost:
            raise
        except BaseException as error:
            self._give_up(channel, error)
            raise
        finally:
            channel.close()
        return self.end()

    def begin(self, script: bytes, reached: Callable[[], bool]) -> Channel:
        """Sends the script and waits until `reached` or until it ends; returns the channel, as the script may still
        run.

        Raises what `hold` raises, after ending the script's input.
        """
        channel = self._link.open(timeout_s=self._for_an_answer())
        try:
            self._send(channel, script)
            self._listen_until(channel, lambda: reached() or self._ended(), self._deadline)
        except BaseException:
            channel.finish()
            channel.close()
            raise
        return channel

    def hear(self, channel: Channel, wait_s: float) -> bool:
        """Receives output of a script for up to `wait_s`; returns whether more can come.

        A silent peer is not asked for a sign of life. Raises `DeviceLost` if the connection is gone.
        """
        received = channel.receive(timeout_s=wait_s)
        self._err.feed(received.err)
        self._out.feed(received.out)
        return not (received.ended or self._ended())

    def end(self) -> ProcessEnd:
        """Returns how the script ended. Raises `DeviceLost` if that is unknown."""
        rc = self._state.rc
        if rc is None:
            raise DeviceLost(f"{self._what} ended on the device without an exit code; check the device and try again.")
        number = rc - _SIGNAL_BASE
        name = signal_name(number) if 0 < number <= _LAST_SIGNAL else None
        return ProcessEnd(rc, name, decode(self._state.stderr))

    @property
    def failed_stage(self) -> str | None:
        """The stage at which the script's program failed to start, if it did."""
        return self._state.failed_stage

    def _feed(self, channel: Channel, feed: Iterator[bytes]) -> None:
        """Sends the input once the script has started, as the shell has then read the whole script."""
        self._listen_until(channel, lambda: self._state.begun, self._deadline)
        for chunk in feed:
            if not self._send(channel, chunk):
                return
        channel.finish()

    def _send(self, channel: Channel, data: bytes) -> bool:
        """Sends data; returns False if the script ended before everything was sent (on a full disk, for instance)."""
        rest = memoryview(data)
        while rest and not self._ended():
            sent_bytes = channel.send(bytes(rest), timeout_s=min(_POLL_S, max(0.01, self._deadline.remaining_s())))
            rest = rest[sent_bytes:]
            if sent_bytes:
                self._heard_s = time.monotonic()
            self._listen(channel, 0.0)
            self._deadline.check(self._what)
        return not rest

    def _ended(self) -> bool:
        return self._out.ended and self._err.ended

    def _listen_until(self, channel: Channel, reached: Callable[[], bool], deadline: Deadline) -> None:
        while not reached():
            self._listen(channel, min(_POLL_S, deadline.remaining_s()))
            if not reached():
                deadline.check(self._what)

    def _listen(self, channel: Channel, wait_s: float) -> None:
        received = channel.receive(timeout_s=wait_s)
        if received.out or received.err:
            self._heard_s = time.monotonic()
            self._err.feed(received.err)
            self._out.feed(received.out)
        elif received.ended and not self._ended():
            raise DeviceLost(
                f"{self._what} ended without its end marker{self._last_words()}; check the device and its connection."
            )
        elif time.monotonic() - self._heard_s > self._silence_s:
            self._link.require_answer(timeout_s=self._for_an_answer())
            self._heard_s = time.monotonic()
        if not self._giving_up:
            self._while_waiting()

    def _for_an_answer(self) -> float:
        """Returns the seconds that an answer may take: until the deadline, and a moment even after it."""
        return min(self._patience.answer_s, max(1.0, self._deadline.remaining_s()))

    def _give_up(self, channel: Channel, error: BaseException) -> None:
        """Ends the input, which makes the device end the program, and waits for that.

        If a call ran out of time and the peer doesn't react even to this, it is gone: `DeviceLost`.
        """
        self._giving_up = True
        limit_s = self._patience.grace_s + min(self._patience.answer_s, _END_TIMEOUT_S)
        try:
            channel.finish()
            self._listen_until(channel, self._ended, Deadline(limit_s))
        except DeviceError as lost:
            if isinstance(error, TransportTimeout):
                self._link.close()
                raise DeviceLost(
                    f"{self._what} did not end within {self._deadline.timeout_s:g} s and the device does not answer; "
                    "check that it is on and connected."
                ) from lost

    def _take(self, data: bytes) -> None:
        if not self._giving_up:
            self._on_output(data)

    def _last_words(self) -> str:
        words = printable(decode(self._state.stderr), 120)
        return f" ({words})" if words else ""
