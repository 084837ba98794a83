"""How P-RGE does on tasks beyond the paper's: long rows, code and the user's own task.

P-RGE and MeZO on the same adapters, which P-RGE makes faster, do the same forward work on each task. The first part,
with short rows like the paper's, is what the others are compared with. What a forward token costs is measured by steps
of all lengths in turn, as trainings on different tasks may be an hour apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from foundation.unavailable import Unavailable
from reports.model.experiment import Answer, Cell, Curve, Evidence, Picture, interval_cells, table_of, with_rows
from reports.model.measurement import Measurement, shape_words
from reports.model.reading import Interval, Number
from reports.model.training import Training
from reports.text.numbers import format_list
from suite.experiments.experiment import planned
from suite.experiments.material import Material
from suite.experiments.trained import NO_TIMES, Contender, Estimated, cells, contenders, curve_of, renamed
from suite.planning.plan import described_workload
from suite.results.race_answers import estimate_cost
from suite.stats import ratio_interval

_METHOD, _RIVAL = "prge", "mezo-lora-fa"
_YOURS = "your task"


@dataclass(frozen=True)
class _Trained:
    """A method's result on a task."""

    task: str
    contender: Contender

    @property
    def length(self) -> int:
        """The number of positions in a row."""
        return int(str(self.contender.trainings[0].workload["T"]))

    @property
    def token_ms(self) -> Estimated:
        """Milliseconds per thousand forward tokens."""
        return self.contender.cost(_ms_of_a_thousand_tokens)


def _ms_of_a_thousand_tokens(one: Training) -> Number:
    of_step = one.forward_tokens
    return of_step if isinstance(of_step, Unavailable) else 1e6 * one.seconds / (of_step * one.steps)


def answer(material: Material, device: str) -> Answer:
    """Answers for one device."""
    found = _trained(material, device)
    missing = _not_asked(material)
    steps = _steps(material, device)
    evidence = with_rows(_accuracy_table(found), _steps_table(steps), _cost_table(found), _speed_table(found))
    own = [one for one in found if one.contender.method == _METHOD]
    if not own:
        return Answer("No training of prge finished, so there is no answer.", None, evidence, missing)
    words = [_learned_words(own)]
    if device in material.experiment.emulated:
        words.append(NO_TIMES)
    else:
        words += [_time_words(own, steps), _memory_words(own)]
    return Answer(f"{'; '.join(word for word in words if word)}.", _picture(found), evidence, missing)


def _not_asked(material: Material) -> tuple[str, ...]:
    if material.experiment.task is not None:
        return ()
    return (f"{_YOURS}: none was named: give one with --task FILE, and with --template if its columns need one",)


def _trained(material: Material, device: str) -> list[_Trained]:
    """Returns the results of trainings that finished, task by task in the plan's order."""
    return [
        _Trained(part, one)
        for part in planned(material.experiment.name, quick=material.experiment.quick).parts
        for one in renamed(contenders(material.trainings(part, device)), lambda each: each.method)
    ]


def _learned_words(own: Sequence[_Trained]) -> str:
    rose, fell, undecided, why = list[str](), list[str](), list[str](), "the change's interval contains zero"
    for one in own:
        gain = one.contender.gain
        ends = gain.interval
        if isinstance(ends, Unavailable) or ends.low <= 0 <= ends.high:
            undecided.append(one.task)
            why = ends.reason if isinstance(ends, Unavailable) else why
        else:
            (rose if ends.low > 0 else fell).append(f"{one.task} ({100 * gain.value:+.0f} points)")
    if not (rose or fell):
        return f"Whether P-RGE gains accuracy on {format_list(undecided)} can't be told ({why})"
    words = [
        *([f"gains accuracy on {format_list(rose)}"] if rose else []),
        *([f"loses accuracy on {format_list(fell)}"] if fell else []),
        *([f"on {format_list(undecided)} it can't be told ({why})"] if undecided else []),
    ]
    return f"P-RGE {', '.join(words)}"


@dataclass(frozen=True)
class _Steps:
    """P-RGE's steps with rows of a length. `ratio`: how many times as long a forward token takes as with the first."""

    measured: Measurement
    ratio: float
    interval: Interval | Unavailable

    @property
    def length(self) -> int:
        return int(str(self.measured.workload["T"]))

    @property
    def step_ms(self) -> float:
        return float(str(self.measured.latency.median_ms))

    @property
    def token_ms(self) -> float:
        """Milliseconds per thousand forward tokens."""
        return 1e3 * _token_level(self.measured)


def _steps(material: Material, device: str) -> list[_Steps]:
    """Returns the steps of each length, shortest rows first."""
    known = [one for one in material.measurements("steps", device) if isinstance(one.latency.median_ms, float)]
    known.sort(key=lambda one: int(str(one.workload["T"])))
    return [
        _Steps(
            one,
            _token_level(one) / _token_level(known[0]),
            ratio_interval(_of_tokens(one, one.latency.medians_ms), _of_tokens(known[0], known[0].latency.medians_ms)),
        )
        for one in known
    ]


def _token_level(one: Measurement) -> float:
    return _of_tokens(one, [float(str(one.latency.median_ms))])[0]


def _of_tokens(one: Measurement, of_steps: Sequence[float]) -> list[float]:
    tokens = described_workload(one.workload).forward_tokens
    return [ms / tokens for ms in of_steps]


