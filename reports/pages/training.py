"""The trainings of one command: what was trained and its accuracy, curves, race, every training and segment.

Also the list of all trainings, on the overview and on a page of its own.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from foundation.unavailable import Unavailable
from reports.figures.training_curves import accuracy_curves, loss_curves
from reports.files import TRAININGS, device_place, training_place
from reports.model.measurement import workload_words
from reports.model.reading import text
from reports.model.training import Training, TrainingGroup, TrainingGroupSummary, contender_names
from reports.tables.sections import Banner, Facts, GridCell, GridRow, Head, Link, LinkOf, Page, Section, table
from reports.tables.trainings import FILES, race_section, segments_table, trainings_table
from reports.text.appearance import Status, badges, glossary, status
from reports.text.escaping import file_name, shorten
from reports.text.numbers import format_count, format_list, moment_text, quantity, sort_key

_MOST_ITEMS, _MOST_NAMES, _NEWEST = 8, 6, 10
_BEYOND = 1.96
"""Standard deviations that the difference of two shares exceeds by chance once in twenty times."""


def training_page(group: TrainingGroup, built: LinkOf) -> Page:
    """Builds the page; ``built`` returns the link of an existing page, or nothing."""
    trainings = group.trainings
    drawn = (accuracy_curves(trainings), loss_curves(trainings)) if trainings else ()
    figures = Section("curves", "Curves", figures=drawn, empty="" if drawn else "There is nothing to draw yet.")
    return Page(
        title=f"Training {group.group_id}",
        heading=f"Training {group.group_id}",
        lead=f"{moment_text(group.started_at) or 'Start not recorded'}, {group.status}.",
        banner=Banner(_outcome(group), _headline(trainings), _items(group, built), _caution(trainings)),
        sections=(
            figures,
            *race_section(group.races, trainings),
            trainings_table(trainings, built),
            segments_table(trainings),
            _method(group),
        ),
        trail=(Link("All trainings", TRAININGS), *_device_links(trainings, built)),
        meanings=_meanings({one.status for one in trainings}),
        files=FILES,
        badges=badges(bool(trainings) and all(one.emulated for one in trainings)),
    )


def _meanings(words: set[str]) -> list[Status]:
    goes_on = "stopped before its end; `suite train --resume` continues"
    return [replace(one, meaning=goes_on) if one.word == "interrupted" else one for one in glossary(words)]


def _device_links(trainings: Sequence[Training], built: LinkOf) -> list[Link]:
    """Returns links to the devices; one that has only trained has no page."""
    names = list(dict.fromkeys(one.device for one in trainings))[:_MOST_ITEMS]
    return [Link(name, built(device_place(name))) for name in names]


def _outcome(group: TrainingGroup) -> Status:
    found = [status(one.status) for one in group.trainings]
    return min(found, key=lambda one: one.order, default=status(group.status))


def _headline(trainings: Sequence[Training]) -> str:
    """States in a sentence what was trained and the accuracy it reached, or that this isn't known."""
    if not trainings:
        return "No training was started: the devices could not be prepared."
    models = list(dict.fromkeys(text(one.workload, "model", default="an unknown model") for one in trainings))
    names = list(dict.fromkeys(contender_names(trainings).values()))
    devices = list(dict.fromkeys(shorten(one.device) for one in trainings))
    ways = f"with {_names(names)}" if len(names) <= 3 else f"in {len(names)} ways"
    where = _names(devices) if len(devices) <= 3 else format_count(len(devices), "device")
    what = f"{_names(models)} {ways} on {where}"
    ended = [one for one in trainings if one.evaluations and one.evaluations[-1].step]
    if not ended:
        none = "it was not" if len(trainings) == 1 else f"none of {len(trainings)} trainings was"
        return f"The accuracy that training {what} reached can't be told: {none} evaluated after a step."
    if len(trainings) == 1:
        return f"Trained {what} for {format_count(trainings[0].steps, 'step')}: {_gain(ended[0])}."
    after = [one.evaluations[-1].accuracy for one in ended]
    best = max(ended, key=lambda one: one.evaluations[-1].accuracy)
    whose = f"{contender_names(trainings)[best.training_id]} on {shorten(best.device)} with seed {best.seed}"
    left_out = len(trainings) - len(ended)
    rest = f"; {format_count(left_out, 'training')} not evaluated after a step" if left_out else ""
    start = [one.evaluations[0].accuracy for one in ended if one.evaluations[0].step == 0]
    before = f", {_span(start)} before any step" if start else ""
    return (
        f"Trained {what}, {len(trainings)} trainings: held-out accuracy {_span(after)} at the end{before}, the "
        f"highest by {whose}{rest}."
    )


