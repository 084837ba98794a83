"""Telling in a device's shell whether a process is still the one that was named: see `devices.pid_file`."""

from __future__ import annotations

# `runs PID TICKS`: whether the process runs that has this number and started then. `boot`: the id of this start of the
# system. Both leave the script's own words alone.
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
