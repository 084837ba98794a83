"""Defines the tables, in SQLAlchemy Core types that SQLite (STRICT) and PostgreSQL both have. Times are ISO 8601, UTC.

JSON is stored as text that this package writes and reads itself, so that both databases store the same bytes.
"""

from __future__ import annotations

import functools
import json

from pydantic_core import SchemaValidator, core_schema, from_json
from sqlalchemy import (
    REAL,
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    ExecutableDDLElement,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    create_mock_engine,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.types import TypeEngine

SCHEMA_VERSION = 9

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# STRICT tables have only INTEGER, REAL, TEXT and BLOB; other databases have their own names for 64 bits.
_WHOLE = BigInteger().with_variant(Integer(), "sqlite")
_REAL: TypeEngine[float] = Double().with_variant(REAL(), "sqlite")


#: Checks a JSON object without building it, which takes half the time, for each row that is read.
_parse_object = SchemaValidator(core_schema.typed_dict_schema({}, extra_behavior="ignore")).validate_json


class DamagedJson(Exception):  # noqa: N818 - it is explained, never printed
    """A stored text is not a JSON object or list as it should be."""


class StoredJson(TypeDecorator[str]):
    """The text of a JSON object or list, which is checked when it is read. Raises `DamagedJson`."""

    impl = Text
    cache_ok = True

    def process_result_value(self, value: str | None, dialect: object) -> str | None:  # noqa: ARG002 - SQLAlchemy's
        if value is None or is_json(value):
            return value
        raise DamagedJson


def is_json(text: str) -> bool:
    """Returns whether a text is a JSON object or list."""
    if text[:1] + text[-1:] not in ("{}", "[]"):
        return False
    try:
        _parse_object(text) if text[0] == "{" else from_json(text)
    except ValueError:
        try:
            json.loads(text)  # also accepts half a surrogate pair, as the writer does
        except (ValueError, RecursionError):
            return False
    return True


def _table(name: str, *parts: Column[object] | UniqueConstraint | CheckConstraint | Index) -> Table:
    return Table(name, metadata, *parts, sqlite_strict=True)


def _id() -> Column[object]:
    return Column("id", _WHOLE, primary_key=True)


def _text(name: str, *, null: bool = False) -> Column[object]:
    return Column(name, Text, nullable=null)


def _json(name: str, *, null: bool = False) -> Column[object]:
    return Column(name, StoredJson, nullable=null)


def _whole(name: str, *, null: bool = False) -> Column[object]:
    return Column(name, _WHOLE, nullable=null)


def _real(name: str, *, null: bool = False) -> Column[object]:
    return Column(name, _REAL, nullable=null)


def _reference(name: str, target: str, *, null: bool = False) -> Column[object]:
    return Column(name, ForeignKey(target), nullable=null, index=True)


def _one_of(column: str, *values: str) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


schema_version = _table("schema_version", Column("version", _WHOLE, primary_key=True))

device = _table(
    "device",
    _id(),
    _text("name"),
    _text("kind"),
    _whole("emulated"),
    _json("hardware"),  # JSON: the facts that identify the device; if one changes, it is another device
    _text("first_seen_at"),
    CheckConstraint("emulated IN (0, 1)", name="emulated"),
    UniqueConstraint("name", "kind", "emulated", "hardware"),
)

run = _table(
    "run",
    Column("id", Text, primary_key=True),
    _text("started_at"),
    _text("finished_at", null=True),
    _text("status"),
    _text("purpose"),  # nightly: screened, with suspects measured again; imported: another lab's
    _json("plan"),  # JSON
    _json("command"),  # JSON list of arguments
    _json("environment"),  # JSON, text to text
    _one_of("status", "running", "finished", "partial", "failed", "interrupted"),
    _one_of("purpose", "run", "nightly", "imported"),
)

device_state = _table(
    "device_state",
    _id(),
    _reference("run_id", "run.id"),
    _reference("device_id", "device.id"),
    _text("at"),
    _text("os_build"),
    _json("facts"),  # JSON: governor, temperature, battery, firmware ...
    _json("preflight"),  # JSON list
)

kernel_choice = _table(
    "kernel_choice",
    _id(),
    _text("fingerprint"),  # of the device's facts
    _text("runner_hash"),
    _json("cpus"),  # JSON list; empty: wherever the device's system lets the runner run
    _text("at"),
    _json("chosen"),  # JSON: the variant of the runner's kernels for each setting
    _json("times"),  # JSON list: what a product of each setting took in each variant; nothing where there is one
    UniqueConstraint("fingerprint", "runner_hash", "cpus"),
)

artifact = _table(
    "artifact",
    Column("hash", Text, primary_key=True),
    _json("workload"),  # JSON
    _json("metadata"),  # JSON: artifact.json
    _text("recorded_at"),
)

measurement = _table(
    "measurement",
    _id(),
    _reference("run_id", "run.id"),
    _reference("device_id", "device.id"),
    _reference("artifact_hash", "artifact.hash", null=True),
    _text("workload_key"),
    _json("workload"),  # JSON
    _text("role"),  # candidate and baseline: a suspect that was measured again in turn with its baseline
    _text("runner_hash", null=True),
    _whole("planned_sessions"),
    _json(
        "design", null=True
    ),  # JSON: how often and how long was measured; only nights with the same design are compared
    _whole("valid_sessions", null=True),
    _json("reference_losses"),  # JSON: one list per step
    _text("started_at"),
    _text("finished_at", null=True),
    _text("status", null=True),
    _text("reason", null=True),
    _json("document", null=True),  # JSON
    UniqueConstraint("run_id", "device_id", "workload_key", "role"),
    _one_of("role", "measured", "candidate", "baseline"),
)

session = _table(
    "session",
    Column("id", Text, primary_key=True),
    _reference("measurement_id", "measurement.id"),
    _whole("ordinal"),
    _whole("attempt"),
    _text("status"),
    _text("reason", null=True),
    _text("cause"),
    _text("sentence"),
    _real("median_ms", null=True),
    _whole("t_begin_ns", null=True),
    _real("load_ms", null=True),
    _whole("hwm_kib", null=True),
    _json("events", null=True),  # JSON: header, load, footer as the runner wrote them
    _json("sensor_errors"),  # JSON
    _json("defects"),  # JSON list
    _json("idle"),  # JSON: idle power before and after, or why not
    _text("committed_at"),
    UniqueConstraint("measurement_id", "ordinal", "attempt"),
    _one_of("status", "ok", "throttled", "invalid", "unsupported", "failed", "lost", "interrupted"),
)

sample = _table(
    "sample",
    _id(),
    _reference("session_id", "session.id"),
    _text("kind"),  # steps, or one sensor
    _text("name"),
    _text("quantity"),
    _whole("rows"),
    _json("layout"),  # JSON: names, types and lengths of the columns in `data`
    Column("data", LargeBinary, nullable=False),
    UniqueConstraint("session_id", "kind", "name"),
    _one_of("kind", "steps", "sensor"),
)

series = _table(
    "series",
    _id(),
    _text("device_name"),
    _text("workload_key"),
    _text("metric"),
    _text("direction"),
    _whole("emulated"),
    _text("fingerprint"),
    _text("created_at"),
    UniqueConstraint("device_name", "workload_key", "metric", "fingerprint"),
    _one_of("direction", "lower", "higher"),
)

point = _table(
    "point",
    Column("measurement_id", ForeignKey("measurement.id"), primary_key=True),
    Column("series_id", ForeignKey("series.id"), primary_key=True, index=True),
    _real("value"),
)

verdict = _table(
    "verdict",
    _id(),
    _reference("series_id", "series.id"),
    _reference("measurement_id", "measurement.id"),
    _text("at"),
    _text("verdict"),
    _text("rule"),
    _json("inputs"),  # JSON
    _json("numbers"),  # JSON
    _one_of("verdict", "regressed", "improved", "unchanged", "inconclusive", "insufficient"),
)

acceptance = _table(
    "acceptance",
    _id(),
    _reference("series_id", "series.id"),
    _reference("measurement_id", "measurement.id"),  # from this one on, the series is compared only with later points
    _text("at"),
    _text("author"),
    _text("why"),
)

finding = _table(
    "finding",
    _id(),
    _text("key"),  # names the finding over all nights
    _reference("run_id", "run.id"),
    _text("state"),  # in that night: unseen if nothing could reveal it, ended for another reason than a fix
    _json("document"),  # JSON: reports.model.findings.Finding as it was that night
    UniqueConstraint("key", "run_id"),
    _one_of("state", "seen", "unseen", "fixed", "ended"),
)

finding_note = _table(
    "finding_note",
    _id(),
    _text("finding", null=True),  # key of a finding, or
    _text("device", null=True),  # name of a device, whose findings are muted
    _text("kind"),
    _text("at"),
    _text("author"),
    _text("text"),  # for a link, its address
    _text("since", null=True),  # for a mute: from when
    _text("until", null=True),  # and until when
    _one_of("kind", "note", "link", "mute", "unmute"),
    CheckConstraint("finding IS NOT NULL OR device IS NOT NULL", name="target"),
)

tag = _table(
    "tag",
    _id(),
    _text("name"),
    _reference("run_id", "run.id", null=True),  # null: the tag was deleted
    _text("at"),
    _text("author"),
)

annotation = _table(
    "annotation",
    _id(),
    _reference("run_id", "run.id", null=True),
    _reference("series_id", "series.id", null=True),
    _text("at"),
    _text("author"),
    _text("text"),
    CheckConstraint("run_id IS NOT NULL OR series_id IS NOT NULL", name="target"),
)

training_group = _table(
    "training_group",
    Column("id", Text, primary_key=True),
    _text("started_at"),
    _text("status"),  # partial: some of its trainings did not finish
    _json("plans"),  # JSON list
    _json("command"),  # JSON list of arguments
    _json("environment"),  # JSON, text to text
    _one_of("status", "running", "finished", "partial"),
)

training = _table(
    "training",
    Column("id", Text, primary_key=True),
    _reference("group_id", "training_group.id"),
    _reference("device_id", "device.id"),
    _text("workload_key"),
    _json("workload"),  # JSON
    _whole("seed"),
    _json("plan"),  # JSON
    _text("started_at"),
    _text("finished_at", null=True),
    _text("status"),
    _text("reason", null=True),
    UniqueConstraint("group_id", "device_id", "workload_key", "seed"),
    _one_of("status", "running", "finished", "failed", "interrupted"),
)

training_segment = _table(
    "training_segment",
    _id(),
    _reference("training_id", "training.id"),
    _whole("first_step"),
    _whole("steps"),
    _real("seconds"),  # of its steps on the device, without loading
    _real("load_seconds", null=True),
    _real("energy_mj", null=True),
    _text("why_no_energy", null=True),
    _whole("hwm_kib", null=True),
    _text("note", null=True),  # anything odd, such as throttling
    _json("curve"),  # JSON list: seconds and loss of each step
    _text("committed_at"),
    UniqueConstraint("training_id", "first_step"),
)

training_evaluation = _table(
    "training_evaluation",
    _id(),
    _reference("training_id", "training.id"),
    _whole("step"),
    _whole("examples"),
    _real("accuracy"),
    _real("loss"),
    _real("seconds"),  # of the evaluation itself
    _text("committed_at"),
    UniqueConstraint("training_id", "step"),
)


@functools.cache
def definitions() -> tuple[str, ...]:
    """Returns the SQL that creates all tables in an empty SQLite file. Creating them by SQLAlchemy takes longer."""
    made: list[str] = []

    def note(statement: ExecutableDDLElement, *_: object) -> None:
        made.append(str(statement.compile(dialect=sqlite.dialect())))

    metadata.create_all(create_mock_engine("sqlite://", note), checkfirst=False)
    return tuple(made)
