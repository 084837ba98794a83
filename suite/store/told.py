"""The verdicts that were given on a series, with their sentences: what `suite history` tells beside the points."""

from __future__ import annotations

import json
from dataclasses import dataclass

from sqlalchemy import select

from suite.store import schema
from suite.store.history import Series
from suite.store.store import Store


@dataclass(frozen=True)
class ToldVerdict:
    """One verdict, as it was stored."""

    at: str
    run_id: str
    verdict: str
    rule: str
    cause: str | None
    sentence: str
    command: str | None


def verdicts_on(store: Store, series: Series) -> list[ToldVerdict]:
    """Every verdict on the series, whatever its fingerprint, in the order of their making."""
    table, named = schema.verdict, schema.series
    statement = (
        select(table.c.at, schema.measurement.c.run_id, table.c.verdict, table.c.rule, table.c.inputs)
        .select_from(table.join(named).join(schema.measurement))
        .where(
            named.c.device_name == series.device,
            named.c.workload_key == series.workload_key,
            named.c.metric == series.metric,
        )
        .order_by(table.c.id)
    )
    with store.database.reading() as connection:
        rows = connection.execute(statement).all()
    told = []
    for row in rows:
        inputs = json.loads(row.inputs)
        said = (inputs.get("cause"), str(inputs.get("sentence") or ""), inputs.get("command"))
        told.append(ToldVerdict(row.at, row.run_id, row.verdict, row.rule, *said))
    return told
