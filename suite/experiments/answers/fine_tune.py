"""What fine-tuning a model on a task to an accuracy takes: hours, joules, battery and memory, with intervals.

Trainings give the number of steps after which each contender first reached the accuracy, and the cost of these steps
on the device. Steps are the same on every device. So where a device finished no training, or has no energy of one,
the cost is

    steps of the trainings * measured cost of one step

The interval's ends are the products of both intervals' ends, which cover at least 90 % (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from foundation.unavailable import Json, Unavailable
from reports.model.experiment import Answer, Cell, Curve, Evidence, Picture, interval_cells, table_of, with_rows
from reports.model.measurement import Measurement
from reports.model.race import CostToTarget, Estimate
from reports.model.reading import Interval, known_number
from reports.model.training import Training, contender_names
from reports.text.numbers import format_list, quantity, span
from suite.experiments.commands import race_command
from suite.experiments.material import Material
from suite.results.race import cost_to_target
from suite.stats import median, session_interval

_OF_WORKLOAD = ("method", "quant", "q", "b", "T", "layers")
_MJ_PER_MWH = 3600.0
_LONG_SECONDS = 7200.0
_EMULATED = Unavailable("the device is emulated: its seconds and joules are not measurements")
Amount = Estimate | Unavailable


@dataclass(frozen=True)
class Bill:
    """What a contender takes to reach the accuracy on a device.

    `forecast`: the amounts that are steps times a measured step. `missed`: the seeds that did not reach the accuracy.
    """

    name: str
    steps: Amount
    seconds: Amount
    energy_mj: Amount
    peak_kib: Amount
    battery_percent: Amount
    seeds: int
    forecast: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()


def answer(material: Material, device: str) -> Answer:
    """Answers for one device."""
    everywhere = material.trainings("trainings")
    own = [one for one in everywhere if one.device == device]
    measurements = material.measurements("steps", device)
    names = contender_names(everywhere)
    goals = [float(one.plan["target"]) for one in everywhere if one.plan.get("target") is not None]
    if not goals:
        return Answer("There is no training, so what one takes can't be told.")
    capacity = _capacity(material.facts("steps", device))
    bills = []
    for name in dict.fromkeys(names[one.training_id] for one in everywhere):
        of_name = [one for one in everywhere if names[one.training_id] == name]
        bills.append(bill_of(name, of_name, device, goals[0], measurements, capacity))
    evidence = with_rows(
        _bill_table(bills),
        _reasons_table(bills),
        _step_table(own, measurements, names),
        _command_table(own or everywhere, material.experiment.model),
    )
    sentence = _sentence(_task(everywhere), goals[0], bills)
    return Answer(sentence, _picture(own, names, goals[0]), evidence)


def bill_of(
    name: str,
    trainings: Sequence[Training],
    device: str,
    target: float,
    measurements: Sequence[Measurement],
    capacity_mwh: float | Unavailable,
) -> Bill:
    """Returns what one contender takes on a device.

    `trainings` are the contender's on all devices, `measurements` those of any contender's steps on this device.
    """
    own = [one for one in trainings if one.device == device]
    elsewhere = [one for one in trainings if one.device != device]
    cost = cost_to_target(own, target) if own else None
    steps, lent = _steps(own, cost, elsewhere, target)
    step = next((one for one in measurements if _same_workload(one, trainings[0])), None)
    forecast = [f"steps: as trained on {elsewhere[0].device}"] if lent else []

    def amount(what: str, trained: Amount, read: Callable[[Measurement], Sequence[float] | Unavailable]) -> Amount:
        if isinstance(trained, Estimate) and not lent:
            return trained
        product = times_step(steps, Unavailable("its step was not measured") if step is None else read(step))
        if isinstance(product, Unavailable):
            return trained if isinstance(trained, Unavailable) and not lent else product
        forecast.append(f"{what}: steps of the trainings times a measured step")
        return product

    nothing = Unavailable("it was not trained on this device")
    emulated = bool(own and own[0].emulated) or bool(step and step.emulated)
    seconds = amount("hours", nothing if cost is None else cost.seconds, _seconds)
    energy = amount("joules", nothing if cost is None else cost.energy_mj, _energies)
    peak = nothing if cost is None else cost.peak_memory_kib
    if isinstance(peak, Unavailable) and step is not None:
        peak = _peak(step)
    seconds, energy = (_EMULATED, _EMULATED) if emulated else (seconds, energy)
    return Bill(
        name,
        steps,
        seconds,
        energy,
        peak,
        _share(energy, capacity_mwh),
        len({one.seed for one in trainings}),
        () if emulated else tuple(forecast),
        () if cost is None else tuple(cost.missed),
    )


def times_step(steps: Amount, of_step: Sequence[float] | Unavailable) -> Amount:
    """Returns steps times the cost of one, which is given by the figures of its sessions."""
    if isinstance(steps, Unavailable):
        return steps
    if isinstance(of_step, Unavailable):
        return of_step
    level, ends = median(of_step), session_interval(of_step)
    whole: Interval | Unavailable
    if isinstance(steps.interval, Unavailable):
        whole = steps.interval
    elif isinstance(ends, Unavailable):
        whole = ends
    else:
        whole = Interval(steps.interval.low * ends.low, steps.interval.high * ends.high)
    return Estimate(steps.value * level, whole, steps.least * min(of_step), steps.most * max(of_step), steps.seeds)


def _steps(
    own: Sequence[Training], cost: CostToTarget | None, elsewhere: Sequence[Training], target: float
) -> tuple[Amount, bool]:
    """Returns the steps to the target, and whether they are another device's because none of its own finished."""
    if cost is not None and (isinstance(cost.steps, Estimate) or any(one.status == "finished" for one in own)):
        return cost.steps, False
    for device in dict.fromkeys(one.device for one in elsewhere):
        found = cost_to_target([one for one in elsewhere if one.device == device], target).steps
        if isinstance(found, Estimate):
            return found, True
    return Unavailable("it was not trained on this device") if cost is None else cost.steps, False


