"""The claims of the paper and what is compared for each: steps of a run, trainings of a seed, losses and the reference.

All are factors that should reach a figure (claims.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from foundation.unavailable import Json, Unavailable
from reports.model.measurement import Measurement, shape_words
from reports.model.reading import Interval
from reports.model.training import Training, way_of
from reports.text.numbers import format_count
from suite.experiments.answers.claims import Claim, Factor, agreement, factor_of, factor_of_pairs, factor_over
from suite.experiments.commands import race_command, run_command

_PAPER = "MobiZO, arXiv 2409.15520"
_SECOND_HAND = f"cited second-hand from {_PAPER}"
_OWN = "our own question; the paper's table was not available"

INNER, OUTER, FULL = "inner loop", "outer loop", "all weights"
ADAPTERS, BACKPROP = "memory: fo-lora-fa", "memory: fo-full"
ENGINE = "engine"
_QUERIES, _LATENCY, _MEMORY = "accuracy: q={}", "latency: {}", "memory: {}"
_QUANTIZED = ("int8", "nf4")
_OF_LOSSES = ("the reference", "not finite")
"""Words in the reason of a session whose losses are wrong (suite/sessions/validity.py)."""

CLAIMS: dict[str, Claim] = {
    INNER: Claim("+ and - side by side make a step up to 2 times as fast as in turn", _PAPER, 2.0, best=True),
    OUTER: Claim(
        "at equal q * b more queries cost no time: 0.9 times as fast as one query or faster", _PAPER, 0.9, without=0.9
    ),
    FULL: Claim("a step is up to 4.3 times as fast as MeZO on all weights", _SECOND_HAND, 4.3, best=True),
    ADAPTERS: Claim("a step needs less memory than backpropagation through the same adapters", _PAPER, 1.0),
    BACKPROP: Claim(
        "a step needs less memory than just weights and gradients of backpropagation through the model",
        _PAPER,
        1.0,
    ),
    **{
        _LATENCY.format(quant): Claim(f"a step in {quant} is as fast as in fp16 or faster", _OWN, 1.0)
        for quant in _QUANTIZED
    },
    **{
        _MEMORY.format(quant): Claim(f"a step in {quant} needs less memory than in fp16", _PAPER, 1.0)
        for quant in _QUANTIZED
    },
    ENGINE: Claim(
        "the program loses no accuracy: its losses agree with the eager reference's to 99 %, apart from the noise of "
        "their arithmetic",
        _PAPER,
        0.99,
        without=0.99,
    ),
}


def claims_of_queries(trainings: Sequence[Training]) -> dict[str, Claim]:
    """Returns the claims about the accuracy of q queries: for each q that was trained, or for the paper's."""
    trained = sorted({_whole(one.workload, "q") for one in trainings} - {1})
    return {
        _QUERIES.format(queries): Claim(
            f"q = {queries} is as accurate as one query at equal forward tokens; 0.95 times would be a loss",
            _PAPER,
            1.0,
            without=0.95,
        )
        for queries in trained or (4, 16)
    }


@dataclass(frozen=True)
class Case:
    """A factor for a claim: what was compared, and the commands that repeat it.

    `subject`: the side that the claim is about.
    """

    claim: str
    words: str
    factor: Factor
    commands: tuple[str, ...] = ()
    subject: Measurement | None = None


def cases_of_steps(steps: Sequence[Measurement], model: str | None) -> Iterator[Case]:
    """Yields the comparisons between steps, and those of their losses with the reference's."""
    for one in (each for each in steps if each.comparable):
        on = {name: value for name, value in one.workload.items() if not name.endswith("_parallel")}
        if one.workload.get("inner_parallel") is False:
            yield from _compare(INNER, _find(steps, on), one, model)
        if one.workload.get("method") == "mezo-full":
            for rival in _of_total(steps, on):
                yield from _compare(FULL, rival, one, model)
        if one.workload.get("method") == "fo-lora-fa":
            for rival in _of_total(steps, on):
                yield from _compare(ADAPTERS, rival, one, model, memory=True)
                yield _against_backprop(rival, model)
        if _is_prge(one) and (one.workload.get("q"), one.workload.get("quant")) != (1, "fp32"):
            yield from _cases_of_step(steps, one, model)
    yield from _cases_of_engine(steps, model)


def _cases_of_step(steps: Sequence[Measurement], one: Measurement, model: str | None) -> Iterator[Case]:
    """Yields the comparisons of a P-RGE step with one query, and with fp16."""
    found = one.workload
    queries, rows = _whole(found, "q"), _whole(found, "b")
    if queries > 1:
        yield from _compare(OUTER, one, _find(steps, {**found, "q": 1, "b": queries * rows}), model)
    if str(found.get("quant")) in _QUANTIZED and queries > 1:
        half, quant = _find(steps, {**found, "quant": "fp16"}), str(found["quant"])
        yield from _compare(_LATENCY.format(quant), one, half, model)
        yield from _compare(_MEMORY.format(quant), one, half, model, memory=True)


