"""RAPL: energy counters of x86 processors through powercap (Documentation/power/powercap/powercap.rst).

`energy_uj` grows and wraps to 0 after `max_energy_range_uj`. Since 2020 only root may read it (CVE-2020-8694).
"""

from __future__ import annotations

from dataclasses import replace

from devices.sensors.spec import Discovery, Gap, Sensor
from devices.sensors.tree import Texts, Tree, plain_name

_FOLDER = "sys/class/powercap"
_MJ_PER_UJ = 1e-3
_REMEDY = "run as root, or let your group read the energy_uj files (chgrp and chmod g+r, or a udev rule)"


def rapl_sensors(tree: Tree) -> Discovery:
    """One counter per domain, in millijoules.

    `psys` is the whole platform and then the total; else the packages are, each a part of it (board and disks are not
    in it, as their `method` says), unless one of them can't be read. Domains within a package (core, uncore) are no
    part of the total: they are in the package already.
    """
    domains = tree.names(_FOLDER, r"intel-rapl(:\d+)+") or tree.names(_FOLDER, r"intel-rapl-mmio(:\d+)+")
    if not domains:
        reason = f"no RAPL domain in /{_FOLDER}, as is usual in a virtual machine and on processors other than x86"
        return Discovery(unavailable=(Gap("rapl", "energy_mj", reason),))
    texts = tree.read(
        f"{_FOLDER}/{domain}/{file}" for domain in domains for file in ("name", "energy_uj", "max_energy_range_uj")
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


def _name(texts: Texts, domain: str, taken: list[str]) -> str:
    """`rapl.package-0`, and `rapl.package-0.core` for a domain within it."""
    parent = domain.rpartition(":")[0]
    own = plain_name(texts.text(f"{_FOLDER}/{domain}/name"), domain.replace(":", "-"))
    above = texts.text(f"{_FOLDER}/{parent}/name")
    return plain_name(f"rapl.{plain_name(above, parent)}.{own}" if above else f"rapl.{own}", domain, taken)


def _sensor(tree: Tree, texts: Texts, domain: str, name: str) -> Sensor | Gap:
    energy, wrap = f"{_FOLDER}/{domain}/energy_uj", f"{_FOLDER}/{domain}/max_energy_range_uj"
    if texts.number(energy) is None:
        return Gap(name, "energy_mj", texts.why_not(energy), _REMEDY)
    range_uj = texts.number(wrap)
    if not range_uj or range_uj < 0:
        # Without the range a wrap would look like a huge negative energy, or be guessed.
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
        wanted, extent = "psys", "the whole platform"
    elif any(_is_domain(gap.name, "package-") for gap in missing):
        return tuple(sensors)  # the sum over some of the packages would be no total
    else:
        wanted, extent = "package-", "processor package only, not the board"
    return tuple(
        replace(sensor, total=True, method=f"{sensor.method}; {extent}") if _is_domain(sensor.name, wanted) else sensor
        for sensor in sensors
    )


def _is_domain(name: str, beginning: str) -> bool:
    """Whether a sensor's name is that of a top-level domain."""
    return name.startswith(f"rapl.{beginning}") and name.count(".") == 1
