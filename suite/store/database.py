"""Opens a database of the right schema version, with transactions whose errors are sentences for the user.

A store with an older schema is upgraded in one transaction, so it is always either the old one or the new one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, MetaData, Table, insert, inspect, literal, null, select, text, update

from foundation.unavailable import unavailable
from reports.model.measurement import Measurement
from reports.model.reading import items, known_text, mapping
from suite import stats
from suite.errors import StoreError
from suite.home import Home, alone, in_use
from suite.store import schema
from suite.store.dialect import (
    BUSY_TIMEOUT_S,
    UNREADABLE,
    WRITES,
    OpenFile,
    Row,
    changeable,
    empty_store,
    explain,
    explain_damage,
    forbid_changes,
    found_or_new,
    missing_tables,
    open_engine,
    wrong_version,
)
from suite.store.identity import INT8_DYNAMIC, NO_POWER_MODE, canonical, design_of, rename_former_int8, workload_key
from suite.store.journal import begin_timeline, is_kept, note_changes, write_changes
from suite.store.points import origin_of

#: Version before the upgrade -> changed tables -> new column -> its value in old rows.
_CHANGES: Mapping[int, Mapping[str, Mapping[str, str | None]]] = MappingProxyType(
    {
        1: {
            "run": {"purpose": "run"},
            "measurement": {"role": "measured", "runner_hash": None, "design": None, "valid_sessions": None},
        },
        2: {"run": {}},  # adds a purpose
        3: {},  # adds a table: tag
        4: {},  # another name for a setting, see below
        5: {"measurement": {"design": None, "valid_sessions": None}},
        6: {},  # adds tables: training_group, training, training_segment, training_evaluation
        7: {},  # adds tables: finding, finding_note
        8: {},  # adds a table: kernel_choice
    }
)


def upgrade(path: Path, *, busy_timeout_s: float) -> None:
    """Upgrades the store at `path` to this suite's schema. Leaves other files and current stores alone.

    Raises StoreError if the file cannot be written or a run is in progress, and DBAPIError for what SQLite refuses.
    """
    found = _version_of(path, busy_timeout_s)
    if found not in _CHANGES:
        return
    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        raise StoreError(
            f"the store {path} has schema version {found}, but this suite needs {schema.SCHEMA_VERSION} and cannot "
            "upgrade it, since the file or its folder is read-only: make them writable, or set SUITE_HOME to a copy"
        )
    home = Home(path.parent)
    with alone(home) as free:
        if free:
            _carry_out(path, busy_timeout_s)
            return
    with in_use(home):  # waits for an upgrade by another process or for `suite gc`, but not for a run
        left = _version_of(path, busy_timeout_s)
    if left in _CHANGES:
        raise StoreError(
            f"the store {path} has schema version {left}, but this suite needs {schema.SCHEMA_VERSION}, and a run of "
            "an earlier suite is still writing to it: let that run finish, then try again"
        )


def _carry_out(path: Path, busy_timeout_s: float) -> None:
    engine = open_engine(path, read_only=False, busy_timeout_s=busy_timeout_s, rebuilding=True)
    try:
        with engine.connect() as connection:
            ready = connection.execution_options(**{WRITES: True})
            with ready.begin():
                # Another process may have upgraded it while this one waited for the lock.
                while (version := _version(ready)) in _CHANGES:
                    _rebuild(ready, _CHANGES[version])
                    if version in _REWRITES:
                        _REWRITES[version](ready)
                    ready.execute(update(schema.schema_version).values(version=version + 1))
    finally:
        engine.dispose()


def _version_of(path: Path, busy_timeout_s: float) -> int:
    """Returns the schema version of the store at `path`, or 0 if it is not a store of ours."""
    if not path.is_file() or path.stat().st_size == 0:
        return 0
    engine = open_engine(path, read_only=True, busy_timeout_s=busy_timeout_s)
    try:
        with engine.connect() as connection, connection.begin():
            return _version(connection)
    finally:
        engine.dispose()


def _version(connection: Connection) -> int:
    """Returns the schema version of a store of ours, or 0 for any other database."""
    if not inspect(connection).has_table(schema.schema_version.name):
        return 0
    versions = _versions(connection)
    return versions[0] if len(versions) == 1 else 0


def _versions(connection: Connection) -> list[int]:
    """Returns the schema versions of a store. There should be one; a damaged store may have none, or several."""
    return list(connection.execute(select(schema.schema_version.c.version)).scalars())


def _rebuild(connection: Connection, changes: Mapping[str, Mapping[str, str | None]]) -> None:
    quote = connection.dialect.identifier_preparer.quote
    for name in changes:
        for index in inspect(connection).get_indexes(name):
            connection.execute(text(f"DROP INDEX {quote(str(index['name']))}"))
        connection.execute(text(f"ALTER TABLE {quote(name)} RENAME TO {quote(_old(name))}"))
    schema.metadata.create_all(connection)
    for name, added in changes.items():
        _refill(connection, schema.metadata.tables[name], added)


def _refill(connection: Connection, table: Table, added: Mapping[str, str | None]) -> None:
    old = Table(_old(table.name), MetaData(), autoload_with=connection, resolve_fks=False)
    values = [
        (literal(added[column.name]) if added[column.name] is not None else null())
        if column.name in added
        else old.c[column.name]
        for column in table.columns
    ]
    connection.execute(insert(table).from_select([column.name for column in table.columns], select(*values)))
    old.drop(connection)


def _old(name: str) -> str:
    return f"old_{name}"


def _rename_former_int8(connection: Connection) -> None:
    """Renames the former int8 in all runs, programs, measurements and series.

    Its series continue: their key is that of the next measurement, and their fingerprint will be too (`_renew_series`).
    """
    _rename_columns(connection, schema.run, "plan")
    _rename_columns(connection, schema.artifact, "workload", "metadata")
    _rename_columns(connection, schema.measurement, "workload", "document")
    measurement, series = schema.measurement, schema.series
    keys: dict[str, str] = {}
    for row in connection.execute(select(measurement.c.id, measurement.c.workload_key, measurement.c.workload)).all():
        workload = json.loads(row.workload)
        if workload.get("quant") == INT8_DYNAMIC:
            keys[row.workload_key] = workload_key(workload)
            connection.execute(
                update(measurement).where(measurement.c.id == row.id).values(workload_key=keys[row.workload_key])
            )
    for former, key in keys.items():
        connection.execute(update(series).where(series.c.workload_key == former).values(workload_key=key))


def _rename_columns(connection: Connection, table: Table, *names: str) -> None:
    (identity,) = table.primary_key.columns
    for row in connection.execute(select(identity, *(table.c[name] for name in names))).mappings().all():
        texts = {name: row[name] for name in names if row[name] is not None}
        renamed = {name: rename_former_int8(json.loads(text)) for name, text in texts.items()}
        changed = {name: canonical(value) for name, value in renamed.items() if value != json.loads(texts[name])}
        if changed:
            connection.execute(update(table).where(identity == row[identity.name]).values(changed))


def _complete(connection: Connection) -> None:
    """Adds setup, design and intervals by the present method to measurements; moves points to their setup's series."""
    for run_id, plan in connection.execute(select(schema.run.c.id, schema.run.c.plan)).all():
        _complete_run(connection, run_id, json.loads(plan))
    _renew_series(connection)


