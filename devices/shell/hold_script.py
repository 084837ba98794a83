"""The script that holds a device for as long as its input lasts: no polling, no heartbeat, nothing to clean up.

Each hold is a file in the folder of holds, named by a number: process id, start ticks, boot id and token of the shell
that runs this script, and a line about its orchestrator. A hold counts while that process is the one (`runs`), whatever
became of the file's writer otherwise.

Taking one: (1) look whether there is a hold that counts; (2) announce one's own, under the next number, whose file only
one can create; (3) look again whether there is another that counts, and if so take back the own one and begin anew.
Two can't both get through (3): the one who announced later sees the other. Older files go once the device is held.

A hold that counts is asked: its file gets a companion `N.asked`, its shell a SIGUSR1. The shell asks its orchestrator
with the mark Q, and any line in return removes the companion. Nobody has to write for an answer, as a disk may be full.
Who doesn't answer in time has lost the device, and so has the one whose token is known to be outdated.
"""

from __future__ import annotations

import math

from devices.shell.processes import RUNS
from devices.shell.quoting import quoted

HELD, ASKED = "H", "Q"
"""Marks: the device is held now, under this number; somebody wants to know whether the orchestrator is there."""

BUSY, UNASKED, UNUSABLE = 16, 17, 18
"""Exit codes: somebody else holds it, and what is printed is their line; the same, but they can't be asked or ended by
this user; nothing can be put into the workdir."""

ANSWER = b"here\n"

_RECORD_LIMIT_BYTES = 4000

# Arguments: folder above, folder of the holds, token, our line, the token that is outdated, tenths of a second in which
# another holder has to answer.
_BODY = (
    RUNS
    + r"""
above=$1 folder=$2 token=$3 line=$4 outdated=$5 polls=$6
newline='
'
# A tenth of a second, or what a sleep for whole seconds counts for.
pause() { if sleep 0.1 2>/dev/null; then passed=$((passed + 1)); else sleep 1; passed=$((passed + 10)); fi; }
# The file of a hold as pid, start, booted, owner and who; fails for one that isn't there or not whole.
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
# Ends the holder; what its group still does for it ends too. Fails if it can't be ended.
unseat() {
    passed=0
    while counts "$1"; do
        kill -KILL "-$pid" 2>/dev/null || kill -KILL "$pid" 2>/dev/null || ! counts "$1" || return 1
        if [ $passed -ge 100 ]; then return 1; fi
        pause
    done
}
# Whether a hold keeps us away, and `why`. One that isn't whole is being written, for longer than a moment by nobody.
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
    # Read by another process, as all others will: an emulator shows a process a file of its own making about itself.
    status=$(cat "/proc/$$/stat") || return 1
    start_of ${status##*\) }
    # Other tools than dd don't say why they failed, a full disk say.
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

# The watcher of the input is a process of its own, since only `wait` is interrupted by a signal in every shell.
_HOLD = r"""{{
LC_ALL=C
export LC_ALL
exec 3<&0 </dev/null
tell() {{ printf '\036%s %s %s\n' {mark} "$1" "$2"; }}
trap 'tell {asked}' USR1
tell B >&2
tell B
set -- {arguments}
{body}
take
rc=$?
if [ $rc -eq 0 ]; then
    clear_others
    tell {held} $own
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
tell E >&2
tell E $rc
exit 0
}}
"""


def hold_script(mark: str, above: str, folder: str, token: str, told: str, outdated: str | None, ask_s: float) -> bytes:
    """Holds the device; `mark` is the token of the call's marks, `token` that of the hold."""
    polls = str(math.ceil(ask_s / 0.1))
    body = _BODY.replace("LIMIT", str(_RECORD_LIMIT_BYTES))
    for name, code in (("BUSY", BUSY), ("UNASKED", UNASKED), ("UNUSABLE", UNUSABLE)):
        body = body.replace(name, str(code))
    text = _HOLD.format(
        mark=mark,
        arguments=quoted([above, folder, token, told, outdated or "", polls]),
        body=body,
        held=HELD,
        asked=ASKED,
    )
    return text.encode("utf-8", "surrogateescape")
