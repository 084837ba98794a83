"""The table at the end of a run: device x setting, in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

_MARKS = {"ok": "✓", "unstable": "~", "unsupported": "–", "partial": "!", "failed": "✗", "invalid": "✗"}


def results_table(measurements: Sequence[Mapping[str, Any]]) -> Table:
    """Latency with its interval, peak memory, energy per step and ratio to the reference setting, one row a setting."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("device")
    table.add_column("setting")
    for name in ("step ms", "95 % interval", "peak MiB", "program MB", "energy mJ/step", "ratio to fp32"):
        table.add_column(name, justify="right")
    table.add_column("status")
    for document in measurements:
        table.add_row(*(escape(cell) for cell in _row(document)))
    return table


def reasons(measurements: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each measurement that is not simply ok, and one for each device whose energy is unavailable."""
    lines = [
        f"{document['device']} {document['workload']['quant']}: {document['status']}: {document['reason']}"
        for document in measurements
        if document["reason"]
    ]
    energy = {
        f"{document['device']}: energy is unavailable: {document['energy_mj_per_step']['unavailable']}": None
        for document in measurements
        if "unavailable" in document["energy_mj_per_step"] and document["status"] in ("ok", "unstable")
    }
    return [*lines, *energy]


def _row(document: Mapping[str, Any]) -> list[str]:
    latency, status = document["latency_ms"], str(document["status"])
    return [
        str(document["device"]),
        str(document["workload"]["quant"]),
        _number(latency, "median", "{:.0f}"),
        _interval(latency.get("ci95")),
        "-" if _missing(document["peak_memory_kib"]) else f"{document['peak_memory_kib'] / 1024:.0f}",
        "-" if _missing(document["program_bytes"]) else f"{document['program_bytes'] / 1e6:.0f}",
        _number(document["energy_mj_per_step"], "gross", "{:.0f}"),
        _number(document["ratio_to_reference"].get("latency", {}), "ratio", "{:.2f}"),
        f"{_MARKS.get(status, '?')} {status}",
    ]


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, Mapping) and "unavailable" in value)


def _number(value: Mapping[str, Any], key: str, form: str) -> str:
    return form.format(value[key]) if key in value and not _missing(value[key]) else "-"


def _interval(value: Any) -> str:
    return f"{value[0]:.0f} – {value[1]:.0f}" if isinstance(value, Sequence) and len(value) == 2 else "-"
