"""A run's answers at a glance: the fastest, most frugal and smallest setting, and their costs by kind of device.

A setting is called the best only if the evidence is clear: at least 3 sessions of each setting, on a host that wasn't
busy, and an interval that overlaps no other; for latency and energy, no setting with unstable times. A number for
several devices is their median. Only real devices and valid measurements are ranked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from foundation.unavailable import Unavailable
from reports.model.measurement import Measurement, devices_of, settings_of, workload_words
from reports.model.reading import Interval, Number
from reports.tables.pictures import Answer, Matrix, MatrixCell, MatrixRow, Spark, Value
from reports.text.appearance import EMULATED, setting_order, slot, status
from reports.text.escaping import file_name, shorten
from reports.text.numbers import format_count, format_list, quantity, times, times_span

MIN_SESSIONS = 3


@dataclass(frozen=True)
class Quality:
    """What is ranked. `best` names the lowest, `read` returns a measurement's number in `unit`, `each` is what the
    number is for (a step).

    `spread` returns its 95 % interval, or the range of its sessions if there is no interval; None for too few sessions.
    `timed`: it depends on how long steps take, so a measurement with unstable times says little about it.
    """

    name: str
    best: str
    unit: str
    read: Callable[[Measurement], Number]
    spread: Callable[[Measurement], Interval | None]
    each: str = ""
    timed: bool = True


def session_spread(values: Sequence[Number]) -> Interval | None:
    """Returns the range over 3 or more sessions, None for fewer."""
    known = [float(one) for one in values if not isinstance(one, Unavailable)]
    return Interval(min(known), max(known)) if len(known) >= MIN_SESSIONS else None


def _interval(item: Measurement) -> Interval | None:
    ends = item.latency.ci95_ms
    return None if isinstance(ends, Unavailable) else ends


def _memory_range(item: Measurement) -> Interval | None:
    return session_spread([session.hwm_kib for session in item.sessions if session.status == "ok"])


LATENCY = Quality("latency", "lowest latency", "ms", lambda item: item.latency.median_ms, _interval, " a step")
MEMORY = Quality(
    "peak memory", "lowest peak memory", "KiB", lambda item: item.peak_memory_kib, _memory_range, timed=False
)  # fmt: skip
ENERGY = Quality(
    "energy", "least energy", "mJ", lambda item: item.energy.net_mj,
    lambda item: session_spread(item.energy.sessions_net), " a step",
)  # fmt: skip


@dataclass(frozen=True)
class Best:
    """The setting of a device with the lowest `value`.

    `alike` are those that can't be told apart from it; `doubt` says why this is only a first look, if it is.
    """

    item: Measurement
    value: float
    alike: Sequence[Measurement]
    doubt: str


def best_of(found: Sequence[Measurement], quality: Quality) -> Best | None:
    """Returns the best of one device's settings; None if fewer than two have a number."""
    known = [(value, item) for item in found if not isinstance(value := quality.read(item), Unavailable)]
    if len(known) < 2:
        return None
    known.sort(key=lambda pair: pair[0])
    least, best = known[0]
    doubt = _first_look([item for _, item in known], quality)
    alike = [item for _, item in known[1:] if _alike(best, item, quality)]
    return Best(best, float(least), () if doubt else alike, doubt)


def best_setting(
    found: Sequence[Measurement], quality: Quality, detail: Callable[[Measurement], str] = lambda _: ""
) -> str:
    """Returns words on which of one device's settings is the best; empty if fewer than two have a number.

    `detail` follows the number of the best setting.
    """
    best = best_of(found, quality)
    if best is None:
        return ""
    number = quantity(best.value, quality.unit)
    if best.doubt:
        return f"{quality.name}: a first look ({best.doubt}), {best.item.setting} {number} so far"
    if not best.alike:
        return f"{quality.best} {best.item.setting}, {number}{quality.each}{detail(best.item)}"
    unstable = [item.setting for item in (best.item, *best.alike) if quality.timed and item.status == "unstable"]
    why = f" ({format_list(unstable)} unstable)" if unstable else ""
    settings = format_list([item.setting for item in (best.item, *best.alike)])
    return f"{quality.best}: {settings} can't be told apart{why}"


