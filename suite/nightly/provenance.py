"""Finds what differs from when the baseline of a change was measured: suite, commit, libraries, program, device."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, select

from foundation.unavailable import Json
from reports.model.findings import Difference
from reports.model.histories import SeriesVerdict
from reports.model.measurement import Measurement
from reports.model.reading import known_number
from suite.store import schema
from suite.store.identity import canonical

_HASH = 12
_NAMES = {"edge-training-suite": "suite"}
_FACTS = ("os_build", "kernel", "governor", "microcode", "settings")
_SETUP = ("threads", "cpus", "power_mode", "kernels")
_LONGEST, _NONE = 80, "none"


def differences_of(
    connection: Connection, run_id: str, members: Sequence[SeriesVerdict], *, of_device: bool = False
) -> tuple[Difference, ...]:
    """Returns what differs between the baselines of these verdicts and tonight, each with its number of boards.

    `of_device`: only differences of the device, if the program is known not to be the cause. There are as many programs
    as workloads, so for several only the number of changed ones is returned. For a verdict that doesn't name its
    baseline, the side that was measured in turn with it is used.
    """
    baselines = {one.measurement_id: known_number(one.inputs, "baseline_measurement") for one in members}
    sides = _beside(connection, run_id)
    pairs: dict[int, tuple[str, int]] = {}
    for one in members:
        before = baselines[one.measurement_id] or sides.get((one.device, one.workload_key))
        if before is not None and one.measurement_id.isdigit():
            pairs[int(one.measurement_id)] = (one.device, int(before))
    made = _how_made(connection, [*pairs, *(before for _, before in pairs.values())])
    boards: dict[tuple[str, str, str], set[str]] = {}
    for now, (device, before) in pairs.items():
        for what, then, after in _find_differences(made.get(before, {}), made.get(now, {})):
            if not of_device or what.replace(" ", "_") in (*_FACTS, *_SETUP):
                boards.setdefault((what, then, after), set()).add(device)
    return _count_boards(boards)


def _count_boards(boards: Mapping[tuple[str, str, str], set[str]]) -> tuple[Difference, ...]:
    several = Counter(what for what, _, _ in boards)
    found: list[Difference] = []
    for (what, before, after), on in boards.items():
        if what == "program" and several[what] > 1:
            every = set().union(*(own for (name, _, _), own in boards.items() if name == what))
            one = Difference(f"{several[what]} programs", "", "changed", len(every))
            found += [] if one in found else [one]
        else:
            found.append(Difference(what, before, after, len(on)))
    return tuple(found)


def _beside(connection: Connection, run_id: str) -> dict[tuple[str, str], int]:
    """Returns the baseline's measurement for each workload that was measured again."""
    table, device = schema.measurement, schema.device
    chosen = select(device.c.name, table.c.workload_key, table.c.id).select_from(table.join(device))
    rows = connection.execute(chosen.where(table.c.run_id == run_id, table.c.role == "baseline"))
    return {(row.name, row.workload_key): row.id for row in rows}


def _how_made(connection: Connection, measurement_ids: Sequence[int]) -> dict[int, dict[str, str]]:
    """Returns for each measurement what may explain its numbers, by name. What was not recorded is left out."""
    table, run, state = schema.measurement, schema.run, schema.device_state
    columns = (table.c.id, table.c.artifact_hash, table.c.runner_hash, table.c.role, table.c.document)
    of_device = (state.c.run_id == table.c.run_id) & (state.c.device_id == table.c.device_id)
    joined = table.join(run).outerjoin(state, of_device)
    found: dict[int, dict[str, str]] = {}
    for begin in range(0, len(measurement_ids), 900):
        chosen = table.c.id.in_(measurement_ids[begin : begin + 900])
        facts = select(*columns, run.c.environment, state.c.os_build, state.c.facts).select_from(joined).where(chosen)
        for row in connection.execute(facts.order_by(state.c.id)):
            hashes = (("program", row.artifact_hash), ("runner", row.runner_hash))
            found[row.id] = {name: text[:_HASH] for name, text in hashes if text}
            # The other side of a pair was measured tonight too, by the same suite on the same device.
            if row.role != "baseline":
                device = {"os_build": row.os_build, **json.loads(row.facts or "{}")}
                setup = Measurement.from_document(json.loads(row.document or "{}")).setup.known
                found[row.id] |= _environment(json.loads(row.environment))
                found[row.id] |= _format_facts({key: device[key] for key in _FACTS if device.get(key)} | setup)
    return found


def _format_facts(facts: Mapping[str, Json]) -> dict[str, str]:
    return {key.replace("_", " "): _words(entry) for key, entry in facts.items()}


def _environment(environment: Mapping[str, Json]) -> dict[str, str]:
    return {_NAMES.get(key, key): _words(entry) for key, entry in environment.items()}


def _find_differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Returns what both recorded and differs. A label that only one of them has is also a difference."""
    keys = [key for key in now if key in before or key == "label"]
    keys += ["label"] if "label" in before and "label" not in now and now else []
    both = [(key, before.get(key, _NONE), now.get(key, _NONE)) for key in keys if before]
    return [(key, then, after) for key, then, after in both if then != after]


def _words(entry: Json) -> str:
    return (entry if isinstance(entry, str) else canonical(entry))[:_LONGEST]