def _span(accuracies: Sequence[float]) -> str:
    low, high = min(accuracies), max(accuracies)
    return f"{low:.3f}" if low == high else f"{low:.3f} to {high:.3f}"


def _gain(one: Training) -> str:
    first, last = one.evaluations[0], one.evaluations[-1]
    on = format_count(last.examples, "held-out example")
    if first.step:
        return f"accuracy {last.accuracy:.3f} on {on}; the accuracy before any step is not known"
    change = last.accuracy - first.accuracy
    moved = f"accuracy went from {first.accuracy:.3f} to {last.accuracy:.3f} on {on}"
    # The two shares are taken as independent, which is on the safe side: they are of the same examples.
    variance = sum(share * (1 - share) / last.examples for share in (first.accuracy, last.accuracy))
    if abs(change) <= _BEYOND * math.sqrt(variance):
        return f"{moved}, which may be chance: too few examples or too small a change to tell whether it learned"
    return moved


def _names(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMES
    return format_list(list(names)) if more <= 0 else f"{', '.join(names[:_MOST_NAMES])} and {more} more"


def _items(group: TrainingGroup, built: LinkOf) -> list[tuple[Link, str]]:
    winners = {race.device: " ".join(race.winners) for race in group.races}
    found = []
    for link in _device_links(group.trainings, built):
        own = [one for one in group.trainings if one.device == link.text]
        made = [one for one in own if one.steps]
        energies = [one.energy_at(one.steps) for one in made]
        known = [energy for energy in energies if not isinstance(energy, Unavailable)]
        parts = [format_count(len(own), "training")]
        if made:
            parts.append(f"{quantity(1e3 * sum(one.seconds for one in made), 'ms')} of steps")
            parts.append(quantity(sum(known), "mJ") if len(known) == len(made) else "energy unavailable")
        sentence = winners.get(link.text, "")
        found.append((link, f"{', '.join(parts)}.{' ' if sentence else ''}{sentence}"))
    return found


def _caution(trainings: Sequence[Training]) -> str:
    emulated = list(dict.fromkeys(shorten(one.device) for one in trainings if one.emulated))
    if not emulated:
        return ""
    verb = "is" if len(emulated) == 1 else "are"
    return f"{format_list(emulated)} {verb} emulated: its seconds and memory don't represent a real device."


def _method(group: TrainingGroup) -> Section:
    workloads = list(dict.fromkeys(f"{workload_words(one.workload)}" for one in group.trainings))
    facts = [("workload", words) for words in workloads[:_MOST_ITEMS]]
    for name, otherwise in (("task", "built-in reviews"), ("lr", "auto"), ("eps", "auto")):
        asked = dict.fromkeys(str(_of_plan(one, name) or otherwise) for one in group.trainings)
        facts.append((name, format_list(list(asked))))
    for name in ("steps", "eval_every", "examples", "schedule", "budget_minutes", "budget_joules", "target"):
        given = dict.fromkeys(str(one.plan[name]) for one in group.trainings if one.plan.get(name) is not None)
        facts += [(name.replace("_", " "), format_list(list(given)))] if given else []
    host = [(key, str(entry)) for key, entry in group.environment.items()]
    terms = (
        ("Accuracy", "Share of held-out examples (never used in a step) whose right answer has the lowest mean loss; "
         "a tie doesn't count as right."),
        ("Time", "Seconds of the steps alone, on the device's own clock, without loading, evaluations and steps that "
         "failed and were repeated."),
        ("Energy", "Gross, of the steps alone; unavailable as soon as one segment has none."),
        ("Peak memory", "The highest VmHWM plus VmSwap of the training's processes."),
    )  # fmt: skip
    prose = [f"Command: `{shorten(group.command, 400)}`"] if group.command else []
    tables = [Facts("What was requested", facts)] if facts else []
    tables += [Facts("Environment of the host", host)] if host else []
    return Section("method", "Method", facts=tables, prose=prose, terms=terms)


def _of_plan(training: Training, name: str) -> object:
    """Returns a value from the plan of a training, None if it has none."""
    plan = training.plan.get("plan")
    return plan.get(name) if isinstance(plan, dict) else None


def trainings_page(groups: Sequence[TrainingGroupSummary], built: LinkOf) -> Page:
    """Builds the list of all trainings."""
    ordered = newest_trainings(groups)
    return Page(
        title="Trainings",
        heading="Trainings",
        lead=f"{format_count(len(ordered), 'training command')}, newest first." if ordered else "",
        sections=(_list(ordered, len(ordered), built),),
        trail=(Link("Overview", "index.html#trainings"),),
        meanings=_meanings({one.status for one in ordered}),
    )


def newest_trainings(groups: Sequence[TrainingGroupSummary]) -> list[TrainingGroupSummary]:
    """Sorts trainings by start, newest first."""
    return sorted(groups, key=lambda one: (sort_key(one.started_at), one.group_id), reverse=True)


def trainings_section(groups: Sequence[TrainingGroupSummary], built: LinkOf) -> Section:
    """Builds the overview's section with the newest trainings."""
    found = _list(newest_trainings(groups), _NEWEST, built)
    links = (Link("All trainings", TRAININGS),) if groups and built(TRAININGS) else ()
    return replace(found, links=links)


def _list(ordered: Sequence[TrainingGroupSummary], most: int, built: LinkOf) -> Section:
    heads = (
        *(Head("Training", kind="run"), Head("Started", kind="moment"), Head("Status", kind="status", choices=True)),
        *(Head("Model", choices=True), Head("Devices"), Head("Methods and settings", wide=True)),
        Head("Accuracy", "at the end", "number"),
    )
    rows = [_list_row(one, built) for one in ordered[:most]]
    empty = "Nothing has been trained yet: `suite train --device local` trains, `suite race` compares ways to train."
    caption = "What was trained, one line per command"
    left_out = (len(ordered) - len(rows), "earlier training", "")
    return table("trainings", "Trainings", caption, heads, rows, empty=empty, left_out=left_out)


def _list_row(one: TrainingGroupSummary, built: LinkOf) -> GridRow:
    outcome, href = status(one.status), built(training_place(one.group_id))
    counts = ", ".join(f"{count} {word}" for word, count in sorted(one.outcomes.items()))
    accuracy = GridCell("\u2013")
    if one.accuracies is not None:
        low, high = one.accuracies
        between = f"{low:.3f}" if low == high else f"{low:.3f}\u2013{high:.3f}"
        accuracy = GridCell(between, sort=f"{high:.7g}")
    cells = (
        GridCell(one.group_id, () if href else ("no page yet: `suite report` builds it",), href=href),
        GridCell(moment_text(one.started_at), sort=sort_key(one.started_at)),
        GridCell(outcome.word, (counts,) if counts else (), str(outcome.order), status=outcome),
        GridCell(_names(one.models)),
        GridCell(_names(one.devices), badges=badges(one.emulated)),
        GridCell(_names(one.ways)),
        accuracy,
    )
    return GridRow(f"training-{file_name(one.group_id)}", cells)