def _first_look(found: Sequence[Measurement], quality: Quality) -> str:
    """Returns why a comparison of these is only a first look, empty if it is more."""
    if any(quality.spread(item) is None for item in found):
        return f"fewer than {MIN_SESSIONS} sessions with it"
    return "the device was busy" if any(item.busy for item in found) else ""


def _alike(best: Measurement, other: Measurement, quality: Quality) -> bool:
    own, theirs = quality.spread(best), quality.spread(other)
    if own is None or theirs is None or (quality.timed and "unstable" in (best.status, other.status)):
        return True
    return theirs.low <= own.high


def device_sentence(found: Sequence[Measurement], device: str) -> str:
    """Returns a sentence on a device's best settings by latency, memory and energy; empty for several workloads."""
    usable = [item for item in found if item.device == device and item.comparable]
    if len({workload_words(item.workload) for item in usable}) != 1:
        return ""
    best = (best_setting(usable, LATENCY, ratio_words), best_setting(usable, MEMORY), best_setting(usable, ENERGY))
    return "; ".join(sentence for sentence in best if sentence) + "." if any(best) else ""


def ratio_words(item: Measurement) -> str:
    found, setting, ends = item.ratio.latency, item.ratio.setting, item.ratio.ci95
    if isinstance(found, Unavailable) or isinstance(setting, Unavailable) or setting == item.setting:
        return ""
    interval = f", 95 % interval {times_span(ends.low, ends.high)}" if isinstance(ends, Interval) else ""
    return f" ({times(found)} that of {setting}{interval})"


def busy_sentences(found: Sequence[Measurement]) -> list[str]:
    """Returns a sentence for each device that was busy with something else while it was measured."""
    return list(dict.fromkeys(f"{item.device} was busy: {item.busy}" for item in found if item.busy))


_QUESTIONS = (("Fastest", LATENCY), ("Most frugal", ENERGY), ("Smallest", MEMORY))
_WORDS = {"Fastest": "a step", "Most frugal": "a step, net", "Smallest": "at the peak"}


def answers_of(found: Sequence[Measurement]) -> list[Answer]:
    """Returns the fastest, most frugal and smallest setting; nothing without a comparable measurement."""
    usable = [item for item in found if item.comparable]
    return [_answer(question, quality, usable) for question, quality in _QUESTIONS] if usable else []


def _answer(question: str, quality: Quality, usable: Sequence[Measurement]) -> Answer:
    groups: dict[tuple[str, str], list[Measurement]] = {}
    for item in usable:
        groups.setdefault((item.device, workload_words(item.workload)), []).append(item)
    found = [best for items in groups.values() if (best := best_of(items, quality)) is not None]
    if not found:
        return Answer(question, "not known", (_why_none(quality, usable),))
    if len(groups) == 1:
        return _of_one(question, quality, found[0])
    return _of_many(question, quality, found, len(groups))


def _why_none(quality: Quality, usable: Sequence[Measurement]) -> str:
    values = [quality.read(item) for item in usable]
    missing = [one.reason for one in values if isinstance(one, Unavailable)]
    if len(missing) < len(values):
        return f"No device has the {quality.name} of two settings to compare."
    return f"Not measured: {shorten(missing[0], 160)}"


def _of_one(question: str, quality: Quality, best: Best) -> Answer:
    number = f"{quantity(best.value, quality.unit)} {_WORDS[question]}"
    words = [number]
    if best.doubt:
        words.append(f"A first look: {best.doubt}.")
    elif best.alike:
        words.append(f"Can't be told apart from {format_list([item.setting for item in best.alike])}.")
    elif quality is LATENCY and (ratio := ratio_words(best.item)):
        words.append(ratio.strip(" ()").capitalize() + ".")
    return Answer(
        question, best.item.setting, words, slot(best.item.setting), f"#m-{file_name(best.item.measurement_id)}"
    )


