"""How much faster loops that run side by side make a step, where that fades, and what other shapes will take.

A step's time is modelled as  t = fixed + bytes of weights / bandwidth + operations of frozen products / speed + other
operations / other speed.  The coefficients are not negative and are fitted for each setting, over shapes and models, by
least squares of relative errors. Shapes kept out of the fit show how good the forecasts are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass

import numpy as np

from foundation.unavailable import Json, Unavailable
from reports.model.experiment import (
    Answer,
    Cell,
    Curve,
    Evidence,
    Picture,
    common_ends,
    interval_cells,
    table_of,
    with_rows,
)
from reports.model.measurement import Measurement, shape_words
from reports.model.reading import Interval
from reports.text.appearance import slot
from reports.text.numbers import format_count
from suite.experiments.material import Material
from suite.planning.plan import described_workload
from suite.stats import ratio_interval
from workloads.models.named import model_config
from workloads.workload import layout_of

_CLAIM = 2.0
"""The inner loop makes a step up to twice as fast [MobiZO, arXiv 2409.15520]."""
_WORTH = 1.1
"""A smaller speed-up would not be missed."""
_ALLOWED_PERCENT = 10.0
_COEFFICIENTS = 4
_ON = ("model", "quant", "q", "b", "T")


@dataclass(frozen=True)
class _SpeedUp:
    """How many times as fast a step is with both ways of a loop side by side."""

    loop: str
    of: Mapping[str, Json]
    ratio: float
    interval: Interval | Unavailable

    @property
    def tokens(self) -> float:
        return described_workload(self.of).forward_tokens

    @property
    def model(self) -> str:
        return str(self.of["model"])

    @property
    def quant(self) -> str:
        return str(self.of["quant"])

    @property
    def case(self) -> str:
        return f"{shape_words(self.of)} in {self.quant} ({self.model})"


@dataclass(frozen=True)
class StepWork:
    """What a step reads and computes: bytes of weights, operations of frozen products, and those of the others."""

    weight_bytes: float
    frozen_operations: float
    other_operations: float


@dataclass(frozen=True)
class StepTimes:
    """The fitted model of a setting: fixed milliseconds, and milliseconds per byte of weights and per operation.

    `errors`: the relative error of each fitted step.
    """

    fixed_ms: float
    ms_per_byte: float
    ms_per_frozen_operation: float
    ms_per_other_operation: float
    errors: tuple[float, ...]

    def milliseconds(self, work: StepWork) -> float:
        """Returns the forecast time of a step."""
        return (
            self.fixed_ms
            + self.ms_per_byte * work.weight_bytes
            + self.ms_per_frozen_operation * work.frozen_operations
            + self.ms_per_other_operation * work.other_operations
        )


def fit_step_times(found: Sequence[tuple[StepWork, float]]) -> StepTimes:
    """Fits the model to steps, each its work and its milliseconds.

    By least squares of relative errors with non-negative coefficients [Lawson & Hanson 1974]. Raises ValueError for
    fewer steps than coefficients.
    """
    from scipy.optimize import nnls  # takes most of a second to load

    if len(found) < _COEFFICIENTS:
        raise ValueError(f"{len(found)} steps, but {_COEFFICIENTS} coefficients need at least as many")
    columns = np.array([[1.0, *astuple(work)] for work, _ in found]) / np.array([[taken] for _, taken in found])
    scale = np.linalg.norm(columns, axis=0)
    scale[scale == 0] = 1.0
    solution, _ = nnls(columns / scale, np.ones(len(found)))
    coefficients = solution / scale
    errors = tuple(map(float, columns @ coefficients - 1.0))
    fixed, per_byte, per_frozen_operation, per_other_operation = map(float, coefficients)
    return StepTimes(fixed, per_byte, per_frozen_operation, per_other_operation, errors)


def work_of(workload: Mapping[str, Json], weight_bytes: float) -> StepWork:
    """Returns the work of a step's forward passes.

    Frozen products are those with the layers' weights, and the head's at one position of each row. The other products
    are attention's and the adapters', which a setting may make in another type.
    """
    described = described_workload(workload)
    config = model_config(described.model)
    rows = 2 * described.q * described.b
    tokens = rows * described.T
    frozen = tokens * config.layers * sum(2 * math.prod(shape) for shape in config.linear_shapes().values())
    head = rows * 2 * config.hidden_size * config.vocab_size
    attention = tokens * config.layers * 4 * described.T * config.query_size
    slots = layout_of(described, config)
    adapters = tokens * sum(2 * slot.rank * sum(config.projection_shape(slot.projection)) for slot in slots)
    return StepWork(weight_bytes, float(frozen + head), float(attention + adapters))


def answer(material: Material, device: str) -> Answer:
    """Answers for one device."""
    shapes, largest = material.measurements("shapes", device), material.measurements("largest", device)
    ups = list(_speed_ups([one for one in (*shapes, *largest) if isinstance(one.latency.median_ms, float)]))
    models = _fit_settings([one for one in shapes if not _switched_off(one)])
    forecasts = _forecasts(models, material.measurements("held_out", device))
    evidence = with_rows(_ups_table(ups), _model_table(models), forecasts)
    if not ups:
        return Answer("No loop was measured both ways, so its speed-up can't be told.", evidence=evidence)
    return Answer(_sentence(ups, forecasts), _picture(ups), evidence)


def _speed_ups(known: Sequence[Measurement]) -> Iterator[_SpeedUp]:
    """Compares each step whose loop was switched off with the one that has both loops on."""
    both = {_key(one): one for one in known if not _switched_off(one)}
    for one in known:
        off, rival = _switched_off(one), both.get(_key(one))
        if not off or rival is None:
            continue
        own, other = one.latency.medians_ms, rival.latency.medians_ms
        ratio = float(str(one.latency.median_ms)) / float(str(rival.latency.median_ms))
        yield _SpeedUp(off, one.workload, ratio, ratio_interval(own, other))


def _switched_off(one: Measurement) -> str:
    loops = ("inner", "outer")
    return next((loop for loop in loops if one.workload.get(f"{loop}_parallel") is False), "")


def _key(one: Measurement) -> tuple[Json, ...]:
    return tuple(one.workload.get(name) for name in _ON)


def _points(found: Sequence[Measurement]) -> list[tuple[StepWork, float]]:
    return [
        (work_of(one.workload, one.weight_bytes), one.latency.median_ms)
        for one in found
        if isinstance(one.latency.median_ms, float) and not isinstance(one.weight_bytes, Unavailable)
    ]


def _fit_settings(found: Sequence[Measurement]) -> dict[str, StepTimes]:
    by_setting: dict[str, list[Measurement]] = {}
    for one in found:
        by_setting.setdefault(str(one.workload["quant"]), []).append(one)
    points = {quant: _points(each) for quant, each in by_setting.items()}
    return {quant: fit_step_times(each) for quant, each in points.items() if len(each) >= _COEFFICIENTS}


def _forecasts(models: Mapping[str, StepTimes], held_out: Sequence[Measurement]) -> Evidence:
    rows: list[dict[str, Cell]] = []
    for one in held_out:
        model, points = models.get(str(one.workload["quant"])), _points([one])
        if model is None or not points:
            continue
        work, taken = points[0]
        expected = model.milliseconds(work)
        rows.append(
            {
                "setting": str(one.workload["quant"]),
                "shape": shape_words(one.workload),
                "forecast, ms": expected,
                "measured, ms": taken,
                "error, %": 100 * (expected / taken - 1),
            }
        )
    return table_of("Forecasts of shapes kept out of the fit", rows)


def _ups_table(ups: Sequence[_SpeedUp]) -> Evidence:
    rows: list[dict[str, Cell]] = [
        {
            "loop": one.loop,
            "model": one.model,
            "setting": one.quant,
            "shape": shape_words(one.of),
            "forward tokens": one.tokens,
            "times as fast": one.ratio,
            **interval_cells(one.interval),
        }
        for one in ups
    ]
    return table_of("Steps with a loop switched off, compared with both on", rows, "95 % intervals over sessions.")


def _model_table(models: Mapping[str, StepTimes]) -> Evidence:
    rows = [
        {
            "setting": quant,
            "fixed, ms": found.fixed_ms,
            "weights, GB/s": _giga_a_second(found.ms_per_byte),
            "frozen products, GFLOP/s": _giga_a_second(found.ms_per_frozen_operation),
            "attention and adapters, GFLOP/s": _giga_a_second(found.ms_per_other_operation),
            "largest error of a fitted step, %": 100 * max(map(abs, found.errors)),
        }
        for quant, found in models.items()
    ]
    return table_of(
        "What a step's time consists of",
        rows,
        "t = fixed + weights read + frozen products + attention and adapters, fitted per setting.",
    )


def _giga_a_second(ms: float) -> float | None:
    """Returns billions in a second of what takes that many milliseconds each, or None if it takes no time."""
    return 1e-6 / ms if ms else None


def _sentence(ups: Sequence[_SpeedUp], forecasts: Evidence) -> str:
    words = [_loop_words(loop, [one for one in ups if one.loop == loop]) for loop in ("inner", "outer")]
    worst = max((abs(float(str(row[4]))) for row in forecasts.rows), default=None)
    if worst is None:
        words.append("no forecast was checked")
    else:
        verdict = "within" if worst <= _ALLOWED_PERCENT else "more than"
        shapes = format_count(len(forecasts.rows), "shape")
        words.append(
            f"forecasts of {shapes} kept out of the fit are off by {worst:.0f} % at most, {verdict} the allowed "
            f"{_ALLOWED_PERCENT:.0f} %"
        )
    text = "; ".join(word for word in words if word)
    return text[0].upper() + text[1:] + "."


def _loop_words(loop: str, ups: Sequence[_SpeedUp]) -> str:
    if not ups:
        return ""
    best, least = max(ups, key=lambda one: one.ratio), min(ups, key=lambda one: one.ratio)
    claim = f" (up to {_CLAIM:g} are claimed)" if loop == "inner" else ""
    words = f"the {loop} loop side by side makes a step {best.ratio:.2f} times as fast{claim} with {best.case}"
    if least is not best:
        words += f", {least.ratio:.2f} times with {least.case}"
    worth = max((one.tokens for one in ups if one.ratio >= _WORTH), default=0.0)
    faded = [one.tokens for one in ups if one.tokens > worth]
    if faded and worth:
        words += f", and less than {_WORTH:g} times from {min(faded):.0f} forward tokens on"
    return words


def _picture(ups: Sequence[_SpeedUp]) -> Picture:
    """Draws lines for the model with the most cases, and points for the others."""
    models = [one.model for one in ups]
    usual = max(models, key=models.count)
    whose = f"Curves named by a setting are {usual}'s. " if len(set(models)) > 1 else ""
    groups: dict[tuple[str, str, str], list[_SpeedUp]] = {}
    for one in sorted(ups, key=lambda one: (one.model != usual, one.tokens)):
        groups.setdefault((one.loop, one.model, one.quant if one.model == usual else ""), []).append(one)
    curves = []
    for (loop, model, quant), own in groups.items():
        low, high = common_ends([one.interval for one in own])
        curves.append(
            Curve(
                f"{loop} loop, {quant or model}",
                tuple(one.tokens for one in own),
                tuple(one.ratio for one in own),
                low,
                high,
                words=tuple(one.case for one in own),
                look="line" if loop == "inner" and quant else "points",
                slot=slot(quant) if quant else None,
            )
        )
    return Picture(
        "How many times as fast a step is with the loop side by side",
        "forward tokens of a step",
        "times as fast",
        tuple(curves),
        caption=f"{whose}Side by side saves reading the weights again: nothing where arithmetic takes most of a step. "
        "Bars: 95 % intervals.",
        x_log=True,
    )
