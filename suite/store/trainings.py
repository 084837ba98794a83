"""Stores trainings, whose parts are committed one by one, and reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Column, Connection, RowMapping, Table, insert, select, update

from foundation.errors import UserError
from foundation.text import printable
from foundation.unavailable import Json, Unavailable
from reports.model.reading import Number
from reports.model.training import Evaluation, Segment, Training
from suite.store import schema
from suite.store.database import Database
from suite.store.dialect import SqlValue, found_or_new
from suite.store.identity import canonical, timestamp, workload_key
from workloads.method import METHOD_TABLE


class Trainings:
    """The trainings of a store. Every method is one transaction, and raises StoreError if it fails."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def begin_group(
        self,
        group_id: str,
        plans: Sequence[Mapping[str, Any]],
        command: Sequence[str],
        environment: Mapping[str, str],
    ) -> None:
        """Starts the trainings of a command, or continues them."""
        table = schema.training_group
        with self.database.writing() as connection:
            if connection.execute(select(table.c.id).where(table.c.id == group_id)).first() is not None:
                connection.execute(update(table).where(table.c.id == group_id).values(status="running"))
                return
            connection.execute(
                insert(table).values(
                    id=group_id,
                    started_at=timestamp(),
                    status="running",
                    plans=canonical([dict(plan) for plan in plans]),
                    command=canonical(list(command)),
                    environment=canonical(dict(environment)),
                )
            )

    def finish_group(self, group_id: str, status: str) -> None:
        """Ends the trainings of a command as `finished`, or as `partial` if something is left to resume."""
        table = schema.training_group
        with self.database.writing() as connection:
            connection.execute(update(table).where(table.c.id == group_id).values(status=status))

    def open_group(self) -> str:
        """Returns the newest group that did not finish. Raises UserError if there is none."""
        table = schema.training_group
        with self.database.reading() as connection:
            open_ones = select(table.c.id).where(table.c.status != "finished").order_by(table.c.id.desc())
            found: str | None = connection.execute(open_ones).scalars().first()
        if found is None:
            raise UserError("There is no interrupted training to resume: start one with `suite train`.")
        return found

    def plans_of(self, group_id: str) -> list[dict[str, Any]]:
        """Returns the plans of a group as they were stored."""
        table = schema.training_group
        with self.database.reading() as connection:
            text = connection.execute(select(table.c.plans).where(table.c.id == group_id)).scalar_one()
        plans: list[dict[str, Any]] = json.loads(text)
        return plans

    def begin(
        self,
        training_id: str,
        group_id: str,
        device_id: int,
        workload: Mapping[str, Json],
        seed: int,
        plan: Mapping[str, Any],
    ) -> str:
        """Starts a training, or continues its group's training of this workload, seed and device. Returns its id."""
        key = workload_key(workload)
        identity = {"group_id": group_id, "device_id": device_id, "workload_key": key, "seed": seed}
        table = schema.training
        with self.database.writing() as connection:
            same = [table.c[name] == value for name, value in identity.items()]
            known: str | None = connection.execute(select(table.c.id).where(*same)).scalar_one_or_none()
            if known is not None:
                connection.execute(update(table).where(table.c.id == known).values(status="running", reason=None))
                return known
            facts = {
                "id": training_id,
                "workload": canonical(dict(workload)),
                "plan": canonical(dict(plan)),
                "started_at": timestamp(),
                "status": "running",
            }
            connection.execute(insert(table).values(**identity, **facts))
        return training_id

    def add_segment(self, training_id: str, segment: Segment) -> None:
        """Commits a segment. It is on the disk when this returns."""
        energy = segment.energy_mj
        with self.database.writing() as connection:
            connection.execute(
                insert(schema.training_segment).values(
                    training_id=training_id,
                    first_step=segment.first_step,
                    steps=segment.steps,
                    seconds=segment.seconds,
                    load_seconds=segment.load_seconds,
                    energy_mj=None if isinstance(energy, Unavailable) else energy,
                    why_no_energy=energy.reason if isinstance(energy, Unavailable) else None,
                    hwm_kib=segment.peak_memory_kib,
                    note=segment.note,
                    curve=canonical([list(point) for point in segment.curve]),
                    committed_at=timestamp(),
                )
            )

    def add_evaluation(self, training_id: str, evaluation: Evaluation) -> None:
        """Commits an evaluation. If there already is one of the same step, it must be the same."""
        identity: dict[str, SqlValue] = {"training_id": training_id, "step": evaluation.step}
        facts: dict[str, SqlValue] = {
            "examples": evaluation.examples,
            "accuracy": evaluation.accuracy,
            "loss": evaluation.loss,
            "seconds": evaluation.seconds,
            "committed_at": timestamp(),
        }
        with self.database.writing() as connection:
            found_or_new(connection, schema.training_evaluation, identity, facts)

    def finish(self, training_id: str, status: str, reason: str | None = None) -> None:
        """Ends a training as `finished`, `failed` or `interrupted`."""
        table = schema.training
        with self.database.writing() as connection:
            values = {"status": status, "reason": reason, "finished_at": timestamp()}
            connection.execute(update(table).where(table.c.id == training_id).values(**values))

    def in_group(self, group_id: str) -> list[Training]:
        """Returns the trainings of a group, in the order in which they were started."""
        return self._where(schema.training.c.group_id == group_id, None)

    def one(self, training_id: str) -> Training:
        """Returns a training. Raises UserError if there is none with this id."""
        return self._where(schema.training.c.id == training_id, f"training {printable(training_id, 80)}")[0]

    def all(self) -> list[Training]:
        """Returns all trainings, oldest first."""
        return self._where(schema.training.c.id.is_not(None), None)

    def _where(self, condition: Any, what: str | None) -> list[Training]:
        table, segment, evaluation = schema.training, schema.training_segment, schema.training_evaluation
        device = schema.device
        chosen = select(table, device.c.name, device.c.kind, device.c.emulated).join(device).where(condition)
        with self.database.reading() as connection:
            rows = connection.execute(chosen.order_by(table.c.started_at, table.c.id)).mappings().all()
            ids = [row["id"] for row in rows]
            segments = _by_training(connection, segment, segment.c.first_step, ids)
            evaluations = _by_training(connection, evaluation, evaluation.c.step, ids)
        if not rows and what is not None:
            raise UserError(f"there is no {what} in {self.database.path}: see `suite adapters list`")
        return [_training(row, segments.get(row["id"], ()), evaluations.get(row["id"], ())) for row in rows]


