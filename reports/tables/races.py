"""A race as a section: who wins, then contenders by cost to the target, accuracy under the budget, and at the end."""

from collections.abc import Sequence

from foundation.unavailable import Unavailable
from reports.figures.panels import Figure
from reports.figures.training_curves import looks_of, pareto_front
from reports.model.race import Budget, Contender, CostToTarget, Estimate, Race
from reports.model.reading import Interval, Number
from reports.model.training import Training
from reports.tables.sections import Grid, GridCell, GridRow, Head, Section
from reports.text.escaping import shorten
from reports.text.numbers import plain, quantity, span

_MOST_RACES = 6


def race_section(races: Sequence[Race], trainings: Sequence[Training]) -> list[Section]:
    """Builds the section, none without a race."""
    if not races:
        return []
    drawn = races[:_MOST_RACES]
    several = len(races) > 1
    prose = [f"{race.device}: {words}" if several else words for race in drawn for words in race.winners]
    if len(races) > len(drawn):
        prose.append(f"{len(races) - len(drawn)} further devices are not shown here; trainings.json holds their races.")
    slots = {name: look.slot for name, look in looks_of(trainings).items()}
    grids = [grid for place, race in enumerate(drawn) for grid in _grids(race, place, slots)]
    figures: list[Figure] = [pareto_front(race, trainings, f"front-{place}") for place, race in enumerate(drawn)]
    terms = (
        ("Cost to the target", "What a training's steps took up to the first evaluation at the target or above: the "
         "geometric mean over seeds, with Student's 95 % interval on the logarithms; below 3 seeds their range."),
        ("Accuracy under the budget", "At the last evaluation within it: the mean over seeds with Student's 95 % "
         "interval."),
        ("Who wins", "Said only if the intervals of 3 seeds or more are apart, and costs by more than the way between "
         "two evaluations. Evaluations and loading are not counted as cost."),
    )  # fmt: skip
    return [Section("race", "Race", grids, figures, prose=prose, terms=terms)]


def _grids(race: Race, place: int, slots: dict[str, int]) -> list[Grid]:
    where = f" on {race.device}{' (emulated)' if race.emulated else ''}"
    found = []
    if race.target is not None:
        found.append(_costs(race, place, slots, where))
    if isinstance(race.budget, Budget):
        found.append(_qualities(race, race.budget, place, slots, where))
    found.append(_ends(race, place, slots, where))
    return found


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
    heads = (Head("Contender"), Head("Held-out accuracy", kind="number"), Head("Seeds to know of", wide=True))
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


def _number(found: Number, unit: str, factor: float = 1.0) -> GridCell:
    if isinstance(found, Unavailable):
        return GridCell("unavailable", (shorten(found.reason, 120),))
    return GridCell(f"{found:.3f}" if unit == "accuracy" else quantity(found * factor, unit), sort=f"{found:.7g}")


def _estimate(found: Estimate | Unavailable, unit: str, factor: float = 1.0) -> GridCell:
    """Returns the value with its interval or, where there is none, the range and how many seeds it is of."""
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
