"""`suite plugins`: lists what other packages add to the suite, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from foundation.plugins import GROUPS, Plugin, Registry, plugins
from suite.cli.output import TextTable, print_json, print_line, print_table
from suite.errors import ExitCode

_REGISTRIES: Mapping[str, tuple[str, str]] = {
    "kinds": ("devices.kinds.kind", "KINDS"),
    "transports": ("devices.access.connect", "TRANSPORTS"),
    "sensors": ("devices.sensors.own", "SENSORS"),
    "methods": ("workloads.method", "METHOD_TABLE"),
    "families": ("workloads.models.families", "FAMILIES"),
    "tasks": ("workloads.tasks.source", "TASKS"),
    "reporters": ("suite.cli.results.report", "REPORTERS"),
}
"""The module that uses each group; imported only if there is a plugin for it."""


@click.command("plugins")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def list_plugins(as_json: bool) -> int:
    """List what other packages add to the suite, each imported to see whether it can be used; docs/plugins.md.

    The exit code is 2 if one can't be used; commands that don't need it run without it.

    \b
    suite plugins
    """
    found = [(one, _problem(one)) for group in GROUPS for one in plugins(group)]
    if as_json:
        print_json({"plugins": [_document(one, problem) for one, problem in found]})
    elif not found:
        print_line("no installed package adds anything to the suite; docs/plugins.md explains how one does")
    else:
        _print(found)
    return ExitCode.USAGE if any(problem for _, problem in found) else ExitCode.OK


def _problem(plugin: Plugin) -> str | None:
    module, attribute = _REGISTRIES[plugin.group]
    registry: Registry[Any] = getattr(import_module(module), attribute)
    return registry.problem_of(plugin)


def _document(plugin: Plugin, problem: str | None) -> dict[str, str | None]:
    return {
        "what": GROUPS[plugin.group],
        "name": plugin.name,
        "package": plugin.package,
        "version": plugin.version,
        "target": plugin.target,
        "problem": problem,
    }


def _print(found: list[tuple[Plugin, str | None]]) -> None:
    table = TextTable(pads=True)
    for name in ("what", "name", "package", "from"):
        table.add_column(name)
    for one, problem in found:
        table.add_texts([GROUPS[one.group], one.name, one.origin, f"{one.target}{' (unusable)' if problem else ''}"])
    print_table(table)
    for _, problem in found:
        if problem:
            print_line(problem)
