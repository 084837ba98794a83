"""Holds a device: the script of the hold, its channel, and the thread that answers when another orchestrator asks.

The script holds the device until its input ends: no polling, no heartbeat, nothing to clean up.
"""

from __future__ import annotations

import math
import posixpath
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from devices.errors import DeviceError, DeviceLost, FileCause, FileError
from devices.processes import Deadline, ProcessEnd
from devices.transports.hold import Claim, busy
from devices.transports.shell.calls import Collected, file_error, missing_tool
from devices.transports.shell.conversation import Conversation, Patience
from devices.transports.shell.link import Channel, Link
from devices.transports.shell.scripts import RUNS, plain_path, quoted
from foundation.text import decode

HELD_MARK, QUESTION_MARK = "H", "Q"
"""Marks: the device is now held, under this number; another orchestrator asks ours for a sign of life."""

BUSY, UNASKED, UNUSABLE = 16, 17, 18
"""Exit codes: held by another orchestrator, whose line is printed; the same, but this user can't ask or end it; nothing
can be written to the workdir.
"""

ANSWER = b"here\n"

_RECORD_LIMIT_BYTES = 4000

# Arguments: parent folder, folder of the holds, token, our line, the outdated token, and how many tenths of a second
# another holder has to answer.
_BODY = (
    RUNS
    + r"""
above=$1 folder=$2 token=$3 line=$4 outdated=$5 polls=$6
newline='
'
# A tenth of a second, or a second where sleep only takes whole ones.
pause() { if sleep 0.1 2>/dev/null; then passed=$((passed + 1)); else sleep 1; passed=$((passed + 10)); fi; }
# The file of a hold as pid, start, booted, owner and who; fails if the file is missing or incomplete.
read_hold() {
    text=$(head -c LIMIT "$folder/$1" 2>/dev/null) || return 1
    case $text in *"$newline.") ;; *) return 1 ;; esac
    who=${text#*"$newline"}
    who=${who%"$newline."}
    set -f
    set -- ${text%%"$newline"*}
    set +f
    [ $# -eq 4 ] || return 1
    case $1$2 in *[!0-9]*) return 1 ;; esac
    pid=$1 start=$2 booted=$3 owner=$4
}
counts() { [ "$booted" = "$boot" ] && [ -e "$folder/$1" ] && runs "$pid" "$start"; }
# The highest number, 0 if there is none.
latest() {
    highest=0
    for path in "$folder"/*; do
        name=${path##*/}
        case $name in *[!0-9]* | '' | 0* | ??????????*) continue ;; esac
        if [ "$name" -gt "$highest" ]; then highest=$name; fi
    done
}
# Whether the holder of a hold that counts answers, or can't be asked.
answers() {
    asked=$folder/$1.asked
    if ! ( true >"$asked" ) 2>/dev/null || ! kill -USR1 "$pid" 2>/dev/null; then
        rm -f "$asked" 2>/dev/null
        why=UNASKED
        counts "$1"
        return
    fi
    passed=0
    while counts "$1"; do
        if ! [ -e "$asked" ]; then return 0; fi
        if [ $passed -ge "$polls" ]; then return 1; fi
        pause
    done
    return 1
}
# Ends the holder with its process group. Fails if it can't be ended.
unseat() {
    passed=0
    while counts "$1"; do
        kill -KILL "-$pid" 2>/dev/null || kill -KILL "$pid" 2>/dev/null || ! counts "$1" || return 1
        if [ $passed -ge 100 ]; then return 1; fi
        pause
    done
}
# Whether a hold keeps us away, and `why`. An incomplete one is being written; after a moment, its writer must be gone.
keeps_away() {
    passed=0
    while ! read_hold "$1"; do
        if ! [ -e "$folder/$1" ] || [ $passed -ge 20 ]; then return 1; fi
        pause
    done
    counts "$1" || return 1
    why=BUSY
    if [ "$owner" != "$outdated" ] && answers "$1"; then return 0; fi
    why=UNASKED
    ! unseat "$1"
}
# Whether there is a hold that counts besides our own.
contested() {
    for path in "$folder"/*; do
        name=${path##*/}
        case $name in *[!0-9]* | '' | "$1") continue ;; esac
        if read_hold "$name" && counts "$name"; then return 0; fi
    done
    return 1
}
announce() {
    # Read by another process, as all others will do: an emulator makes up the file that a process reads about itself.
    status=$(cat "/proc/$$/stat") || return 1
    start_of ${status##*\) }
    # Tools other than dd don't report why they failed, such as a full disk.
    if ! printf '%s %s %s %s\n%s\n.\n' $$ "$ticks" "$boot" "$token" "$line" | dd of="$folder/$1" bs=4096; then
        rm -f "$folder/$1"
        return 1
    fi
}
take() {
    boot=${boot:--}
    mkdir -p "$above" || return UNUSABLE
    if [ -e "$folder" ] && ! [ -d "$folder" ]; then echo 'Not a directory' >&2; return 1; fi
    if ! [ -d "$folder" ]; then mkdir "$folder" || [ -d "$folder" ] || return UNUSABLE; fi
    while :; do
        latest
        if [ "$highest" -gt 0 ] && keeps_away "$highest"; then printf '%s\n' "$who"; return $why; fi
        own=$((highest + 1))
        if refusal=$( ( set -C; true >"$folder/$own" ) 2>&1 ); then
            announce $own || return 1
            contested $own || return 0
            rm -f "$folder/$own"
            sleep 0.$(($$ % 7 + 1)) 2>/dev/null || sleep $(($$ % 3 + 1))
        elif ! [ -e "$folder/$own" ]; then
            printf '%s\n' "$refusal" >&2
            return 1
        fi
    done
}
clear_others() {
    for path in "$folder"/*; do
        if [ "$path" != "$folder/$own" ]; then rm -f "$path" 2>/dev/null; fi
    done
}
"""
)

