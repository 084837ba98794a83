"""Conducts a run from its plan to its report: prepares on the host, measures on the devices, compares, reports."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from filelock import FileLock, Timeout

from devices.inventory.entry import DeviceEntry
from devices.inventory.inventory_file import Inventory
from foundation.errors import UserError
from foundation.unavailable import Unavailable
from reports.files import page_or_reason
from reports.model.measurement import Measurement
from reports.site.build import build
from suite.display import Display
from suite.errors import StoreError
from suite.home import Home, claim_name, commit, in_use
from suite.measuring.arithmetic import accumulation_here
from suite.measuring.fleet import measure_fleet
from suite.measuring.reaching import reach
from suite.measuring.run import Run
from suite.planning.forecast import check, find_obstacles
from suite.planning.plan import Plan, RunPlan
from suite.preparing.preparation import Inputs, Preparation, leave_out, load_inputs, open_exporters, prepare
from suite.preparing.runners import Runners
from suite.report_data.source import StoreSource
from suite.results.measurement import with_ratios
from suite.store.identity import author
from suite.store.store import Store
from suite.store.tags import require_free, tag_run
from workloads.export.artifact import ArtifactCache

_VERSIONS = ("edge-training-suite", "torch", "executorch", "torchao")


@dataclass(frozen=True)
class Outcome:
    """The result of a run: its measurements, and the path of their page, or why it could not be written."""

    run_id: str
    measurements: list[Measurement]
    report: str | Unavailable

    @property
    def complete(self) -> bool:
        """Whether every measurement has numbers or is known to be impossible on its device."""
        return _complete(self.measurements)


Begun = Callable[[str], None]
"""Called with a run's id as soon as the store has it, before anything is measured."""

Afterwards = Callable[[Run, Inventory], None]
"""Further work of a run, after measuring and before it is finished."""


def begin(
    plan: RunPlan,
    inventory: Inventory,
    home: Home,
    display: Display,
    command: Sequence[str],
    *,
    purpose: str = "run",
    tag: str | None = None,
    label: str | None = None,
    begun: Begun = lambda _run_id: None,
    afterwards: Afterwards = lambda _run, _inventory: None,
) -> Outcome:
    """Starts a run and carries it out. Raises UserError and StoreError.

    The run gets the tag `tag` (suite.store.tags), which must be free; `label` describes what is measured.
    """
    check(plan, inventory)
    store = Store.open(home.store_path)  # before the export: a store that cannot be used would waste it
    with contextlib.closing(store), in_use(home):
        if tag is not None:
            require_free(store, tag)
        preparation, runners = prepare_host(plan, _entries(plan, inventory), home, display, purpose=purpose)
        made_from = environment(preparation, label)
        run_id = store.begin_run(plan.document(), command, made_from, purpose=purpose)
        if tag is not None:
            tag_run(store, tag, run_id, author())
        begun(run_id)
        with claimed(run_id, home):
            return measure(Run(run_id, plan, preparation, runners, home, store, display), inventory, afterwards)


def resume(
    inventory: Inventory,
    home: Home,
    display: Display,
    *,
    purpose: str = "run",
    run_id: str | None = None,
    afterwards: Afterwards = lambda _run, _inventory: None,
) -> Outcome:
    """Resumes a run; without an id, the newest of that purpose that was killed or interrupted."""
    store = Store.open(home.store_path)
    with contextlib.closing(store), in_use(home):
        run_id = newest_open_run(store, purpose) if run_id is None else run_id
        with claimed(run_id, home):
            plan = RunPlan.from_document(store.resume_run(run_id))
            display.note(f"resuming run {run_id}")
            check(plan, inventory)
            preparation, runners = prepare_host(plan, _entries(plan, inventory), home, display, purpose=purpose)
            return measure(Run(run_id, plan, preparation, runners, home, store, display), inventory, afterwards)


@contextlib.contextmanager
def claimed(run_id: str, home: Home) -> Iterator[None]:
    """Claims a run or training for this process. Raises UserError while another process carries it out."""
    path = home.locks / claim_name(run_id)
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(f"run {run_id} is in progress in another process: let it finish, or end it first.") from None
    try:
        yield
    finally:
        lock.release()
        path.unlink(missing_ok=True)


def newest_open_run(store: Store, purpose: str) -> str:
    """Returns the run to resume. Raises UserError if there is none."""
    runs = store.open_runs(purpose)
    if runs:
        return runs[0]
    nights = store.open_runs("nightly")
    if nights:
        raise UserError(f"The interrupted run {nights[0]} is a night: continue it with `suite nightly`.")
    raise UserError(
        "There is no interrupted run to resume: start one with `suite run`; `suite report` writes the pages of runs "
        "that have ended."
    )


