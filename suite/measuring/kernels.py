"""Which variant of the runner's kernels is the fastest on a device: compared once for each device and runner, kept in
the store, and used by every process of the runner.

The runner takes the widest vectors that the processor has. On some these are no faster: a processor lowers its clock
for them, or does them in halves. So every variant multiplies with the weights of each setting in turn (docs/runner.md,
"Kernels"), which takes 0.2 s on a recent core, and a narrower one is used where it is faster than a wider one beyond
what chance does.

What the runner prints is not trusted: its lines are bounded and validated.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from devices.access.connect import Device
from devices.checks.facts import Facts
from devices.deployment.built_runner import BuiltRunner
from devices.errors import DeviceError, DeviceLost
from foundation.text import format_rounded
from suite.errors import StoreError, SuiteError
from suite.home import Home
from suite.measuring.deployment import deploy_runner
from suite.measuring.job import measure_device
from suite.preparing.runners import Runners
from suite.sessions.collect import collect
from suite.sessions.events import ProductEvent
from suite.sessions.record import Cause, SessionRecord
from suite.store.store import Store
from workloads.quantize.settings import SETTINGS

MARGIN = 1.10
"""A variant is left for another one that needs less than 1 / MARGIN of its time. The same loops under two names have
differed by up to 6.3 % (docs/runner.md)."""

_NAME = "kernels"
_TIMEOUT_S = 60.0
_MOST_LINES = 200
_OWN = tuple(name for name, setting in SETTINGS.items() if setting.kernel)
"""The settings whose products the runner's kernels make."""

Note = Callable[[str], None]


def choose(products: Iterable[ProductEvent]) -> dict[str, str]:
    """Returns the variant to be used for each setting whose products were timed, the widest variants first: the widest
    one that isn't slower by more than MARGIN than the fastest, each by its least time."""
    of_setting: dict[str, dict[str, int]] = {}
    for product in products:
        of_setting.setdefault(product.weights, {})[product.kernels] = min(product.ns)
    return {
        quant: next(name for name, ns in least.items() if ns <= MARGIN * min(least.values()))
        for quant, least in of_setting.items()
    }


def with_kernels(
    device: Device,
    facts: Facts,
    runner: BuiltRunner,
    quants: Iterable[str],
    store: Store,
    note: Note,
    check_stop: Callable[[], None] = lambda: None,
) -> BuiltRunner:
    """Returns the runner with the kernels that are the fastest on the device, which are compared unless the store knows
    them and if any of the settings uses them.

    It keeps the widest where a comparison means nothing (emulated devices), with a runner of the user's own, and where
    it fails, with a note. Raises StoreError, DeviceLost, and what `check_stop` raises.
    """
    if not _comparable(device, quants):
        return runner
    place = (facts.fingerprint, runner.hash, device.entry.cpus)
    chosen = store.kernel_choice(*place)
    if chosen is None:
        try:
            products = _measure(device, runner, check_stop)
        except DeviceLost:
            raise
        except (DeviceError, SuiteError, OSError) as error:
            note(f"its kernels were not compared, the widest are used: {error}")
            return runner
        chosen = choose(products)
        store.keep_kernel_choice(*place, chosen, [product.model_dump(exclude={"event"}) for product in products])
        _report(products, chosen, note)
    return replace(runner, kernels=chosen)


def known_kernels(device: Device, facts: Facts, runner: BuiltRunner, store: Store) -> BuiltRunner:
    """Returns an earlier runner with the kernels that it was measured with on the device."""
    chosen = store.kernel_choice(facts.fingerprint, runner.hash, device.entry.cpus)
    return runner if chosen is None else replace(runner, kernels=chosen)


def deployed_runner(
    device: Device, facts: Facts, runners: Runners, quants: Sequence[str], home: Home, note: Note
) -> BuiltRunner:
    """Returns the runner of a device, there, with the kernels of `with_kernels`; a store that can't be used is a note.

    Raises what `for_device` and `deploy_runner` raise.
    """
    runner = runners.for_device(device, facts.machine, note)
    deploy_runner(device, runner)
    if not _comparable(device, quants):
        return runner
    try:
        with contextlib.closing(Store.open(home.store_path)) as store:
            return with_kernels(device, facts, runner, quants, store, note)
    except StoreError as error:
        note(f"which of its kernels are the fastest is not known, the widest are used: {error}")
        return runner


def _comparable(device: Device, quants: Iterable[str]) -> bool:
    return not device.entry.emulated and device.entry.runner is None and not set(_OWN).isdisjoint(quants)


def _measure(device: Device, runner: BuiltRunner, check_stop: Callable[[], None]) -> tuple[ProductEvent, ...]:
    """Returns what products took, nothing of a runner with one variant. Raises DeviceError, and SuiteError for what
    can't be used."""
    deploy_runner(device, runner)
    lines, end = measure_device(
        device, runner, "--kernels", _NAME, 1, most_lines=_MOST_LINES, timeout_s=_TIMEOUT_S, check_stop=check_stop
    )
    record = collect(_NAME, lines, end, {})
    if record.cause is Cause.LOST:
        raise DeviceLost(record.sentence)
    fault = _fault(record)
    if fault is not None:
        raise SuiteError(fault)
    return record.products


def _fault(record: SessionRecord) -> str | None:
    """Returns what is wrong with the output of a comparison, None if it can be used."""
    if not record.complete or record.header is None:
        return record.sentence
    variants = record.header.variants
    expected = Counter((quant, name) for quant in _OWN for name in variants) if len(variants) > 1 else Counter()
    if Counter((product.weights, product.kernels) for product in record.products) != expected:
        return f"the runner printed {len(record.products)} times of products, not one for each setting and variant"
    return None


def _report(products: Sequence[ProductEvent], chosen: dict[str, str], note: Note) -> None:
    """Notes each setting that leaves the widest kernels, and why."""
    least = {(product.weights, product.kernels): min(product.ns) for product in products}
    widest = {product.weights: product.kernels for product in reversed(products)}
    for quant, name in chosen.items():
        if name != widest[quant]:
            factor = format_rounded(least[quant, widest[quant]] / least[quant, name])
            note(f"{quant} uses the kernels {name}: {widest[quant]} would take {factor} times as long")
