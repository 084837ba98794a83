"""Power and energy of hardware monitors (Documentation/hwmon/sysfs-interface.rst): microwatts and microjoules.

Which of them, if any, feeds the whole device, only its builder knows: none is a total until the inventory says so.
"""

from __future__ import annotations

from devices.sensors.spec import Discovery, Sensor
from devices.sensors.tree import Tree, plain_name

_FOLDER = "sys/class/hwmon"
_FILES = r"(power\d{1,2}_(input|average)|energy\d{1,2}_input)"
_MOST = 32
_PER_MICRO = 1e-3


def hwmon_sensors(tree: Tree) -> Discovery:
    """One sensor for each power or energy channel that has a number; those of batteries are left to the battery."""
    monitors = tree.names(_FOLDER, r"hwmon\d+")
    batteries = set(tree.names("sys/class/power_supply"))
    channels = [(monitor, file) for monitor in monitors for file in tree.names(f"{_FOLDER}/{monitor}", _FILES)][:_MOST]
    texts = tree.read(
        f"{_FOLDER}/{monitor}/{name}"
        for monitor, file in channels
        for name in ("name", file, f"{file.partition('_')[0]}_label")
    )
    sensors: list[Sensor] = []
    for monitor, file in channels:
        path, channel = f"{_FOLDER}/{monitor}/{file}", file.partition("_")[0]
        owner = texts.text(f"{_FOLDER}/{monitor}/name")
        if owner in batteries or texts.number(path) is None:
            continue
        label = plain_name(texts.text(f"{_FOLDER}/{monitor}/{channel}_label"), channel)
        name = plain_name(f"hwmon.{plain_name(owner, monitor)}.{label}", channel, [sensor.name for sensor in sensors])
        energy = channel.startswith("energy")
        method = f"{file} of the hardware monitor {plain_name(owner, monitor)}, {label}; what it feeds isn't known"
        quantity, form = ("energy_mj", "counter") if energy else ("power_mw", "gauge")
        sensors.append(
            Sensor(name, quantity, tree.path(path), _PER_MICRO, 10.0, method, form=form)  # type: ignore[arg-type]
        )
    return Discovery(tuple(sensors))
