"""What each quantization setting costs in accuracy, and what it saves.

From trainings over seeds, interleaved steps, and the noise that a setting's arithmetic leaves in projected gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from devices.errors import DeviceError
from foundation.errors import UserError
from foundation.unavailable import Json, Unavailable
from reports.model.experiment import (
    Answer,
    Cell,
    Curve,
    Evidence,
    PartKind,
    Picture,
    interval_cells,
    share_name,
    table_of,
    with_rows,
)
from reports.model.measurement import Measurement
from reports.model.reading import Interval, known_number, known_text, mapping
from reports.text.appearance import setting_order, slot
from reports.text.numbers import format_list
from suite.errors import StoreError, SuiteError
from suite.experiments.experiment import Bench, Work, planned
from suite.experiments.kept import keep_own, own_path, read_own
from suite.experiments.material import Material
from suite.experiments.trained import NO_TIMES, Contender, cells, contenders, curve_of, ends_text, renamed, standing
from suite.home import in_use
from suite.planning.plan import Plan
from suite.results.race import cost_to_target
from suite.stats import ratio_interval
from workloads.quantize.settings import LEAST_CORRELATION, SETTINGS

_NOISE = "noise"


@dataclass(frozen=True)
class GradientNoise:
    """Compares projected gradients on a device with exact derivatives, for each setting at the eps it trains with."""

    plan: Plan
    perturbations: int
    path: Path
    kind: PartKind = "own"

    def carry_out(self, bench: Bench, made_id: str, begun: Callable[[str], None]) -> bool:
        """Checks the settings that have no result yet; one that fails gets its reason as its result."""
        del made_id  # the id is always the same
        begun(self.path.stem)
        kept = read_own(self.path)
        found: dict[str, Json] = dict(kept) if isinstance(kept, Mapping) else {}
        for quant in self.plan.quants:
            if "correlation" not in (known if isinstance(known := found.get(quant), Mapping) else {}):
                found[quant] = self._check(quant, bench)
                keep_own(self.path, found)
        return all("reason" not in each for each in found.values() if isinstance(each, Mapping))

    def _check(self, quant: str, bench: Bench) -> Json:
        from suite.checks import check_gradients  # takes seconds to import

        plan, (device,) = replace(self.plan, quants=(quant,)), self.plan.devices
        eps = plan.training(SETTINGS[quant]).eps
        try:
            with in_use(bench.home):
                (quality,) = check_gradients(
                    plan, [eps], self.perturbations, None, bench.inventory.devices[device], bench.home, bench.display
                )
        except StoreError:
            raise
        except (SuiteError, DeviceError, UserError) as error:
            return {"reason": str(error)}
        return asdict(quality)


def more_parts(material: Material) -> Mapping[str, Work]:
    """Returns the check of projected gradients on each device."""
    found = material.experiment
    parts: dict[str, Work] = {}
    for device in found.devices:
        plan, beside = planned(found.name, quick=found.quick).own_plan(_NOISE, device, found.model, "perturbations")
        path = own_path(found.experiment_id, f"{_NOISE}-{device}", material.home)
        parts[share_name(_NOISE, device)] = GradientNoise(plan, beside["perturbations"], path)
    return parts


@dataclass(frozen=True)
class _Setting:
    """All results of a setting."""

    name: str
    trained: Contender | None
    step: Measurement | None
    noise: Json

    @property
    def step_ms(self) -> float | None:
        if self.step is not None and isinstance(self.step.latency.median_ms, float):
            return self.step.latency.median_ms
        return None

    @property
    def medians_ms(self) -> Sequence[float]:
        return () if self.step is None else self.step.latency.medians_ms

    @property
    def memory_mib(self) -> float | None:
        if self.step is not None and isinstance(self.step.peak_memory_kib, int | float):
            return self.step.peak_memory_kib / 1024
        return None

    @property
    def correlation(self) -> float | None:
        return known_number(self.noise, "correlation")

    @property
    def correlation_ends(self) -> Interval | Unavailable:
        count = known_number(self.noise, "perturbations")
        return correlation_interval(self.correlation or 0.0, 0 if count is None else int(count))

    def times_as_fast(self, reference: _Setting) -> tuple[float, Interval | Unavailable] | None:
        """Returns the ratio of the reference's step time to this one's, and its interval."""
        if self.step_ms is None or reference.step_ms is None:
            return None
        return reference.step_ms / self.step_ms, ratio_interval(reference.medians_ms, self.medians_ms)


def answer(material: Material, device: str) -> Answer:
    """Answers for one device."""
    noise = mapping(material.own(share_name(_NOISE, device)))
    found = _settings(material, device, noise)
    reasons = {quant: known_text(each, "reason") for quant, each in noise.items()}
    missing = tuple(f"{_NOISE}, {quant}: {reason}" for quant, reason in reasons.items() if reason is not None)
    emulated = device in material.experiment.emulated
    evidence = with_rows(_training_table(found), _step_table(found), _noise_table(found))
    words = [_accuracy_words(found), *_cost_words(found, emulated=emulated), _noise_words(found)]
    sentence = "; ".join(word for word in words if word)
    return Answer(f"{sentence[0].upper()}{sentence[1:]}.", _picture(found), evidence, missing)


def _settings(material: Material, device: str, noise: Mapping[str, Json]) -> list[_Setting]:
    """Returns the results of each setting, from the widest weights to the narrowest."""
    trained = {
        one.quant: one for one in renamed(contenders(material.trainings("curves", device)), lambda one: one.quant)
    }
    steps = {one.setting: one for one in material.measurements("steps", device)}
    names = sorted({*trained, *steps, *noise}, key=setting_order)
    return [_Setting(name, trained.get(name), steps.get(name), noise.get(name)) for name in names]


def _accuracy_words(found: Sequence[_Setting]) -> str:
    trained = [one.trained for one in found if one.trained is not None]
    if not trained:
        return "no training finished, so accuracies can't be told"
    if len(trained) == 1:
        return f"only {trained[0].name} was trained (accuracy {trained[0].accuracy.value:.3f})"
    return standing(trained[0], trained[1:])


def _cost_words(found: Sequence[_Setting], *, emulated: bool) -> list[str]:
    """Returns the fastest setting and the one with the least memory, compared with the widest that was measured."""
    timed = [one for one in found if one.step_ms is not None]
    if len(timed) < 2:
        return []
    reference, words = timed[0], []
    words.append(NO_TIMES if emulated else _fastest(reference, timed))
    sized = [one for one in timed if one.memory_mib is not None]
    if sized and reference.memory_mib is not None:
        least = min(sized, key=lambda one: one.memory_mib or 0.0)
        share = 100 * (least.memory_mib or 0.0) / reference.memory_mib
        share_text = "" if least is reference else f", {share:.0f} % of {reference.name}'s"
        words.append(f"{least.name} needs the least memory ({least.memory_mib:.0f} MiB{share_text})")
    return words


def _fastest(reference: _Setting, timed: Sequence[_Setting]) -> str:
    best = min(timed, key=lambda one: one.step_ms or 0.0)
    compared = best.times_as_fast(reference)
    if best is reference or compared is None:
        return f"no setting's steps are faster than {reference.name}'s"
    ratio, ends = compared
    if isinstance(ends, Unavailable):
        return f"whether a setting's steps are faster than {reference.name}'s can't be told ({ends.reason})"
    if ends.low <= 1.0:
        return f"whether a setting's steps are faster than {reference.name}'s can't be told"
    words = (
        f"{best.name} is the fastest, {ratio:.2f} times ({ends.low:.2f} to {ends.high:.2f}) as fast as {reference.name}"
    )
    close = [one.name for one in timed if one not in (best, reference) and not _slower(one, best)]
    return f"{words}, with {format_list(close)} too close to tell" if close else words


def _slower(one: _Setting, best: _Setting) -> bool:
    """Returns whether a setting's steps are certainly slower than the best one's."""
    compared = best.times_as_fast(one)
    return compared is not None and isinstance(compared[1], Interval) and compared[1].low > 1.0


def correlation_interval(correlation: float, count: int) -> Interval | Unavailable:
    """Returns the 95 % interval of a correlation over n pairs: tanh(artanh r -+ 1.96 / sqrt(n - 3)) [Fisher 1921]."""
    if count <= _FEW:
        return Unavailable(f"only {count} perturbations, and an interval needs {_FEW + 1}")
    middle = math.atanh(max(-_SURE, min(_SURE, correlation)))
    reach = 1.96 / math.sqrt(count - _FEW)
    return Interval(math.tanh(middle - reach), math.tanh(middle + reach))


_FEW = 3
_SURE = 1.0 - 1e-12


def _noise_words(found: Sequence[_Setting]) -> str:
    poor, undecided, least = list[str](), list[str](), ""
    checked = [(one, correlation) for one in found if (correlation := one.correlation) is not None]
    for one, correlation in checked:
        ends = one.correlation_ends
        if isinstance(ends, Interval) and ends.high < LEAST_CORRELATION:
            poor.append(f"{one.name} ({correlation:.2f})")
        elif isinstance(ends, Unavailable) or ends.low < LEAST_CORRELATION:
            undecided.append(one.name)
    if not (poor or undecided) and checked:
        one, correlation = min(checked, key=lambda pair: pair[1])
        least = f"projected gradients correlate with exact ones by at least {correlation:.2f} ({one.name})"
    words = f"projected gradients are mostly noise in {format_list(poor)}, by their correlation with exact ones"
    doubt = f"whether projected gradients are mostly noise in {format_list(undecided)} can't be told"
    return least or "; ".join([*([words] if poor else []), *([doubt] if undecided else [])])


def _training_table(found: Sequence[_Setting]) -> Evidence:
    trained = [one.trained for one in found if one.trained is not None]
    half = _half_way(trained)
    rows: list[dict[str, Cell]] = []
    for one in trained:
        rows.append(
            {
                "setting": one.name,
                "seeds": len(one.trainings),
                **cells("accuracy", one.accuracy),
                "loss": one.loss,
                **_convergence(one, half),
                **cells("seconds of steps", one.seconds),
                **cells("joules of steps", one.joules),
                "peak, MiB": one.peak_mib,
            }
        )
    note = "Student's 95 % intervals over seeds; for costs, on logarithms."
    if half is not None:
        note += f" Halfway is an accuracy of {half:.3f}, between {trained[0].name}'s before and after training."
    return table_of("Trainings in each setting", rows, note)


def _half_way(trained: Sequence[Contender]) -> float | None:
    """Returns the accuracy halfway between the widest setting's before and after; None unless it certainly learned."""
    if not trained or not isinstance(ends := trained[0].gain.interval, Interval) or ends.low <= 0:
        return None
    return (trained[0].untrained.value + trained[0].accuracy.value) / 2