def _same_workload(one: Measurement, training: Training) -> bool:
    return all(one.workload.get(name) == training.workload.get(name) for name in _OF_WORKLOAD)


def _seconds(one: Measurement) -> Sequence[float] | Unavailable:
    found = one.latency.sessions_ms
    return found if isinstance(found, Unavailable) else [each / 1e3 for each in found]


def _energies(one: Measurement) -> Sequence[float] | Unavailable:
    found = one.energy
    if found.sessions_gross:
        return found.sessions_gross
    return found.gross_mj if isinstance(found.gross_mj, Unavailable) else [found.gross_mj]


def _peak(one: Measurement) -> Amount:
    peak = one.peak_memory_kib
    if isinstance(peak, Unavailable):
        return peak
    return Estimate(peak, Unavailable("a peak of measured steps, without evaluations"), peak, peak, 0)


def _capacity(facts: Mapping[str, Json]) -> float | Unavailable:
    if not facts:
        return Unavailable("the battery's capacity is unknown: no step was measured on the device")
    found = known_number(facts, "battery_mwh")
    if found is None and known_number(facts, "battery_percent") is None:
        return Unavailable("the device has no battery that reports itself")
    return Unavailable("the battery does not report its full capacity") if found is None else found


def _share(energy: Amount, capacity_mwh: float | Unavailable) -> Amount:
    """Returns an energy as a percentage of a full battery."""
    if isinstance(capacity_mwh, Unavailable):
        return capacity_mwh
    if isinstance(energy, Unavailable):
        return energy
    factor = 100.0 / (_MJ_PER_MWH * capacity_mwh)
    ends = energy.interval
    whole = ends if isinstance(ends, Unavailable) else Interval(ends.low * factor, ends.high * factor)
    return Estimate(energy.value * factor, whole, energy.least * factor, energy.most * factor, energy.seeds)