def _compare(
    claim: str, own: Measurement | None, other: Measurement | None, model: str | None, *, memory: bool = False
) -> Iterator[Case]:
    """Yields the factor by which `own` needs less time, or memory, than `other`, if both were measured."""
    if own is not None and other is not None:
        above, below = (peaks_of(one) if memory else one.latency.medians_ms for one in (other, own))
        commands = (run_command(own, model), run_command(other, model))
        yield Case(claim, step_words(own), factor_of(above, below), commands, own)


def _against_backprop(own: Measurement, model: str | None) -> Case:
    weights = own.weight_bytes
    if isinstance(weights, Unavailable):
        return Case(BACKPROP, step_words(own), Factor.missing(weights.reason), (), own)
    factor = factor_over(2.0 * weights / 1024, peaks_of(own))
    return Case(BACKPROP, step_words(own), factor, (run_command(own, model),), own)


def _cases_of_engine(steps: Sequence[Measurement], model: str | None) -> Iterator[Case]:
    for one in steps:
        error, noise, first = one.loss.max_relative_error, one.loss.noise, one.loss.first
        if one.status == "invalid" and any(word in (one.reason or "") for word in _OF_LOSSES):
            factor = Factor(0.0, Interval(0.0, 0.0))
        elif isinstance(error, Unavailable) or isinstance(noise, Unavailable) or isinstance(first, Unavailable):
            continue
        else:
            factor = agreement(error, noise / abs(first) if first else 0.0)
        yield Case(ENGINE, step_words(one), factor, (run_command(one, model),), one)


def cases_of_accuracy(trainings: Sequence[Training], model: str | None) -> Iterator[Case]:
    """Yields the comparisons of q queries with one, over the seeds that both have finished."""
    by_queries: dict[int, dict[int, Training]] = {}
    for one in trainings:
        by_queries.setdefault(_whole(one.workload, "q"), {})[one.seed] = one
    alone = by_queries.pop(1, {})
    learned = any(_gains(list(each.values())) for each in (alone, *by_queries.values()))
    for queries, own in sorted(by_queries.items()):
        pairs = [
            (one.evaluations[-1].accuracy, other.evaluations[-1].accuracy)
            for seed, one in own.items()
            if (other := alone.get(seed)) is not None and _whole_training(one) and _whole_training(other)
        ]
        factor = factor_of_pairs(pairs)
        if pairs and not learned:
            factor = Factor(factor.value, Unavailable("no training became better than the untrained model"))
        words = f"{format_count(len(pairs), 'seed')}, {format_count(max(one.steps for one in trainings), 'step')}"
        yield Case(_QUERIES.format(queries), words, factor, (race_command(trainings, model),))


def _gains(own: Sequence[Training]) -> bool:
    """Returns whether trainings are clearly more accurate at the end than before the first step."""
    pairs = [(one.evaluations[-1].accuracy, one.evaluations[0].accuracy) for one in own if _whole_training(one)]
    gain = factor_of_pairs(pairs).interval
    return isinstance(gain, Interval) and gain.low > 1.0


def _whole_training(one: Training) -> bool:
    return one.status == "finished" and len(one.evaluations) > 1


def _find(steps: Sequence[Measurement], wanted: Mapping[str, Json]) -> Measurement | None:
    return next((one for one in steps if one.comparable and dict(one.workload) == dict(wanted)), None)


def _of_total(steps: Sequence[Measurement], rival: Mapping[str, Json]) -> Iterator[Measurement]:
    """Yields the P-RGE steps with the same setting, row length and number of rows as another method's step."""
    for one in steps:
        found = one.workload
        alike = all(found.get(name) == rival.get(name) for name in ("model", "quant", "T"))
        if _is_prge(one) and alike and _whole(found, "q") * _whole(found, "b") == _whole(rival, "b"):
            yield one


def _is_prge(one: Measurement) -> bool:
    switched = any(one.workload.get(f"{loop}_parallel") is False for loop in ("inner", "outer"))
    return one.comparable and one.workload.get("method") == "prge" and not switched


def _whole(workload: Mapping[str, Json], name: str) -> int:
    return int(str(workload.get(name)))


def peaks_of(one: Measurement) -> Sequence[float]:
    """Returns the memory peaks of its sessions, in KiB."""
    return [each.hwm_kib for each in one.sessions if each.status == "ok" and isinstance(each.hwm_kib, float | int)]


def step_words(one: Measurement) -> str:
    """Names a step by its method, setting and shape."""
    return f"{way_of(one.workload)} {shape_words(one.workload)}"
