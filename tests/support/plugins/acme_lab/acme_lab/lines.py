"""A reporter: one line for each measurement."""

from __future__ import annotations

from reports.model.source import ReportSource


def report_lines(source: ReportSource, run_id: str | None) -> str:
    runs = [one.run_id for one in source.runs()] if run_id is None else [run_id]
    return "".join(
        f"{one.device} {one.workload['method']} {one.setting} {one.status}\n"
        for run in runs
        for one in source.run(run).measurements
    )
