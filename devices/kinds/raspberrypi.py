"""Raspberry Pi boards: the firmware's reports through `vcgencmd`, and power if the board can measure it.

The firmware knows throttling, the cores' real clock and temperature. Only a Raspberry Pi 5 measures power: the sum over
the rails of its power management chip, which is an estimate.
"""

from __future__ import annotations

import re

from devices.checks.facts import Facts, device_tree_paths, device_tree_text, read_facts
from devices.checks.preflight import GOVERNOR_REMEDY, Check
from devices.inventory.entry import DeviceEntry
from devices.sensors.linux_host import clock_sensors, memory_sensors
from devices.sensors.power_counters import hwmon_sensors
from devices.sensors.reading import Answer, Tree, ask, looped
from devices.sensors.spec import METER_REMEDY, Discovery, Gap, Quantity, Sensor, with_chosen_total
from devices.sensors.thermal import thermal_sensors
from foundation.text import printable

_FLAGS = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
_SINCE_BOOT = 16
_NOT_THERE = "there is no vcgencmd"
_GET_IT = "install it: sudo apt install raspi-utils (libraspberrypi-bin on older systems)"
_JOIN_VIDEO = "allow this user to query the firmware: sudo usermod -aG video USER, then log in again"

_PERIOD_S = 2.0
_CLOCK_ARM = "arm"
_READINGS: tuple[tuple[str, Quantity, tuple[str, ...], float, str], ...] = (
    ("firmware.throttled", "throttle_flags", ("get_throttled",), 1.0, "get_throttled, including the bits since boot"),
    ("firmware.clock", "frequency_khz", ("measure_clock", _CLOCK_ARM), 1e-3, "measure_clock arm, the real frequency"),
    ("firmware.temperature", "temperature_mc", ("measure_temp",), 1e3, "measure_temp"),
)
_GENERATION = re.compile(r"Raspberry Pi (?:Compute Module )?(\d)", re.ASCII)
_WITH_POWER_CHIP = 5
_POWER_REMEDY = "use the board's own power supply and a short cable"


def _find_vcgencmd(tree: Tree) -> str | None:
    """Returns the path of `vcgencmd` on the device."""
    return tree.program("vcgencmd")


def _firmware_sensors(tree: Tree, vcgencmd: str | None) -> Discovery:
    """Returns the firmware's sensors, each a program that queries it every two seconds."""
    found = Discovery()
    for name, quantity, words, scale, method in _READINGS:
        if vcgencmd is None:
            found += Discovery(unavailable=(Gap(name, quantity, _NOT_THERE, _GET_IT),))
            continue
        output = ask(tree, [vcgencmd, *words])
        field = _field(output)
        if field is None:
            reason = output.why_not or f"vcgencmd {' '.join(words)} prints no number"
            found += Discovery(unavailable=(Gap(name, quantity, reason, _JOIN_VIDEO),))
            continue
        sensor = Sensor(
            name,
            quantity,
            "",
            scale,
            1 / _PERIOD_S,
            f"vcgencmd {method}; queried every {_PERIOD_S:g} s",
            field=field,
            command=looped([vcgencmd, *words], _PERIOD_S),
        )
        found += Discovery((sensor,))
    return found


def _why_no_flags(tree: Tree, vcgencmd: str) -> str:
    """Returns the reason why `_throttled_flags` has no value."""
    return ask(tree, [vcgencmd, "get_throttled"]).why_not or "vcgencmd get_throttled prints no flags"


def _throttled_flags(tree: Tree, vcgencmd: str) -> int | None:
    """Returns the current bits, None if the firmware can't be queried."""
    text = ask(tree, [vcgencmd, "get_throttled"]).line("throttled=")
    try:
        return None if text is None else int(text, 0)
    except ValueError:
        return None


def _flag_names(flags: int, first: int = 0) -> tuple[str, ...]:
    """Returns the meaning of the bits from `first` on."""
    return tuple(name for bit, name in _FLAGS.items() if flags >> (first + bit) & 1)


def _field(output: Answer) -> str | None:
    """Returns the line up to its `=`, as the number in `frequency(48)=` isn't the value."""
    line = (output.text or "").strip().partition("\n")[0]
    key, equals, value = line.partition("=")
    return key + equals if equals and key != "error" and value[:1].isdecimal() else None


