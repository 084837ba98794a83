"""Trainings as tables: a row for each, a row for each of their segments, and the files with all data.

A race between them is a section: who wins, then contenders by cost to the target, accuracy under the budget and
accuracy at the end.
"""

import json
from collections.abc import Callable, Sequence

from foundation.unavailable import Unavailable
from reports.figures.panels import Figure
from reports.figures.training_curves import looks_of, pareto_front
from reports.files import device_place
from reports.model.measurement import setting_of
from reports.model.race import Budget, Contender, CostToTarget, Estimate, Race
from reports.model.reading import Interval, Number
from reports.model.training import Segment, Training, TrainingGroup, contender_names
from reports.tables.sections import Grid, GridCell, GridRow, Head, LinkOf, Section, table
from reports.text.appearance import badges, status
from reports.text.escaping import csv_table, csv_text, file_name, finite, shorten
from reports.text.numbers import plain, quantity, span, times, times_span

TRAININGS_JSON, EVALUATIONS_CSV, STEPS_CSV = "trainings.json", "evaluations.csv", "steps.csv"
_MOST_RACES = 6


def trainings_table(trainings: Sequence[Training], built: LinkOf) -> Section:
    """Builds the table with a row for each training."""
    names, looks = contender_names(trainings), looks_of(trainings)
    heads = (
        *(Head("Device", choices=True), Head("Method", choices=True), Head("Setting", choices=True)),
        *(Head("Seed", kind="number"), Head("Steps", kind="number")),
        *(Head("Accuracy", word, "number") for word in ("before", "after", "best")),
        *(Head("Time", "of steps", "number"), Head("Energy", "of steps", "number")),
        *(Head("Peak memory", kind="number"), Head("Status", kind="status", choices=True)),
    )
    rows = [_row(one, names[one.training_id], looks[names[one.training_id]].slot, built) for one in trainings]
    empty = "No training was started: `suite train --resume` continues, `suite devices check` says what a device lacks."
    caption = "Every training: held-out accuracy before, after and at its best, and what its steps cost"
    return table("trainings", "Trainings", caption, heads, rows, empty=empty)


def _row(one: Training, name: str, slot: int, built: LinkOf) -> GridRow:
    outcome, method = status(one.status), str(one.workload.get("method", "unknown"))
    # What else distinguishes this contender, such as q=4.
    more = name.removeprefix(f"{method} {setting_of(one.workload)}").strip()
    found = one.evaluations
    before = found[0].accuracy if found and found[0].step == 0 else None
    after = found[-1].accuracy if found and found[-1].step else None
    seconds = one.seconds if one.steps else Unavailable("no step was made")
    energy = one.energy_at(one.steps) if one.steps else Unavailable("no step was made")
    reason = (shorten(one.reason, 200),) if one.reason else ()
    cells = (
        GridCell(one.device, href=built(device_place(one.device)), badges=badges(one.emulated)),
        GridCell(method, (more,) if more else (), slot=slot),
        GridCell(setting_of(one.workload)),
        GridCell(str(one.seed)),
        GridCell(f"{one.steps:,}", sort=str(one.steps)),
        *(_accuracy(value) for value in (before, after, max((each.accuracy for each in found), default=None))),
        _cell(seconds if isinstance(seconds, Unavailable) else 1e3 * seconds, "ms"),
        _cell(energy, "mJ"),
        _cell(_peak(one.peak_memory_kib), "KiB"),
        GridCell(one.status, reason, str(outcome.order), status=outcome),
    )
    return GridRow(f"t-{file_name(one.training_id)}", cells)


def _accuracy(found: float | None) -> GridCell:
    return GridCell("\u2013") if found is None else GridCell(f"{found:.3f}", sort=f"{found:.7g}")


def _peak(kib: int | None) -> Number:
    return Unavailable("no process reported its peak") if kib is None else float(kib)


def _cell(found: Number, unit: str) -> GridCell:
    if isinstance(found, Unavailable):
        return GridCell("unavailable", (shorten(found.reason, 90),))
    return GridCell(quantity(found, unit), sort=f"{found:.7g}")


