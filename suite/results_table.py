"""The table at the end of a run: device x setting, in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from suite.shown import rounded

_MARKS = {"ok": "✓", "unstable": "~", "unsupported": "-", "partial": "!", "failed": "✗", "invalid": "✗"}
_NUMBERS = ("step\nms", "95 %\ninterval", "peak\nMiB", "program\nMB", "energy\nmJ/step", "ratio to\n{reference}")


def results_table(measurements: Sequence[Mapping[str, Any]]) -> Table:
    """Latency with its interval, peak memory, energy per step and ratio to the reference setting, one row a setting."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("device")
    table.add_column("setting")
    reference = _reference(measurements)
    for name in _NUMBERS:
        table.add_column(name.format(reference=reference), justify="right")
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


def _reference(measurements: Sequence[Mapping[str, Any]]) -> str:
    """The setting that the ratios refer to; fp32 unless another one had to stand in."""
    settings = {document["ratio_to_reference"].get("setting") for document in measurements} - {None}
    return "/".join(sorted(settings)) or "fp32"


def _row(document: Mapping[str, Any]) -> list[str]:
    latency, status = document["latency_ms"], str(document["status"])
    return [
        str(document["device"]),
        str(document["workload"]["quant"]),
        _number(latency.get("median")),
        _interval(latency.get("ci95")),
        _number(document["peak_memory_kib"], 1 / 1024),
        _number(document["program_bytes"], 1e-6),
        _number(document["energy_mj_per_step"].get("gross")),
        _ratio(document["ratio_to_reference"].get("latency", {})),
        f"{_MARKS.get(status, '?')} {status}",
    ]


def _number(value: Any, factor: float = 1.0) -> str:
    """`value` times `factor`; a dash for what is unavailable."""
    return "-" if value is None or isinstance(value, Mapping) else rounded(value * factor)


def _interval(value: Any) -> str:
    return f"{rounded(value[0])}-{rounded(value[1])}" if isinstance(value, Sequence) and len(value) == 2 else "-"


def _ratio(latency: Mapping[str, Any]) -> str:
    return f"{latency['ratio']:.2f}" if "ratio" in latency else "-"