def _convergence(one: Contender, half: float | None) -> dict[str, Cell]:
    if half is None:
        return {"steps to halfway": None, "seeds that got halfway": None}
    cost = cost_to_target(one.trainings, half)
    steps = None if isinstance(cost.steps, Unavailable) else cost.steps.value
    reached = len(one.trainings) - len(cost.missed)
    return {"steps to halfway": steps, "seeds that got halfway": reached}


def _step_table(found: Sequence[_Setting]) -> Evidence:
    timed = [one for one in found if one.step is not None and one.step_ms is not None]
    rows: list[dict[str, Cell]] = []
    for one in timed:
        ratio = one.times_as_fast(timed[0])
        energy = None if one.step is None else one.step.energy.gross_mj
        rows.append(
            {
                "setting": one.name,
                "step, ms": one.step_ms,
                f"times as fast as {timed[0].name}": None if ratio is None else ratio[0],
                **interval_cells(None if ratio is None else ratio[1]),
                "energy of a step, J": None if energy is None or isinstance(energy, Unavailable) else energy / 1e3,
                "peak, MiB": one.memory_mib,
            }
        )
    return table_of(
        "Steps, with sessions of all settings in turn", rows, f"95 % intervals over sessions.{_no_energy(timed)}"
    )


def _no_energy(timed: Sequence[_Setting]) -> str:
    reasons = {
        energy.reason
        for one in timed
        if one.step is not None and isinstance(energy := one.step.energy.gross_mj, Unavailable)
    }
    return f" No energy: {'; '.join(sorted(reasons))}." if reasons else ""


