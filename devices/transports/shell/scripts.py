"""The scripts that a device's `sh` reads, and quoting for the text in them.

One script watches a program, others operate on files, with the options that coreutils, busybox and toybox share.
Whether a process is still the recorded one is decided as in `devices.processes`.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Sequence


def quoted(words: Iterable[str]) -> str:
    """Quotes words so that the shell reads them back one by one. Raises `ValueError` for a null character."""
    parts = list(words)
    if any("\0" in part for part in parts):
        raise ValueError("embedded null byte")
    return " ".join(map(shlex.quote, parts))


def plain_path(path: str) -> str:
    """Returns the path in a form that no tool takes for an option.

    Raises `ValueError` for an empty one or a null character.
    """
    if not path or "\0" in path:
        raise ValueError("embedded null byte" if path else "empty path")
    return path if path.startswith("/") else f"./{path}"


# `busy`: keeps a core busy until the process $$ has ended, reaped or not, and holds none of its files open. To be
# started as `busy &`, once for each core to load.
BUSY_LOOP = r"""
has_shell() { { read -r stat < /proc/$$/stat; } 2> /dev/null && case $stat in *") Z "*) false ;; esac; }
busy() {
    exec < /dev/null > /dev/null 2>&1
    while has_shell; do i=0; while [ "$i" -lt 20000 ]; do i=$((i + 1)); done; done
}
"""

# `runs PID TICKS`: whether the process with this number and start time is running. `boot`: the id of this boot. Neither
# changes the script's positional parameters.
RUNS = r"""
start_of() { shift 19; ticks=$1; }
runs() {
    read -r status 2>/dev/null <"/proc/$1/stat" || return 1
    state=${status##*\) }
    case $state in Z* | X*) return 1 ;; esac
    start_of $state
    [ "$ticks" = "$2" ]
}
read -r boot </proc/sys/kernel/random/boot_id || boot=
"""

# The child records itself in the pid file (the process keeps its number and start time when it becomes the program),
# changes to its folder, and becomes the program. Each failure is a mark with its stage, with the reason on stderr.
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

# Around it: the program leads its own session. When the input ends (the caller gave up, or the link died), a subshell
# ends the whole group, with whatever the leader left in it. The last marks carry the exit code.
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
    """Returns the script that runs and watches a program. Raises `ValueError` for a null character."""
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
    """Returns the script that runs our own text `body` with `$1`, `$2`… as `arguments`; what is sent next is its
    input."""
    text = _OPERATE.format(token=token, arguments=quoted(arguments), body=body)
    return text.encode("utf-8", "surrogateescape")


_CHECKS = r"""
refused() { echo "$1" >&2; exit 1; }
require_file() {
    if [ -f "$1" ]; then return; fi
    if [ -d "$1" ]; then refused 'Is a directory'; fi
    if [ -e "$1" ]; then refused 'Not a regular file'; fi
    head -c 1 "$1" >/dev/null || exit 1
}
"""

READ = (
    _CHECKS
    + r"""
require_file "$1"
head -c "$2" "$1"
"""
)

# For each file in turn: content, mark, error, mark. The error is empty if there is none.
READ_MANY = r"""
token=$1 limit=$2
shift 2
for path; do
    error=
    if [ -f "$path" ]; then
        # Most files can be read; only for one that can't is a second process started, which reports why.
        if ! head -c "$limit" "$path" 2>/dev/null; then
            error=$(head -c "$limit" "$path" 2>&1 >/dev/null)
            error=${error:-refused}
        fi
    elif [ -d "$path" ]; then
        error='Is a directory'
    elif [ -e "$path" ]; then
        error='Not a regular file'
    else
        error=$(head -c 1 "$path" 2>&1 >/dev/null) || error=${error:-No such file or directory}
    fi
    printf '\036%s%s\036%s' "$token" "$error" "$token"
done
"""

# The size comes first, on a line of its own.
PULL = (
    _CHECKS
    + r"""
