"""What the shell offers where a command takes a device, a model, a run, a series or a training.

A key press waits for it and must change nothing: the inventory is only read, the store by plain SQL, since opening it
takes longer and brings a store of an earlier version up to date. Whatever can't be read offers nothing.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from foundation.errors import UserError
from suite.home import Home

_BUSY_TIMEOUT_S = 0.2
_MOST = 500

_RUNS = "SELECT id, purpose || ', ' || status FROM run ORDER BY id DESC LIMIT ?"
_TAGS = """SELECT name, 'tag of ' || run_id FROM tag
    WHERE run_id IS NOT NULL AND id IN (SELECT max(id) FROM tag GROUP BY name) ORDER BY id DESC LIMIT ?"""
_SERIES = """SELECT DISTINCT device_name || '/' || workload_key || '/' || metric, '' FROM series
    ORDER BY 1 LIMIT ?"""
_FINDINGS = """SELECT key, state FROM finding WHERE id IN (SELECT max(id) FROM finding GROUP BY key)
    ORDER BY id DESC LIMIT ?"""
_TRAININGS = "SELECT id, status FROM training ORDER BY id DESC LIMIT ?"


def complete_device(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offers the devices of the inventory."""
    return _starting(incomplete, _devices(context))


def complete_devices(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offers what selects devices: names, groups and kinds, also behind a comma."""
    before, comma, last = incomplete.rpartition(",")
    devices = _devices(context)
    kinds = {f"kind:{kind}": "every device of this kind" for kind in devices.values()}
    groups = dict.fromkeys(_inventory(context, "groups"), "group")
    offered = {**devices, **groups, "all": "every device", **kinds}
    taken = set(before.split(","))
    return [
        CompletionItem(f"{before}{comma}{item.value}", help=item.help)
        for item in _starting(last, offered)
        if item.value not in taken
    ]


def complete_model(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offers named models, and files where none is meant."""
    from workloads.models.named import ZOO  # takes longer than completing the name of an option

    found = _starting(incomplete, dict.fromkeys(ZOO, "named model"))
    return found or [CompletionItem(incomplete, type="file")]


def complete_peers(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offers peers, also behind a comma."""
    from suite.peers.peer import PEERS  # takes longer than completing the name of an option

    before, comma, last = incomplete.rpartition(",")
    offered = {name: f"{peer.work}, {peer.dtype}" for name, peer in PEERS.items() if name not in before.split(",")}
    return [CompletionItem(f"{before}{comma}{item.value}", help=item.help) for item in _starting(last, offered)]


def complete_reporter(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offers the suite's reporters and those of plugins."""
    from foundation.plugins import plugins  # takes a look at all packages

    own = {"openmetrics": "for Prometheus", "pytorch": "for PyTorch's benchmark database"}
    return _starting(incomplete, {**own, **{one.name: one.origin for one in plugins("reporters")}})


def complete_run(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offers runs: by their tags, as the latest and the one before, and by their ids."""
    named = {"latest": "newest run", "previous": "the run before it"}
    return _starting(incomplete, {**_rows(context, _TAGS), **named, **_rows(context, _RUNS)})


def complete_runs(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offers the same, and all of them."""
    return [*_starting(incomplete, {"all": "every run"}), *complete_run(context, parameter, incomplete)]


def complete_tag(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offers the tags there are."""
    return _starting(incomplete, _rows(context, _TAGS))


def complete_series(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offers series, by their whole names."""
    return _starting(incomplete, _rows(context, _SERIES))


def complete_remarkable(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offers findings, series and runs."""
    found = _starting(incomplete, _rows(context, _FINDINGS))
    return [*found, *complete_series_or_run(context, parameter, incomplete)]


def complete_finding_or_device(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offers findings, the newest first, and devices."""
    return _starting(incomplete, {**_rows(context, _FINDINGS), **_devices(context)})


def complete_series_or_run(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offers both."""
    return [*complete_run(context, parameter, incomplete), *complete_series(context, parameter, incomplete)]


def complete_profile(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offers the profiles that are kept, the latest of them, and their list."""
    known = dict.fromkeys(Home.locate(_path(context)).profile_ids()[-_MOST:], "profile")
    return _starting(incomplete, {"latest": "the newest profile", "list": "their ids", **known})


def complete_experiment(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offers the experiments there are, and their list."""
    from suite.experiments import EXPERIMENTS  # no more than their names

    return _starting(incomplete, {**dict.fromkeys(EXPERIMENTS, "experiment"), "list": "what there is"})


def complete_training(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offers trainings."""
    return _starting(incomplete, _rows(context, _TRAININGS))


def _starting(incomplete: str, offered: dict[str, str]) -> list[CompletionItem]:
    return [CompletionItem(name, help=text) for name, text in offered.items() if name.startswith(incomplete)]


def _path(context: click.Context) -> Path:
    return Path(context.params.get("inventory_path") or "inventory.yaml")


def _devices(context: click.Context) -> dict[str, str]:
    """Returns the kind of each device."""
    return {name: entry.kind for name, entry in _inventory(context, "devices").items()}


def _inventory(context: click.Context, section: str) -> dict[str, Any]:
    from devices.inventory.inventory_file import load  # reading YAML, which other words don't need

    with contextlib.suppress(UserError, OSError):
        return dict(getattr(load(_path(context)), section))
    return {}


def _rows(context: click.Context, statement: str) -> dict[str, str]:
    with contextlib.suppress(UserError, OSError, sqlite3.Error):
        root = Home.locate(_path(context)).root  # its store, without making the folder
        with contextlib.closing(_open(root / "store.sqlite")) as connection:
            rows: Iterable[tuple[str, str]] = connection.execute(statement, (_MOST,))
            return dict(rows)
    return {}


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=_BUSY_TIMEOUT_S)
