"""What holds a step up: compares its operators with the device's peaks, advises changes and measures them.

Measured are the best change of the first setting and the best change of shape of the fastest setting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from foundation.unavailable import Unavailable
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
)
from reports.model.measurement import Measurement
from reports.model.peaks import CACHE, MEMORY, Peaks
from reports.model.profile import Profile, SettingProfile
from reports.model.reading import Interval
from reports.text.appearance import slot
from reports.text.numbers import format_count, format_list
from suite.errors import SuiteError
from suite.experiments.experiment import Bench, Work, planned
from suite.experiments.material import Material
from suite.experiments.work import Measuring
from suite.planning.plan import Fields, Plan, RunPlan, described_workload
from suite.profiling.peaks import latest_peaks, measure_peaks, read_peaks
from suite.profiling.roofline import WORTH, Advice, Point, advise, group_shares, points_of
from suite.stats import ratio_interval

_PROFILE, _PEAKS, _VERIFY = "profile", "peaks", "verify"
_VARIED = ("quant", "q", "b")
_DRAWN_PERCENT = 0.5
"""The picture leaves out operators below this share of a step, as they would only hide the others."""
_TOO_HIGH = 1.1
"""A share of a roof above this is not explained by noise of a few percent."""


@dataclass(frozen=True)
class _Peaking:
    """Measures the peaks of a device."""

    device: str
    kind: PartKind = "own"

    def carry_out(self, bench: Bench, made_id: str, begun: Callable[[str], None]) -> bool:
        """Measures them within seconds; again after an interruption, unless they were saved."""
        if not made_id or read_peaks(made_id, bench.home) is None:
            measure_peaks(bench.inventory.devices[self.device], bench.home, bench.display, begun)
        return True


@dataclass(frozen=True)
class _Verifying:
    """Measures steps with and without the advised changes, interleaved. `plan` is what was profiled."""

    plan: Plan
    profile: Profile
    kind: PartKind = "measure"

    def carry_out(self, bench: Bench, made_id: str, begun: Callable[[str], None]) -> bool:
        """Measures what has not been measured yet. Raises SuiteError without peaks, as nothing is advised then."""
        peaks = latest_peaks(self.profile.device, bench.home)
        if peaks is None:
            raise SuiteError(
                f"without peaks of {self.profile.device} no change can be advised: run the experiment again."
            )
        run = verification(self.plan, to_verify(self.profile, peaks))
        return Measuring(run, "experiment bottleneck: verify").carry_out(bench, made_id, begun)


def more_parts(material: Material) -> Mapping[str, Work]:
    """Returns the work that follows the profiles: each device's peaks, and measurements of the advised changes."""
    found = material.experiment
    plans = planned(found.name, quick=found.quick)
    own: Fields = plans.parts[_VERIFY].own or {}
    work: dict[str, Work] = {}
    for device in found.devices:
        work[share_name(_PEAKS, device)] = _Peaking(device)
        profile = material.profile(share_name(_PROFILE, device))
        if profile is not None and profile.settings:
            plan = replace(plans.profile_plan(_PROFILE, device, found.model), **own)
            work[share_name(_VERIFY, device)] = _Verifying(plan, profile)
    return work


def to_verify(profile: Profile, peaks: Peaks) -> list[tuple[SettingProfile, Advice]]:
    """Returns the changes to measure, each with the profiled setting that it changes."""
    first, fastest = profile.settings[0], min(profile.settings, key=lambda one: median(one.plain_ms))
    found = [(first, advise(first, peaks)[0])]
    of_shape = next(one for one in advise(fastest, peaks) if "quant" not in one.change)
    if (fastest, of_shape) not in found:
        found.append((fastest, of_shape))
    return found


def verification(plan: Plan, changes: Sequence[tuple[SettingProfile, Advice]]) -> RunPlan:
    """Returns the run that measures each change and its original: a plan for each shape."""
    quants: dict[tuple[int, int], list[str]] = {}
    for setting, advice in changes:
        now = described_workload(setting.workload)
        for one in (now, replace(now, **advice.change)):  # type: ignore[arg-type]  # its own fields
            of_shape = quants.setdefault((one.q, one.b), [])
            if one.quant not in of_shape:
                of_shape.append(one.quant)
    return RunPlan(tuple(replace(plan, q=q, b=b, quants=tuple(found)) for (q, b), found in quants.items()))


