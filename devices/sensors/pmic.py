"""Power of a Raspberry Pi 5 from its power management chip: the sum over the rails behind it, hence an estimate.

`vcgencmd pmic_read_adc` prints ` 3V3_SYS_A current(2)=0.07099410A` and ` 3V3_SYS_V volt(10)=3.31380000V` for each rail.
The sum of their products leaves out the losses of conversion, USB and whatever else hangs on 5 V directly.
"""

from __future__ import annotations

from devices.sensors.programs import Told, ask
from devices.sensors.spec import Discovery, Gap, Sensor
from devices.sensors.total import METER_REMEDY
from devices.sensors.tree import Tree
from devices.sensors.vcgencmd import JOIN_VIDEO

_NAME = "pmic"
_PERIOD_S = 0.5
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
        1 / _PERIOD_S,
        f"estimate: sum over the PMIC's rails (vcgencmd pmic_read_adc, every {_PERIOD_S:g} s), without conversion "
        "losses and what hangs on 5 V directly",
        field="total ",
        total=True,
        command=("sh", "-c", _LOOP, f"{_PERIOD_S:g}", vcgencmd, _SUM),
    )
    return Discovery((sensor,))


def _has_number(told: Told) -> bool:
    text = told.line("total ")
    return text is not None and text.replace(".", "", 1).isdecimal()
