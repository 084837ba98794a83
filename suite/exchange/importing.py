"""Imports another lab's exported run into the store: completely or not at all, only once, and marked as theirs.

The lab's name becomes part of the names of its run, devices, programs and sessions. Devices are `LAB:NAME`, which no
inventory can contain, so no series mixes points of both labs and no night judges them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from sqlalchemy import Connection, insert, select

from foundation.errors import UserError
from foundation.foreign_files import parse_json, read_regular
from foundation.text import printable
from foundation.unavailable import Json, Unavailable
from reports.model import measurement
from suite.exchange.document import (
    FORMAT,
    FORMER_SCHEMA,
    LAB_PATTERN,
    SCHEMA,
    Device,
    Idle,
    Measurement,
    RunDocument,
    Session,
)
from suite.sessions.events import Defect, StepEvent
from suite.sessions.record import IdlePower, SensorTrace, SessionRecord
from suite.sessions.validity import SessionResult, Validity
from suite.store import schema
from suite.store.dialect import SqlValue, found_or_new, new_id
from suite.store.identity import (
    IMPORTED,
    MEASUREMENT_VERSION,
    ORIGIN_MARK,
    canonical,
    rename_former_int8,
    timestamp,
    workload_key,
)
from suite.store.points import replace_points
from suite.store.session_rows import sample_values, session_values
from suite.store.store import Store

#: Limits of a file. A run of 32 devices with sensors at 10 Hz has some million values.
MOST_BYTES = 128 << 20
MOST_VALUES = 5_000_000
_ONE_RUN = "export single runs, one per file"


@dataclass(frozen=True)
class Imported:
    """An imported run. `new` is false if it was already in the store and nothing was changed."""

    run_id: str
    new: bool
    measurements: int
    sessions: int


def read_document(path: Path) -> RunDocument:
    """Reads an exported file. Raises UserError, with one sentence, for anything else."""
    found = _parsed(path)
    try:
        document = RunDocument.model_validate(found)
    except ValidationError as error:
        raise UserError(_refusal(path, found, error)) from error
    if document.measurement_version != MEASUREMENT_VERSION:
        raise UserError(
            f"{_printable(path)} was measured by version {document.measurement_version} of the method, but this "
            f"suite knows {MEASUREMENT_VERSION}: the numbers do not mean the same."
        )
    return document


def _parsed(path: Path) -> Json:
    """Returns the JSON of a file, converted from the previous schema to SCHEMA if necessary.

    The parsed values are validated instead of the bytes, as each error about bytes would contain a copy of its input.
    """
    try:
        data = read_regular(path, what="an exported run", limit_bytes=MOST_BYTES, advice=_ONE_RUN)
    except OSError as error:
        raise UserError(f"{_printable(path)} cannot be read ({error.strerror}, error {error.errno}).") from error
    try:
        found = parse_json(data, most_values=MOST_VALUES, finite=False)
    except ValueError as error:
        reason = printable(str(error), 120)
        raise UserError(
            f"{_printable(path)} is not a readable JSON document ({reason}): "
            "export a run with `suite data export RUN --format json`."
        ) from error
    if isinstance(found, dict) and found.get("format") == FORMAT and found.get("schema") == FORMER_SCHEMA:
        return {**rename_former_int8(found), "schema": SCHEMA}
    return found


def check_lab(lab: str) -> None:
    """Raises UserError for a lab name that can't be a prefix of device names."""
    if re.fullmatch(LAB_PATTERN, lab) is None:
        raise UserError(
            f"'{printable(lab, 80)}' can't name a lab: use 1 to 32 letters, digits, _ and -, starting with a letter."
        )


def import_run(store: Store, document: RunDocument, lab: str, source: str) -> Imported:
    """Adds the run as one of `lab`, in one transaction. `source` is the file's name. Raises UserError for a bad lab."""
    check_lab(lab)
    run_id = f"{document.run_id}.{lab}"
    counts = (len(document.measurements), sum(len(item.sessions) for item in document.measurements))
    with store.database.writing() as connection:
        if connection.execute(select(schema.run.c.id).where(schema.run.c.id == run_id)).first() is not None:
            return Imported(run_id, False, *counts)
        _Importing(connection, document, lab, run_id).add(source)
    return Imported(run_id, True, *counts)


