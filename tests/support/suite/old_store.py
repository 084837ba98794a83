"""A store as a suite with schema version 1 left it, and a store's contents, read without the suite."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from suite.store.series import series_list
from suite.store.store import Store
from tests.support.suite.stored_run import begin, finish

VERSION_1 = """
CREATE TABLE run (
    id TEXT NOT NULL, started_at TEXT NOT NULL, finished_at TEXT, status TEXT NOT NULL, "plan" TEXT NOT NULL,
    command TEXT NOT NULL, environment TEXT NOT NULL,
    CONSTRAINT pk_run PRIMARY KEY (id),
    CONSTRAINT ck_run_status CHECK (status IN ('running', 'finished', 'partial', 'failed', 'interrupted'))
) STRICT;
CREATE TABLE measurement (
    id INTEGER NOT NULL, run_id TEXT NOT NULL, device_id INTEGER NOT NULL, artifact_hash TEXT,
    workload_key TEXT NOT NULL, workload TEXT NOT NULL, planned_sessions INTEGER NOT NULL,
    reference_losses TEXT NOT NULL, started_at TEXT NOT NULL, finished_at TEXT, status TEXT, reason TEXT,
    document TEXT,
    CONSTRAINT pk_measurement PRIMARY KEY (id),
    CONSTRAINT uq_measurement_run_id_device_id_workload_key UNIQUE (run_id, device_id, workload_key),
    CONSTRAINT fk_measurement_run_id FOREIGN KEY(run_id) REFERENCES run (id),
    CONSTRAINT fk_measurement_device_id FOREIGN KEY(device_id) REFERENCES device (id),
    CONSTRAINT fk_measurement_artifact_hash FOREIGN KEY(artifact_hash) REFERENCES artifact (hash)
) STRICT;
CREATE INDEX ix_measurement_run_id ON measurement (run_id);
CREATE INDEX ix_measurement_device_id ON measurement (device_id);
CREATE INDEX ix_measurement_artifact_hash ON measurement (artifact_hash);
"""


def downgrade(path: Path) -> None:
    """Gives the tables that version 2 changed the definitions of version 1."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA legacy_alter_table = ON")
    connection.execute("DROP TABLE acceptance")
    connection.execute("DROP TABLE tag")
    connection.execute("DROP TABLE finding")
    connection.execute("DROP TABLE finding_note")
    connection.execute("DROP TABLE kernel_choice")
    for table in ("run", "measurement"):
        indexes = "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL"
        for (name,) in connection.execute(indexes, [table]).fetchall():
            connection.execute(f"DROP INDEX {name}")
        connection.execute(f"ALTER TABLE {table} RENAME TO {table}_2")
    connection.executescript(VERSION_1)
    for table in ("run", "measurement"):
        columns = ", ".join(f'"{row[1]}"' for row in connection.execute(f"PRAGMA table_info({table})"))
        connection.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {table}_2")
        connection.execute(f"DROP TABLE {table}_2")
    connection.execute("UPDATE schema_version SET version = 1")
    connection.close()


def begin_and_finish(path: Path, quant: str = "int8") -> None:
    begun = begin(path, quant=quant)
    finish(begun, 100.0, 101.0, 102.0)
    begun.store.close()


def definitions(path: Path) -> list[tuple[str, str]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
    finally:
        connection.close()


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def counts(path: Path) -> list[tuple[object, ...]]:
    tables = ("run", "measurement", "session", "sample", "point")
    return rows(path, "SELECT " + ", ".join(f"(SELECT count(*) FROM {table})" for table in tables))


def opened_at_once(path: Path, gate: object) -> int:
    """Opens the store when `gate` releases all processes at once; returns how many series this one sees."""
    gate.wait()  # type: ignore[attr-defined]
    store = Store.open(path, read_only=True)
    try:
        return len(series_list(store))
    finally:
        store.close()