@dataclass(frozen=True)
class _Verified:
    """A change and its measured gain; `gain` is None if it was not measured."""

    setting: SettingProfile
    advice: Advice
    gain: float | None
    interval: Interval | Unavailable

    @property
    def error_percent(self) -> float | None:
        return None if self.gain is None else 100 * (self.advice.gain / self.gain - 1)

    @property
    def words(self) -> str:
        """The change, its forecast and the measured gain."""
        setting = self.setting.setting
        quant = self.advice.change.get("quant")
        forecast = f"{self.advice.words} with {setting}" if quant is None else f"{quant} instead of {setting}"
        outcome = "was not measured" if self.gain is None else f"measured {self.gain:.2f} times"
        return f"{forecast} is forecast to do the same work {self.advice.gain:.2f} times as fast ({outcome})"


def answer(material: Material, device: str) -> Answer:
    """Answers for one device."""
    profile = material.profile(share_name(_PROFILE, device))
    part = material.experiment.part(share_name(_PEAKS, device))
    peaks = read_peaks(part.made_id, material.home) if part is not None and part.made_id else None
    if profile is None or not profile.settings:
        return Answer(f"There is no profile of {device}, so what holds a step up can't be told.")
    if peaks is None:
        return Answer(f"There are no peaks of {device}, so no operator can be compared with them.")
    steps = material.measurements(share_name(_VERIFY, device), device)
    verified = [_verify(setting, advice, steps) for setting, advice in to_verify(profile, peaks)]
    evidence = (_groups(profile, peaks), _changes(profile, peaks), _verification(verified), _peaks_table(peaks))
    return Answer(_sentence(profile, peaks, verified), _picture(profile, peaks), evidence)


def _verify(setting: SettingProfile, advice: Advice, steps: Sequence[Measurement]) -> _Verified:
    now = described_workload(setting.workload)
    then = replace(now, **advice.change)  # type: ignore[arg-type]  # its own fields
    work = then.forward_tokens / now.forward_tokens
    sides = [
        next((one for one in steps if all(one.workload[name] == getattr(side, name) for name in _VARIED)), None)
        for side in (now, then)
    ]
    medians = [() if one is None else one.latency.medians_ms for one in sides]
    if not all(medians):
        return _Verified(setting, advice, None, Unavailable("it was not measured"))
    interval = ratio_interval(medians[0], medians[1])
    if isinstance(interval, Interval):
        interval = replace(interval, low=interval.low * work, high=interval.high * work)
    return _Verified(setting, advice, work * median(medians[0]) / median(medians[1]), interval)


def _sentence(profile: Profile, peaks: Peaks, verified: Sequence[_Verified]) -> str:
    first = profile.settings[0]
    most = next(share for share in group_shares(first, peaks) if share.share is not None)
    percent = 100 * (most.ms + most.uncounted_ms) / first.step_ms
    words = [
        f"{percent:.0f} % of a step in {first.setting} goes to {most.group}, bound by {most.bound} and at "
        f"{100 * (most.share or 0.0):.0f} % of that roof"
    ]
    words += [one.words for one in verified]
    if all(one.advice.gain < WORTH for one in verified):
        words.append(f"no change of q, b or setting is forecast to gain {100 * (WORTH - 1):.0f} %")
    above = {
        point.group for one in profile.settings for point in _points_to_draw(one, peaks) if point.share > _TOO_HIGH
    }
    if above:
        words.append(
            f"{format_list(sorted(above))} {'exceeds' if len(above) == 1 else 'exceed'} the peaks: something else used "
            "the memory while those were measured, or times of microseconds are too short to measure"
        )
    return "; ".join(words) + "."