def _complete_run(connection: Connection, run_id: str, plan: Mapping[str, Any]) -> None:
    table = schema.measurement
    rows = connection.execute(select(table).where(table.c.run_id == run_id)).mappings().all()
    found = {row["id"]: json.loads(row["document"]) for row in rows if row["document"] is not None}
    medians = {key: items(document, "latency_ms", "sessions") for key, document in found.items()}
    of_setting = {
        _comparison_key(row): medians[row["id"]] for row in rows if row["id"] in found and row["role"] == "measured"
    }
    for row in rows:
        values: dict[str, Any] = {"design": _design(plan, json.loads(row["workload"]))}
        if (document := found.get(row["id"])) is not None:
            setup = _setup(connection, row)
            if setup:
                document["setup"] = setup
            reference = known_text(document, "ratio_to_reference", "setting")
            _renew_intervals(document, medians[row["id"]], of_setting.get(_comparison_key(row, reference), ()))
            values |= {"document": canonical(document), "valid_sessions": len(medians[row["id"]])}
        connection.execute(update(table).where(table.c.id == row["id"]).values(values))


def _comparison_key(row: Row, setting: str | None = None) -> tuple[int, str, str]:
    """Returns what names a measurement among those that ratios compare, for its own setting or for `setting`."""
    workload = json.loads(row["workload"])
    own = str(workload.pop("quant", ""))
    return row["device_id"], canonical(workload), own if setting is None else setting