_NAME = "pmic"
_PMIC_PERIOD_S = 0.5
_REMEDY = f"{_JOIN_VIDEO}; update an old firmware (sudo apt full-upgrade), or {METER_REMEDY}"
# Adds up current times voltage of each rail; prints nothing unless a rail has both.
_SUM = r"""
{ split($2, parts, "="); rail = substr($1, 1, length($1) - 2); value = parts[2] + 0 }
$1 ~ /_A$/ { amperes[rail] = value }
$1 ~ /_V$/ { volts[rail] = value }
END { for (rail in amperes) if (rail in volts) { watts += amperes[rail] * volts[rail]; rails++ }
      if (rails) printf "total %.6f\n", watts; else exit 3 }
"""
_LOOP = (
    'while :; do out=$("$1" pmic_read_adc) || exit; printf "%s\\n" "$out" | LC_ALL=C awk "$2" || exit; sleep "$0"; done'
)
_ONCE = 'out=$("$0" pmic_read_adc) || exit; printf "%s\\n" "$out" | LC_ALL=C awk "$1"'


def _pmic_sensors(tree: Tree, vcgencmd: str) -> Discovery:
    """Returns the sensor for the sum of the rails, in milliwatts, about twice a second."""
    output = ask(tree, ["sh", "-c", _ONCE, vcgencmd, _SUM])
    if not _has_number(output):
        words = ask(tree, [vcgencmd, "pmic_read_adc"]).why_not  # vcgencmd's own message, which the sum doesn't pass on
        reason = words or output.why_not or "vcgencmd pmic_read_adc prints no rail with both current and voltage"
        return Discovery(unavailable=(Gap(_NAME, "power_mw", reason, _REMEDY),))
    sensor = Sensor(
        _NAME,
        "power_mw",
        "",
        1e3,
        1 / _PMIC_PERIOD_S,
        f"estimate: sum over the PMIC's rails (vcgencmd pmic_read_adc, every {_PMIC_PERIOD_S:g} s), without "
        "conversion losses and what is connected directly to 5 V",
        field="total ",
        total=True,
        command=("sh", "-c", _LOOP, f"{_PMIC_PERIOD_S:g}", vcgencmd, _SUM),
    )
    return Discovery((sensor,))


def _has_number(output: Answer) -> bool:
    text = output.line("total ")
    return text is not None and text.replace(".", "", 1).isdecimal()


class RaspberryPiKind:
    """Kind `raspberrypi`."""

    governor_remedy: str | None = GOVERNOR_REMEDY

    def __init__(self, entry: DeviceEntry) -> None:
        self.entry = entry

    def sensors(self, tree: Tree) -> Discovery:
        vcgencmd = _find_vcgencmd(tree)
        discovery = (
            memory_sensors(tree)
            + thermal_sensors(tree)
            + _power(tree, vcgencmd)
            + hwmon_sensors(tree)
            + clock_sensors(tree)
            + _firmware_sensors(tree, vcgencmd)
        )
        return with_chosen_total(discovery, self.entry.power)

    def facts(self, tree: Tree) -> Facts:
        return read_facts(tree)

    def checks(self, tree: Tree) -> tuple[Check, ...]:
        vcgencmd = _find_vcgencmd(tree)
        if vcgencmd is None:
            return (Check("throttling", "warning", f"unknown: {_NOT_THERE}", _GET_IT),)
        flags = _throttled_flags(tree, vcgencmd)
        if flags is None:
            return (Check("throttling", "warning", f"unknown: {_why_no_flags(tree, vcgencmd)}", _JOIN_VIDEO),)
        now, since_boot = _flag_names(flags), _flag_names(flags, _SINCE_BOOT)
        if not now and not since_boot:
            return (Check("throttling", "ok", "none since boot"),)
        detail = f"now: {', '.join(now) or 'none'}; since boot: {', '.join(since_boot) or 'none'} (0x{flags:x})"
        remedy = _POWER_REMEDY if "under-voltage" in (*now, *since_boot) else "cool the board"
        return (Check("throttling", "warning", detail, remedy),)

    def cpus(self, tree: Tree) -> tuple[int, ...] | None:
        del tree  # all cores are alike
        return None

    def throttling(self, tree: Tree) -> str | None:
        vcgencmd = _find_vcgencmd(tree)
        flags = None if vcgencmd is None else _throttled_flags(tree, vcgencmd)
        names = _flag_names(flags or 0)
        return f"the firmware is throttling the board: {', '.join(names)}" if names else None


def _power(tree: Tree, vcgencmd: str | None) -> Discovery:
    """Returns the sensor of a Pi 5's power chip; other boards can't measure power."""
    model = device_tree_text(tree.read(device_tree_paths("model")), "model") or ""
    match = _GENERATION.search(model)
    if match and int(match[1]) >= _WITH_POWER_CHIP:
        if vcgencmd is None:
            return Discovery(unavailable=(Gap("pmic", "power_mw", _NOT_THERE, _GET_IT),))
        return _pmic_sensors(tree, vcgencmd)
    board = printable(model, 60) or "a board of unknown model"
    reason = f"{board} has no current sensor (Raspberry Pi boards have one from model 5 on)"
    return Discovery(unavailable=(Gap("power", "power_mw", reason, METER_REMEDY),))
