"""Sensors of a Raspberry Pi's firmware, read by `vcgencmd`: throttling, the cores' real clock, temperature, power.

Only a Raspberry Pi 5 measures power: the sum over the rails of its power management chip, hence an estimate.
"""

from __future__ import annotations

from devices.sensors.reading import Answer, Tree, ask, looped
from devices.sensors.spec import METER_REMEDY, Discovery, Gap, Quantity, Sensor

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
    """Returns the path of `vcgencmd` on the device."""
    return tree.program("vcgencmd")


def firmware_sensors(tree: Tree, vcgencmd: str | None) -> Discovery:
    """Returns the firmware's sensors, each a program that queries it every two seconds."""
    found = Discovery()
    for name, quantity, words, scale, method in _READINGS:
        if vcgencmd is None:
            found += Discovery(unavailable=(Gap(name, quantity, NOT_THERE, GET_IT),))
            continue
        output = ask(tree, [vcgencmd, *words])
        field = _field(output)
        if field is None:
            reason = output.why_not or f"vcgencmd {' '.join(words)} gives no number"
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
    """Returns the reason why `throttled_flags` has no value."""
    return ask(tree, [vcgencmd, "get_throttled"]).why_not or "vcgencmd get_throttled gives no flags"


def throttled_flags(tree: Tree, vcgencmd: str) -> int | None:
    """Returns the current bits, None if the firmware can't be queried."""
    text = ask(tree, [vcgencmd, "get_throttled"]).line("throttled=")
    try:
        return None if text is None else int(text, 0)
    except ValueError:
        return None


def flag_names(flags: int, first: int = 0) -> tuple[str, ...]:
    """Returns the meaning of the bits from `first` on."""
    return tuple(name for bit, name in FLAGS.items() if flags >> (first + bit) & 1)


def _field(output: Answer) -> str | None:
    """Returns the line up to its `=`, as the number in `frequency(48)=` isn't the value."""
    line = (output.text or "").strip().partition("\n")[0]
    key, equals, value = line.partition("=")
    return key + equals if equals and key != "error" and value[:1].isdecimal() else None


_NAME = "pmic"
_PMIC_PERIOD_S = 0.5
_REMEDY = f"{JOIN_VIDEO}; update an old firmware (sudo apt full-upgrade), or {METER_REMEDY}"
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


def pmic_sensors(tree: Tree, vcgencmd: str) -> Discovery:
    """Returns the sensor for the sum of the rails, in milliwatts, about twice a second."""
    output = ask(tree, ["sh", "-c", _ONCE, vcgencmd, _SUM])
    if not _has_number(output):
        words = ask(tree, [vcgencmd, "pmic_read_adc"]).why_not  # its own message, which the sum doesn't pass on
        reason = words or output.why_not or "vcgencmd pmic_read_adc gives no rail with both current and voltage"
        return Discovery(unavailable=(Gap(_NAME, "power_mw", reason, _REMEDY),))
    sensor = Sensor(
        _NAME,
        "power_mw",
        "",
        1e3,
        1 / _PMIC_PERIOD_S,
        f"estimate: sum over the PMIC's rails (vcgencmd pmic_read_adc, every {_PMIC_PERIOD_S:g} s), without conversion "
        "losses and what hangs on 5 V directly",
        field="total ",
        total=True,
        command=("sh", "-c", _LOOP, f"{_PMIC_PERIOD_S:g}", vcgencmd, _SUM),
    )
    return Discovery((sensor,))


def _has_number(output: Answer) -> bool:
    text = output.line("total ")
    return text is not None and text.replace(".", "", 1).isdecimal()