def _noise_table(found: Sequence[_Setting]) -> Evidence:
    keys = {
        "eps": "eps",
        "perturbations": "perturbations",
        "correlation": "correlation with the fp32 model's",
        "own_correlation": "correlation with its own weights'",
        "noise": "noise",
    }
    rows: list[dict[str, Cell]] = [
        {
            "setting": one.name,
            **{head: known_number(one.noise, key) for key, head in keys.items()},
            "correlation, 95 %": ends_text(one.correlation_ends),
        }
        for one in found
        if one.correlation is not None
    ]
    note = "For one batch around a zero adapter, compared with the exact derivative along the same perturbation."
    return table_of("Noise of projected gradients", rows, note)


def _picture(found: Sequence[_Setting]) -> Picture | None:
    curves: list[Curve] = []
    for one in found:
        if one.trained is not None and one.step_ms is not None:
            memory = "" if one.memory_mib is None else f", {one.memory_mib:.0f} MiB"
            point = curve_of(one.name, (one.step_ms,), [one.trained.accuracy], [f"{one.name}{memory}"], slot(one.name))
            curves.append(replace(point, look="points"))
    if not curves:
        return None
    return Picture(
        "Accuracy after the same steps, over the time of a step",
        "step, ms",
        "held-out accuracy",
        tuple(curves),
        caption="Higher and further left is better. Bars: 95 % intervals over seeds.",
    )
