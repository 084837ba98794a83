"""Profiles settings on one device, in one session each, and stores the profile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from devices.access.connect import Device, connect
from devices.deployment.built_runner import BuiltRunner
from devices.errors import DeviceError, DeviceLost
from devices.inventory.entry import DeviceEntry
from devices.sensors.spec import Discovery
from foundation.errors import UserError
from reports.model.profile import Profile, SettingProfile
from suite.display import Display
from suite.errors import SuiteError
from suite.home import Home
from suite.measuring.deployment import deploy_program
from suite.measuring.kernels import deployed_runner
from suite.measuring.orchestrate import prepare_host
from suite.measuring.sensor_plan import sensor_plan
from suite.measuring.session import SessionOrder, run_session
from suite.planning.plan import Plan, RunPlan, describe_workload
from suite.preparing.preparation import Prepared
from suite.profiling.attribution import attribute
from suite.profiling.kept import keep_profile
from suite.profiling.peaks import machine_of
from suite.sessions.record import SessionRecord
from suite.sessions.validity import SessionStatus
from suite.store.identity import new_run_id, timestamp
from workloads.profile.instructions import operators_of


def take_profile(
    plan: Plan,
    entry: DeviceEntry,
    home: Home,
    display: Display,
    begun: Callable[[str], None] = lambda _profile_id: None,
) -> Profile:
    """Profiles the plan's settings, stores the profile in the home and returns it. `begun` gets its id before.

    Each setting has `plan.steps` profiled steps and as many without profiling. A setting that fails is left out with
    its reason; after a lost device, the rest is left out too. Raises DeviceError if the device can't be used at all,
    and what `prepare_host` raises.
    """
    preparation, runners = prepare_host(RunPlan((plan,)), [entry], home, display, references=False)
    profile_id, started = new_run_id(), timestamp()
    begun(profile_id)
    failed = {item.workload.quant: str(item.error) for item in preparation.left_out}
    profile = Profile(profile_id, started, entry.name, entry.kind, entry.emulated, {}, (), failed)
    with connect(entry, home.locks) as device:
        runner = deployed_runner(device, device.facts(), runners, plan.quants, home, display.note)
        for prepared in preparation.prepared:
            quant = prepared.workload.quant
            log = home.profile_folder(profile_id) / f"{quant}.jsonl"
            try:
                record = _session(device, runner, prepared, log, display)
                found = _setting(record, prepared)
                profile = replace(profile, machine=machine_of(record), settings=(*profile.settings, found))
            except (SuiteError, DeviceError, UserError) as error:
                profile = replace(profile, failed={**profile.failed, quant: str(error)})
                display.note(f"{quant} is left out: {error}")
                if isinstance(error, DeviceLost):
                    break
            keep_profile(profile, home)
    return profile


def _session(device: Device, runner: BuiltRunner, prepared: Prepared, log: Path, display: Display) -> SessionRecord:
    deploy_program(device, prepared.artifact)
    plan = replace(prepared.plan, steps=2 * prepared.plan.steps)
    order = SessionOrder(log.stem, replace(prepared, plan=plan), runner, log, profile=True)
    label = f"{device.entry.name} {prepared.workload.quant} profile"
    with display.steps(label, plan.steps) as on_step:
        record, validity = run_session(device, order, (), sensor_plan(Discovery()), on_step)
    if validity.status is not SessionStatus.OK:
        raise SuiteError(f"the session is {validity.status}: {validity.reason}")
    return record


def _setting(record: SessionRecord, prepared: Prepared) -> SettingProfile:
    found = attribute(record, operators_of(prepared.artifact))
    return SettingProfile(
        workload=describe_workload(prepared.workload),
        program=prepared.artifact.hash,
        threads=0 if record.header is None else record.header.threads,
        plain_ms=found.plain_ms,
        profiled_ms=found.profiled_ms,
        counted_steps=found.counted,
        rows=found.rows,
    )
