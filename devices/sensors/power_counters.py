"""Power and energy from the kernel's files: hardware monitors, x86 RAPL, and the rails of Pixel phones.

Hardware monitors (Documentation/hwmon/sysfs-interface.rst) have microwatts and microjoules, RAPL counts energy through
powercap (Documentation/power/powercap/powercap.rst), and the on-device power monitor counts it by rail.
"""

from __future__ import annotations

import re
from dataclasses import replace

from devices.sensors.reading import Texts, Tree, plain_name
from devices.sensors.spec import Discovery, Form, Gap, Quantity, Sensor

_FOLDER = "sys/class/hwmon"
_FILES = r"(power\d{1,2}_(input|average)|energy\d{1,2}_input)"
_MOST = 32
_PER_MICRO = 1e-3


def hwmon_sensors(tree: Tree) -> Discovery:
    """Returns a sensor for each power or energy channel that has a number, except those of batteries.

    A channel's name is `hwmon.CHIP.LABEL`, where LABEL is its own label, else the label of the voltage with the same
    number, else the channel (`power1`). `power.sensor` can always name the channel instead of the label (`channel_of`).
    A channel that this user may not read is a gap.
    """
    monitors = tree.names(_FOLDER, r"hwmon\d+")
    # The kernel replaces dashes in the names of supplies (drivers/power/supply/power_supply_hwmon.c).
    batteries = {supply.replace("-", "_") for supply in tree.names("sys/class/power_supply")}
    listed = tree.names_in([f"{_FOLDER}/{monitor}" for monitor in monitors], _FILES)
    channels = [(folder, file) for folder, files in listed.items() for file in files][:_MOST]
    texts = tree.read(
        f"{folder}/{name}"
        for folder, file in channels
        for name in ("name", file, *(_label_files(file.partition("_")[0])))
    )
    sensors: list[Sensor] = []
    missing: list[Gap] = []
    names: list[str] = []
    for folder, file in channels:
        path, channel = f"{folder}/{file}", file.partition("_")[0]
        chip = texts.text(f"{folder}/name")
        if (chip or "").replace("-", "_") in batteries or (texts.number(path) is None and not texts.is_kept(path)):
            continue
        owner = plain_name(chip, folder.rpartition("/")[2])
        labels = (texts.text(f"{folder}/{label}") for label in _label_files(channel))
        label = plain_name(next(filter(None, labels), None), channel)
        name = plain_name(f"hwmon.{owner}.{label}", channel, names)
        names.append(name)
        energy = channel.startswith("energy")
        quantity: Quantity = "energy_mj" if energy else "power_mw"
        if texts.is_kept(path):
            missing.append(Gap(name, quantity, texts.why_not(path), texts.how_to_read(path)))
            continue
        method = f"{file} of the hardware monitor {owner}, {label}; what it feeds isn't known"
        form: Form = "counter" if energy else "gauge"
        sensors.append(Sensor(name, quantity, tree.path(path), _PER_MICRO, 10.0, method, form=form))
    return Discovery(tuple(sensors), tuple(missing))


def _label_files(channel: str) -> tuple[str, ...]:
    """Returns the files that may label a channel; a chip with a single input (INA2xx) labels its voltage."""
    number = channel.removeprefix("power")
    return (f"{channel}_label", f"in{number}_label") if number.isdecimal() else (f"{channel}_label",)


_RAPL_FOLDER = "sys/class/powercap"
_MJ_PER_UJ = 1e-3
_REMEDY = "run as root, or let your group read the energy_uj files (chgrp and chmod g+r, or a udev rule)"


def rapl_sensors(tree: Tree) -> Discovery:
    """Returns a counter for each domain, in millijoules.

    `psys`, the whole platform, is the total if it exists; otherwise the sum of the packages is, unless one can't be
    read (board and disks are then missing, as `method` says). Domains within a package (core, uncore) are not added:
    the package includes them.
    """
    domains = tree.names(_RAPL_FOLDER, r"intel-rapl(:\d+)+") or tree.names(_RAPL_FOLDER, r"intel-rapl-mmio(:\d+)+")
    if not domains:
        reason = (
            f"no RAPL domain in /{_RAPL_FOLDER}, which is usual in a virtual machine and on processors other than x86"
        )
        return Discovery(unavailable=(Gap("rapl", "energy_mj", reason),))
    texts = tree.read(
        f"{_RAPL_FOLDER}/{domain}/{file}" for domain in domains for file in ("name", "energy_uj", "max_energy_range_uj")
    )
    sensors: list[Sensor] = []
    missing: list[Gap] = []
    names: list[str] = []
    for domain in domains:
        name = _name(texts, domain, names)
        names.append(name)
        found = _sensor(tree, texts, domain, name)
        if isinstance(found, Sensor):
            sensors.append(found)
        else:
            missing.append(found)
    return Discovery(_with_total(sensors, missing), tuple(missing))