def _picture(profile: Profile, peaks: Peaks) -> Picture:
    points = {one.setting: _points_to_draw(one, peaks) for one in profile.settings}
    every = [point for each in points.values() for point in each]
    curves = [
        Curve(
            setting,
            tuple(point.intensity for point in each),
            tuple(point.gflops_per_s for point in each),
            words=tuple(_point_words(point) for point in each),
            look="points",
            slot=slot(setting),
        )
        for setting, each in points.items()
        if each
    ]
    return Picture(
        "Operators under the roofs of the device",
        "operations for each byte",
        "GFLOP/s",
        (*curves, *(_roof_curve(peaks, dtype, place, every) for dtype, place in _roofs(every))),
        caption="A point is an operator, summed over all layers: the nearer it is to the line above it, the less there "
        "is to gain. Under the slope it waits for bytes, under the flat part for arithmetic.",
        x_log=True,
        y_log=True,
    )


def _points_to_draw(setting: SettingProfile, peaks: Peaks) -> list[Point]:
    least = _DRAWN_PERCENT / 100 * setting.step_ms
    return [point for point in points_of(setting, peaks) if point.flops and point.ms >= least]


def _roofs(points: Sequence[Point]) -> list[tuple[str, str]]:
    dtypes = dict.fromkeys(("float32", *(point.dtype for point in points)))
    return [*((dtype, MEMORY) for dtype in dtypes), ("float32", CACHE)]


def _roof_curve(peaks: Peaks, dtype: str, place: str, points: Sequence[Point]) -> Curve:
    flat, slope = peaks.gflops_per_s(dtype) or 0.0, peaks.gb_per_s(place)
    ridge = flat / slope
    xs = (min([ridge / 8, *(point.intensity for point in points)]), ridge)
    end = max([8 * ridge, *(point.intensity for point in points)])
    heights = (xs[0] * slope, flat, flat)
    return Curve(f"{dtype}, {place}", (*xs, end), heights, look="dashes" if place == CACHE else "line")


def _point_words(point: Point) -> str:
    name = " ".join(word for word in (point.part, point.name) if word)
    return f"{point.group}, {name}: {point.ms:.3g} ms, {100 * point.share:.0f} % of its roof ({point.roof.bound})"


def _groups(profile: Profile, peaks: Peaks) -> Evidence:
    rows: list[dict[str, Cell]] = [
        {
            "setting": one.setting,
            "for what": share.group,
            "ms": share.ms + share.uncounted_ms,
            "% of the step": 100 * (share.ms + share.uncounted_ms) / one.step_ms,
            "bound by": share.bound,
            "% of the roof": None if share.share is None else 100 * share.share,
        }
        for one in profile.settings
        for share in group_shares(one, peaks)
    ]
    note = "Above 100 %, something else used the memory while peaks were measured, or times are too short to measure."
    return table_of("The roof of each group of operators", rows, note)


def _changes(profile: Profile, peaks: Peaks) -> Evidence:
    rows: list[dict[str, Cell]] = [
        {"setting": one.setting, "change": advice.words, "step, ms": advice.step_ms, "times as fast": advice.gain,
         "most of it in": max(advice.saved_ms, key=lambda group: advice.saved_ms[group])}
        for one in profile.settings
        for advice in advise(one, peaks)
    ]  # fmt: skip
    note = "Gains in time alone, for the same forward tokens; other experiments measure the effect on accuracy."
    return table_of("Forecast gains of changes", rows, note)


def _verification(verified: Sequence[_Verified]) -> Evidence:
    rows: list[dict[str, Cell]] = []
    for one in verified:
        rows.append(
            {"setting": one.setting.setting, "change": one.advice.words, "forecast": one.advice.gain,
             "measured": one.gain, **interval_cells(one.interval), "forecast is off by, %": one.error_percent}
        )  # fmt: skip
    return table_of("Forecast and measured gains", rows, "Times as fast; 95 % intervals over sessions.")


def _peaks_table(peaks: Peaks) -> Evidence:
    rows: list[dict[str, Cell]] = [
        {"of": peak.of, "by": peak.by, "GFLOP/s or GB/s": peak.giga_per_s,
         "in the median repetition": peak.count / median(peak.ns), "repetitions": len(peak.ns),
         "buffer, MiB": None if peak.buffer_bytes is None else peak.buffer_bytes / (1 << 20)}
        for peak in peaks.peaks
    ]  # fmt: skip
    note = f"With {format_count(peaks.threads, 'thread')}, measured by the runner itself."
    return table_of("Peaks of the device", rows, note)