def segments_table(trainings: Sequence[Training]) -> Section:
    """Builds the folded table with a row for each segment."""
    names = contender_names(trainings)
    every = [(one, segment) for one in trainings for segment in one.segments]
    rows = [_segment_row(*one, names) for one in every]
    if not rows:
        return Section("segments", "Segments", empty="No step was made.")
    heads = (
        *(Head("Device", choices=True), Head("Training", choices=True), Head("Seed", kind="number")),
        *(Head("From step", kind="number"), Head("Steps", kind="number"), Head("Time", "of steps", "number")),
        *(Head("Load", kind="number"), Head("Energy", "of steps", "number"), Head("Peak memory", kind="number")),
        Head("Note", wide=True),
    )
    noted = sum(segment.note is not None for _, segment in every)
    caption = "Steps made by one process, starting from the state that the previous segment left"
    folded = f"{len(every):,} segments, {noted:,} with a note"
    grid = Grid("segments", caption, heads, rows, folded=folded)
    return Section("segments", "Segments", (grid,))


def _segment_row(one: Training, segment: Segment, names: dict[str, str]) -> GridRow:
    load = segment.load_seconds
    cells = (
        GridCell(one.device, badges=badges(one.emulated)),
        GridCell(names[one.training_id]),
        GridCell(str(one.seed)),
        GridCell(f"{segment.first_step:,}", sort=str(segment.first_step)),
        GridCell(f"{segment.steps:,}", sort=str(segment.steps)),
        _cell(1e3 * segment.seconds, "ms"),
        _cell(Unavailable("not reported") if load is None else 1e3 * load, "ms"),
        _cell(segment.energy_mj, "mJ"),
        _cell(_peak(segment.peak_memory_kib), "KiB"),
        GridCell(segment.note or ""),
    )
    return GridRow(f"s-{file_name(one.training_id)}-{segment.first_step}", cells)


FILES = (
    (TRAININGS_JSON, "JSON: every training with its evaluations and segments, and the races"),
    (EVALUATIONS_CSV, "CSV: one row per evaluation"),
    (STEPS_CSV, "CSV: one row per step"),
)


