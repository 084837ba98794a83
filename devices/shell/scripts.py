"""The scripts that a device's `sh` reads: one that watches a program, and one for operations on files.

Both stand in one pair of braces: the shell reads such a command to its end before it does anything, so a script that
was cut by a lost link does nothing at all, and none of what is sent after it is taken for a part of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from devices.shell.quoting import quoted

# What the child does: name itself in the pid file (the process keeps its number and start time when it becomes the
# program), go to its folder, and become the program. Each failure is a mark with its stage, and its reason on stderr.
_CHILD = r"""
token=$1 pid_file=$2 folder=$3
shift 3
failed() { printf '\036%s F %s\n' "$token" "$1"; exit 125; }
start_of() { shift 19; ticks=$1; }
if [ -n "$pid_file" ]; then
    read -r status </proc/$$/stat || failed pid
    start_of ${status##*\) }
    read -r boot </proc/sys/kernel/random/boot_id || boot=
    printf '{"pid": %s, "start_ticks": %s, "boot_id": "%s"}' $$ "$ticks" "$boot" | tee "$pid_file.new" >/dev/null &&
        mv -f "$pid_file.new" "$pid_file" || failed pid
fi
if [ -n "$folder" ] && ! cd "$folder" 2>/dev/null; then
    ls -d "$folder/." >/dev/null && echo 'Permission denied' >&2
    failed folder
fi
case $1 in */*)
    if [ -d "$1" ]; then echo 'Is a directory' >&2; failed start; fi
    head=$(od -An -v -tx1 -N20 "$1" 2>/dev/null | tr -d ' \n')
    case $head in 7f454c46*)
        code=${head#????????????????????????????????????}
        case $code in ????) ;; *) echo 'Exec format error' >&2; failed start ;; esac
        case $(uname -m):$code in
            x86_64:3e00 | x86_64:0300 | i?86:0300 | aarch64:b700 | aarch64:2800 | arm*:2800) ;;
            x86_64:* | i?86:* | aarch64:* | arm*:*)
                others=$(ls /proc/sys/fs/binfmt_misc 2>/dev/null | grep -cvx -e register -e status)
                if [ "${others:-0}" -eq 0 ]; then echo 'Exec format error' >&2; failed start; fi ;;
        esac ;;
    esac ;;
esac
printf '\036%s B %s\n' "$token" $$
trap "printf '\\036%s F start\\n' $token" 0
exec "$@"
"""

# Around it: the program leads a session of its own; when the input ends (the caller gave up, or the link died) a
# subshell ends the whole group; what the leader leaves in its group goes with it; the last marks carry the exit code.
_WATCH = r"""{{
LC_ALL=C
export LC_ALL
exec 3<&0 </dev/null
printf '\036%s B\n' {token} >&2
setsid sh -c {child} sh {token} {pid_file} {folder} {argv} 3<&- &
pid=$!
(
    exec >/dev/null 2>&1
    read -r line <&3
    kill -TERM -$pid || kill -TERM $pid
    n=0
    while [ $n -lt {polls} ] && {{ kill -0 -$pid || kill -0 $pid; }}; do
        sleep 0.1 || sleep 1
        n=$((n + 1))
    done
    kill -KILL -$pid
    kill -KILL $pid
) &
watcher=$!
exec 3<&-
{{ wait $pid; }} 2>/dev/null
rc=$?
kill -KILL $watcher -$pid 2>/dev/null
{forget}
printf '\036%s E\n' {token} >&2
printf '\036%s E %s\n' {token} $rc
exit 0
}}
"""

_OPERATE = r"""{{
LC_ALL=C
export LC_ALL
printf '\036%s B\n' {token} >&2
printf '\036%s B\n' {token}
( set -- {arguments}
{body}
)
rc=$?
printf '\036%s E\n' {token} >&2
printf '\036%s E %s\n' {token} $rc
exit 0
}}
"""


def program_script(token: str, argv: Sequence[str], *, cwd: str | None, pid_file: str | None, grace_s: float) -> bytes:
    """Runs a program under watch. Raises `ValueError` for a null character."""
    text = _WATCH.format(
        token=token,
        child=quoted([_CHILD]),
        pid_file=quoted([pid_file or ""]),
        folder=quoted([cwd or ""]),
        argv=quoted(argv),
        polls=math.ceil(grace_s / 0.1),
        forget=f"rm -f {quoted([pid_file])} 2>/dev/null" if pid_file else ":",
    )
    return text.encode("utf-8", "surrogateescape")


def operation_script(token: str, body: str, arguments: Sequence[str]) -> bytes:
    """Runs `body`, one of our own texts, with `$1`, `$2`… set to `arguments`; its input is what is sent next."""
    text = _OPERATE.format(token=token, arguments=quoted(arguments), body=body)
    return text.encode("utf-8", "surrogateescape")