def _task(trainings: Sequence[Training]) -> str:
    first = trainings[0]
    plan: Mapping[str, Json] = first.plan.get("plan") or {}
    return f"{first.workload.get('model')} on {plan.get('task') or 'the built-in reviews'}"


def _sentence(what: str, target: float, bills: Sequence[Bill]) -> str:
    """Returns the sentence on the contender with the fewest seconds (on emulated devices, the fewest steps)."""
    goal = f"fine-tune {what} to a held-out accuracy of {target:g}"
    ranked = sorted((one for one in bills if isinstance(one.steps, Estimate)), key=_rank)
    if not ranked:
        reasons = dict.fromkeys(
            word
            for one in bills
            for word in (one.missed or ([one.steps.reason] if isinstance(one.steps, Unavailable) else []))
        )
        return f"What it takes to {goal} can't be told: {'; '.join(reasons)}."
    best = ranked[0]
    words = [f"it takes {_time_words(best)}"]
    words += [
        _name_amount("energy", best.energy_mj, "mJ"),
        _battery_words(best),
        _name_amount("peak memory", best.peak_kib, "KiB"),
    ]
    found = f"To {goal} {', '.join(words)}, with {best.name}"
    if best.missed:
        found += f" ({len(best.missed)} of the {best.seeds} seeds did not reach it)"
    frugal = min((one for one in ranked if isinstance(one.peak_kib, Estimate)), key=_peak_of, default=best)
    if frugal is not best:
        least = _name_amount("peak", frugal.peak_kib, "KiB")
        found += f"; {frugal.name} needs the least memory, {least}, and {_time_words(frugal)}"
    never = [one.name for one in bills if one not in ranked]
    if never:
        found += f"; not reached by {format_list(never)}"
    return f"{found}."


def _rank(one: Bill) -> tuple[int, float]:
    amount = one.seconds if isinstance(one.seconds, Estimate) else one.steps
    return len(one.missed), amount.value if isinstance(amount, Estimate) else 0.0


def _peak_of(one: Bill) -> float:
    return one.peak_kib.value if isinstance(one.peak_kib, Estimate) else 0.0


def _time_words(one: Bill) -> str:
    """Returns the time that a contender takes, or its steps if the time is unknown."""
    found = one.seconds
    if isinstance(found, Estimate):
        return _span(found, "h", 1 / 3600) if found.value >= _LONG_SECONDS else _span(found, "ms", 1e3)
    return f"{one.steps.value:.0f} steps" if isinstance(one.steps, Estimate) else "unknown steps"


def _name_amount(name: str, found: Amount, unit: str) -> str:
    if isinstance(found, Unavailable):
        return f"{name} unknown ({found.reason})"
    return f"{name} {_span(found, unit)}"


def _battery_words(one: Bill) -> str:
    found = one.battery_percent
    if isinstance(found, Unavailable):
        return f"share of a battery unknown ({found.reason})"
    return f"{found.value:.2g} % of a full battery"


def _span(found: Estimate, unit: str, factor: float = 1.0) -> str:
    """Returns an amount with its interval, or the range of its seeds."""
    words = quantity(found.value * factor, unit)
    if isinstance(found.interval, Interval):
        ends = found.interval
        return f"{words} ({span(ends.low * factor, ends.high * factor, unit, found.value * factor)})"
    if found.seeds > 1:
        return f"{words} (seeds {span(found.least * factor, found.most * factor, unit, found.value * factor)})"
    return words


_AMOUNTS: tuple[tuple[str, Callable[[Bill], Amount], float], ...] = (
    ("steps", lambda one: one.steps, 1.0),
    ("hours", lambda one: one.seconds, 1 / 3600),
    ("joules", lambda one: one.energy_mj, 1e-3),
    ("battery, %", lambda one: one.battery_percent, 1.0),
    ("peak, MiB", lambda one: one.peak_kib, 1 / 1024),
)