def document_text(group: TrainingGroup) -> str:
    """Returns the whole group as JSON text."""
    trainings = [
        one.document() | {"segments": [_segment_document(each) for each in one.segments]} for one in group.trainings
    ]
    head = {"group_id": group.group_id, "started_at": group.started_at, "status": group.status}
    document = {
        **head,
        "command": group.command,
        "trainings": trainings,
        "races": [one.document() for one in group.races],
    }
    return json.dumps(finite(document), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _segment_document(segment: Segment) -> dict[str, object]:
    energy = segment.energy_mj
    return {
        "first_step": segment.first_step,
        "steps": segment.steps,
        "seconds": segment.seconds,
        "load_seconds": segment.load_seconds,
        "energy_mj": energy.document() if isinstance(energy, Unavailable) else energy,
        "peak_memory_kib": segment.peak_memory_kib,
        "note": segment.note,
    }


_WHOSE = ("training_id", "device", "contender", "seed")


def _whose(one: Training, names: dict[str, str]) -> tuple[object, ...]:
    return csv_text(one.training_id), csv_text(one.device), csv_text(names[one.training_id]), one.seed


def evaluations_text(trainings: Sequence[Training]) -> str:
    """Returns a CSV of all evaluations; energy is empty where it is unavailable."""
    names = contender_names(trainings)
    rows = []
    for one in trainings:
        for each in one.evaluations:
            energy = one.energy_at(each.step)
            known = "" if isinstance(energy, Unavailable) else energy
            costs = (one.seconds_at(each.step), known)
            rows.append((*_whose(one, names), each.step, each.examples, each.accuracy, each.loss, *costs))
    return csv_table((*_WHOSE, "step", "examples", "accuracy", "loss", "seconds", "energy_mj"), rows)


def steps_text(trainings: Sequence[Training]) -> str:
    """Returns a CSV of all steps, counted from 1, with the seconds and the loss of each."""
    names = contender_names(trainings)
    rows = (
        (*_whose(one, names), segment.first_step + place, seconds, loss)
        for one in trainings
        for segment in one.segments
        for place, (seconds, loss) in enumerate(segment.curve, 1)
    )
    return csv_table((*_WHOSE, "step", "seconds", "loss"), rows)


def race_section(races: Sequence[Race], trainings: Sequence[Training]) -> list[Section]:
    """Builds the section, none without a race."""
    if not races:
        return []
    drawn = races[:_MOST_RACES]
    several = len(races) > 1
    prose = [f"{race.device}: {words}" if several else words for race in drawn for words in race.winners]
    if len(races) > len(drawn):
        prose.append(f"{len(races) - len(drawn)} more devices are not displayed here; trainings.json has their races.")
    slots = {name: look.slot for name, look in looks_of(trainings).items()}
    grids = [grid for place, race in enumerate(drawn) for grid in _grids(race, place, slots)]
    figures: list[Figure] = [pareto_front(race, trainings, f"front-{place}") for place, race in enumerate(drawn)]
    terms = (
        ("Cost to the target", "The cost of a training's steps up to the first evaluation at or above the target: the "
         "geometric mean over seeds, with Student's 95 % interval on the logarithms; with fewer than 3 seeds their "
         "range."),
        ("Accuracy under the budget", "At the last evaluation within it: the mean over seeds with Student's 95 % "
         "interval."),
        ("Who wins", "Stated only if the intervals over at least 3 seeds don't overlap, and costs differ by more than "
         "the distance between two evaluations. Evaluations and loading don't count as cost."),
    )  # fmt: skip
    return [Section("race", "Race", grids, figures=figures, prose=prose, terms=terms)]


def _grids(race: Race, place: int, slots: dict[str, int]) -> list[Grid]:
    where = f" on {race.device}{' (emulated)' if race.emulated else ''}"
    found = []
    if race.target is not None:
        found.append(_costs(race, place, slots, where))
    if isinstance(race.budget, Budget):
        found.append(_qualities(race, race.budget, place, slots, where))
    found.append(_ends(race, place, slots, where))
    return [*found, _robustness(race, place, slots, where)] if race.robustness else found


def _name(one: Contender, slots: dict[str, int]) -> GridCell:
    return GridCell(one.name, slot=slots.get(one.name, 8))


def _costs(race: Race, place: int, slots: dict[str, int], where: str) -> Grid:
    heads = (
        *(Head("Contender"), Head("Seeds that reached it", kind="number"), Head("Steps", kind="number")),
        *(Head("Time", "of steps", "number"), Head("Energy", "of steps", "number"), Head("Peak memory", kind="number")),
        Head("Never reached it", wide=True),
    )
    rows = [
        GridRow(f"cost-{place}-{number}", (_name(one, slots), *_cost_cells(one, one.cost)))
        for number, one in enumerate(race.contenders)
        if one.cost is not None
    ]
    return Grid(f"costs-{place}", f"Cost to a held-out accuracy of {race.target:g}{where}", heads, rows)


def _cost_cells(one: Contender, cost: CostToTarget) -> list[GridCell]:
    seeds = len(one.seeds)
    reached = seeds - len(cost.missed)
    return [
        GridCell(f"{reached} of {seeds}", sort=str(reached)),
        _estimate(cost.steps, ""),
        _estimate(cost.seconds, "ms", 1e3),
        _estimate(cost.energy_mj, "mJ"),
        _estimate(cost.peak_memory_kib, "KiB"),
        GridCell("; ".join(shorten(words, 200) for words in cost.missed)),
    ]


def _qualities(race: Race, budget: Budget, place: int, slots: dict[str, int], where: str) -> Grid:
    unit = "ms" if budget.quantity == "seconds" else "mJ"
    limit = quantity(budget.limit * (1e3 if unit == "ms" else 1.0), unit)
    kind = "the budget" if budget.given else "what every finished training has used"
    rows = [
        GridRow(
            f"quality-{place}-{number}",
            (
                _name(one, slots),
                _estimate(one.quality.accuracy, "accuracy"),
                GridCell("; ".join(shorten(words, 200) for words in one.quality.remarks)),
            ),
        )
        for number, one in enumerate(race.contenders)
    ]
    heads = (Head("Contender"), Head("Held-out accuracy", kind="number"), Head("Remarks on seeds", wide=True))
    return Grid(f"qualities-{place}", f"Accuracy after {limit} of steps, {kind}{where}", heads, rows)


def _ends(race: Race, place: int, slots: dict[str, int], where: str) -> Grid:
    seconds = race.cost_quantity == "seconds"
    factor, unit, word = (1e3, "ms", "Time") if seconds else (1.0, "mJ", "Energy")
    rows = [
        GridRow(
            f"end-{place}-{number}",
            (
                _name(one, slots),
                _number(one.outcome.accuracy, "accuracy"),
                _number(one.outcome.cost, unit, factor),
                _number(one.outcome.peak_memory_kib, "KiB"),
                GridCell("yes" if one.outcome.in_front else "no"),
            ),
        )
        for number, one in enumerate(race.contenders)
    ]
    heads = (
        *(Head("Contender"), Head("Accuracy", "at the end", "number"), Head(word, "of all steps", "number")),
        *(Head("Peak memory", kind="number"), Head("On the Pareto front", choices=True)),
    )
    notes = [f"Time instead of energy: {race.why_no_energy}."] if race.why_no_energy else []
    return Grid(f"ends-{place}", f"Means of the finished trainings{where}", heads, rows, notes)


def _robustness(race: Race, place: int, slots: dict[str, int], where: str) -> Grid:
    heads = (
        *(Head("Contender"), Head("Time", "grew by the factor", "number"), Head("Energy", "likewise", "number")),
        *(Head("Accuracy", "change under the budget", "number"), Head("Losses stay the same", choices=True)),
        Head("Remarks on seeds", wide=True),
    )
    rows = [
        GridRow(
            f"robust-{place}-{number}",
            (
                GridCell(one.name, slot=slots.get(one.name, 8)),
                _change(one.seconds, times, times_span),
                _change(one.energy, times, times_span),
                _change(one.accuracy, "{:+.3f}".format, "{:+.3f} to {:+.3f}".format),
                GridCell("yes" if one.same_course else "no"),
                GridCell("; ".join(shorten(words, 200) for words in one.remarks)),
            ),
        )
        for number, one in enumerate(race.robustness)
    ]
    notes = [
        "Each training again, with a load on all cores during its steps and its process ended once in the middle: the "
        "time and energy of its steps, relative to the first; steps made twice count twice."
    ]
    if race.emulated:
        notes.append("The device is emulated: its seconds don't represent a real device.")
    return Grid(f"robustness-{place}", f"With a busy device and an interruption{where}", heads, rows, notes)


def _change(
    found: Estimate | Unavailable, write: Callable[[float], str], between: Callable[[float, float], str]
) -> GridCell:
    if isinstance(found, Unavailable):
        return GridCell("unavailable", (shorten(found.reason, 120),))
    ends = found.interval
    known = isinstance(ends, Interval)
    low, high = (ends.low, ends.high) if isinstance(ends, Interval) else (found.least, found.most)
    small = f"95 %: {between(low, high)}" if known else f"range {between(low, high)}, n = {found.seeds}"
    return GridCell(write(found.value), (small,), sort=f"{found.value:.7g}")


def _number(found: Number, unit: str, factor: float = 1.0) -> GridCell:
    if isinstance(found, Unavailable):
        return GridCell("unavailable", (shorten(found.reason, 120),))
    return GridCell(f"{found:.3f}" if unit == "accuracy" else quantity(found * factor, unit), sort=f"{found:.7g}")


def _estimate(found: Estimate | Unavailable, unit: str, factor: float = 1.0) -> GridCell:
    """Returns the value with its interval or, if there is none, the range and the number of seeds."""
    if isinstance(found, Unavailable):
        return GridCell("unavailable", (shorten(found.reason, 120),))
    ends = found.interval
    known = isinstance(ends, Interval)
    low, high = (ends.low, ends.high) if isinstance(ends, Interval) else (found.least, found.most)
    if unit == "accuracy":
        main, between = f"{found.value:.3f}", f"{low:.3f}\u2013{high:.3f}"
    elif unit:
        main = quantity(found.value * factor, unit)
        between = span(low * factor, high * factor, unit, like=found.value * factor)
    else:
        main, between = plain(found.value, 0), f"{plain(low, 0)}\u2013{plain(high, 0)}"
    small = f"95 %: {between}" if known else f"range {between}, n = {found.seeds}"
    if found.least == found.most:
        small = f"all equal, n = {found.seeds}" if found.seeds > 1 else "n = 1"
    return GridCell(main, (small,), sort=f"{found.value:.7g}")
