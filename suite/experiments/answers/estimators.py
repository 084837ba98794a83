"""How far P-RGE and its relatives come with the same forward work: accuracy over tokens, seconds and joules.

The work of a step follows from its method's forward passes; the plan gives each method the number of steps that makes
the total equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from foundation.unavailable import Unavailable
from reports.model.experiment import Answer, Cell, Evidence, Picture, table_of, with_rows
from reports.model.race import Estimate
from reports.model.training import Training
from suite.experiments.material import Material
from suite.experiments.trained import NO_TIMES, Contender, apart, cells, contenders, renamed, standing

_FIRST = "prge"
"""The method that the others are compared with."""
_APART = 1e-9
"""Allowed relative difference of two contenders' forward tokens, which are equal except for rounding."""


def answer(material: Material, device: str) -> Answer:
    """Answers for one device."""
    trainings = material.trainings("race", device)
    found = renamed(contenders(trainings), lambda one: one.method)
    evidence = with_rows(_end_table(found), _progress_table(found))
    reference = next((one for one in found if one.method == _FIRST), None)
    missing = (*_unequal(found), *_identical(found))
    if reference is None or len(found) < 2:
        sentence = f"Methods can't be compared: {_FIRST} and one of its relatives have to finish their trainings."
        return Answer(sentence, _picture(found), evidence, missing)
    others = [one for one in found if one is not reference]
    after = "" if reference.forward_tokens is None else f"after {reference.forward_tokens:,.0f} forward tokens each, "
    costs = NO_TIMES if device in material.experiment.emulated else _cost_words(reference, others)
    sentence = f"{after}{standing(reference, others)}; {costs}."
    return Answer(sentence[0].upper() + sentence[1:], _picture(found), evidence, missing)


def _unequal(found: Sequence[Contender]) -> tuple[str, ...]:
    """Returns a sentence for each contender whose work differs from the first one's, such as one that ended early."""
    known = [(one, tokens) for one in found if (tokens := one.forward_tokens) is not None]
    return tuple(
        f"{one.name} did {tokens:,.0f} forward tokens instead of {known[0][1]:,.0f}: its result is not comparable"
        for one, tokens in known
        if abs(tokens / known[0][1] - 1) > _APART
    )


def _identical(found: Sequence[Contender]) -> tuple[str, ...]:
    """Returns a sentence for each contender that has the losses of an earlier one at every evaluation of every seed.

    AdaZeta is P-RGE until its schedule asks for more queries, which may be after the last step.
    """
    first: dict[tuple[tuple[float, ...], ...], Contender] = {}
    same: list[str] = []
    for one in found:
        losses = tuple(tuple(each.loss for each in training.evaluations) for training in one.trainings)
        other = first.setdefault(losses, one)
        if other is not one:
            same.append(
                f"{one.name} has the losses of {other.name} at every evaluation: so far both make the same steps"
            )
    return tuple(same)


def _cost_words(reference: Contender, others: Sequence[Contender]) -> str:
    """Returns which method takes the fewest seconds for the work, as far as that can be told."""
    timed = [(one, found) for one in (reference, *others) if isinstance(found := one.seconds, Estimate)]
    best, least = min(timed, key=lambda pair: pair[1].value)
    if best is reference:
        return f"none takes fewer seconds than {reference.name} ({least.value:.3g} s)"
    decided = apart(least, reference.seconds)
    if decided is not True or not isinstance(own := reference.seconds, Estimate):
        why = decided.reason if isinstance(decided, Unavailable) else "intervals overlap"
        return f"whether any takes fewer seconds than {reference.name} can't be told ({why})"
    close = [one.name for one, found in timed if one not in (best, reference) and apart(found, least) is not True]
    doubt = f", too close to {', '.join(close)} to tell" if close else ""
    return f"{best.name} takes the fewest seconds, {least.value / own.value:.2f} of {reference.name}'s{doubt}"


def _end_table(found: Sequence[Contender]) -> Evidence:
    rows: list[dict[str, Cell]] = []
    for one in found:
        first: Training = one.trainings[0]
        rows.append(
            {
                "method": one.name,
                "q": _cell(first, "q"),
                "b": _cell(first, "b"),
                "lr": _cell(first, "lr"),
                "steps": first.steps,
                "forward tokens": one.forward_tokens,
                "seeds": len(one.trainings),
                **cells("accuracy", one.accuracy),
                **cells("gain", one.gain),
                "loss": one.loss,
                **cells("seconds", one.seconds),
                **cells("joules", one.joules),
                "peak, MiB": one.peak_mib,
            }
        )
    note = (
        "Student's 95 % intervals over seeds; for costs, on logarithms. Forward tokens are those of full rows; a "
        "backward pass counts as two forward passes. Learning rates are the plan's, not tuned for each method."
    )
    return table_of("At the end", rows, note)


def _cell(training: Training, name: str) -> Cell:
    found = training.workload.get(name)
    return found if isinstance(found, int | float | str) else None


def _progress_table(found: Sequence[Contender]) -> Evidence:
    """Returns each method's accuracy at each evaluation, and its cost up to there."""
    rows: list[dict[str, Cell]] = []
    for one in found:
        places = range(min(len(each.evaluations) for each in one.trainings))
        rows += [{"method": one.name, **_on_the_way(one.trainings, place)} for place in places]
    return table_of("At each evaluation", rows, "Means over seeds.")


def _on_the_way(trainings: Sequence[Training], place: int) -> dict[str, Cell]:
    """Returns means over seeds at one evaluation."""
    steps = [one.evaluations[place].step for one in trainings]
    energies = [one.energy_at(step) for one, step in zip(trainings, steps, strict=True)]
    known = [energy / 1e3 for energy in energies if not isinstance(energy, Unavailable)]
    return {
        "forward tokens": _tokens(trainings[0], steps[0]),
        "accuracy": fmean(one.evaluations[place].accuracy for one in trainings),
        "seconds": fmean(one.seconds_at(step) for one, step in zip(trainings, steps, strict=True)),
        "joules": fmean(known) if len(known) == len(energies) else None,
    }


def _tokens(training: Training, step: int) -> float:
    of_step = training.forward_tokens
    return float(step) if isinstance(of_step, Unavailable) else of_step * step


def _picture(found: Sequence[Contender]) -> Picture | None:
    if not found:
        return None
    return Picture(
        "Accuracy over forward work",
        "forward tokens",
        "held-out accuracy",
        tuple(one.curve(_tokens) for one in found),
        caption="Means over seeds; bars: 95 % intervals.",
    )
