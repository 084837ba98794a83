"""Writes runs, with each session on the disk before the next one starts, and resumes them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from foundation.errors import UserError
from foundation.text import printable
from foundation.unavailable import Json, Unavailable
from reports.model.measurement import Measurement
from suite.sessions.validity import SessionResult
from suite.store import schema
from suite.store.database import Database
from suite.store.dialect import BUSY_TIMEOUT_S, SqlValue, found_or_new, new_id
from suite.store.identity import canonical, new_run_id, timestamp, workload_key
from suite.store.points import replace_points
from suite.store.session_rows import load_result, sample_values, session_values

#: A session with one of these statuses is not repeated when a run is resumed.
FINAL_STATUSES = ("ok", "unsupported")

_NEVER_REACHED = canonical({})


@dataclass(frozen=True)
class VerdictRow:
    """A verdict on a series in a night, as it is stored."""

    series_id: int
    measurement_id: int
    verdict: str
    rule: str
    inputs: Mapping[str, Json]
    numbers: Mapping[str, float]


#: The device's name, workload key, role and ordinal of a session.
Place = tuple[str, str, str, int]


@dataclass(frozen=True)
class Progress:
    """The stored sessions of a run. `attempts` counts all attempts at each session."""

    done: frozenset[Place]
    attempts: Mapping[Place, int]


class Store:
    """The store of a suite home. Every method is one transaction, and raises StoreError if it fails."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @classmethod
    def open(cls, path: Path, *, read_only: bool = False, busy_timeout_s: float = BUSY_TIMEOUT_S) -> Store:
        """Opens the file, and creates it if it is missing, unless `read_only`. Raises StoreError if that fails."""
        return cls(Database(path, read_only=read_only, busy_timeout_s=busy_timeout_s))

    def close(self) -> None:
        """Closes the file. May be called twice."""
        self.database.close()

    def begin_run(
        self, plan: Mapping[str, Json], command: Sequence[str], environment: Mapping[str, str], *, purpose: str = "run"
    ) -> str:
        """Starts a run (`purpose` run or nightly) and returns its id; `resume_run` returns its `plan`."""
        with self.database.writing() as connection:
            run_id = new_run_id()
            while connection.execute(select(schema.run.c.id).where(schema.run.c.id == run_id)).first() is not None:
                run_id = new_run_id()  # another run started in the same second
            connection.execute(
                insert(schema.run).values(
                    id=run_id,
                    started_at=timestamp(),
                    status="running",
                    purpose=purpose,
                    plan=canonical(dict(plan)),
                    command=canonical(list(command)),
                    environment=canonical(dict(environment)),
                )
            )
        return run_id

    def resume_run(self, run_id: str) -> dict[str, Any]:
        """Marks a run as running again and returns its plan. Raises UserError for an unknown or finished run."""
        with self.database.writing() as connection:
            row = connection.execute(select(schema.run).where(schema.run.c.id == run_id)).mappings().one_or_none()
            if row is None:
                raise UserError(
                    f"there is no run '{printable(run_id, 80)}' in {self.database.path}: see `suite history`"
                )
            if row["status"] == "finished":
                raise UserError(
                    f"run {run_id} finished at {row['finished_at']}, so nothing is left to resume: start a new one"
                )
            connection.execute(
                update(schema.run).where(schema.run.c.id == run_id).values(status="running", finished_at=None)
            )
        plan: dict[str, Any] = json.loads(row["plan"])
        return plan

    def open_runs(self, purpose: str = "run") -> list[str]:
        """Returns the ids of runs that can be resumed, newest first: killed (still `running`) or interrupted ones."""
        statement = select(schema.run.c.id).where(
            schema.run.c.status.in_(("running", "interrupted")), schema.run.c.purpose == purpose
        )
        with self.database.reading() as connection:
            return list(connection.execute(statement.order_by(schema.run.c.id.desc())).scalars())

    def finish_run(self, run_id: str, status: str) -> None:
        """Ends a run as `finished`, `partial`, `failed` or `interrupted`."""
        with self.database.writing() as connection:
            connection.execute(
                update(schema.run).where(schema.run.c.id == run_id).values(status=status, finished_at=timestamp())
            )

    def record_device(self, name: str, kind: str, emulated: bool, hardware: Mapping[str, Json]) -> int:
        """Returns the id of the device with exactly this hardware, which is added if it is new.

        A device that was never reached before (see `known_device`) gets its hardware.
        """
        named: dict[str, SqlValue] = {"name": name, "kind": kind, "emulated": int(emulated)}
        seen: dict[str, SqlValue] = {"hardware": canonical(dict(hardware))}
        with self.database.writing() as connection:
            if connection.execute(select(schema.device.c.id).where(*_equal(named | seen))).first() is None:
                never = _equal(named | {"hardware": _NEVER_REACHED})
                connection.execute(update(schema.device).where(*never).values(seen))
            return found_or_new(connection, schema.device, named | seen, {"first_seen_at": timestamp()})

    def known_device(self, name: str, kind: str, emulated: bool) -> int:
        """Returns the id of an unreachable device as it was last seen, or else of a new one without hardware."""
        named: dict[str, SqlValue] = {"name": name, "kind": kind, "emulated": int(emulated)}
        with self.database.writing() as connection:
            seen = select(schema.device.c.id).where(*_equal(named)).order_by(schema.device.c.id.desc())
            known: int | None = connection.execute(seen).scalars().first()
            if known is not None:
                return known
            identity = named | {"hardware": _NEVER_REACHED}
            return found_or_new(connection, schema.device, identity, {"first_seen_at": timestamp()})

    def hardware(self, name: str) -> Mapping[str, Json]:
        """Returns the hardware of the device that had this name last; nothing if it was never reached."""
        with self.database.reading() as connection:
            named = select(schema.device.c.hardware).where(schema.device.c.name == name)
            found = connection.execute(named.order_by(schema.device.c.id.desc())).scalars().first()
        return {} if found is None else dict(json.loads(found))

    def record_device_state(
        self,
        run_id: str,
        device_id: int,
        os_build: str,
        facts: Mapping[str, Json],
        preflight: Sequence[Mapping[str, Json]] = (),
    ) -> int:
        """Stores a device's state at the start of its part of a run. The latest one counts."""
        with self.database.writing() as connection:
            return new_id(
                connection,
                schema.device_state,
                {
                    "run_id": run_id,
                    "device_id": device_id,
                    "at": timestamp(),
                    "os_build": os_build,
                    "facts": canonical(dict(facts)),
                    "preflight": canonical([dict(row) for row in preflight]),
                },
            )

    def kernel_choice(self, fingerprint: str, runner_hash: str, cpus: Sequence[int] | None) -> dict[str, str] | None:
        """Returns the kernels that were chosen for a device and runner, by setting; None if none were compared yet."""
        table = schema.kernel_choice
        same = (table.c.fingerprint == fingerprint) & (table.c.runner_hash == runner_hash)
        chosen = select(table.c.chosen).where(same & (table.c.cpus == canonical(list(cpus or ()))))
        with self.database.reading() as connection:
            found: str | None = connection.execute(chosen).scalar_one_or_none()
        return None if found is None else {str(key): str(value) for key, value in json.loads(found).items()}

    def keep_kernel_choice(
        self,
        fingerprint: str,
        runner_hash: str,
        cpus: Sequence[int] | None,
        chosen: Mapping[str, str],
        times: Sequence[Mapping[str, Json]],
    ) -> None:
        """Stores a choice and the times that it follows from; the first one of a device and runner stays."""
        identity: dict[str, SqlValue] = {"fingerprint": fingerprint, "runner_hash": runner_hash}
        identity["cpus"] = canonical(list(cpus or ()))
        facts: dict[str, SqlValue] = {"chosen": canonical(dict(chosen)), "times": canonical(list(times))}
        with self.database.writing() as connection:
            found_or_new(connection, schema.kernel_choice, identity, {"at": timestamp(), **facts})

    def record_artifact(self, artifact_hash: str, workload: Mapping[str, Json], metadata: Mapping[str, Json]) -> None:
        """Stores artifact.json of a program. A known program is not changed."""
        with self.database.writing() as connection:
            known = select(schema.artifact.c.hash).where(schema.artifact.c.hash == artifact_hash)
            if connection.execute(known).first() is None:
                connection.execute(
                    insert(schema.artifact).values(
                        hash=artifact_hash,
                        workload=canonical(dict(workload)),
                        metadata=canonical(dict(metadata)),
                        recorded_at=timestamp(),
                    )
                )

    def begin_measurement(
        self,
        run_id: str,
        device_id: int,
        workload: Mapping[str, Json],
        *,
        planned_sessions: int,
        artifact_hash: str | None = None,
        runner_hash: str | None = None,
        reference_losses: Sequence[Sequence[float]] = (),
        role: str = "measured",
        design: str | None = None,
    ) -> int:
        """Returns the id of this workload's measurement on this device in this run, which is added if it is new.

        `design` is its plan's (`identity.design_of`). `role`: `candidate` and `baseline` are the two sides of a
        confirmation; only `measured` ones become points. Raises UserError if the measurement was started with another
        program or other reference losses (the suite, the weights or the task has changed since), as sessions of both
        would not be one measurement.
        """
        identity: dict[str, SqlValue] = {
            "run_id": run_id,
            "device_id": device_id,
            "workload_key": workload_key(workload),
            "role": role,
        }
        facts: dict[str, SqlValue] = {
            "workload": canonical(dict(workload)),
            "artifact_hash": artifact_hash,
            "runner_hash": runner_hash,
            "planned_sessions": planned_sessions,
            "design": design,
            "reference_losses": canonical([list(losses) for losses in reference_losses]),
            "started_at": timestamp(),
        }
        with self.database.writing() as connection:
            measurement_id = found_or_new(connection, schema.measurement, identity, facts)
            if artifact_hash is not None:
                _give_program(connection, measurement_id, facts)
                _require_same(connection, run_id, measurement_id, artifact_hash, facts["reference_losses"])
        return measurement_id

    def add_session(self, measurement_id: int, result: SessionResult) -> None:
        """Commits a session with all its steps and samples. It is on the disk when this returns."""
        rows = sample_values(result.record)
        values = session_values(measurement_id, result, timestamp())
        with self.database.writing() as connection:
            connection.execute(insert(schema.session).values(values))
            connection.execute(insert(schema.sample), rows)

    def sessions_of(self, measurement_id: int) -> list[SessionResult]:
        """Returns every stored session of a measurement by ordinal and attempt, as `measure` takes them."""
        chosen = schema.session.c.measurement_id == measurement_id
        with self.database.reading() as connection:
            rows = connection.execute(select(schema.session).where(chosen)).mappings().all()
            samples = connection.execute(
                select(schema.sample).join(schema.session).where(chosen).order_by(schema.sample.c.id)
            ).mappings()
            by_session: dict[str, list[Any]] = {}
            for sample in samples:
                by_session.setdefault(sample["session_id"], []).append(sample)
        results = [load_result(row, by_session.get(row["id"], [])) for row in rows]
        return sorted(results, key=lambda result: (result.ordinal, result.attempt))

    def finish_measurement(self, measurement_id: int, measurement: Measurement) -> None:
        """Stores the measurement and its points. Storing it again (such as with ratios) replaces both."""
        medians = measurement.latency.sessions_ms
        with self.database.writing() as connection:
            connection.execute(
                update(schema.measurement)
                .where(schema.measurement.c.id == measurement_id)
                .values(
                    status=measurement.status,
                    reason=measurement.reason,
                    document=canonical(measurement.document()),
                    valid_sessions=0 if isinstance(medians, Unavailable) else len(medians),
                    finished_at=timestamp(),
                )
            )
            connection.execute(delete(schema.point).where(schema.point.c.measurement_id == measurement_id))
            role = select(schema.measurement.c.role).where(schema.measurement.c.id == measurement_id)
            if connection.execute(role).scalar_one() == "measured":
                replace_points(connection, measurement_id, measurement)

    def progress(self, run_id: str) -> Progress:
        """Returns the stored sessions of a run."""
        statement = (
            select(
                schema.device.c.name,
                schema.measurement.c.workload_key,
                schema.measurement.c.role,
                schema.session.c.ordinal,
                schema.session.c.attempt,
                schema.session.c.status,
            )
            .select_from(schema.session.join(schema.measurement).join(schema.device))
            .where(schema.measurement.c.run_id == run_id)
        )
        done: set[Place] = set()
        attempts: dict[Place, int] = {}
        with self.database.reading() as connection:
            for name, key, role, ordinal, attempt, status in connection.execute(statement):
                place = (name, key, role, ordinal)
                attempts[place] = max(attempts.get(place, 0), attempt + 1)
                if status in FINAL_STATUSES:
                    done.add(place)
        return Progress(frozenset(done), attempts)

    def add_verdicts(self, verdicts: Sequence[VerdictRow]) -> None:
        """Adds the verdicts of a night, all of them or none."""
        at = timestamp()
        rows = [
            {
                "series_id": item.series_id,
                "measurement_id": item.measurement_id,
                "at": at,
                "verdict": item.verdict,
                "rule": item.rule,
                "inputs": canonical(dict(item.inputs)),
                "numbers": canonical(dict(item.numbers)),
            }
            for item in verdicts
        ]
        if rows:
            with self.database.writing() as connection:
                connection.execute(insert(schema.verdict), rows)

    def accept(self, series_id: int, measurement_id: int, author: str, why: str) -> int:
        """Accepts a new baseline of the series from this measurement on."""
        acceptance: dict[str, SqlValue] = {
            "series_id": series_id,
            "measurement_id": measurement_id,
            "at": timestamp(),
            "author": author,
            "why": why,
        }
        with self.database.writing() as connection:
            return new_id(connection, schema.acceptance, acceptance)

    def annotate(self, author: str, text: str, *, run_id: str | None = None, series_id: int | None = None) -> int:
        """Stores a remark about a run or a series, one of which must be given."""
        remark = {"run_id": run_id, "series_id": series_id, "at": timestamp(), "author": author, "text": text}
        with self.database.writing() as connection:
            return new_id(connection, schema.annotation, remark)


def _equal(identity: Mapping[str, SqlValue]) -> Iterator[ColumnElement[bool]]:
    return (schema.device.c[name] == value for name, value in identity.items())


def _give_program(connection: Connection, measurement_id: int, facts: Mapping[str, SqlValue]) -> None:
    """Completes a measurement that was started without a program because its export had failed."""
    without = (schema.measurement.c.id == measurement_id) & schema.measurement.c.artifact_hash.is_(None)
    program = {name: facts[name] for name in ("artifact_hash", "runner_hash", "reference_losses")}
    connection.execute(update(schema.measurement).where(without).values(program))


def _require_same(
    connection: Connection, run_id: str, measurement_id: int, artifact_hash: str, reference_losses: SqlValue
) -> None:
    table = schema.measurement
    chosen = select(table.c.artifact_hash, table.c.reference_losses).where(table.c.id == measurement_id)
    begun = connection.execute(chosen).one()
    if (begun.artifact_hash, begun.reference_losses) != (artifact_hash, reference_losses):
        raise UserError(
            f"run {run_id} started with program {begun.artifact_hash}, but now it would be {artifact_hash} or train on "
            "other data: the suite, the weights or the task has changed since, so start a new run"
        )
