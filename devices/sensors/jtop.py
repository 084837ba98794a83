"""Power of a Jetson through jtop, with the device's own Python: its client must be of the version of its service.

jtop is the user's to install, and only its running service is asked: started as root without one it would install one.
"""

from __future__ import annotations

from devices.sensors.programs import ask, find_program
from devices.sensors.spec import Discovery, Sensor, Unavailable
from devices.sensors.tree import Tree
from devices.wording import printable

_NAME = "jtop"
_SOCKETS = ("run/jtop.sock", "var/run/jtop.sock")
_INTERVAL_S = 0.5
_PROBE_TIMEOUT_S = 20.0
# `tot` is the total rail, or where the board has none, the sum that jtop makes of the rails; milliwatts.
_PROGRAM = """\
import sys
try:
    from jtop import jtop
except ImportError as error:
    sys.exit("not installed: %s" % error)
try:
    with jtop(interval=float(sys.argv[1])) as board:
        left = int(sys.argv[2])
        while board.ok() and left != 0:
            print("total %s" % board.power["tot"]["power"])
            sys.stdout.flush()
            left -= 1
except Exception as error:
    sys.exit("%s: %s" % (type(error).__name__, error))
"""


def jtop_sensors(tree: Tree, has_total: bool) -> Discovery:
    """The total as jtop tells it; it is the device's total only where no rail is (`has_total`)."""
    python = find_program(tree, "python3")
    if python is None:
        return _missing("the device has no python3", "install python3 and jetson-stats there")
    if not any(tree.transport.exists(tree.path(socket)) for socket in _SOCKETS):
        reason = f"its service isn't running (no /{_SOCKETS[0]})"
        return _missing(reason, "start it on the device: sudo systemctl start jtop.service")
    told = ask(tree, _command(python, 1), _PROBE_TIMEOUT_S)
    if told.text is None:
        return _missing(*_explained(told.why_not))
    line = told.line("total ")
    if line is None or not line.replace(".", "", 1).isdecimal():
        return _missing(f"it gives {printable(told.text, 80)!r} for the total", "update jetson-stats on the device")
    extent = "jtop's total, beside the rail that is the device's" if has_total else "the total that jtop makes of rails"
    sensor = Sensor(
        _NAME,
        "power_mw",
        "",
        1.0,
        1 / _INTERVAL_S,
        f"{extent}; through the device's own Python, every {_INTERVAL_S:g} s",
        field="total ",
        total=not has_total,
        command=_command(python, -1),
    )
    return Discovery((sensor,))


def _command(python: str, count: int) -> tuple[str, ...]:
    return (python, "-u", "-c", _PROGRAM, f"{_INTERVAL_S:g}", str(count))


def _missing(reason: str, remedy: str) -> Discovery:
    return Discovery(unavailable=(Unavailable(_NAME, "power_mw", f"jtop can't be read: {reason}", remedy),))


def _explained(why: str) -> tuple[str, str]:
    """What jtop said, and what to do about it."""
    if "not installed" in why:
        return why, "install jetson-stats for the device's own Python, or leave `jtop` out of the inventory"
    if "mismatch" in why.lower():
        return why, "client and service must be of one version: sudo pip3 install -U jetson-stats, then reboot"
    if "permission" in why.lower():
        return why, "let this user ask the service: sudo usermod -aG jtop USER, then log in again"
    return why, "look at it there: systemctl status jtop.service"
