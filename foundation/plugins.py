"""Plugins: what other packages add to the suite by entry points (docs/plugins.md).

They are found by their metadata, and imported only when something of theirs is requested by name. A broken plugin is an
error only for commands that request it.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Generic, TypeVar

from foundation.errors import UserError
from foundation.text import printable

GROUPS: Mapping[str, str] = MappingProxyType(
    {
        "kinds": "kind of device",
        "transports": "transport",
        "sensors": "sensor",
        "methods": "method",
        "families": "model family",
        "tasks": "task",
        "reporters": "reporter",
    }
)
"""What can be added, and the word for it. An entry point's group is `edge_training_suite.` plus the key here."""

_PREFIX = "edge_training_suite."
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_T = TypeVar("_T")


class PluginError(UserError):
    """A plugin can't be used: one sentence with its package, its version and what to do."""


@dataclass(frozen=True)
class Plugin:
    """An entry point of an installed package. `target` is what it refers to, `module:attribute`."""

    group: str
    name: str
    target: str
    package: str
    version: str
    entry: EntryPoint = field(repr=False, compare=False)

    @property
    def origin(self) -> str:
        """The package with its version."""
        return f"{self.package} {self.version}"

    def error(self, problem: str) -> PluginError:
        """Returns the error that it can't be used because of `problem`."""
        return PluginError(
            f"The {GROUPS[self.group]} {self.name!r} of the plugin {self.origin} can't be used: "
            f"{printable(problem, 200)}; update it, or remove it with `pip uninstall {self.package}`."
        )


@functools.lru_cache(maxsize=len(GROUPS))
def plugins(group: str) -> tuple[Plugin, ...]:
    """Returns the installed plugins of a group by name; imports none of them."""
    found = [
        Plugin(group, printable(one.name, 80), printable(one.value, 200), *_origin(one), one)
        for one in entry_points(group=f"{_PREFIX}{group}")
    ]
    return tuple(sorted(found, key=lambda one: (one.name, one.package)))


def _origin(entry: EntryPoint) -> tuple[str, str]:
    package = entry.dist
    return ("?", "?") if package is None else (printable(package.name, 80), printable(package.version, 40))


class Registry(Mapping[str, _T], Generic[_T]):
    """The suite's own entries of a group by name, then those of plugins.

    `accept` takes a plugin's name and the object of its entry point; it returns the entry, or raises TypeError or
    ValueError with the reason why it isn't valid. Looking up a plugin raises PluginError if it can't be imported, is
    refused, or has the same name as another. The suite's own entries take precedence over plugins of the same name;
    `problem_of` reports such plugins.
    """

    def __init__(self, group: str, own: Mapping[str, _T], accept: Callable[[str, object], _T]) -> None:
        self.group = group
        self.own = MappingProxyType(dict(own))
        self._accept = accept
        self._loaded: dict[Plugin, _T] = {}

    def __getitem__(self, name: str) -> _T:
        if name in self.own:
            return self.own[name]
        found = [one for one in plugins(self.group) if one.name == name]
        if not found:
            raise KeyError(name)
        if found[0] not in self._loaded:
            if problem := self._name_problem(found[0]):
                raise found[0].error(problem)
            self._loaded[found[0]] = self._load(found[0])
        return self._loaded[found[0]]

    def __contains__(self, name: object) -> bool:
        return name in self.own or any(one.name == name for one in plugins(self.group))

    def __iter__(self) -> Iterator[str]:
        yield from dict.fromkeys([*self.own, *(one.name for one in plugins(self.group))])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def usable(self, name: str) -> _T | None:
        """Returns the entry of that name; None if there is none, or if it is a broken plugin's."""
        try:
            return self.get(name)
        except PluginError:
            return None

    @contextlib.contextmanager
    def running(self, name: str, *allowed: type[Exception]) -> Iterator[None]:
        """Turns what a plugin's code raises within the block into a PluginError, except UserError and `allowed`."""
        try:
            yield
        except UserError:
            raise
        except allowed:
            raise
        except Exception as error:
            found = next((one for one in plugins(self.group) if one.name == name and name not in self.own), None)
            if found is None:
                raise
            raise found.error(f"it failed with {type(error).__name__}: {error}") from error

    def origin_of(self, name: str) -> str | None:
        """Returns the package and version that an entry comes from; None for the suite's own."""
        found = () if name in self.own else plugins(self.group)
        return next((one.origin for one in found if one.name == name), None)

    def problem_of(self, plugin: Plugin) -> str | None:
        """Imports a plugin of this group; returns why it can't be used, None if it can."""
        if problem := self._name_problem(plugin):
            return str(plugin.error(problem))
        try:
            self._load(plugin)
        except PluginError as error:
            return str(error)
        return None

    def _name_problem(self, plugin: Plugin) -> str | None:
        if not _NAME.fullmatch(plugin.name):
            return "its name is not 1 to 64 letters, digits, `.`, `_` or `-` that start with a letter or digit"
        if plugin.name in self.own:
            return "the suite itself has one with this name"
        others = [one.origin for one in plugins(self.group) if one.name == plugin.name and one != plugin]
        return f"the plugin {' and '.join(others)} has one with this name, too" if others else None

    def _load(self, plugin: Plugin) -> _T:
        try:
            loaded: object = plugin.entry.load()
        except (Exception, SystemExit) as error:  # somebody else's code, which may raise anything
            raise plugin.error(f"{plugin.target} can't be imported ({type(error).__name__}: {error})") from error
        try:
            return self._accept(plugin.name, loaded)
        except (TypeError, ValueError) as error:
            raise plugin.error(f"{plugin.target} {error}") from error


def require_callable(name: str, loaded: object) -> object:
    """Returns a plugin's object unchanged. Raises TypeError unless it can be called."""
    del name
    if not callable(loaded):
        raise TypeError(f"is of type {type(loaded).__name__}, and should be a function")
    return loaded
