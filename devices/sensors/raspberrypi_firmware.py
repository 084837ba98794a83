"""What a Raspberry Pi's firmware reports through `vcgencmd`: throttling, the cores' real clock, temperature, power.

Power is measured on a Raspberry Pi 5 alone: the sum over the rails behind its power management chip, hence an
estimate.
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
    """The device's path of the program."""
    return tree.program("vcgencmd")


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


def _field(told: Answer) -> str | None:
    """What the line begins with up to `=`: `frequency(48)=` names its clock by a number that isn't the value."""
    line = (told.text or "").strip().partition("\n")[0]
    key, equals, value = line.partition("=")
    return key + equals if equals and key != "error" and value[:1].isdecimal() else None


_NAME = "pmic"
_PMIC_PERIOD_S = 0.5
_REMEDY = f"{JOIN_VIDEO}; update an old firmware (sudo apt full-upgrade), or {METER_REMEDY}"
# Products of the currents with the voltages of the same rail; nothing is printed unless a rail has both.
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
    """The sum of the rails in milliwatts, about twice a second."""
    told = ask(tree, ["sh", "-c", _ONCE, vcgencmd, _SUM])
    if not _has_number(told):
        said = ask(tree, [vcgencmd, "pmic_read_adc"]).why_not  # its own words, which the sum has swallowed
        reason = said or told.why_not or "vcgencmd pmic_read_adc gives no rail with both current and voltage"
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


def _has_number(told: Answer) -> bool:
    text = told.line("total ")
    return text is not None and text.replace(".", "", 1).isdecimal()
