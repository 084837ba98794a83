"""Which setting of a device is best, in words that claim no more than its sessions bear out.

A setting is called best only where nothing speaks against it: 3 sessions and more of each, none of them unstable, a
host that had nothing else to do, and an interval apart from those of all others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from foundation.unavailable import Unavailable
from reports.model.measurement import Measurement, workload_words
from reports.model.reading import Interval, Number
from reports.text.numbers import format_list, quantity, times, times_span

MIN_SESSIONS = 3


@dataclass(frozen=True)
class Quality:
    """What is ranked: `best` names the lowest, `read` its number in `unit`; `spread` its 95 % interval, or the range of
    its sessions where it has none; None of too few sessions. `each` says what the number is of."""

    name: str
    best: str
    unit: str
    read: Callable[[Measurement], Number]
    spread: Callable[[Measurement], Interval | None]
    each: str = ""


def session_spread(values: Sequence[Number]) -> Interval | None:
    """Returns the range of what 3 sessions or more have, None of fewer."""
    known = [float(one) for one in values if not isinstance(one, Unavailable)]
    return Interval(min(known), max(known)) if len(known) >= MIN_SESSIONS else None


def _interval(item: Measurement) -> Interval | None:
    ends = item.latency.ci95_ms
    return None if isinstance(ends, Unavailable) else ends


def _memory_range(item: Measurement) -> Interval | None:
    return session_spread([session.hwm_kib for session in item.sessions if session.status == "ok"])


LATENCY = Quality("latency", "lowest latency", "ms", lambda item: item.latency.median_ms, _interval, " a step")
MEMORY = Quality("peak memory", "lowest peak memory", "KiB", lambda item: item.peak_memory_kib, _memory_range)
ENERGY = Quality(
    "energy", "least energy", "mJ", lambda item: item.energy.net_mj,
    lambda item: session_spread(item.energy.sessions_net), " a step",
)  # fmt: skip


@dataclass(frozen=True)
class Best:
    """The setting of a device with the lowest `value`; `alike` can't be told from it, `doubt` says why it is no more
    than a first look."""

    item: Measurement
    value: float
    alike: Sequence[Measurement]
    doubt: str


def best_of(found: Sequence[Measurement], quality: Quality) -> Best | None:
    """Returns the best of one device's settings; None of fewer than two with a number."""
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
    """Returns which of one device's settings is best; empty of fewer than two with a number.

    `detail` follows the number of a setting that is.
    """
    best = best_of(found, quality)
    if best is None:
        return ""
    number = quantity(best.value, quality.unit)
    if best.doubt:
        return f"{quality.name}: a first look ({best.doubt}), {best.item.setting} {number} so far"
    if not best.alike:
        return f"{quality.best} {best.item.setting}, {number}{quality.each}{detail(best.item)}"
    unstable = [item.setting for item in (best.item, *best.alike) if item.status == "unstable"]
    why = f" ({format_list(unstable)} unstable)" if unstable else ""
    settings = format_list([item.setting for item in (best.item, *best.alike)])
    return f"{quality.best}: {settings} can't be told apart{why}"


def _first_look(found: Sequence[Measurement], quality: Quality) -> str:
    """Returns why no comparison of these is more than a first look."""
    if any(quality.spread(item) is None for item in found):
        return f"fewer than {MIN_SESSIONS} sessions with it"
    return "the device was busy" if any(item.busy for item in found) else ""


def _alike(best: Measurement, other: Measurement, quality: Quality) -> bool:
    own, theirs = quality.spread(best), quality.spread(other)
    if own is None or theirs is None or "unstable" in (best.status, other.status):
        return True
    return theirs.low <= own.high


def device_sentence(found: Sequence[Measurement], device: str) -> str:
    """Returns what can be said of a device's settings: of latency, memory and energy; empty for several workloads."""
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
    """Returns a sentence for each device that had other things to do while it was measured."""
    return list(dict.fromkeys(f"{item.device} was busy: {item.busy}" for item in found if item.busy))