def _design(plan: Mapping[str, Any], workload: Mapping[str, Any]) -> str | None:
    """Returns the design of the plan with this workload. Runs from before plan files have only one plan."""
    for one in plan.get("plans", [plan]):
        alike = all(one.get(key, entry) == entry for key, entry in workload.items() if key != "quant")
        if alike and workload.get("quant") in one.get("quants", [workload.get("quant")]):
            return design_of(one)
    return None


def _setup(connection: Connection, row: Row) -> dict[str, Any]:
    """Returns threads and CPUs from the headers of valid sessions, and the power mode; empty without valid sessions."""
    session, state = schema.session, schema.device_state
    valid = (session.c.measurement_id == row["id"]) & (session.c.status == "ok")
    events = connection.execute(select(session.c.events).where(valid)).scalars()
    headers = [header for one in events if (header := mapping(json.loads(one or "{}"), "header"))]
    if not headers:
        return {}
    here = (state.c.run_id == row["run_id"]) & (state.c.device_id == row["device_id"])
    facts = connection.execute(select(state.c.facts).where(here).order_by(state.c.id.desc()).limit(1)).scalar()
    mode = known_text(json.loads(facts or "{}"), "settings", "power_mode")
    return {
        "threads": _same("threads", headers),
        "cpus": _same("cpus_allowed", headers),
        "power_mode": mode or unavailable(NO_POWER_MODE),
    }


def _same(key: str, headers: Sequence[Mapping[str, Any]]) -> Any:
    found = [header.get(key) for header in headers]
    alike = all(one == found[0] for one in found)
    return found[0] if alike and found[0] is not None else unavailable("the sessions had different ones, or none")


def _renew_intervals(document: dict[str, Any], own: Sequence[Any], reference: Sequence[Any]) -> None:
    latency, ratio = document.get("latency_ms"), document.get("ratio_to_reference")
    if own and isinstance(latency, dict):
        latency |= {"ci95": stats.session_interval(own).document(), "ci95_method": stats.INTERVAL_METHOD}
    if own and reference and own != reference and isinstance(ratio, dict) and isinstance(ratio.get("latency"), dict):
        ratio["latency"]["ci95"] = stats.ratio_interval(own, reference).document()


def _renew_series(connection: Connection) -> None:
    """Gives every series its newest point's fingerprint; moves other points, with verdicts, to series of their own."""
    series, point = schema.series, schema.point
    marks: dict[int, str] = {}
    with changeable(connection, schema.verdict):
        for row in connection.execute(select(series)).mappings().all():
            own = select(point.c.measurement_id).where(point.c.series_id == row["id"]).order_by(point.c.measurement_id)
            ids = list(connection.execute(own).scalars())
            for measurement_id in ids:
                if measurement_id not in marks:
                    marks[measurement_id] = _mark(connection, measurement_id)
            if not ids:
                continue
            newest = marks[ids[-1]]
            connection.execute(update(series).where(series.c.id == row["id"]).values(fingerprint=newest))
            for measurement_id in ids:
                if marks[measurement_id] != newest:
                    _move(connection, row, measurement_id, marks[measurement_id])