def _of_many(question: str, quality: Quality, found: Sequence[Best], groups: int) -> Answer:
    """Returns the setting that is best on most devices, and how many devices differ or give no answer."""
    clear = Counter(best.item.setting for best in found if not best.doubt and not best.alike)
    first, alike = (sum(map(test, found)) for test in (lambda best: bool(best.doubt), lambda best: bool(best.alike)))
    if not clear and not first:
        return Answer(question, "no difference", (f"Can't be told apart on {format_count(alike, 'device')}.",))
    leading = clear or Counter(best.item.setting for best in found)
    most = max(leading.values())
    winners = sorted((name for name, count in leading.items() if count == most), key=setting_order)
    each = " each" if len(winners) > 1 else ""
    words = [f"on {most} of {format_count(groups, 'device')}{each}" if clear else "so far"]
    words += [f"{name} on {count}" for name, count in clear.most_common() if name not in winners][:2]
    words += [f"Can't be told apart on {format_count(alike, 'device')}."] if alike else []
    words += [f"A first look on {format_count(first, 'device')}."] if first else []
    unknown = groups - len(found)
    words += [f"No {quality.name} to compare on {format_count(unknown, 'device')}."] if unknown else []
    return Answer(question, format_list(winners), words, slot(winners[0]) if len(winners) == 1 else None)


@dataclass(frozen=True)
class _Line:
    """A line of a cell: its name, its unit and how it is read."""

    title: str
    unit: str
    read: Callable[[Measurement], Number]


_LINES = (
    _Line("latency", "ms", LATENCY.read),
    _Line("peak memory", "KiB", MEMORY.read),
    _Line("net energy", "mJ", ENERGY.read),
)
SparkOf = Callable[[Sequence[Measurement]], Spark | None]
"""Returns the sparkline for the measurements of a cell."""


def _own_row(items: Sequence[Measurement]) -> str:
    return f"#m-{file_name(items[0].measurement_id)}"


def kind_matrix(
    found: Sequence[Measurement],
    spark_of: SparkOf = lambda _: None,
    link_of: Callable[[Sequence[Measurement]], str] = _own_row,
    name: str = "kinds",
) -> Matrix | None:
    """Returns latency, memory and energy of each kind of device and setting, the best of each row in bold; None without
    any.

    ``link_of`` returns where the measurements of a cell are, by default on its own page.
    """
    settings, several = settings_of(found), len({workload_words(item.workload) for item in found}) > 1
    groups: dict[tuple[str, str], list[Measurement]] = {}
    for item in found:
        words = workload_words(item.workload) if several else ""
        kind = f"{item.kind or 'unknown kind'}{f' ({EMULATED})' if item.emulated else ''}"
        groups.setdefault((kind, words), []).append(item)
    rows = [_row(kind, words, items, settings, spark_of, link_of) for (kind, words), items in groups.items()]
    lines = format_list([line.title for line in _LINES])
    caption = f"Each cell: {lines} of a step, the median over devices of this kind; the best of a row is bold"
    return Matrix(name, caption, [(name, slot(name)) for name in settings], rows) if rows else None


def _row(
    kind: str,
    words: str,
    items: Sequence[Measurement],
    settings: Sequence[str],
    spark_of: SparkOf,
    link_of: Callable[[Sequence[Measurement]], str],
) -> MatrixRow:
    by_setting = {name: [item for item in items if item.setting == name] for name in settings}
    medians = {name: [_median(own, line) for line in _LINES] for name, own in by_setting.items()}
    known = [[one for found in medians.values() if (one := found[place]) is not None] for place in range(len(_LINES))]
    cells = []
    for name, own in by_setting.items():
        values = [
            Value(quantity(value, line.unit), value == min(known[place]) < max(known[place]))
            for place, (value, line) in enumerate(zip(medians[name], _LINES, strict=True))
            if value is not None
        ]
        note = "" if values else _outcome(own)
        cells.append(MatrixCell(values, note, link_of(own) if own else "", spark_of(own)))
    devices = devices_of(items)
    quiet = format_count(len(devices), "device") if len(devices) > 1 else shorten(devices[0], 28)
    return MatrixRow(kind, ", ".join(filter(None, ("" if quiet == kind else quiet, words))), cells)


def _median(items: Sequence[Measurement], line: _Line) -> float | None:
    usable = [item for item in items if item.status in ("ok", "unstable")]
    known = [float(value) for item in usable if not isinstance(value := line.read(item), Unavailable)]
    return median(known) if known else None


def _outcome(items: Sequence[Measurement]) -> str:
    words = sorted({item.status for item in items}, key=lambda word: status(word).order)
    return words[0] if words else "not measured"
