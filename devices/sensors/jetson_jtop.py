"""Sensors of a Jetson that are read through jtop: its total, and what this user can't read from the kernel's files.

The device's own Python queries the jtop service, as client and service must have the same version.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from devices.sensors.jetson_rails import TOTAL_RAILS
from devices.sensors.reading import Answer, Tree, ask, first_number, plain_name
from devices.sensors.spec import METER_REMEDY, Discovery, Gap, Quantity, Sensor
from foundation.text import printable

_SOCKETS = ("run/jtop.sock", "var/run/jtop.sock")
_INTERVAL_S, _SLOWEST_S = 0.5, 60.0
_PATIENCE_S, _PROBE_TIMEOUT_S = 20.0, 60.0
_VALUE_LINE = re.compile(r"(rail|temperature) ([!-<>-~][ -<>-~]{0,59})=(.*)")
# Power supply ports, which jtop lists among the rails with shortened names.
_SUPPLIES, _PORT = "sys/class/power_supply", "ucsi-source-psy-"
# Arguments: interval, number of readings (negative: no limit), how long to wait for one, and the rails that add up to
# the total. It uses os._exit because the client's threads would otherwise keep it running.
_PROGRAM = """\
import os, sys, threading, time

def end(message):
    os.write(2, (" ".join(message.split()) + "\\n").encode("utf-8"))
    os._exit(1)

def print_reading(board, parts, known):
    power = board.power or {}
    rails = dict(power.get("rail") or {})
    whole = power.get("tot") or {}
    if "online" in whole: # it is a rail, not a sum
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
        pass  # there is no nvpmodel, or its output is unknown to the service
    print("every %s" % board.interval)
    sys.stdout.flush()

