"""Sensors of a Jetson that read through jtop: its total, and what the kernel doesn't show to the user himself.

The jtop service is asked with the device's own Python: client and service must be of one version.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from devices.sensors.reading import Answer, Tree, ask, first_number, plain_name
from devices.sensors.spec import METER_REMEDY, Discovery, Gap, Quantity, Sensor
from foundation.text import printable

_SOCKETS = ("run/jtop.sock", "var/run/jtop.sock")
_INTERVAL_S, _SLOWEST_S = 0.5, 60.0
_PATIENCE_S, _PROBE_TIMEOUT_S = 20.0, 60.0
_NAMED = re.compile(r"(rail|temperature) ([!-<>-~][ -<>-~]{0,59})=(.*)")
# Ports that jtop counts among the rails, under shortened names.
_SUPPLIES, _PORT = "sys/class/power_supply", "ucsi-source-psy-"
# Arguments: interval, how many readings (negative: until it is ended), how long without one, and the rails whose sum is
# the total. It ends at once and without a farewell, as the client's threads would else have the last word.
_PROGRAM = """\
import os, sys, threading, time

def end(said):
    os.write(2, (" ".join(said.split()) + "\\n").encode("utf-8"))
    os._exit(1)

def tell(board, parts, known):
    power = board.power or {}
    rails = dict(power.get("rail") or {})
    whole = power.get("tot") or {}
    if "online" in whole:  # it is a rail, and no sum
        name = whole.get("name", "input")
        print("input %s" % name)
        rails[name] = whole
    known.update(rails)
    for name in sorted(known):
        print("rail %s=%s" % (name, rails[name]["power"] if name in rails else "gone"))
    gone = [name for name in parts if name not in rails]
    if parts:
        print("total=%s" % ("gone: " + ", ".join(gone) if gone else sum(rails[name]["power"] for name in parts)))
    for name, zone in sorted(board.temperature.items()):
        if zone.get("online", True):
            print("temperature %s=%s" % (name, zone["temp"]))
    try:
        print("mode %s (%s)" % (board.nvpmodel.name, board.nvpmodel.id))
    except (AttributeError, TypeError):
        pass  # there is no nvpmodel, or it said nothing that the service knows
    print("every %s" % board.interval)
    sys.stdout.flush()

def follow(interval, left, patience, parts):
    known, seen = set(), {"left": left, "uptime": None, "at": time.monotonic(), "patience": patience}

    def observe(board):
        new, seen["uptime"] = seen["uptime"] not in (None, board.uptime), board.uptime
        seen["patience"] = max(patience, 3 * board.interval)
        if new:
            tell(board, parts, known)
            seen["left"], seen["at"] = seen["left"] - 1, time.monotonic()
            if seen["left"] == 0:
                os._exit(0)

    def watch():
        while time.monotonic() - seen["at"] < seen["patience"]:
            time.sleep(0.1)
        end("its service stands still: nothing new for %g s" % seen["patience"])

    def start():
        board = jtop(interval=interval)
        board.attach(observe)
        try:
            board.start()
        except Exception as error:
            if "Error connection" not in str(error):  # which is what a first reading that takes long is called
                raise
            return start()
        return board

    watcher = threading.Thread(target=watch)
    watcher.daemon = True
    watcher.start()
    board = start()
    while board.ok(spin=True):
        time.sleep(0.1)
    end("its service doesn't answer any more")

try:
    from jtop import jtop
except ImportError as error:
    end("not installed: %s" % error)
try:
    follow(float(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4:])
except Exception as error:
    end("%s: %s" % (type(error).__name__, error))