@dataclass(frozen=True)
class _Importing:
    """The import of one run, within a transaction."""

    connection: Connection
    document: RunDocument
    lab: str
    run_id: str

    def add(self, source: str) -> None:
        document = self.document
        origin = {
            "imported_from": self.lab,
            "original_run": document.run_id,
            "original_command": " ".join(document.command),
        }
        row = {
            "id": self.run_id,
            "started_at": document.started_at,
            "finished_at": document.finished_at or document.started_at,
            "status": document.status,
            "purpose": IMPORTED,
            "plan": canonical(document.plan),
            "command": canonical(["suite", "data", "import", printable(source, 200), "--from", self.lab]),
            "environment": canonical({**document.environment, **origin}),
        }
        self.connection.execute(insert(schema.run).values(row))
        devices = {device.name: self._device(device) for device in document.devices}
        for artifact in document.artifacts:
            values = {"workload": canonical(artifact.workload), "metadata": canonical(artifact.metadata)}
            self._artifact(self._of_lab(artifact.hash), values)
        for item in document.measurements:
            self._measurement(item, devices[item.device])

    def _of_lab(self, name: str) -> str:
        return f"{self.lab}{ORIGIN_MARK}{name}"

    def _device(self, device: Device) -> int:
        identity: dict[str, SqlValue] = {
            "name": self._of_lab(device.name),
            "kind": device.kind,
            "emulated": int(device.emulated),
            "hardware": canonical(device.hardware),
        }
        device_id = found_or_new(self.connection, schema.device, identity, {"first_seen_at": timestamp()})
        for state in device.states:
            seen: dict[str, SqlValue] = {
                "run_id": self.run_id,
                "device_id": device_id,
                "at": state.at,
                "os_build": state.os_build,
                "facts": canonical(state.facts),
                "preflight": canonical(list(state.preflight)),
            }
            new_id(self.connection, schema.device_state, seen)
        return device_id

    def _artifact(self, name: str, values: Mapping[str, str]) -> None:
        known = select(schema.artifact.c.hash).where(schema.artifact.c.hash == name)
        if self.connection.execute(known).first() is None:
            row = {"hash": name, **values, "recorded_at": timestamp()}
            self.connection.execute(insert(schema.artifact).values(row))

    def _measurement(self, item: Measurement, device_id: int) -> None:
        found = self._document(item)
        row: dict[str, SqlValue] = {
            "run_id": self.run_id,
            "device_id": device_id,
            "artifact_hash": None if item.artifact is None else self._of_lab(item.artifact),
            "runner_hash": None if item.runner is None else self._of_lab(item.runner),
            "workload_key": workload_key(item.workload),
            "workload": canonical(item.workload),
            "role": item.role,
            "planned_sessions": item.planned_sessions,
            "reference_losses": canonical([list(losses) for losses in item.reference_losses]),
            "started_at": item.started_at,
            "finished_at": item.finished_at,
            "status": None if item.document is None else item.document.status,
            "reason": None if item.document is None else item.document.reason,
            "document": None if found is None else canonical(found),
        }
        measurement_id = new_id(self.connection, schema.measurement, row)
        for session in item.sessions:
            result = _result(session, self.run_id + session.session_id.removeprefix(self.document.run_id))
            values = session_values(measurement_id, result, session.committed_at)
            self.connection.execute(insert(schema.session).values(values))
            self.connection.execute(insert(schema.sample), sample_values(result.record))
        if found is not None and item.role == "measured":
            replace_points(self.connection, measurement_id, measurement.Measurement.from_document(found))

    def _document(self, item: Measurement) -> Json:
        """Returns the measurement's document with the local names of device and workload."""
        if item.document is None:
            return None
        return item.document.model_dump(mode="json", exclude_unset=True) | {
            "device": self._of_lab(item.device),
            "workload": item.workload,
        }


def _result(session: Session, name: str) -> SessionResult:
    steps, idle = session.steps, session.idle
    record = SessionRecord(
        session_id=name,
        header=session.header,
        load=session.load,
        steps=tuple(
            StepEvent.model_construct(event="step", index=index, phase=phase, t0_ns=t0_ns, t1_ns=t1_ns, losses=losses)
            for index, phase, t0_ns, t1_ns, losses in zip(
                steps.index, steps.phase, steps.t0_ns, steps.t1_ns, steps.losses, strict=True
            )
        ),
        samples={
            trace.sensor: SensorTrace(trace.sensor, trace.quantity, trace.t_ns, trace.value, trace.clock_error_ms)
            for trace in session.samples
        },
        sensor_errors=session.sensor_errors,
        footer=session.footer,
        defects=tuple(Defect(defect.kind, defect.line, defect.detail) for defect in session.defects),
        cause=session.cause,
        sentence=session.sentence,
    )
    return SessionResult(
        session_id=name,
        ordinal=session.ordinal,
        attempt=session.attempt,
        record=record,
        validity=Validity(session.status, session.reason),
        idle=IdlePower(idle.before_mw, idle.after_mw) if isinstance(idle, Idle) else Unavailable(idle.unavailable),
    )


def _refusal(path: Path, found: Json, error: ValidationError) -> str:
    """Returns why a file can't be imported: another format, another schema, or its first error."""
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        return f"{_printable(path)} is not an exported run: make one with `suite data export RUN --format json`."
    version = found.get("schema")
    if version != SCHEMA:
        advice = "update this suite" if isinstance(version, int) and version > SCHEMA else "export the run again"
        return f"{_printable(path)} has schema {printable(str(version), 20)}, but this suite reads {SCHEMA}: {advice}."
    if found.get("status") == "running":
        return f"{_printable(path)} was exported while its run was in progress: export it again when it has finished."
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = printable(".".join(str(part) for part in first["loc"]), 120) or "the document"
    wrong = "1 of its values is" if error.error_count() == 1 else f"{error.error_count()} of its values are"
    return (
        f"{_printable(path)} is damaged or was changed, {wrong} wrong: {where}: "
        f"{printable(first['msg'].removeprefix('Value error, '), 200)}; export the run again"
    )


def _printable(path: Path) -> str:
    return printable(str(path), 200)
