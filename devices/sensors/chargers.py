"""Is a charger plugged in? Then the battery's gauge doesn't show what the device draws.

Documentation/ABI/testing/sysfs-class-power: supplies of the types Mains, USB and Wireless have `online`, which is 0
without a source.
"""

from __future__ import annotations

from dataclasses import dataclass

from devices.sensors.programs import Told, ask, find_program
from devices.sensors.spec import Discovery, Gap, Sensor
from devices.sensors.tree import Tree, plain_name

_FOLDER = "sys/class/power_supply"
_TYPES = ("Mains", "USB", "Wireless")
_COUNT_PLUGGED = (
    'while :; do out=$("$1" battery) || exit; printf "%s\\n" "$out" | grep -c "powered: true"; sleep "$0"; done'
)
_DUMPSYS_PERIOD_S = 5.0


@dataclass(frozen=True)
class Chargers:
    """The chargers of a device: those that are plugged in now, and the sensors that will see one come."""

    plugged: tuple[str, ...]
    sensors: Discovery

    @property
    def is_plugged(self) -> bool | None:
        """Whether one is; None where the device doesn't tell."""
        return bool(self.plugged) if self.sensors.sensors else None


def all_chargers(tree: Tree) -> Chargers:
    """From the kernel where it lets us look, else from Android's battery service."""
    found = chargers_in(tree)
    if found.sensors.sensors:
        return found
    dumpsys = find_program(tree, "dumpsys")
    return found if dumpsys is None else chargers_of_android(dumpsys, ask(tree, [dumpsys, "battery"]))


def chargers_in(tree: Tree) -> Chargers:
    """The supplies of the kernel that are no batteries."""
    supplies = tree.names(_FOLDER)
    texts = tree.read(f"{_FOLDER}/{supply}/{file}" for supply in supplies for file in ("type", "online"))
    plugged: list[str] = []
    sensors: list[Sensor] = []
    names: list[str] = []
    for supply in supplies:
        path = f"{_FOLDER}/{supply}/online"
        online = texts.number(path)
        if not (texts.text(f"{_FOLDER}/{supply}/type") or "").startswith(_TYPES) or online is None:
            continue
        name = plain_name(f"charger.{supply}", "charger", names)
        names.append(name)
        if online:
            plugged.append(name.removeprefix("charger."))
        method = "1 while a source is plugged in, from the kernel's power_supply class"
        sensors.append(Sensor(name, "chargers", tree.path(path), 1.0, 1.0, method))
    return Chargers(tuple(plugged), Discovery(tuple(sensors)))


def chargers_of_android(dumpsys: str, told: Told) -> Chargers:
    """The same from `dumpsys battery`, for phones that don't let the shell read the kernel's files."""
    if told.text is None:
        return Chargers((), Discovery(unavailable=(Gap("charger", "chargers", told.why_not),)))
    lines = [line.strip() for line in told.text.splitlines()]
    plugged = tuple(line.partition(" powered:")[0] for line in lines if line.endswith("powered: true"))
    sensor = Sensor(
        "charger",
        "chargers",
        "",
        1.0,
        1 / _DUMPSYS_PERIOD_S,
        "sources plugged in, counted in `dumpsys battery`",
        command=("sh", "-c", _COUNT_PLUGGED, f"{_DUMPSYS_PERIOD_S:g}", dumpsys),
    )
    return Chargers(plugged, Discovery((sensor,)))
