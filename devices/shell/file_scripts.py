"""What is done with files on a device, in words that coreutils, busybox and toybox share.

Each body gets its arguments as `$1`, `$2`… and leaves with the exit code of what failed and its reason on stderr.
Where a tool would do something else than asked (move *into* a folder, block on a pipe), the body looks first.
"""

from __future__ import annotations

from devices.shell.processes import RUNS

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

# Content, mark, error, mark; for one file after the other. The error is empty where there is none.
READ_MANY = r"""
token=$1 limit=$2
shift 2
exec 4>&1
for path; do
    if [ -f "$path" ]; then
        error=$(head -c "$limit" "$path" 2>&1 >&4) || error=${error:-refused}
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

# $2 blocks of $3 bytes are kept, the rest comes from the input; $4 is the mode. At the end: the size of the file. $5,
# unless it is empty, is the name that the whole file takes, and then nothing stays of one that failed.
PUSH = (
    _CHECKS
    + r"""
write() {
    if [ -d "$1" ]; then refused 'Is a directory'; fi
    dd of="$1" bs="$3" seek="$2" conv=fsync && chmod "$4" "$1" && size=$(stat -L -c %s "$1") || return 1
    if [ -z "$5" ]; then return 0; fi
    if [ -d "$5" ]; then echo 'Is a directory' >&2; return 1; fi
    mv -f "$1" "$5"
}
if write "$@"; then echo "$size"; exit 0; fi
if [ -n "$5" ]; then rm -f "$1"; fi
exit 1
"""
)

STAT = r"""
stat -L -c '%s %y %z %i' "$1"
"""

EXISTS = r"""
if [ -e "$1" ] || [ -L "$1" ]; then echo yes; else echo no; fi
"""

SHA256 = (
    _CHECKS
    + r"""
require_file "$1"
if command -v sha256sum >/dev/null; then sha256sum "$1"
elif command -v openssl >/dev/null; then openssl dgst -sha256 -r "$1"
else python3 -c 'import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest())' "$1"
fi
"""
)

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

# Blocks for unprivileged users, and their size.
FREE = r"""
stat -f -c '%a %S' "$1"
"""

# $2 pid, $3 start time in ticks, $4 boot id, $5 polls of a tenth of a second before SIGKILL. Says `ended` if there was
# such a process; waits until it is gone.
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
