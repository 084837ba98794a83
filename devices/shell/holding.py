"""Holding a device from here: the channel of its hold, and the thread that answers for us when somebody asks."""

from __future__ import annotations

import posixpath
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from devices.deadline import Deadline
from devices.errors import DeviceError, DeviceLost, FileCause, FileError
from devices.hold import Claim, busy
from devices.shell.conversation import Conversation, Patience, Told
from devices.shell.hold_script import ANSWER, ASKED, BUSY, HELD, UNASKED, UNUSABLE, hold_script
from devices.shell.link import Channel, Link
from devices.shell.quoting import plain_path
from devices.shell.refusals import file_error, missing_tool
from devices.shell.streams import Collected

# What taking a hold needs beyond the wait for another orchestrator's answer.
_TAKE_TIMEOUT_S = 30.0
_OUTPUT_LIMIT_BYTES = 64 << 10
# How often the thread looks whether it is to end; the device has no part in it.
_POLL_S = 1.0
# How long the device may take to say that it was let go; one that is lost says nothing.
_RELEASE_TIMEOUT_S = 1.0
# Nothing can run where nothing can be written: the checks of the workdir tell what is wrong with it.
_NOTHING_TO_HOLD = (FileCause.FULL, FileCause.READ_ONLY)


@dataclass
class _Marks:
    """What the script has said: under which name in the folder the device is held, and that somebody asks."""

    held: str = ""
    asked: bool = False

    def __call__(self, letter: str, value: str) -> None:
        if letter == HELD and value.isascii() and value.isdecimal():
            self.held = value
        elif letter == ASKED:
            self.asked = True


class Holding:
    """A device that is held until `release`, or until it is lost."""

    def __init__(
        self, link: Link, conversation: Conversation, channel: Channel, marks: _Marks, folder: str, claim: Claim
    ) -> None:
        self._link, self._conversation, self._channel, self._marks = link, conversation, channel, marks
        self._path, self._device, self._token = posixpath.join(folder, marks.held), claim.device, claim.token
        self._loss: DeviceError | None = None
        self._ending = False
        self._release_by_s: float | None = None
        self._thread = threading.Thread(target=self._stand_by, name=f"hold of {claim.device}", daemon=True)
        self._thread.start()

    def require(self) -> None:
        """Raises `DeviceLost` if the device is not held any more."""
        if self._ending:
            self._thread.join(_TAKE_TIMEOUT_S)
        if self._loss is not None:
            raise DeviceLost(str(self._loss)) from self._loss

    def require_record(self, read: Callable[[str], bytes]) -> None:
        """The same by what is on the device, for the moment after something ended there that others may have ended.

        Raises also what `read` raises besides `FileError`.
        """
        try:
            record = read(self._path)
        except FileError:
            record = b""
        if self._token.encode() not in record:
            raise self._taken()

    def release(self) -> None:
        """Lets go, and waits a moment until the device has. Never raises; may be called twice."""
        self._release_by_s = time.monotonic() + _RELEASE_TIMEOUT_S
        self._channel.finish()
        self._thread.join(_RELEASE_TIMEOUT_S)

    def _stand_by(self) -> None:
        loss: DeviceError | None = None
        try:
            while self._more():
                if self._marks.asked and self._release_by_s is None:
                    self._marks.asked = False
                    self._channel.send(ANSWER, timeout_s=_POLL_S)
            self._ending = True
            if self._release_by_s is None:
                # A connection that breaks may look like this for a moment, and is then the better reason.
                self._link.require_answer(timeout_s=_TAKE_TIMEOUT_S)
                loss = self._taken()
        except DeviceError as error:
            loss = error
        finally:
            self._channel.close()
        # A connection that broke may be made anew behind our back (adb's server does so): the hold has ended with it.
        self._loss = None if self._release_by_s is not None else loss

    def _taken(self) -> DeviceLost:
        return DeviceLost(
            f"device {self._device!r} is not ours any more: our hold was ended there, by another orchestrator that had "
            "no answer from this one, or by hand; run again when it is free."
        )

    def _more(self) -> bool:
        """Takes what the script says: whether it may say more."""
        end_s = self._release_by_s
        if end_s is not None and time.monotonic() > end_s:
            return False
        due = self._marks.asked and end_s is None  # asked while it was taken
        return self._conversation.hear(self._channel, 0.0 if due else _POLL_S)


def hold(link: Link, patience: Patience, folder: str, claim: Claim) -> Holding | None:
    """Holds the device whose workdir the folder of holds is in; None if nothing can be put there.

    An orchestrator that holds it already has `patience.answer_s` to give a sign of life. Raises `DeviceBusy` if one
    comes, `FileError` if the folder can't be used although its workdir can, `DeviceLost`, `TransportTimeout`.
    """
    mark, marks, output = secrets.token_hex(16), _Marks(), Collected(_OUTPUT_LIMIT_BYTES)
    above, path = plain_path(posixpath.dirname(folder)), plain_path(folder)
    script = hold_script(mark, above, path, claim.token, claim.told, claim.outdated, patience.answer_s)
    deadline = Deadline(_TAKE_TIMEOUT_S + 2 * patience.answer_s)
    conversation = Conversation(link, mark, "taking hold of the device", deadline, patience, output, on_mark=marks)
    channel = conversation.begin(script, lambda: bool(marks.held))
    if marks.held:
        return Holding(link, conversation, channel, marks, folder, claim)
    channel.close()
    _require_nothing_to_hold(conversation.told(), folder, output.data.decode("utf-8", "replace"), claim.device)
    return None


def _require_nothing_to_hold(told: Told, folder: str, said: str, device: str) -> None:
    """Raises why a device that can be used isn't held."""
    if told.rc in (BUSY, UNASKED):
        raise busy(device, said, answered=told.rc == BUSY)
    message = told.stderr_tail.decode("utf-8", "replace")
    missing = missing_tool(told.rc, message)
    if missing is not None:
        raise missing
    if told.rc == UNUSABLE:
        return
    refused = file_error("write", folder, message)
    if refused.cause not in _NOTHING_TO_HOLD:
        raise refused
