"""A fan whose speed is in a file."""

from __future__ import annotations

from devices.inventory.own_sensors import own_quantity
from devices.sensors.own import Options
from devices.sensors.reading import Tree
from devices.sensors.spec import Discovery, Gap, Sensor


def find_fan(tree: Tree, name: str, options: Options) -> Discovery:
    path, rpm = str(options["file"]).lstrip("/"), own_quantity("rpm")
    texts = tree.read([path])
    if texts.number(path) is None:
        return Discovery(unavailable=(Gap(name, rpm, texts.why_not(path), "switch the fan on"),))
    return Discovery((Sensor(name, rpm, tree.path(path), 1.0, 10.0, "Acme's fan, ten times a second"),))
