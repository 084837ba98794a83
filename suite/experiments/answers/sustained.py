"""How fast training is after minutes of heat: the first, warmed-up and sustained steps of one unpaused session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from foundation.text import format_duration, format_rounded
from foundation.unavailable import Unavailable
from reports.model.experiment import Answer, Cell, Curve, Evidence, Picture, interval_cells, table_of, with_rows
from reports.model.quantities import POWER, TEMPERATURE, sensor_quantity
from reports.text.appearance import slot
from suite.endurance.heat import FREQUENCY, Change, changes, course, power_mw, why_slower, windows
from suite.endurance.pace import Pace, pace_of
from suite.endurance.session import LongSession
from suite.experiments.experiment import Work
from suite.experiments.material import Material
from suite.experiments.own_work import long_sessions, taken_sessions

_PART = "session"
_SPANS = 40
_LOOKED_FOR = (("clock", FREQUENCY, "cpu-frequency"), ("temperature", TEMPERATURE, "thermal"))


def more_parts(material: Material) -> Mapping[str, Work]:
    """Returns the sessions to measure."""
    return long_sessions(material, _PART)


def answer(material: Material, device: str) -> Answer:
    """Answers for one device."""
    sessions = taken_sessions(material, _PART, device)
    missing: list[str] = []
    paces: dict[str, Pace] = {}
    for quant, session in sessions.items():
        pace = pace_of(session.record.steps)
        if isinstance(pace, Unavailable):
            missing.append(f"{quant}: {pace.reason}")
        else:
            paces[quant] = pace
    if not paces:
        return Answer("No session is long enough, so the sustained speed can't be told.", missing=tuple(missing))
    seen = {quant: changes(sessions[quant], *windows(sessions[quant], pace)) for quant, pace in paces.items()}
    sentences = [_sentence(quant, pace, why_slower(sessions[quant], seen[quant])) for quant, pace in paces.items()]
    for quant in paces:
        missing += _gaps(quant, sessions[quant])
    return Answer(
        "; ".join(sentences) + ".",
        _picture(paces, sessions),
        with_rows(_pace_table(paces), _change_table(seen)),
        tuple(dict.fromkeys(missing)),
    )


def _sentence(quant: str, pace: Pace, evidence: str | None) -> str:
    first = f"the first step took {format_rounded(pace.first_ms)} ms"
    slower, lasted = pace.slowdown, format_duration(pace.spans_s[-1])
    if slower is None:
        words = f"{format_rounded(pace.sustained_ms)} ms a step over {lasted}"
        if pace.steady:
            return f"training in {quant} keeps its speed, {words}; {first}"
        most = 100 * (pace.factor_at_most - 1)
        return (
            f"training in {quant} has no visible knee, {words}, but may have become up to {most:.0f} % slower: "
            f"measure longer, or on a quieter device; {first}"
        )
    low, high = (100 * (1 - 1 / end) for end in (slower.interval.low, slower.interval.high))
    lost = f"{100 * pace.speed_lost:.0f} % of its speed (95 %: {low:.0f} to {high:.0f})"
    after = f"after {format_duration(slower.knee_s)}"
    levels = [format_rounded(ms) for ms in (pace.warmed_ms, pace.sustained_ms)]
    steps = f"{levels[0]} ms a step warmed up, {levels[1]} ms sustained, {first}"
    if evidence is None:
        return f"training in {quant} loses {lost} {after}, and no reading explains why: {steps}"
    return f"training in {quant} loses {lost} to throttling {after} ({evidence}): {steps}"


def _pace_table(paces: Mapping[str, Pace]) -> Evidence:
    rows: list[dict[str, Cell]] = [
        {
            "setting": quant,
            "first step, ms": pace.first_ms,
            "warmed up, ms": pace.warmed_ms,
            "sustained, ms": pace.sustained_ms,
            "knee, s": None if pace.slowdown is None else pace.slowdown.knee_s,
            "settled, s": None if pace.slowdown is None else pace.slowdown.settled_s,
            "times as slow": None if pace.slowdown is None else pace.slowdown.factor,
            **interval_cells(None if pace.slowdown is None else pace.slowdown.interval),
            "time lost, %": 100 * pace.time_lost,
            "second half slower by at most, %": 100 * (pace.factor_at_most - 1),
        }
        for quant, pace in paces.items()
    ]
    note = (
        "Two levels and a ramp between them, fitted to medians of equal spans of steps. A knee is found if at most 1 % "
        "of series without one, equally correlated from span to span, fit as well. 95 % intervals."
    )
    return table_of("First, warmed up and sustained", rows, note)


def _change_table(seen: Mapping[str, Sequence[Change]]) -> Evidence:
    rows: list[dict[str, Cell]] = []
    for quant, found in seen.items():
        for change in found:
            quantity = sensor_quantity(change.quantity)
            rows.append(
                {
                    "setting": quant,
                    "sensor": change.sensor,
                    "early": change.early * quantity.factor,
                    "late": change.late * quantity.factor,
                    "unit": quantity.unit,
                }
            )
    return table_of(
        "Sensor readings early and late", rows, "Before and after the knee; without a knee, first and last fifth."
    )


def _gaps(quant: str, session: LongSession) -> list[str]:
    """Returns which of clock, heat and power can't be read, with reasons."""
    found = []
    for words, quantity, name in _LOOKED_FOR:
        if not any(trace.quantity == quantity for trace in session.record.samples.values()):
            reasons = [reason for gap, reason in session.unavailable.items() if name in gap]
            found.append(f"{quant}, {words}: {next(iter(reasons), 'no sensor was found')}")
    power = power_mw(session, session.record.measured_window_ns or (0, 0))
    if isinstance(power, Unavailable):
        found.append(f"{quant}, power: {power.reason}")
    return found


def _picture(paces: Mapping[str, Pace], sessions: Mapping[str, LongSession]) -> Picture:
    curves = []
    for quant, pace in paces.items():
        base = pace.warmed_ms
        percent = [tuple(100 * ms / base for ms in of) for of in (pace.spans_ms, pace.fitted_ms)]
        curves.append(Curve(f"{quant}, step time", pace.spans_s, percent[0], look="points", slot=slot(quant)))
        curves.append(Curve(f"{quant}, fit", pace.spans_s, percent[1], slot=slot(quant)))
        curves += _courses(quant, pace, sessions[quant])
    caption = (
        "Step time in percent of the warmed-up level, clock and power in percent of their first reading, temperature "
        "in degrees Celsius."
    )
    return Picture("Step time over the session", "seconds", "% of warmed up; degC", tuple(curves), caption)


def _courses(quant: str, pace: Pace, session: LongSession) -> list[Curve]:
    end = pace.spans_s[-1]
    edges = [end * place / _SPANS for place in range(_SPANS + 1)]
    curves = []
    for name, quantity in (("clock", FREQUENCY), ("power", POWER), ("temperature", TEMPERATURE)):
        points = course(session, quantity, edges)
        if points:
            x, y = zip(*points, strict=True)
            scale = 1e-3 if quantity == TEMPERATURE else 100 / y[0] if y[0] else 0.0
            curves.append(Curve(f"{quant}, {name}", x, tuple(scale * each for each in y), look="dashes"))
    return curves