def _name(texts: Texts, domain: str, names: list[str]) -> str:
    """`rapl.package-0`, and `rapl.package-0.core` for a domain within it."""
    parent = domain.rpartition(":")[0]
    own = plain_name(texts.text(f"{_RAPL_FOLDER}/{domain}/name"), domain.replace(":", "-"))
    above = texts.text(f"{_RAPL_FOLDER}/{parent}/name")
    return plain_name(f"rapl.{plain_name(above, parent)}.{own}" if above else f"rapl.{own}", domain, names)


def _sensor(tree: Tree, texts: Texts, domain: str, name: str) -> Sensor | Gap:
    energy, wrap = f"{_RAPL_FOLDER}/{domain}/energy_uj", f"{_RAPL_FOLDER}/{domain}/max_energy_range_uj"
    if texts.number(energy) is None:
        return Gap(name, "energy_mj", texts.why_not(energy), _REMEDY)
    range_uj = texts.number(wrap)
    if not range_uj or range_uj < 0:
        # Without the range, a wrap would look like a huge negative energy.
        return Gap(name, "energy_mj", texts.why_not(wrap) if range_uj is None else f"/{wrap} reads {range_uj:g}")
    method = f"RAPL counter of the domain {name.removeprefix('rapl.')}, refreshed about every 1 ms"
    return Sensor(
        name,
        "energy_mj",
        tree.path(energy),
        _MJ_PER_UJ,
        10.0,
        method,
        form="counter",
        counter_range=range_uj * _MJ_PER_UJ,
    )


def _with_total(sensors: list[Sensor], missing: list[Gap]) -> tuple[Sensor, ...]:
    if any(_is_domain(sensor.name, "psys") for sensor in sensors):
        prefix, extent = "psys", "the whole platform"
    elif any(_is_domain(gap.name, "package-") for gap in missing):
        return tuple(sensors)  # a sum over some of the packages is not a total
    else:
        prefix, extent = "package-", "processor package only, not the board"
    return tuple(
        replace(sensor, total=True, method=f"{sensor.method}; {extent}") if _is_domain(sensor.name, prefix) else sensor
        for sensor in sensors
    )


def _is_domain(name: str, beginning: str) -> bool:
    """Returns whether a sensor's name is that of a top-level domain."""
    return name.startswith(f"rapl.{beginning}") and name.count(".") == 1


_ODPM_FOLDER = "sys/bus/iio/devices"
_LINE = re.compile(r"CH\d{1,3}\(T=\d{1,20}\)\[([A-Za-z0-9_:.-]{1,40})\], *\d{1,20}", re.ASCII)
# Rails that computing depends on: cores, memory and its interface, graphics.
_COMPUTE_RAILS = re.compile(r"CPU|CPUCL|DDR|MIF|GPU|TPU")
_MOST_RAILS = 8
_PERIOD_S = 0.2
_MJ_PER_UWS = 1e-3
# Prints what follows "[RAIL]," on its line, in plain shell.
_LOOP = (
    'while :; do while IFS= read -r line; do case $line in *"[$2], "*) echo "${line##*, }";; esac; '
    'done < "$1" || exit; sleep "$0"; done'
)


def odpm_sensors(tree: Tree) -> Discovery:
    """Returns a counter for each rail that computing depends on; none without a readable monitor."""
    devices = tree.names(_ODPM_FOLDER, r"iio:device\d+")
    texts = tree.read(f"{_ODPM_FOLDER}/{device}/{file}" for device in devices for file in ("name", "energy_value"))
    sensors: list[Sensor] = []
    for device in devices:
        path = f"{_ODPM_FOLDER}/{device}/energy_value"
        if not (texts.text(f"{_ODPM_FOLDER}/{device}/name") or "").endswith("-odpm"):
            continue
        for rail in _LINE.findall(texts.text(path) or ""):
            if _COMPUTE_RAILS.search(rail) and len(sensors) < _MOST_RAILS:
                sensors.append(_odpm_sensor(tree.path(path), rail, [sensor.name for sensor in sensors]))
    return Discovery(tuple(sensors))


def _odpm_sensor(path: str, rail: str, names: list[str]) -> Sensor:
    return Sensor(
        plain_name(f"odpm.{rail}", "odpm", names),
        "energy_mj",
        "",
        _MJ_PER_UWS,
        1 / _PERIOD_S,
        f"on-device power monitor, rail {rail}; a part of the device's power only",
        form="counter",
        command=("sh", "-c", _LOOP, f"{_PERIOD_S:g}", path, rail),
    )
