"""On-device power monitor of Pixel phones: energy counters of single rails, where the shell may read them.

/sys/bus/iio/devices/iio:deviceN/ with a name such as s2mpg10-odpm has `energy_value`: a line
`CH0(T=1234)[S10M_VDD_TPU], 5678` for each rail, its energy in microwatt-seconds. Rails are no total.
"""

from __future__ import annotations

import re

from devices.sensors.spec import Discovery, Sensor
from devices.sensors.tree import Tree, plain_name

_FOLDER = "sys/bus/iio/devices"
_LINE = re.compile(r"CH\d{1,3}\(T=\d{1,20}\)\[([A-Za-z0-9_:.-]{1,40})\], *\d{1,20}", re.ASCII)
# What computing hangs on: the cores, memory and its interface, graphics.
_WANTED = re.compile(r"CPU|CPUCL|DDR|MIF|GPU|TPU")
_MOST = 8
_PERIOD_S = 0.2
_MJ_PER_UWS = 1e-3
# Of the line with "[RAIL]," what follows the comma, with the shell's own means.
_LOOP = (
    'while :; do while IFS= read -r line; do case $line in *"[$2], "*) echo "${line##*, }";; esac; '
    'done < "$1" || exit; sleep "$0"; done'
)


def odpm_sensors(tree: Tree) -> Discovery:
    """A counter for each rail that computing hangs on; none where there is no monitor or it can't be read."""
    devices = tree.names(_FOLDER, r"iio:device\d+")
    texts = tree.read(f"{_FOLDER}/{device}/{file}" for device in devices for file in ("name", "energy_value"))
    sensors: list[Sensor] = []
    for device in devices:
        path = f"{_FOLDER}/{device}/energy_value"
        if not (texts.text(f"{_FOLDER}/{device}/name") or "").endswith("-odpm"):
            continue
        for rail in _LINE.findall(texts.text(path) or ""):
            if _WANTED.search(rail) and len(sensors) < _MOST:
                sensors.append(_sensor(tree.path(path), rail, [sensor.name for sensor in sensors]))
    return Discovery(tuple(sensors))


def _sensor(path: str, rail: str, taken: list[str]) -> Sensor:
    return Sensor(
        plain_name(f"odpm.{rail}", "odpm", taken),
        "energy_mj",
        "",
        _MJ_PER_UWS,
        1 / _PERIOD_S,
        f"on-device power monitor, rail {rail}; a part of the device's power only",
        form="counter",
        command=("sh", "-c", _LOOP, f"{_PERIOD_S:g}", path, rail),
    )
