"""Earlier nights of a measured series, written into the store as if they had been measured."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.support.end_to_end.scripted_runner import Board
from tests.support.end_to_end.suite_runs import Bench

NOISE = (0.3, -0.8, 0.5, -0.2, 0.9, -0.6, 0.1, -0.4, 0.7, -0.9, 0.2, 0.6, -0.5, 0.4, -0.1, 0.8, -0.3, 0.0)
"""Percent."""


def add_nights(bench: Bench, run_id: str, levels: Sequence[float] = NOISE) -> None:
    """Copies the run once for each of `levels` to the nights before it, every metric changed by that many percent."""
    connection = sqlite3.connect(bench.home / "store.sqlite")
    for index, level in enumerate(levels):
        at = (datetime.now(UTC) - timedelta(days=len(levels) - index)).isoformat(timespec="milliseconds")
        night = f"2026-01-{index + 1:02d}T00-00-00-aaaa"
        _copy(connection, "run", "id = ?", run_id, id=night, started_at=at, purpose="nightly")
        _copy(connection, "device_state", "run_id = ?", run_id, run_id=night, id=None)
        for (key,) in connection.execute("SELECT id FROM measurement WHERE run_id = ?", [run_id]).fetchall():
            copied = _copy(connection, "measurement", "id = ?", key, id=None, run_id=night, started_at=at)
            connection.execute(
                "INSERT INTO point (measurement_id, series_id, value) "
                "SELECT ?, series_id, value * ? FROM point WHERE measurement_id = ?",
                [copied, 1 + level / 100, key],
            )
    connection.commit()
    connection.close()


def give_another_program(bench: Bench, quant: str, letter: str = "b", nights: str = "2026-01") -> str:
    """Gives the earlier nights (whose run ids begin with `nights`) a program of their own, which is still in the cache.
    Returns its hash, one letter repeated.
    """
    (folder,) = (
        path.parent
        for path in bench.home.glob("artifacts/*/artifact.json")
        if _quant(path) == quant and len(set(path.parent.name)) > 1
    )
    other = letter * len(folder.name)
    shutil.copytree(folder, folder.with_name(other))
    record = folder.with_name(other) / "artifact.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"hash": other}))
    connection = sqlite3.connect(bench.home / "store.sqlite")
    _copy(connection, "artifact", "hash = ?", folder.name, hash=other)
    connection.execute(
        "UPDATE measurement SET artifact_hash = ? WHERE run_id LIKE ? || '%' AND artifact_hash = ?",
        [other, nights, folder.name],
    )
    connection.commit()
    connection.close()
    return other


def slow_candidate(board: Board, setting: str, factor: float) -> None:
    """Makes tonight's program slower than that of the nights before."""
    other = give_another_program(board.bench, setting)
    board.script(**{setting: {"slower": factor}})
    path = board.root / "script.json"
    scripts = json.loads(path.read_text())
    scripts[other]["slower"] = 1.0
    path.write_text(json.dumps(scripts))


def _quant(artifact: Path) -> str:
    return str(json.loads(artifact.read_text())["workload"]["quant"])


def _copy(connection: sqlite3.Connection, table: str, where: str, key: object, **changed: object) -> int:
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    row = dict(zip(columns, connection.execute(f"SELECT * FROM {table} WHERE {where}", [key]).fetchone(), strict=True))
    row |= changed
    names = ", ".join(f'"{name}"' for name in row)
    marks = ", ".join("?" for _ in row)
    return int(connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(row.values())).lastrowid or 0)