def _bill_table(bills: Sequence[Bill]) -> Evidence:
    rows: list[dict[str, Cell]] = []
    for one in bills:
        row: dict[str, Cell] = {"contender": one.name}
        for name, read, factor in _AMOUNTS:
            found = read(one)
            known = found if isinstance(found, Estimate) else None
            row[name] = None if known is None else known.value * factor
            row |= interval_cells(None if known is None else known.interval, f"{name}: ", factor)
        row["seeds that reached it"] = found.seeds if isinstance(found := one.steps, Estimate) else 0
        rows.append(row)
    note = (
        "Hours and joules are those of training steps on the device; evaluations and loading come on top. Geometric "
        "means over seeds with 95 % intervals."
    )
    return table_of("What each contender takes to reach the accuracy", rows, note)


def _reasons_table(bills: Sequence[Bill]) -> Evidence:
    """Lists what is unknown, forecast or missed."""
    rows: list[dict[str, Cell]] = []
    for one in bills:
        for name, read, _ in _AMOUNTS:
            found = read(one)
            if isinstance(found, Unavailable):
                rows.append({"contender": one.name, "what": name, "why": found.reason})
            elif isinstance(found.interval, Unavailable):
                rows.append({"contender": one.name, "what": f"{name}: interval", "why": found.interval.reason})
        rows += [{"contender": one.name, "what": "forecast", "why": words} for words in one.forecast]
        rows += [{"contender": one.name, "what": "missed", "why": words} for words in one.missed]
    return table_of("What is unknown, and why", rows)


def _step_table(
    trainings: Sequence[Training], measurements: Sequence[Measurement], names: Mapping[str, str]
) -> Evidence:
    rows: list[dict[str, Cell]] = []
    for name in dict.fromkeys(names[one.training_id] for one in trainings):
        own = [one for one in trainings if names[one.training_id] == name and one.steps]
        step = next((one for one in measurements if own and _same_workload(one, own[0])), None)
        in_training = [1e3 * one.seconds / one.steps for one in own]
        of_sessions = None if step is None else _seconds(step)
        rows.append(
            {
                "contender": name,
                "step in training, ms": median(in_training) if in_training else None,
                "step measured, ms": 1e3 * median(of_sessions) if isinstance(of_sessions, list) else None,
            }
        )
    note = "A training also has programs for shorter rows, so its steps may take less time than a full one."
    return table_of("Steps in training and in measurements", rows, note)


def _command_table(trainings: Sequence[Training], model: str | None) -> Evidence:
    return table_of("The command that repeats the trainings", [{"command": race_command(trainings, model)}])


def _picture(trainings: Sequence[Training], names: Mapping[str, str], target: float) -> Picture | None:
    """Draws the mean accuracy of each contender over minutes of steps, and the target."""
    curves = []
    for name in dict.fromkeys(names[one.training_id] for one in trainings):
        own = [one for one in trainings if names[one.training_id] == name and one.evaluations]
        if own:
            curves.append(_curve(name, own))
    if not curves:
        return None
    latest = max(float(minutes) for one in curves for minutes in one.x)
    goal = Curve(f"target {target:g}", (0.0, latest), (target, target), look="dashes")
    caption = "Means over seeds. A training ends when it reaches the accuracy; from there on its last value counts."
    return Picture("Accuracy over the time of steps", "minutes of steps", "accuracy", (*curves, goal), caption)


def _curve(name: str, own: Sequence[Training]) -> Curve:
    minutes, accuracies, words = [], [], []
    for step in sorted({each.step for one in own for each in one.evaluations}):
        going_on = [one for one in own if one.evaluations[-1].step >= step]
        last = [[each for each in one.evaluations if each.step <= step][-1:] for one in own]
        known = [each.accuracy for found in last for each in found]
        minutes.append(sum(one.seconds_at(step) for one in going_on) / len(going_on) / 60)
        accuracies.append(sum(known) / len(known))
        words.append(f"step {step}, {len(going_on)} of {len(own)} seeds continue")
    return Curve(name, tuple(minutes), tuple(accuracies), words=tuple(words))
