"""The root of a board with power modes: an nvpmodel that asks before it restarts, and two cpufreq policies."""

from __future__ import annotations

from pathlib import Path

NVPMODEL = """#!/bin/sh
here=$(dirname "$0")
case $1 in
-q) echo "NV Power Mode: NAME"; cat "$here/mode" ;;
-m) if [ "$2" = 3 ]; then
      echo "NVPM WARN: Reboot required for changing to this power mode: 3"
      echo "NVPM WARN: DO YOU WANT TO REBOOT NOW? enter YES/yes to confirm:"
      read answer && echo "$2" > "$here/mode"
    elif [ "$2" = 9 ]; then echo "NVPM ERROR: invalid mode"
    else echo "$2" > "$here/mode"; fi ;;
esac
"""

BEFORE = ["schedutil", "ondemand"]


def make_board(root: Path) -> Path:
    """Makes the root of a board in nvpmodel mode 0, whose mode 3 needs a restart and which has no mode 9."""
    (root / "usr/sbin").mkdir(parents=True)
    (root / "usr/sbin/nvpmodel").write_text(NVPMODEL)
    (root / "usr/sbin/nvpmodel").chmod(0o755)
    (root / "usr/sbin/mode").write_text("0\n")
    for number, governor in zip((0, 4), BEFORE, strict=True):
        policy = root / f"sys/devices/system/cpu/cpufreq/policy{number}"
        policy.mkdir(parents=True)
        (policy / "scaling_governor").write_text(f"{governor}\n")
        (policy / "scaling_available_governors").write_text("ondemand schedutil performance powersave\n")
    return root


def mode_of(board: Path) -> int:
    """Returns the number of its nvpmodel mode."""
    return int((board / "usr/sbin/mode").read_text())


def governors_of(board: Path) -> list[str]:
    """Returns the governor of each policy."""
    folder = board / "sys/devices/system/cpu/cpufreq"
    return [(folder / name / "scaling_governor").read_text().strip() for name in ("policy0", "policy4")]
