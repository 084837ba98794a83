"""What a Raspberry Pi's firmware tells through `vcgencmd`: throttling, the cores' real clock, temperature.

`get_throttled` (raspberrypi.com, documentation of vcgencmd): bit 0 under-voltage, 1 frequency capped, 2 throttled, 3
soft temperature limit, now; bits 16-19 the same since boot.
"""

from __future__ import annotations

from devices.sensors.programs import Told, ask, find_program, looped
from devices.sensors.spec import Discovery, Gap, Quantity, Sensor
from devices.sensors.tree import Tree

FLAGS = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
SINCE_BOOT = 16
NOT_THERE = "vcgencmd isn't there"
GET_IT = "install it: sudo apt install raspi-utils (libraspberrypi-bin on older systems)"
JOIN_VIDEO = "let this user ask the firmware: sudo usermod -aG video USER, then log in again"

_PERIOD_S = 2.0
_CLOCK_ARM = "arm"
_READINGS: tuple[tuple[str, Quantity, tuple[str, ...], float, str], ...] = (
    ("firmware.throttled", "throttle_flags", ("get_throttled",), 1.0, "get_throttled, the bits since boot included"),
    ("firmware.clock", "frequency_khz", ("measure_clock", _CLOCK_ARM), 1e-3, "measure_clock arm, as it really runs"),
    ("firmware.temperature", "temperature_mc", ("measure_temp",), 1e3, "measure_temp"),
)


def find_vcgencmd(tree: Tree) -> str | None:
    """The device's path of the program."""
    return find_program(tree, "vcgencmd")


def firmware_sensors(tree: Tree, vcgencmd: str | None) -> Discovery:
    """What the firmware tells, each a program that asks it every two seconds."""
    found = Discovery()
    for name, quantity, words, scale, method in _READINGS:
        if vcgencmd is None:
            found += Discovery(unavailable=(Gap(name, quantity, NOT_THERE, GET_IT),))
            continue
        told = ask(tree, [vcgencmd, *words])
        field = _field(told)
        if field is None:
            reason = told.why_not or f"vcgencmd {' '.join(words)} gives no number"
            found += Discovery(unavailable=(Gap(name, quantity, reason, JOIN_VIDEO),))
            continue
        sensor = Sensor(
            name,
            quantity,
            "",
            scale,
            1 / _PERIOD_S,
            f"vcgencmd {method}; asked every {_PERIOD_S:g} s",
            field=field,
            command=looped([vcgencmd, *words], _PERIOD_S),
        )
        found += Discovery((sensor,))
    return found


def why_no_flags(tree: Tree, vcgencmd: str) -> str:
    """What the program says where `throttled_flags` has nothing to give."""
    return ask(tree, [vcgencmd, "get_throttled"]).why_not or "vcgencmd get_throttled gives no flags"


def throttled_flags(tree: Tree, vcgencmd: str) -> int | None:
    """The bits as they are now, None if the firmware can't be asked."""
    text = ask(tree, [vcgencmd, "get_throttled"]).line("throttled=")
    try:
        return None if text is None else int(text, 0)
    except ValueError:
        return None


def flag_names(flags: int, first: int = 0) -> tuple[str, ...]:
    """What the bits from `first` on say."""
    return tuple(name for bit, name in FLAGS.items() if flags >> (first + bit) & 1)


def _field(told: Told) -> str | None:
    """What the line begins with up to `=`: `frequency(48)=` names its clock by a number that isn't the value."""
    line = (told.text or "").strip().partition("\n")[0]
    key, equals, value = line.partition("=")
    return key + equals if equals and key != "error" and value[:1].isdecimal() else None
