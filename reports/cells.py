"""Cells of a table: what is read, what it sorts by, and the footnote that says why a value is missing."""

from dataclasses import dataclass, field

from foundation.unavailable import Unavailable
from reports.measured import Measurement
from reports.numbers import counted, decimals, plain, quantity, span, times, times_span
from reports.reading import Number, interval, number, ratio, value


@dataclass(frozen=True)
class Cell:
    """``main`` is the value, ``small`` the lines below it; ``sort`` is empty for what has no value and sorts last.

    ``note`` is the number of the footnote with the reason when there is no value.
    """

    main: str
    small: tuple[str, ...] = ()
    sort: str = ""
    note: int = 0


def sortable(found: float) -> str:
    """A number as short as its order needs."""
    return f"{found:.7g}"


@dataclass(frozen=True)
class Column:
    """A heading; ``unit_hint`` is the quiet line below it, ``kind`` (number or text) how it sorts and is set."""

    title: str
    unit_hint: str = ""
    kind: str = "number"


@dataclass
class Footnotes:
    """Reasons why values are missing, each once, numbered from 1 in the order of their first use."""

    prefix: str
    reasons: list[str] = field(default_factory=list)

    def cell(self, found: Unavailable) -> Cell:
        """A cell that says ``unavailable`` and leads to the reason."""
        if found.reason not in self.reasons:
            self.reasons.append(found.reason)
        return Cell("unavailable", note=self.reasons.index(found.reason) + 1)

    def number(self, found: Number, shown: str, *small: str) -> Cell:
        """A cell with ``shown``, or the footnote when there is no number."""
        if isinstance(found, Unavailable):
            return self.cell(found)
        return Cell(shown, tuple(line for line in small if line), sort=sortable(found))

    def quantity(self, found: Number, stored_unit: str, *small: str) -> Cell:
        """A cell with a value in the unit that fits."""
        return (
            self.cell(found)
            if isinstance(found, Unavailable)
            else self.number(found, quantity(found, stored_unit), *small)
        )


def latency(item: Measurement, notes: Footnotes) -> Cell:
    """Median over the sessions' medians, with its interval and the count of sessions."""
    median = number(item.record, "latency_ms", "median")
    if isinstance(median, Unavailable):
        return notes.cell(median)
    ends = interval(item.record, "latency_ms", "ci95")
    shown = f"95 %: {span(*ends, 'ms', like=median)}" if ends else "no interval"
    return notes.quantity(median, "ms", shown, sessions(item))


def sessions(item: Measurement) -> str:
    """``n = 5 sessions``; nothing when the medians were not recorded."""
    medians = value(item.record, "latency_ms", "sessions")
    return f"n = {counted(len(medians), 'session')}" if isinstance(medians, list | tuple) else ""


def to_reference(item: Measurement, notes: Footnotes) -> Cell:
    """Latency as a multiple of the reference setting's, with its interval."""
    found = number(item.record, "ratio_to_reference", "latency", "ratio")
    if isinstance(found, Unavailable):
        return notes.cell(found)
    ends = interval(item.record, "ratio_to_reference", "latency", "ci95")
    setting = value(item.record, "ratio_to_reference", "setting")
    if setting == item.setting:
        return Cell(times(1.0), ("the reference",), sort=sortable(found))
    return notes.number(found, times(found), f"95 %: {times_span(*ends)}" if ends else "no interval")


def peak_memory(item: Measurement, notes: Footnotes) -> Cell:
    """The kernel's high-water mark of the runner."""
    return notes.quantity(number(item.record, "peak_memory_kib"), "KiB")


def memory_over_weights(item: Measurement, notes: Footnotes) -> Cell:
    """Peak memory divided by the bytes of the weights."""
    weights = number(item.record, "weight_bytes")
    kib = weights if isinstance(weights, Unavailable) else weights / 1024
    found = ratio(number(item.record, "peak_memory_kib"), kib)
    if isinstance(found, Unavailable) or isinstance(kib, Unavailable):
        return notes.cell(
            found if isinstance(found, Unavailable) else Unavailable("the weights' size was not recorded")
        )
    return notes.number(found, times(found), f"of {quantity(kib, 'KiB')}")


def program_size(item: Measurement, notes: Footnotes) -> Cell:
    """Bytes of the exported program."""
    found = number(item.record, "program_bytes")
    return notes.cell(found) if isinstance(found, Unavailable) else notes.quantity(found / 1024, "KiB")


def energy(item: Measurement, notes: Footnotes) -> Cell:
    """Net energy of a step (idle power taken off), gross below; the gross one alone when idle is not known."""
    net, gross = (number(item.record, "energy_mj_per_step", part) for part in ("net", "gross"))
    short = "short window" if value(item.record, "energy_mj_per_step", "short") is True else ""
    if isinstance(net, float):
        below = f"gross {quantity(gross, 'mJ')}" if isinstance(gross, float) else ""
        return notes.quantity(net, "mJ", "net", below, short)
    if isinstance(gross, float):
        # Sorted with the missing ones: gross and net are not one scale.
        return Cell(
            quantity(gross, "mJ"), tuple(part for part in ("gross only", short) if part), note=notes.cell(net).note
        )
    return notes.cell(net)


def power(item: Measurement, notes: Footnotes) -> Cell:
    """Mean power over the measured steps, idle below."""
    idle = number(item.record, "power_mw", "idle")
    below = f"idle {quantity(idle, 'mW')}" if isinstance(idle, float) else ""
    return notes.quantity(number(item.record, "power_mw", "mean"), "mW", below)


def stability(item: Measurement, notes: Footnotes) -> Cell:
    """The score from 0 to 100, with the coefficient of variation it mostly rests on."""
    found, cv = number(item.record, "stability"), number(item.record, "latency_ms", "cv_percent")
    if isinstance(found, Unavailable):
        return notes.cell(found)
    below = f"CV {plain(cv, max(1, decimals(cv, 2)))}\u00a0%" if isinstance(cv, float) else ""
    return notes.number(found, f"{plain(found, 0)} / 100", below)
