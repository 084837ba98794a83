"""Two runs, or two programs in the runs that measured them last: their numbers, and whether the devices were alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sqlalchemy import select

from foundation.errors import UserError
from reports.histories import Compared
from suite.nightly.evidence import device_state
from suite.regression.device_state import StateDifference, state_differences
from suite.store import schema
from suite.store.finding import Side
from suite.store.identity import workload_key
from suite.store.nights import measured_with
from suite.store.source import StoreSource
from suite.store.store import Store

_Place = tuple[str, str]


@dataclass(frozen=True)
class StateOfPlace:
    """What was not the same about a device when it measured a workload."""

    device: str
    workload_key: str
    differences: tuple[StateDifference, ...]


@dataclass(frozen=True)
class TwoSides:
    """What was taken for either side, the metrics and what else differs, and where a device was in another state."""

    before: Side
    after: Side
    compared: Compared
    states: tuple[StateOfPlace, ...]


def compare_sides(store: Store, before: Side, after: Side) -> TwoSides:
    """Set two sides beside one another. UserError for the same run twice, or programs of different workloads."""
    if before.run_id == after.run_id:
        raise UserError(f"both sides are run {before.run_id}: name two runs of `suite history --runs`")
    keys = {side.workload_key for side in (before, after) if side.workload_key is not None}
    if len(keys) > 1:
        raise UserError(f"the programs are of different workloads, {' and '.join(sorted(keys))}: nothing is comparable")
    key = next(iter(keys), None)
    compared = StoreSource(store).compared(before.run_id, after.run_id)
    states = _states(store, before.run_id, after.run_id)
    if key is not None:
        kept = [metric for metric in compared.metrics if workload_key(metric.workload) == key]
        compared = replace(compared, metrics=kept)
        states = tuple(state for state in states if state.workload_key == key)
    return TwoSides(before, after, compared, states)


def _states(store: Store, before: str, after: str) -> tuple[StateOfPlace, ...]:
    then, now = _measured(store, before), _measured(store, after)
    both = [place for place in now if place in then]
    facts = measured_with(store, [ids[place] for ids in (then, now) for place in both])
    found = [
        StateOfPlace(*place, state_differences(device_state(facts[then[place]]), device_state(facts[now[place]])))
        for place in both
    ]
    return tuple(state for state in found if state.differences)


def _measured(store: Store, run_id: str) -> Mapping[_Place, int]:
    """Measurement by device and workload."""
    table, device = schema.measurement, schema.device
    statement = (
        select(device.c.name, table.c.workload_key, table.c.id)
        .select_from(table.join(device))
        .where(table.c.run_id == run_id, table.c.role == "measured")
        .order_by(table.c.id)
    )
    with store.database.reading() as connection:
        return {(name, key): measurement_id for name, key, measurement_id in connection.execute(statement)}
