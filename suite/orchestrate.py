"""A run from its plan to its report: prepare on the host, then each device's campaign; one bad device never stops the others."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devices.connect import require_support
from devices.inventory import Inventory
from devices.runner_build import BuiltRunner, build_runner
from reports.site import build
from suite.campaign import Campaign, Run
from suite.display import Display
from suite.errors import UserError
from suite.home import Home
from suite.plan import Plan
from suite.preparation import Preparation, prepare, require_host_memory
from suite.ratios import with_ratios
from suite.store.source import StoreSource
from suite.store.store import Store
from workloads.artifact import ArtifactCache

_VERSIONS = ("edge-training-suite", "torch", "executorch", "torchao")


@dataclass(frozen=True)
class Outcome:
    """What came of a run: the measurements as documents, and the page that shows them."""

    run_id: str
    measurements: list[dict[str, Any]]
    report: Path

    @property
    def complete(self) -> bool:
        """Whether every measurement has numbers, or is known to be impossible on its device."""
        return all(document["status"] in ("ok", "unstable", "unsupported") for document in self.measurements)


def begin(plan: Plan, inventory: Inventory, home: Home, display: Display, command: Sequence[str]) -> Outcome:
    """Start a run and carry it through. Raises the packages' UserErrors, and StoreError."""
    check(plan, inventory)
    preparation, runner = _prepare(plan, home, display)
    store = Store.open(home.store_path)
    try:
        run_id = store.begin_run(plan.document(), command, environment(preparation))
        return _measure(Run(run_id, plan, preparation, runner, home, store, display), inventory)
    finally:
        store.close()


def resume(inventory: Inventory, home: Home, display: Display) -> Outcome:
    """Go on with the newest run that was killed or interrupted."""
    store = Store.open(home.store_path)
    try:
        run_id = newest_open_run(store)
        plan = Plan.from_document(store.resume_run(run_id))
        display.note(f"going on with run {run_id}")
        check(plan, inventory)
        preparation, runner = _prepare(plan, home, display)
        return _measure(Run(run_id, plan, preparation, runner, home, store, display), inventory)
    finally:
        store.close()


def newest_open_run(store: Store) -> str:
    """The run to resume; UserError when there is none."""
    runs = store.open_runs()
    if not runs:
        raise UserError("There is no interrupted run to resume: start one with `suite run`.")
    return runs[0]


def check(plan: Plan, inventory: Inventory) -> None:
    """Everything that can be refused before work begins: devices, kinds, memory."""
    for name in plan.devices:
        require_support(inventory.devices[name])
    require_host_memory(plan)


def environment(preparation: Preparation) -> Mapping[str, str]:
    """What the host contributes to the numbers."""
    return {
        "python": platform.python_version(),
        "host": f"{platform.system()} {platform.release()} {platform.machine()}",
        "weights": preparation.weights_source,
        **{name: importlib.metadata.version(name) for name in _VERSIONS},
    }


def _prepare(plan: Plan, home: Home, display: Display) -> tuple[Preparation, BuiltRunner]:
    with display.busy("building the runner"):
        runner = build_runner(home.runner)
    with display.busy(f"preparing {plan.model}"):
        preparation = prepare(plan, ArtifactCache(home.artifacts), display.note)
    if preparation.exported == 0:
        display.note(f"all {len(preparation.prepared)} programs are in the artifact cache, nothing exported")
    return preparation, runner


def _measure(run: Run, inventory: Inventory) -> Outcome:
    try:
        documents = [
            document for name in run.plan.devices for document in Campaign(run, inventory.devices[name]).measure_all()
        ]
        compared = with_ratios(documents)
        for document in compared:
            run.store.finish_measurement(document.pop("measurement_id"), document)
    except BaseException:
        run.store.finish_run(run.run_id, "interrupted")
        raise
    done = all(document["status"] in ("ok", "unstable", "unsupported") for document in compared)
    run.store.finish_run(run.run_id, "finished" if done else "partial")
    report = build(StoreSource(run.store), run.home.reports, [run.run_id])
    return Outcome(run.run_id, compared, report)