def _mark(connection: Connection, measurement_id: int) -> str:
    table = schema.measurement
    document = connection.execute(select(table.c.document).where(table.c.id == measurement_id)).scalar()
    measurement = Measurement.from_document(json.loads(document or "{}"))
    return origin_of(connection, measurement_id, measurement).fingerprint


def _move(connection: Connection, row: Row, measurement_id: int, mark: str) -> None:
    identity = {key: row[key] for key in ("device_name", "workload_key", "metric")} | {"fingerprint": mark}
    others = {key: row[key] for key in ("direction", "emulated", "created_at")}
    target = found_or_new(connection, schema.series, identity, others)
    for table in (schema.point, schema.verdict, schema.acceptance):
        chosen = (table.c.series_id == row["id"]) & (table.c.measurement_id == measurement_id)
        connection.execute(update(table).where(chosen).values(series_id=target))


#: Version before the upgrade -> what to do with the rows afterwards.
_REWRITES: Mapping[int, Callable[[Connection], None]] = MappingProxyType({4: _rename_former_int8, 5: _complete})
for _only_grows in (schema.verdict, schema.tag, schema.finding, schema.finding_note):
    forbid_changes(_only_grows)


class Database:
    """A file and its connections, shared by threads. Raises StoreError for anything that prevents its use.

    With `read_only`, no file is created, and one with the current schema is not changed.
    """

    def __init__(self, path: Path, *, read_only: bool = False, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        if read_only and not path.is_file():
            raise StoreError(f"there is no store at {path}: `suite run` creates one")
        self.path = path
        with self._explained():
            upgrade(path, busy_timeout_s=busy_timeout_s)
        self._engine = open_engine(path, read_only=read_only, busy_timeout_s=busy_timeout_s)
        self._file: OpenFile | None = None
        try:
            self._check_version(may_create=not read_only)
            if not read_only:
                self._file = OpenFile(self._engine, path)
                with self.reading() as connection:
                    kept = is_kept(connection, path)
                if not kept:
                    with self._transaction() as connection:
                        begin_timeline(connection, path)
        except BaseException:
            self.close()
            raise

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Opens a consistent view of everything. Never waits for a writer."""
        with self._explained(), (self._file or self._engine).connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Opens a transaction: on the disk and in the journal when the block ends, or discarded if it raises."""
        with self._transaction() as connection:
            note_changes(connection)
            yield connection
            write_changes(connection, self.path)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._explained(), self._file.writing() if self._file else self._engine.connect() as connection:
            ready = connection.execution_options(**{WRITES: True})
            with ready.begin():
                yield ready

    def close(self) -> None:
        """Closes the connections. May be called twice."""
        if self._file is not None:
            self._file.close()
        self._engine.dispose()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except UNREADABLE as error:
            explained = explain(error, self.path)
            if explained is None:
                raise
            raise explained from error
        except schema.DamagedJson as error:
            raise explain_damage(self._engine, schema.metadata, self.path) from error

    def _check_version(self, *, may_create: bool) -> None:
        with self.reading() as connection:
            tables = set(inspect(connection).get_table_names())
        if not tables and may_create:
            self._create()
            return
        known = schema.metadata.tables.keys()
        if not tables:
            raise empty_store(self.path)
        if not tables & known:
            raise StoreError(f"{self.path} is a database of another program ({len(tables)} tables): set SUITE_HOME")
        if schema.schema_version.name not in tables:
            raise missing_tables(known - tables, self.path)
        with self.reading() as connection:
            versions = _versions(connection)
        if versions != [schema.SCHEMA_VERSION]:
            raise wrong_version(versions, schema.SCHEMA_VERSION, self.path)
        if known - tables:
            raise missing_tables(known - tables, self.path)

    def _create(self) -> None:
        with self._transaction() as connection:
            # Another process may have created it while this one waited for the lock.
            if not inspect(connection).get_table_names():
                for statement in schema.definitions():
                    connection.exec_driver_sql(statement)
                connection.execute(schema.schema_version.insert().values(version=schema.SCHEMA_VERSION))