require_file "$1"
stat -L -c %s "$1" && cat "$1"
"""
)

_SHA256 = r"""
sha256() {
    if command -v sha256sum >/dev/null; then sha256sum "$1"
    elif command -v openssl >/dev/null; then openssl dgst -sha256 -r "$1"
    else python3 -c 'import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest())' "$1"
    fi
}
"""

SHA256 = (
    _CHECKS
    + _SHA256
    + r"""
require_file "$1"
sha256 "$1"
"""
)

# $2 blocks of $3 bytes are kept, the rest comes from the input; $4 is the mode. Prints the size of the file. $5, unless
# empty, is the file's new name once all $6 bytes are there. With $7, its sha256, it is renamed only if that matches,
# and its stat is printed; without $7, a failed file is removed.
PUSH = (
    _CHECKS
    + _SHA256
    + r"""
write() {
    if [ -d "$1" ]; then refused 'Is a directory'; fi
    dd of="$1" bs="$3" seek="$2" conv=fsync && chmod "$4" "$1" && size=$(stat -L -c %s "$1") || return 1
    hash=
    if [ -n "$7" ] && [ "$size" = "$6" ]; then
        hash=$(sha256 "$1") || return
        hash=${hash#\\}
    fi
    # Fails if the link broke meanwhile: the next push may then already be continuing this file.
    echo "$size" || return 1
    if [ -z "$5" ]; then return 0; fi
    if [ -d "$5" ]; then echo 'Is a directory' >&2; return 1; fi
    if [ "$size" != "$6" ]; then [ -n "$7" ]; return; fi
    if [ "${hash%% *}" != "$7" ]; then return 0; fi
    mv -f "$1" "$5" || return 1
    if [ -n "$7" ]; then stat -L -c '%s %y %z %i' "$5"; fi
}
write "$@" && exit 0
rc=$?
if [ -n "$5" ] && [ -z "$7" ]; then rm -f "$1"; fi
exit $rc
"""
)

STAT = r"""
stat -L -c '%s %y %z %i' "$1"
"""

# A line for each path; empty if there is nothing.
STAT_MANY = r"""
for path; do
    stat -L -c '%s %y %z %i' "$path" 2>/dev/null || echo
done
"""

# A word for each path, without starting a process for any.
EXIST = r"""
for path; do
    if [ -e "$path" ] || [ -L "$path" ]; then echo yes; else echo no; fi
done
"""

RENAME = (
    _CHECKS
    + r"""
if [ -d "$2" ]; then refused 'Is a directory'; fi
mv -f "$1" "$2"
"""
)

REMOVE = (
    _CHECKS
    + r"""
if [ -d "$1" ] && ! [ -L "$1" ]; then refused 'Is a directory'; fi
rm -f "$1"
"""
)

REMOVE_TREE = r"""
rm -rf "$1"
"""

MAKE_FOLDER = r"""
mkdir -p "$1"
"""

LIST = (
    _CHECKS
    + r"""
if [ -e "$1" ] && ! [ -d "$1" ]; then refused 'Not a directory'; fi
find "$1/." -mindepth 1 -maxdepth 1 -print0
"""
)

# Folders that can't be listed are left out.
LIST_MANY = r"""
for path; do
    shift
    set -- "$@" "$path/."
done
find "$@" -mindepth 1 -maxdepth 1 -print0 2>/dev/null || [ $? -eq 1 ]
"""

# Blocks for unprivileged users, and their size.
FREE = r"""
stat -f -c '%a %S' "$1"
"""

# $2 pid, $3 start time in ticks, $4 boot id, $5 polls of a tenth of a second before SIGKILL. Prints `ended` if there
# was such a process; waits until it is gone.
END_LEFT_OVER = (
    RUNS
    + r"""
if [ "$boot" = "$4" ] && runs "$2" "$3"; then
    echo ended
    n=0
    while runs "$2" "$3"; do
        if [ $n -lt "$5" ]; then kill -TERM "-$2"; else kill -KILL "-$2"; fi 2>/dev/null
        sleep 0.1 || sleep 1
        n=$((n + 1))
    done
fi
rm -f "$1"
"""
)
