"""Sensors that the inventory defines (`sensors:`), including those of plugins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from devices.errors import DeviceError
from devices.inventory.entry import DeviceEntry
from devices.inventory.own_sensors import OwnSensor
from devices.sensors.reading import Tree, ask, first_number, looped
from devices.sensors.spec import Discovery, Gap, Sensor, with_chosen_total
from foundation.plugins import PluginError, Registry, require_callable
from foundation.text import printable

Options: TypeAlias = Mapping[str, bool | int | float | str]
FindSensors: TypeAlias = Callable[[Tree, str, Options], Discovery]
"""A plugin's function; it takes the device's files, the name in the inventory and its options (docs/plugins.md)."""


def _accept(name: str, loaded: object) -> FindSensors:
    found: Any = require_callable(name, loaded)
    return found  # type: ignore[no-any-return] # its result is checked when it is called


SENSORS: Registry[FindSensors] = Registry("sensors", {}, _accept)
"""Plugins' sensors by name; the suite's own belong to kinds of devices."""


def power_is_own(entry: DeviceEntry) -> bool:
    """Returns whether the inventory itself defines the sensor that measures the whole device."""
    return entry.power is not None and entry.power.sensor in entry.sensors


def with_own_sensors(tree: Tree, found: Discovery, entry: DeviceEntry) -> Discovery:
    """Adds the sensors that a device's entry defines to those that its kind has found."""
    if not entry.sensors:
        return found
    for name, source in entry.sensors.items():
        found += _without_taken(_own(tree, name, source), {sensor.name for sensor in found.sensors})
    return with_chosen_total(found, entry.power) if power_is_own(entry) else found


def _own(tree: Tree, name: str, source: OwnSensor) -> Discovery:
    if source.plugin is not None:
        return _of_plugin(tree, name, source.plugin, source.options)
    problem = _problem_of_file(tree, source) if source.file is not None else _problem_of_command(tree, source)
    if problem is not None:
        return Discovery(unavailable=(Gap(name, source.read_as, *problem),))
    factor = source.scale * source.per_unit
    sensor = Sensor(
        name,
        source.read_as,
        "" if source.file is None else tree.path(source.file.lstrip("/")),
        factor,
        1.0 / source.every_s,
        _method(source),
        field=source.field,
        times=None if source.times is None else tree.path(source.times.lstrip("/")),
        form="counter" if source.quantity == "energy" else "gauge",
        counter_range=None if source.wraps_at is None else source.wraps_at * source.per_unit,
        command=_command(source),
        plausible=None
        if source.range is None
        else (source.range[0] * source.per_unit, source.range[1] * source.per_unit),
    )
    return Discovery((sensor,))


def _method(source: OwnSensor) -> str:
    place = source.file if source.command is None else f"`{' '.join(source.command)}`"
    times = "" if source.times is None else f" times {source.times}"
    scale = "" if source.scale == 1 else f", times {source.scale:g}"
    return printable(
        f"{place}{times}{scale}, in {source.unit}, every {source.every_s:g} s, as defined in the inventory", 300
    )


def _command(source: OwnSensor) -> tuple[str, ...] | None:
    if source.command is None or source.stream:
        return source.command
    return looped(source.command, source.every_s)


def _problem_of_file(tree: Tree, source: OwnSensor) -> tuple[str, str | None] | None:
    """Returns why the files can't be read and what to do, None if they can."""
    paths = [path.lstrip("/") for path in (source.file, source.times) if path is not None]
    texts = tree.read(paths)
    for path in paths:
        text = texts.text(path)
        if text is None:
            return texts.why_not(path), texts.how_to_read(path) or "correct its `sensors` in the inventory"
        if path == paths[0] and source.field is not None:
            if not _has_line(text, source.field):
                return f"/{path} has no line with a number after {source.field!r}", "correct its `field`"
        elif texts.number(path) is None:
            return texts.why_not(path), "name a file that starts with a number, or the `field` before the number"
    return None


def _problem_of_command(tree: Tree, source: OwnSensor) -> tuple[str, str | None] | None:
    if source.stream:
        return None  # it doesn't end; the runner reports one without output
    answer = ask(tree, source.command or ())
    if answer.text is None:
        return answer.why_not, "run it by hand on the device, and correct its `command`"
    if not _has_line(answer.text, source.field or ""):
        what = (
            "prints no line that starts with a number"
            if not source.field
            else f"prints no number after {source.field!r}"
        )
        return f"{printable((source.command or ('',))[0], 60)} {what}", "make it print one number per line"
    return None


def _has_line(text: str, field: str) -> bool:
    return any(
        first_number(line.removeprefix(field).lstrip(" \t:=")) is not None
        for line in text.splitlines()
        if line.startswith(field)
    )


def _of_plugin(tree: Tree, name: str, plugin: str, options: Options) -> Discovery:
    try:
        find = SENSORS[plugin]
    except KeyError:
        known = ", ".join(SENSORS) or "none"
        reason = f"no plugin {printable(plugin, 60)!r} is installed (plugins' sensors: {known})"
        return _lacking(name, reason, "install its package, or correct `plugin`; `suite plugins` lists them")
    except PluginError as error:
        return _lacking(name, str(error), "see `suite plugins`")
    try:
        found: object = find(tree, name, options)
    except DeviceError:
        raise
    except Exception as error:  # noqa: BLE001 - somebody else's code: its sensor is missing, the device is measured
        return _lacking(name, f"{SENSORS.origin_of(plugin)} failed ({type(error).__name__}: {error})", None)
    if not isinstance(found, Discovery):
        return _lacking(name, f"{SENSORS.origin_of(plugin)} returned a {type(found).__name__}, not a Discovery", None)
    return found


def _lacking(name: str, reason: str, remedy: str | None) -> Discovery:
    return Discovery(unavailable=(Gap(name, "unknown", printable(reason), remedy),))


def _without_taken(own: Discovery, taken: set[str]) -> Discovery:
    """Returns the sensors whose names are free, as the runner identifies sensors by name."""
    twice = [
        Gap(one.name, one.quantity, "the device already has a sensor of this name", "give it another name")
        for one in own.sensors
        if one.name in taken
    ]
    free = tuple(one for one in own.sensors if one.name not in taken)
    return Discovery(free, (*own.unavailable, *twice))
