"""A task: tickets that are urgent or can wait."""

from __future__ import annotations

from pathlib import Path

from workloads.tasks.source import Notify, TaskFiles

_HERE = Path(__file__).parent


def find_tickets(notify: Notify) -> TaskFiles:
    del notify  # nothing is fetched
    return TaskFiles(_HERE / "tickets.tsv", _HERE / "tickets.yaml")