def follow(interval, left, patience, parts):
    known, seen = set(), {"left": left, "uptime": None, "at": time.monotonic(), "patience": patience}

    def observe(board):
        new, seen["uptime"] = seen["uptime"] not in (None, board.uptime), board.uptime
        seen["patience"] = max(patience, 3 * board.interval)
        if new:
            print_reading(board, parts, known)
            seen["left"], seen["at"] = seen["left"] - 1, time.monotonic()
            if seen["left"] == 0:
                os._exit(0)

    def watch():
        while time.monotonic() - seen["at"] < seen["patience"]:
            time.sleep(0.1)
        end("its service is stuck: nothing new for %g s" % seen["patience"])

    def start():
        board = jtop(interval=interval)
        board.attach(observe)
        try:
            board.start()
        except Exception as error:
            if "Error connection" not in str(error):  # the name of the error for a slow first reading
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
    """One reading of the service: power in mW by rail, and temperatures in degrees Celsius of the units that are on.

    `total_rails`: the rail that feeds the module, else all rails, whose sum is then jtop's total. `interval_s`: the
    service's interval, which another client may have set. `command` prints the same repeatedly, one value per line.
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
        """The sum of the total rails; None without rails."""
        return sum(self.rails_mw[name] for name in self.total_rails) if self.total_rails else None


@dataclass(frozen=True)
class NoJtop:
    """Why jtop reports nothing, and what to do about it."""

    reason: str
    remedy: str


def read_jtop(tree: Tree) -> JtopReading | NoJtop:
    """Queries the service once, which takes a few seconds. Raises `DeviceLost` if the device itself is gone."""
    python = tree.program("python3")
    if python is None:
        return NoJtop("the device has no python3", "install python3 and jetson-stats there")
    if not tree.existing(_SOCKETS):
        reason = f"its service isn't running (no /{_SOCKETS[0]})"
        return NoJtop(reason, "start it on the device: sudo systemctl start jtop.service")
    output = ask(tree, _command(python, 1), _PROBE_TIMEOUT_S)
    return _explained(output.why_not) if output.text is None else _reading(tree, python, output)


def _reading(tree: Tree, python: str, output: Answer) -> JtopReading | NoJtop:
    found: dict[str, dict[str, float]] = {"rail": {}, "temperature": {}}
    for line in (output.text or "").splitlines():
        match = _VALUE_LINE.fullmatch(line)
        if match is not None:
            number = first_number(match[3])
            if number is None:
                text = printable(repr(line), 80)
                return NoJtop(f"it reports {text}, which is not a number", "update jetson-stats on the device")
            found[match[1]][match[2]] = number
    supplies = {name.removeprefix(_PORT) for name in tree.names(_SUPPLIES)}
    rails = {name: value for name, value in found["rail"].items() if name not in supplies}
    into, every_s = output.line("input "), first_number(output.line("every ") or "")
    if into not in rails:  # an older client may not know which rail feeds a newer board
        into = next((name for name in TOTAL_RAILS if name in rails), None)
    parts = tuple(sorted(rails)) if into is None else (into,)
    return JtopReading(
        command=_command(python, -1, parts),
        total_rails=parts,
        is_sum=into is None,
        interval_s=every_s if every_s and 0 < every_s <= _SLOWEST_S else _INTERVAL_S,
        mode=printable(output.line("mode ") or "", 60) or None,
        rails_mw=rails,
        temperatures_c=found["temperature"],
    )


def _command(python: str, count: int, parts: Sequence[str] = ()) -> tuple[str, ...]:
    return (python, "-u", "-c", _PROGRAM, f"{_INTERVAL_S:g}", str(count), f"{_PATIENCE_S:g}", *parts)


_OURS = re.compile(r"python3 ended with exit code 1: (?:(?:Jtop|Runtime)\w+: )?")
_ONE_VERSION = "client and service must have the same version: sudo systemctl restart jtop.service"
_GROUP = "allow this user to query it: sudo usermod -aG jtop $USER on the device, then check again"
# Fragments of its client's messages, each with the remedy.
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
    # Without the client's own advice: our remedy is for a user who is not at the device.
    reason = _OURS.sub("", why).partition(" Please ")[0].rstrip(".")
    return NoJtop(reason, next(remedies, "check it on the device: systemctl status jtop.service"))


_NAME = "jtop"
_NO_TOTAL = "power"  # the name of the gap if no rail feeds the module
_MC_PER_C = 1000.0
# No module draws more, or feeds power back: anything else is a broken reading.
_PLAUSIBLE_MW = (0.0, 200_000.0)


def jtop_sensors(reading: JtopReading | NoJtop, beside: Discovery) -> Discovery:
    """Returns all that can be read: `beside` from the kernel, and from jtop its total and whatever `beside` lacks.

    jtop's total is the device's total unless `beside` has one. All of jtop's sensors share one process of the device's
    Python, which costs more than the kernel's files: only what has no other source is read this way.
    """
    if isinstance(reading, NoJtop):
        gap = Gap(_NAME, "power_mw", f"jtop can't be read: {reading.reason}", reading.remedy)
        return beside + Discovery(unavailable=(gap,))
    return _total(reading, beside) + _through(reading, beside)


def _through(reading: JtopReading, beside: Discovery) -> Discovery:
    """Returns the rails that `beside` lacks, and the temperatures if it has none."""
    names = [sensor.name for sensor in beside.sensors]
    own = [] if reading.is_sum else reading.total_rails
    lines: list[tuple[Quantity, str, str, float]] = [
        ("power_mw", "rail", name, 1.0)
        for name in reading.rails_mw
        if name not in own and plain_name(name, "") not in names
    ]
    if not any(sensor.quantity == "temperature_mc" for sensor in beside.sensors):
        lines += [("temperature_mc", "temperature", name, _MC_PER_C) for name in reading.temperatures_c]
    sensors: list[Sensor] = []
    for quantity, what, label, scale in lines:
        name = plain_name(f"{_NAME}.{label}", _NAME, names)
        names.append(name)
        sensors.append(_sensor(reading, name, quantity, f"{what} {label}=", scale))
    return Discovery(tuple(sensors))


def _total(reading: JtopReading, beside: Discovery) -> Discovery:
    """Adds jtop's total to `beside`; it is the device's total if there was none."""
    if reading.total_mw is None:
        gap = Gap(_NAME, "power_mw", "jtop knows no power rail of this board", METER_REMEDY)
        return beside + Discovery(unavailable=(gap,))
    whole = "jtop's sum of the rails {}" if reading.is_sum else "the rail {}, which feeds the module according to jtop"
    method = whole.format(", ".join(reading.total_rails))
    is_total = not any(sensor.total for sensor in beside.sensors)
    if not is_total:
        method = f"{method}; the device's total is another rail"
    gaps = tuple(gap for gap in beside.unavailable if not (is_total and gap.name == _NO_TOTAL))
    sensor = _sensor(reading, _NAME, "power_mw", "total=", 1.0, method, total=is_total)
    return Discovery((*beside.sensors, sensor), gaps)


def _sensor(
    reading: JtopReading, name: str, quantity: Quantity, line: str, scale: float, what: str = "", *, total: bool = False
) -> Sensor:
    what = what or f"{line[:-1]} as reported by jtop"
    return Sensor(
        name,
        quantity,
        "",
        scale,
        1 / reading.interval_s,
        f"{what}; read by the device's own Python every {reading.interval_s:g} s",
        field=line,
        total=total,
        command=reading.command,
        plausible=_PLAUSIBLE_MW if quantity == "power_mw" else None,
    )