# The watcher of the input is a separate process, as `wait` is the only command that a signal interrupts in every shell.
_HOLD = r"""{{
LC_ALL=C
export LC_ALL
exec 3<&0 </dev/null
emit() {{ printf '\036%s %s %s\n' {mark} "$1" "$2"; }}
trap 'emit {asked}' USR1
emit B >&2
emit B
set -- {arguments}
{body}
take
rc=$?
if [ $rc -eq 0 ]; then
    clear_others
    emit {held} $own
    (
        trap - USR1
        exec >/dev/null 2>&1
        while read -r answer <&3; do rm -f "$folder/$own.asked"; done
        exit 0
    ) &
    listener=$!
    exec 3<&-
    while wait $listener; [ $? -gt 128 ] && kill -0 $listener; do :; done 2>/dev/null
    rm -f "$folder/$own" "$folder/$own.asked"
fi
emit E >&2
emit E $rc
exit 0
}}
"""


def hold_script(mark: str, above: str, folder: str, token: str, line: str, outdated: str | None, ask_s: float) -> bytes:
    """Returns the script that holds the device; `mark` is the token of the call's marks, `token` that of the hold."""
    polls = str(math.ceil(ask_s / 0.1))
    body = _BODY.replace("LIMIT", str(_RECORD_LIMIT_BYTES))
    for name, code in (("BUSY", BUSY), ("UNASKED", UNASKED), ("UNUSABLE", UNUSABLE)):
        body = body.replace(name, str(code))
    text = _HOLD.format(
        mark=mark,
        arguments=quoted([above, folder, token, line, outdated or "", polls]),
        body=body,
        held=HELD_MARK,
        asked=QUESTION_MARK,
    )
    return text.encode("utf-8", "surrogateescape")


# Time limit for taking a hold, in addition to the wait for another orchestrator's answer.
_TAKE_TIMEOUT_S = 30.0
_OUTPUT_LIMIT_BYTES = 64 << 10
# How often the thread checks whether to end, without involving the device.
_POLL_S = 1.0
# How long the device may take to confirm the release; a lost one never does.
_RELEASE_TIMEOUT_S = 1.0
# If nothing can be written, nothing can run, and the check of the workdir reports why.
_NOTHING_TO_HOLD = (FileCause.FULL, FileCause.READ_ONLY)


@dataclass
class _Marks:
    """The state reported by the script's marks: the number under which the device is held, and an open question."""

    number: str = ""
    question: bool = False

    def __call__(self, letter: str, value: str) -> None:
        if letter == HELD_MARK and value.isascii() and value.isdecimal():
            self.number = value
        elif letter == QUESTION_MARK:
            self.question = True


