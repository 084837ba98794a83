"""Carries out a long session on a device, and stores it in `long_sessions/<id>/` of the home, with the runner's lines.

Throttling does not end the session, as that is what it is meant to reveal.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from devices.access.connect import connect
from devices.inventory.entry import DeviceEntry
from devices.processes import ProcessEnd
from foundation.errors import UserError
from foundation.unavailable import Json
from suite.display import Display
from suite.energy.session_energy import METER
from suite.errors import SuiteError
from suite.home import Home
from suite.kept import RESUME, keep_document
from suite.measuring.deployment import deploy_program
from suite.measuring.kernels import deployed_runner
from suite.measuring.meter import open_meter
from suite.measuring.orchestrate import prepare_host
from suite.measuring.recording import hardware_of
from suite.measuring.sensor_plan import SensorPlan, sensor_plan
from suite.measuring.session import SessionOrder, run_session
from suite.planning.plan import Plan, RunPlan, describe_workload
from suite.preparing.preparation import Prepared
from suite.sessions.collect import collect
from suite.sessions.events import Count, Rows, Text
from suite.sessions.record import SensorTrace, SessionRecord
from suite.sessions.validity import SessionStatus, Validity
from suite.store.store import Store

_DOCUMENT, _LINES = "session.json", "session.jsonl"
_KEPT = (SessionStatus.OK, SessionStatus.THROTTLED)


@dataclass(frozen=True)
class LongSession:
    """A stored session. `throttled` is the evidence that the device throttled, or None without any.

    `batches`: the number of batches that the steps cycled through. `energy_sensors`: those whose sum is the whole
    device's power. `unavailable`: why something could not be read, by name. `wrap_range_mj`: ranges of energy counters.
    """

    record: SessionRecord
    device: str
    workload: Mapping[str, Json]
    batches: int
    throttled: str | None
    energy_sensors: tuple[str, ...]
    wrap_range_mj: Mapping[str, float]
    unavailable: Mapping[str, str]


@dataclass(frozen=True)
class LongPlan:
    """A session's plan: the steps of `plan`, which has one setting, and more until they have taken `least_seconds`.

    After every `memory_every`th step the process reports its memory; 0: never.
    """

    plan: Plan
    least_seconds: float = 0.0
    memory_every: int = 0


def take_long_session(
    wanted: LongPlan, entry: DeviceEntry, home: Home, display: Display, session_id: str, begun: Callable[[], None]
) -> LongSession:
    """Takes a session and stores it in the home under its id. `begun` is called when the program is prepared.

    Raises SuiteError if its numbers can't be used, DeviceError if the device fails, StoreError if it can't be stored,
    and what `prepare_host` raises.
    """
    preparation, runners = prepare_host(RunPlan((wanted.plan,)), [entry], home, display, references=False)
    (prepared,) = preparation.prepared
    begun()
    folder = home.long_session_folder(session_id)
    with connect(entry, home.locks) as device:
        facts = device.facts()
        with contextlib.closing(Store.open(home.store_path)) as store:
            store.record_device(entry.name, entry.kind, entry.emulated, hardware_of(facts))
        runner = deployed_runner(device, facts, runners, [prepared.workload.quant], home, display.note)
        deploy_program(device, prepared.artifact)
        found = device.sensors()
        sensors = sensor_plan(found, entry.power)
        order = SessionOrder(
            session_id, prepared, runner, folder / _LINES,
            lasting_s=wanted.least_seconds, memory_every=wanted.memory_every,
        )  # fmt: skip
        label = f"{entry.name} {prepared.workload.quant}"
        with (
            open_meter(device, runner.command(device.places.runner(runner.hash))) as meter,
            display.steps(label, wanted.plan.steps) as on_step,
        ):
            record, validity = run_session(device, order, found.sensors, sensors, on_step)
            record = meter.joined(record)
    if validity.status not in _KEPT:
        raise SuiteError(f"the session is {validity.status}: {validity.reason}")
    taken = _describe(record, validity, prepared, entry, sensors)
    keep_long_session(taken, home, session_id)
    return taken


def _describe(
    record: SessionRecord, validity: Validity, prepared: Prepared, entry: DeviceEntry, sensors: SensorPlan
) -> LongSession:
    gaps = {fact.name: fact.unavailable for fact in sensors.facts if fact.unavailable is not None}
    return LongSession(
        record=record,
        device=entry.name,
        workload=describe_workload(prepared.workload),
        batches=len(prepared.data.tokens),
        throttled=validity.reason if validity.status is SessionStatus.THROTTLED else None,
        energy_sensors=sensors.energy_sensors,
        wrap_range_mj=sensors.wrap_range_mj,
        unavailable=gaps | dict(record.sensor_errors),
    )


class _Trace(BaseModel):
    """A trace that is not in the runner's lines, which is a meter's."""

    model_config = ConfigDict(strict=True, extra="forbid")

    quantity: Text
    t_ns: Rows[Count]
    values: Rows[float]
    clock_error_ms: float


class _Document(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    schema_version: Annotated[int, Field(alias="schema", ge=1, le=1)]
    device: Text
    workload: dict[str, JsonValue]
    batches: Annotated[int, Field(ge=1)]
    throttled: Text | None
    quantities: dict[str, Text]
    energy_sensors: Rows[Text]
    wrap_range_mj: dict[str, float]
    unavailable: dict[str, Text]
    joined: dict[str, _Trace]


def keep_long_session(session: LongSession, home: Home, session_id: str) -> None:
    """Writes what is not in the runner's lines, which are stored beside it. Raises StoreError."""
    traces = session.record.samples
    joined = {name: asdict(trace) for name, trace in traces.items() if name == METER}
    for trace in joined.values():
        del trace["sensor"]
    document: dict[str, Json] = {
        "schema": 1,
        "device": session.device,
        "workload": session.workload,
        "batches": session.batches,
        "throttled": session.throttled,
        "quantities": {name: trace.quantity for name, trace in traces.items() if name != METER},
        "energy_sensors": session.energy_sensors,
        "wrap_range_mj": dict(session.wrap_range_mj),
        "unavailable": dict(session.unavailable),
        "joined": joined,
    }
    keep_document(home.long_session_folder(session_id) / _DOCUMENT, document, "the session", RESUME)


def read_long_session(session_id: str, home: Home) -> LongSession:
    """Returns a stored session. Raises UserError if it is missing or damaged."""
    folder = home.long_session_folder(session_id)
    try:
        found = _Document.model_validate_json((folder / _DOCUMENT).read_bytes())
        lines = (folder / _LINES).read_text(encoding="utf-8", errors="replace").splitlines()
    except (OSError, ValidationError) as error:
        raise UserError(
            f"The session in {folder} can't be read ({type(error).__name__}): it is damaged or was never finished; "
            "carry out the experiment again."
        ) from error
    record = collect(session_id, lines, ProcessEnd(rc=0), found.quantities)
    joined = {
        name: SensorTrace(name, trace.quantity, trace.t_ns, trace.values, trace.clock_error_ms)
        for name, trace in found.joined.items()
        if len(trace.t_ns) == len(trace.values)
    }
    return LongSession(
        record=replace(record, samples={**record.samples, **joined}),
        device=found.device,
        workload=found.workload,
        batches=found.batches,
        throttled=found.throttled,
        energy_sensors=found.energy_sensors,
        wrap_range_mj=found.wrap_range_mj,
        unavailable=found.unavailable,
    )