def environment(preparation: Preparation, label: str | None = None) -> Mapping[str, str]:
    """Returns what on the host may affect the numbers, and the user's label for the state of it."""
    found = commit()
    return {
        **({"label": label} if label else {}),
        **({"commit": found} if found else {}),
        "python": platform.python_version(),
        "host": f"{platform.system()} {platform.release()} {platform.machine()}",
        "weights": "; ".join(dict.fromkeys(preparation.weights_source.values())),
        **{name: importlib.metadata.version(name) for name in _VERSIONS},
    }


def _entries(plan: RunPlan, inventory: Inventory) -> list[DeviceEntry]:
    return [inventory.devices[name] for name in plan.devices]


def prepare_host(
    plan: RunPlan,
    entries: Sequence[DeviceEntry],
    home: Home,
    display: Display,
    *,
    purpose: str = "run",
    references: bool = True,
) -> tuple[Preparation, Runners]:
    """Does all work of a run before its sessions: checks that devices are reachable, prepares programs and runners.

    It prepares reference losses too, unless sessions are compared with something else. A plan whose task or weights
    can't be read is left out with its reason, and so is a setting that can't be exported. Raises NoneReachable if no
    device can be reached, and the first error if no program is left, except for a night, which has to record that.
    """
    reach(entries, display, required=purpose != "nightly")
    may_be_empty = purpose == "nightly"
    without, inputs = _load_inputs(plan, display)  # first: a bad task is reported at once
    _report_left_out(without, display, may_be_empty=may_be_empty or bool(inputs))
    runners = Runners(home.runner, display)
    runners.build_ahead(entries)
    kinds = {entry.name: entry.kind for entry in entries}
    preparation = Preparation()
    cache = ArtifactCache(home.artifacts)
    native = runners.native()
    expected = None if native is None else partial(accumulation_here, native)
    with open_exporters(cache) as exporters:
        for part, loaded in inputs.items():
            obstacles = find_obstacles(part, [kinds[name] for name in part.devices])
            with display.waiting(f"preparing {part.model}"):
                preparation += prepare(
                    part,
                    loaded,
                    cache,
                    display.note,
                    references=references,
                    obstacles=obstacles,
                    exporters=exporters,
                    expected=expected,
                )
    _report_left_out(preparation, display, may_be_empty=may_be_empty)
    if preparation.exported == 0 and preparation.prepared:
        count = len(preparation.prepared)
        programs = "the program is" if count == 1 else f"all {count} programs are"
        display.note(f"{programs} in the artifact cache, nothing exported")
    return without + preparation, runners


def _report_left_out(preparation: Preparation, display: Display, *, may_be_empty: bool) -> None:
    if not may_be_empty:
        preparation.require_any()
    for line in preparation.left_out_lines():
        display.note(line)


def _load_inputs(plan: RunPlan, display: Display) -> tuple[Preparation, dict[Plan, Inputs]]:
    """Returns the inputs of each plan, and what has to be left out for lack of them."""
    preparation, inputs = Preparation(), dict[Plan, Inputs]()
    for part in plan.plans:
        with display.waiting(f"loading {part.model}"):
            try:
                inputs[part] = load_inputs(part, display.note)
            except UserError as error:
                errors = dict.fromkeys(part.quants, error)
                preparation += Preparation(left_out=leave_out(part, errors))
    return preparation, inputs


def measure(run: Run, inventory: Inventory, afterwards: Afterwards) -> Outcome:
    """Measures on each device, calls `afterwards`, and builds the report.

    The run stays open for `--resume` if anything is raised.
    """
    try:
        recorded = measure_fleet(run, _entries(run.plan, inventory))
        compared = with_ratios([one.measurement for one in recorded])
        for one, found in zip(recorded, compared, strict=True):
            run.store.finish_measurement(one.measurement_id, replace(found, role=one.role))
        afterwards(run, inventory)
        run.store.finish_run(run.run_id, "finished" if _complete(compared) else "partial")
    except BaseException:
        # If the store can't take this either, the run stays open, and the first error is the one to report.
        with contextlib.suppress(StoreError):
            run.store.finish_run(run.run_id, "interrupted")
        raise
    report = page_or_reason(lambda: build(StoreSource(run.store), run.home.reports, [run.run_id]))
    return Outcome(run.run_id, compared, report)


def _complete(measurements: Sequence[Measurement]) -> bool:
    return all(found.status in ("ok", "unstable", "unsupported") for found in measurements)
