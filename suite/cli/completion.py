"""Completes devices, models, runs, series and trainings in the shell.

A key press waits for the answer and must change nothing. So the inventory is only read, and the store is queried by
plain SQL: opening it properly takes longer and would upgrade a store of an earlier version. What can't be read is
not offered.
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
    """Offers what selects devices: names, groups and kinds, also after a comma."""
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
    """Offers named models, or files if none of them matches."""
    from workloads.models.named import ZOO  # takes longer than completing the name of an option

    found = _starting(incomplete, dict.fromkeys(ZOO, "named model"))
    return found or [CompletionItem(incomplete, type="file")]


def complete_peers(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offers peers, also after a comma."""
    from suite.peers.peer import PEERS  # takes longer than completing the name of an option

    before, comma, last = incomplete.rpartition(",")
    offered = {name: f"{peer.work}, {peer.dtype}" for name, peer in PEERS.items() if name not in before.split(",")}
    return [CompletionItem(f"{before}{comma}{item.value}", help=item.help) for item in _starting(last, offered)]


def complete_reporter(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offers the suite's reporters and those of plugins."""
    from foundation.plugins import plugins  # searches all installed packages

    own = {"openmetrics": "for Prometheus", "pytorch": "for PyTorch's benchmark database"}
    return _starting(incomplete, {**own, **{one.name: one.origin for one in plugins("reporters")}})


def complete_run(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offers runs: by tag, as `latest` and `previous`, and by id."""
    named = {"latest": "newest run", "previous": "the run before it"}
    return _starting(incomplete, {**_rows(context, _TAGS), **named, **_rows(context, _RUNS)})


def complete_runs(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offers runs, and `all`."""
    return [*_starting(incomplete, {"all": "every run"}), *complete_run(context, parameter, incomplete)]


def complete_tag(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offers the existing tags."""
    return _starting(incomplete, _rows(context, _TAGS))


def complete_series(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offers series, by their full names."""
    return _starting(incomplete, _rows(context, _SERIES))


def complete_remarkable(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offers findings, series and runs."""
    found = _starting(incomplete, _rows(context, _FINDINGS))
    return [*found, *complete_series_or_run(context, parameter, incomplete)]


def complete_finding_or_device(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offers findings, newest first, and devices."""
    return _starting(incomplete, {**_rows(context, _FINDINGS), **_devices(context)})


def complete_series_or_run(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offers series and runs."""
    return [*complete_run(context, parameter, incomplete), *complete_series(context, parameter, incomplete)]


def complete_profile(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offers the stored profiles, `latest` and `list`."""
    known = dict.fromkeys(Home.locate(_path(context)).profile_ids()[-_MOST:], "profile")
    return _starting(incomplete, {"latest": "the newest profile", "list": "their ids", **known})


def complete_experiment(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offers the experiments and `list`."""
    from suite.experiments import EXPERIMENTS  # only their names

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
    from devices.inventory.inventory_file import load  # loads YAML, which other completions don't need

    with contextlib.suppress(UserError, OSError):
        return dict(getattr(load(_path(context)), section))
    return {}


def _rows(context: click.Context, statement: str) -> dict[str, str]:
    with contextlib.suppress(UserError, OSError, sqlite3.Error):
        root = Home.locate(_path(context)).root  # does not create the folder
        with contextlib.closing(_open(root / "store.sqlite")) as connection:
            rows: Iterable[tuple[str, str]] = connection.execute(statement, (_MOST,))
            return dict(rows)
    return {}


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=_BUSY_TIMEOUT_S)