class Holding:
    """A device that is held until `release`, or until it is lost."""

    def __init__(
        self, link: Link, conversation: Conversation, channel: Channel, marks: _Marks, folder: str, claim: Claim
    ) -> None:
        self._link, self._conversation, self._channel, self._marks = link, conversation, channel, marks
        self._path, self._device, self._token = posixpath.join(folder, marks.number), claim.device, claim.token
        self._loss: DeviceError | None = None
        self._ending = False
        self._release_by_s: float | None = None
        self._thread = threading.Thread(target=self._stand_by, name=f"hold of {claim.device}", daemon=True)
        self._thread.start()

    def require(self) -> None:
        """Raises `DeviceLost` if the device is no longer held."""
        if self._ending:
            self._thread.join(_TAKE_TIMEOUT_S)
        if self._loss is not None:
            raise DeviceLost(str(self._loss)) from self._loss

    def require_record(self, read: Callable[[str], bytes]) -> None:
        """Checks the record on the device, after the end of a program that others may have ended.

        Raises `DeviceLost` if the device is no longer held, and what `read` raises other than `FileError`.
        """
        try:
            record = read(self._path)
        except FileError:
            record = b""
        if self._token.encode() not in record:
            raise self._taken()

    def release(self) -> None:
        """Ends the hold and waits a moment for the device to confirm. Never raises; may be called twice."""
        self._release_by_s = time.monotonic() + _RELEASE_TIMEOUT_S
        self._channel.finish()
        self._thread.join(_RELEASE_TIMEOUT_S)

    def _stand_by(self) -> None:
        loss: DeviceError | None = None
        try:
            while self._more():
                if self._marks.question and self._release_by_s is None:
                    self._marks.question = False
                    self._channel.send(ANSWER, timeout_s=_POLL_S)
            self._ending = True
            if self._release_by_s is None:
                # A breaking connection may look like this for a moment; it is then the better reason.
                self._link.require_answer(timeout_s=_TAKE_TIMEOUT_S)
                loss = self._taken()
        except DeviceError as error:
            loss = error
        finally:
            self._channel.close()
        # adb's server reconnects silently after a break, but the hold ended with the old connection.
        self._loss = None if self._release_by_s is not None else loss

    def _taken(self) -> DeviceLost:
        return DeviceLost(
            f"device {self._device!r} is no longer ours: our hold was ended there, by another orchestrator that got "
            "no answer from this one, or by hand; run again when it is free."
        )

    def _more(self) -> bool:
        """Receives output of the script; returns whether more may come."""
        end_s = self._release_by_s
        if end_s is not None and time.monotonic() > end_s:
            return False
        due = self._marks.question and end_s is None  # a question that came while the hold was taken
        return self._conversation.hear(self._channel, 0.0 if due else _POLL_S)


def hold(link: Link, patience: Patience, folder: str, claim: Claim) -> Holding | None:
    """Holds the device whose workdir contains the folder of holds; None if nothing can be written there.

    An orchestrator that already holds it has `patience.answer_s` to give a sign of life. Raises `DeviceBusy` if it
    does, `FileError` if the folder can't be used although its workdir can, `DeviceLost`, `TransportTimeout`.
    """
    mark, marks, output = secrets.token_hex(16), _Marks(), Collected(_OUTPUT_LIMIT_BYTES)
    above, path = plain_path(posixpath.dirname(folder)), plain_path(folder)
    script = hold_script(mark, above, path, claim.token, claim.holder_line, claim.outdated, patience.answer_s)
    deadline = Deadline(_TAKE_TIMEOUT_S + 2 * patience.answer_s)
    conversation = Conversation(link, mark, "taking hold of the device", deadline, patience, output, on_mark=marks)
    channel = conversation.begin(script, lambda: bool(marks.number))
    if marks.number:
        return Holding(link, conversation, channel, marks, folder, claim)
    channel.close()
    _require_nothing_to_hold(conversation.end(), folder, decode(output.data), claim.device)
    return None


def _require_nothing_to_hold(end: ProcessEnd, folder: str, output: str, device: str) -> None:
    """Raises the reason why the device isn't held, unless it is that nothing can be written there."""
    if end.rc in (BUSY, UNASKED):
        raise busy(device, output, answered=end.rc == BUSY)
    missing = missing_tool(end)
    if missing is not None:
        raise missing
    if end.rc == UNUSABLE:
        return
    refused = file_error("write", folder, end.stderr_tail)
    if refused.cause not in _NOTHING_TO_HOLD:
        raise refused