def _time_words(own: Sequence[_Trained], steps: Sequence[_Steps]) -> str:
    """Says on which task a forward token takes the longest, compared with the first."""
    tasks = {one.length: one.task for one in own}
    longer = [one for one in steps[1:] if one.length in tasks]
    if not longer or steps[0].length not in tasks:
        return "whether a forward token takes longer on any task can't be told (no steps were measured)"
    slowest = max(longer, key=lambda one: one.ratio)
    ends = slowest.interval
    if isinstance(ends, Unavailable):
        return f"whether a forward token takes longer on any task can't be told ({ends.reason})"
    if ends.low <= 1:
        return "whether a forward token takes longer on any task can't be told"
    return (
        f"a forward token takes up to {slowest.ratio:.2f} times ({ends.low:.2f} to {ends.high:.2f}) as long, on "
        f"{tasks[slowest.length]}, as on {tasks[steps[0].length]}"
    )


def _memory_words(own: Sequence[_Trained]) -> str:
    """Says on which task memory peaks, compared with the first."""
    first, *others = own
    sized = [(peak, one) for one in others if (peak := one.contender.peak_mib) is not None]
    if not sized or (base := first.contender.peak_mib) is None:
        return ""
    peak, one = max(sized, key=lambda pair: pair[0])
    return f"memory peaks at {peak:.0f} MiB on {one.task} and {base:.0f} on {first.task}"


def _compare_seeds(one: Contender, other: Contender) -> Estimated:
    """Returns how many times as long one's forward token takes as the other's, over the seeds that both have."""
    by_seed = {each.seed: each for each in other.trainings}
    ratios = []
    for each in one.trainings:
        if each.seed not in by_seed:
            continue
        pair = [_ms_of_a_thousand_tokens(side) for side in (each, by_seed[each.seed])]
        known = [ms for ms in pair if isinstance(ms, float) and ms > 0]
        if len(known) == len(pair):
            ratios.append(known[0] / known[1])
    return estimate_cost(ratios) if ratios else Unavailable("no seed was timed on both")


def _accuracy_table(found: Sequence[_Trained]) -> Evidence:
    rows: list[dict[str, Cell]] = [
        {
            "task": one.task,
            "method": one.contender.method,
            "T": one.length,
            "steps": one.contender.trainings[0].steps,
            "forward tokens": one.contender.forward_tokens,
            "seeds": len(one.contender.trainings),
            "before": one.contender.untrained.value,
            **cells("after", one.contender.accuracy),
            **cells("gain", one.contender.gain),
            "loss": one.contender.loss,
        }
        for one in found
    ]
    return table_of(
        "Accuracy", rows, "On held-out examples; Student's 95 % intervals over seeds; gains are computed seed by seed."
    )


def _cost_table(found: Sequence[_Trained]) -> Evidence:
    rows: list[dict[str, Cell]] = [
        {
            "task": one.task,
            "method": one.contender.method,
            "T": one.length,
            **cells("ms for 1,000 forward tokens", one.token_ms),
            **cells("seconds of steps", one.contender.seconds),
            **cells("joules of steps", one.contender.joules),
            "peak, MiB": one.contender.peak_mib,
        }
        for one in found
    ]
    return table_of(
        "Cost",
        rows,
        "Forward tokens are those of full rows; a task's rows that are shorter than T cost less.",
    )


def _steps_table(steps: Sequence[_Steps]) -> Evidence:
    rows: list[dict[str, Cell]] = [
        {
            "T": one.length,
            "shape": shape_words(one.measured.workload),
            "ms a step": one.step_ms,
            "ms for 1,000 forward tokens": one.token_ms,
            "times as long": one.ratio,
            **interval_cells(one.interval),
        }
        for one in steps
    ]
    return table_of(f"Steps of {_METHOD}, with sessions of all lengths in turn", rows, "95 % intervals over sessions.")


def _speed_table(found: Sequence[_Trained]) -> Evidence:
    """Returns how many times as fast P-RGE does the same forward work as MeZO, task by task."""
    rows: list[dict[str, Cell]] = []
    for task in dict.fromkeys(one.task for one in found):
        by_method = {one.contender.method: one.contender for one in found if one.task == task}
        if _METHOD in by_method and _RIVAL in by_method:
            rows.append({"task": task, **cells("times as fast", _compare_seeds(by_method[_RIVAL], by_method[_METHOD]))})
    return table_of(f"{_METHOD} against {_RIVAL}, same forward work", rows, "Seed by seed; 95 % intervals.")


def _picture(found: Sequence[_Trained]) -> Picture:
    curves: list[Curve] = []
    for method in dict.fromkeys(one.contender.method for one in found):
        own = [one for one in found if one.contender.method == method]
        words = [f"{one.task}: from {one.contender.untrained.value:.3f}" for one in own]
        bars = curve_of(method, tuple(one.task for one in own), [one.contender.accuracy for one in own], words, None)
        curves.append(replace(bars, look="bars"))
    before = [one for one in found if one.contender.method == found[0].contender.method]
    curves.append(
        Curve(
            "before training",
            tuple(one.task for one in before),
            tuple(one.contender.untrained.value for one in before),
            look="points",
        )
    )
    return Picture(
        "Accuracy after the same forward work, task by task",
        "task",
        "held-out accuracy",
        tuple(curves),
        caption="Bars: means over seeds with 95 % intervals; points: before training.",
    )
