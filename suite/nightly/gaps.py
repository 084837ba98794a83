"""What a night lacks: devices it could not reach, workloads it left out, numbers that series had and have no more."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import case, select

from foundation.unavailable import Unavailable
from reports.model.measurement import Measurement
from reports.model.quantities import METRIC_BY_NAME, metric_title
from reports.text.numbers import format_list
from suite.report_data.source import StoreSource
from suite.store import schema
from suite.store.points import STATUSES_WITH_POINTS
from suite.store.store import Store

NIGHTS_BACK = 30
"""A number that no night of these had is not missed any more."""

What = Literal["unreached", "left out", "vanished"]


@dataclass(frozen=True)
class Gap:
    """One thing that a night lacks, of a device; the sentence says since when and why."""

    what: What
    device: str
    sentence: str


def find_gaps(store: Store, run_id: str) -> list[Gap]:
    """Returns what the night lacks that earlier nights had, and the devices that it could not reach."""
    unreached = [
        Gap("unreached", one.name, f"not reached since {_day(one.unreached_since)}: {one.unreached}")
        for one in StoreSource(store).devices(run_id)
        if one.unreached and one.last_run == run_id
    ]
    nights = _nights(store, run_id)
    return [*unreached, *_left_out(nights), *_vanished(nights)]


@dataclass(frozen=True)
class _Measured:
    """A measurement of a night; `metrics` are those that it has a point of. Only this night's have their document."""

    device: str
    workload_key: str
    status: str
    document: str
    metrics: frozenset[str]

    @property
    def place(self) -> tuple[str, str]:
        return self.device, self.workload_key


@dataclass(frozen=True)
class _Night:
    started_at: str
    measured: dict[tuple[str, str], _Measured]


def _nights(store: Store, run_id: str) -> list[_Night]:
    """Returns this night and those before it, newest first."""
    run, table, device, point, series = (
        schema.run, schema.measurement, schema.device, schema.point, schema.series
    )  # fmt: skip
    with store.database.reading() as connection:
        started = connection.execute(select(run.c.started_at).where(run.c.id == run_id)).scalar_one()
        earlier = (run.c.purpose == "nightly") & (run.c.started_at < started)
        chosen = select(run.c.id, run.c.started_at).where(earlier | (run.c.id == run_id))
        ids = connection.execute(chosen.order_by(run.c.started_at.desc()).limit(NIGHTS_BACK + 1)).all()
        of_nights = (table.c.run_id.in_([row.id for row in ids])) & (table.c.role == "measured")
        metrics: dict[int, set[str]] = {}
        joined = point.join(series).join(table)
        known = of_nights & series.c.metric.in_(METRIC_BY_NAME)
        for key, metric in connection.execute(
            select(point.c.measurement_id, series.c.metric).select_from(joined).where(known)
        ):
            metrics.setdefault(key, set()).add(metric)
        document = case((table.c.run_id == run_id, table.c.document)).label("document")  # those of a month are many MB
        columns = (table.c.id, table.c.run_id, device.c.name, table.c.workload_key, table.c.status, document)
        rows = connection.execute(select(*columns).select_from(table.join(device)).where(of_nights)).all()
    found: dict[str, _Night] = {row.id: _Night(row.started_at, {}) for row in ids}
    for row in rows:
        one = _Measured(
            row.name, row.workload_key, row.status or "", row.document or "{}", frozenset(metrics.get(row.id, ()))
        )
        found[row.run_id].measured[one.place] = one
    return list(found.values())


def _left_out(nights: Sequence[_Night]) -> list[Gap]:
    """Returns the workloads that the night before measured and this one didn't."""
    if len(nights) < 2:
        return []
    tonight, before = nights[0].measured, nights[1].measured
    devices: dict[str, list[str]] = {}
    for device, key in before:
        if (device, key) not in tonight:
            devices.setdefault(device, []).append(key)
    day = _day(nights[1].started_at)
    return [
        Gap("left out", device, f"{format_list(keys)} of the night of {day} not measured")
        for device, keys in devices.items()
    ]


def _vanished(nights: Sequence[_Night]) -> list[Gap]:
    """Returns the numbers that good measurements had in an earlier night and lack in this one, alike ones together."""
    alike: dict[tuple[str, str], list[str]] = {}
    for place, tonight in nights[0].measured.items():
        if tonight.status not in STATUSES_WITH_POINTS:
            continue
        before = [(night, one) for night in nights[1:] if (one := night.measured.get(place)) is not None]
        for metric in sorted(set().union(*(one.metrics for _, one in before)) - tonight.metrics):
            since = next(index for index, (_, one) in enumerate(before) if metric in one.metrics)
            without = 1 + sum(one.status in STATUSES_WITH_POINTS for _, one in before[:since])
            nights_word = "1 night" if without == 1 else f"{without} nights"
            why = _why_none(tonight, metric)
            absence = f"none for {nights_word}, the last on {_day(before[since][0].started_at)}: {why}"
            alike.setdefault((tonight.device, absence), []).append(metric_title(metric).lower())
    return [
        Gap("vanished", device, f"{format_list(list(dict.fromkeys(titles)))} ({len(titles)} series): {absence}")
        for (device, absence), titles in alike.items()
    ]


def _why_none(measured: _Measured, metric: str) -> str:
    found = METRIC_BY_NAME[metric].read(Measurement.from_document(json.loads(measured.document)))
    return found.reason if isinstance(found, Unavailable) else "no reason was recorded"


def _day(iso: str) -> str:
    """Returns the user's day of a stored time."""
    return f"{datetime.fromisoformat(iso).astimezone():%Y-%m-%d}"