def _by_training(
    connection: Connection, table: Table, order: Column[Any], ids: Sequence[str]
) -> dict[str, list[RowMapping]]:
    found: dict[str, list[RowMapping]] = {}
    for row in connection.execute(select(table).where(table.c.training_id.in_(ids)).order_by(order)).mappings():
        found.setdefault(row["training_id"], []).append(row)
    return found


def _training(row: RowMapping, segments: Sequence[RowMapping], evaluations: Sequence[RowMapping]) -> Training:
    return Training(
        training_id=row["id"],
        group_id=row["group_id"],
        device=row["name"],
        kind=row["kind"],
        emulated=bool(row["emulated"]),
        workload=json.loads(row["workload"]),
        seed=row["seed"],
        plan=json.loads(row["plan"]),
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        status=row["status"],
        reason=row["reason"],
        segments=tuple(_segment(each) for each in segments),
        evaluations=tuple(
            Evaluation(each["step"], each["examples"], each["accuracy"], each["loss"], each["seconds"])
            for each in evaluations
        ),
        forward_tokens=_forward_tokens(json.loads(row["workload"])),
    )


def _forward_tokens(workload: Mapping[str, Json]) -> Number:
    method = METHOD_TABLE.usable(str(workload.get("method")))
    q, b, T = (workload.get(name) for name in ("q", "b", "T"))
    if method is None or not (isinstance(q, int) and isinstance(b, int) and isinstance(T, int)):
        return Unavailable("the cost of a step of this method is unknown")
    return method.forward_passes(q) * b * T


def _segment(row: RowMapping) -> Segment:
    energy = row["energy_mj"]
    return Segment(
        first_step=row["first_step"],
        seconds=row["seconds"],
        load_seconds=row["load_seconds"],
        energy_mj=Unavailable(row["why_no_energy"]) if energy is None else energy,
        peak_memory_kib=row["hwm_kib"],
        curve=tuple((seconds, loss) for seconds, loss in json.loads(row["curve"])),
        note=row["note"],
    )