"""


@dataclass(frozen=True)
class JtopReading:
    """One reading of the service. Power in mW by rail, temperatures of the units that are on in degrees Celsius.

    `total_rails`: the rail that feeds the module, or else all rails, whose sum is then jtop's total. `interval_s`: the
    pace of the service, which another client may have set. `command` gives the same for as long as it runs, a line for
    each value.
    """

    command: tuple[str, ...]
    total_rails: tuple[str, ...]
    is_sum: bool
    interval_s: float
    mode: str | None = None
    rails_mw: Mapping[str, float] = field(default_factory=dict)
    temperatures_c: Mapping[str, float] = field(default_factory=dict)

    @property
    def total_mw(self) -> float | None:
        """What the total rails draw together; None without rails."""
        return sum(self.rails_mw[name] for name in self.total_rails) if self.total_rails else None


@dataclass(frozen=True)
class NoJtop:
    """Why jtop tells nothing, and what to do about it."""

    reason: str
    remedy: str


def read_jtop(tree: Tree) -> JtopReading | NoJtop:
    """Asks the service once, in a few seconds. Raises `DeviceLost` when the device itself is gone."""
    python = tree.program("python3")
    if python is None:
        return NoJtop("the device has no python3", "install python3 and jetson-stats there")
    if not tree.transport.existing([tree.path(socket) for socket in _SOCKETS]):
        reason = f"its service isn't running (no /{_SOCKETS[0]})"
        return NoJtop(reason, "start it on the device: sudo systemctl start jtop.service")
    told = ask(tree, _command(python, 1), _PROBE_TIMEOUT_S)
    return _explained(told.why_not) if told.text is None else _reading(tree, python, told)


def _reading(tree: Tree, python: str, told: Answer) -> JtopReading | NoJtop:
    found: dict[str, dict[str, float]] = {"rail": {}, "temperature": {}}
    for line in (told.text or "").splitlines():
        match = _NAMED.fullmatch(line)
        if match is not None:
            number = first_number(match[3])
            if number is None:
                shown = printable(repr(line), 80)
                return NoJtop(f"it gives {shown}, which is no number", "update jetson-stats on the device")
            found[match[1]][match[2]] = number
    supplies = {name.removeprefix(_PORT) for name in tree.names(_SUPPLIES)}
    rails = {name: value for name, value in found["rail"].items() if name not in supplies}
    into, every_s = told.line("input "), first_number(told.line("every ") or "")
    parts = (into,) if into in rails else tuple(sorted(rails))
    return JtopReading(
        command=_command(python, -1, parts),
        total_rails=parts,
        is_sum=into not in rails,
        interval_s=every_s if every_s and 0 < every_s <= _SLOWEST_S else _INTERVAL_S,
        mode=printable(told.line("mode ") or "", 60) or None,
        rails_mw=rails,
        temperatures_c=found["temperature"],
    )


def _command(python: str, count: int, parts: Sequence[str] = ()) -> tuple[str, ...]:
    return (python, "-u", "-c", _PROGRAM, f"{_INTERVAL_S:g}", str(count), f"{_PATIENCE_S:g}", *parts)


_OURS = re.compile(r"python3 left with exit code 1: (?:(?:Jtop|Runtime)\w+: )?")
_ONE_VERSION = "client and service must be of one version: sudo systemctl restart jtop.service"
_GROUP = "let this user ask it: sudo usermod -aG jtop $USER on the device, and then check again"
# Words of its client's messages, and what to do then.
_REMEDIES = (
    ("not installed", "install jetson-stats for the device's own Python, or leave `jtop` out of the inventory"),
    (
        "Mismatch of Python",
        "install jetson-stats for the python3 that its service runs on: sudo pip3 install -U jetson-stats",
    ),
    ("Mismatch", _ONE_VERSION),
    ("Authentication", _ONE_VERSION),
    ("can't access", _GROUP),
    ("Permission", _GROUP),
    ("not active", "start it on the device: sudo systemctl restart jtop.service"),
)


def _explained(why: str) -> NoJtop:
    remedies = (remedy for words, remedy in _REMEDIES if words in why)
    # Without what its client advises: the remedy says it, and fits a user who is not at the device.
    reason = _OURS.sub("", why).partition(" Please ")[0].rstrip(".")
    return NoJtop(reason, next(remedies, "look at it there: systemctl status jtop.service"))


_NAME = "jtop"
_NO_TOTAL = "power"  # the name of the gap that there is where no rail feeds the module
_MC_PER_C = 1000.0
# No module draws more, and none feeds its supply: anything else is a broken reading.
_PLAUSIBLE_MW = (0.0, 200_000.0)


def jtop_sensors(told: JtopReading | NoJtop, beside: Discovery) -> Discovery:
    """All that can be read: `beside`, what the kernel shows, and through jtop its total and what is missing there.

    jtop's total is the device's where no rail of `beside` is. All of them share one process of the device's Python,
    which costs more than the kernel's files: rails and temperatures are read in this way only where there is no other.
    """
    if isinstance(told, NoJtop):
        gap = Gap(_NAME, "power_mw", f"jtop can't be read: {told.reason}", told.remedy)
        return beside + Discovery(unavailable=(gap,))
    return _total(told, beside) + _through(told, beside)


def _through(told: JtopReading, beside: Discovery) -> Discovery:
    """Rails that `beside` doesn't have, and the temperatures if it has none."""
    taken = [sensor.name for sensor in beside.sensors]
    own = [] if told.is_sum else told.total_rails
    lines: list[tuple[Quantity, str, str, float]] = [
        ("power_mw", "rail", name, 1.0)
        for name in told.rails_mw
        if name not in own and plain_name(name, "") not in taken
    ]
    if not any(sensor.quantity == "temperature_mc" for sensor in beside.sensors):
        lines += [("temperature_mc", "temperature", name, _MC_PER_C) for name in told.temperatures_c]
    sensors: list[Sensor] = []
    for quantity, what, label, scale in lines:
        name = plain_name(f"{_NAME}.{label}", _NAME, taken)
        taken.append(name)
        sensors.append(_sensor(told, name, quantity, f"{what} {label}=", scale))
    return Discovery(tuple(sensors))


def _total(told: JtopReading, beside: Discovery) -> Discovery:
    """`beside` with jtop's total, which is the device's where there was none."""
    if told.total_mw is None:
        gap = Gap(_NAME, "power_mw", "jtop knows no power rail of this board", METER_REMEDY)
        return beside + Discovery(unavailable=(gap,))
    whole = "jtop's sum of the rails {}" if told.is_sum else "the rail {}, which feeds the module, as jtop tells it"
    method = whole.format(", ".join(told.total_rails))
    is_total = not any(sensor.total for sensor in beside.sensors)
    if not is_total:
        method = f"{method}; beside the rail that is the device's"
    gaps = tuple(gap for gap in beside.unavailable if not (is_total and gap.name == _NO_TOTAL))
    sensor = _sensor(told, _NAME, "power_mw", "total=", 1.0, method, total=is_total)
    return Discovery((*beside.sensors, sensor), gaps)


def _sensor(
    told: JtopReading, name: str, quantity: Quantity, line: str, scale: float, what: str = "", *, total: bool = False
) -> Sensor:
    what = what or f"{line[:-1]}, as jtop tells it"
    return Sensor(
        name,
        quantity,
        "",
        scale,
        1 / told.interval_s,
        f"{what}; through the device's own Python, every {told.interval_s:g} s",
        field=line,
        total=total,
        command=told.command,
        plausible=_PLAUSIBLE_MW if quantity == "power_mw" else None,
    )
