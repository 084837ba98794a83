"""A run in a few sentences: what was measured, on what, how it ended, and what stands out.

Only measurements that held every check on a real device are named as the best of anything.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from foundation.unavailable import Unavailable
from reports.escaping import shortened
from reports.measured import Measurement, devices_of, settings_of, workload_name
from reports.numbers import counted, listed, quantity, times, times_span
from reports.reading import interval, number, value
from reports.status import Status, status

_MOST_FINDINGS = 6


@dataclass(frozen=True)
class Summary:
    """``headline`` is a sentence, ``outcome`` the worst status it covers, ``findings`` a sentence per device."""

    outcome: Status
    headline: str
    workload: str
    findings: Sequence[tuple[str, str]]
    caution: str


def summarize(found: Sequence[Measurement]) -> Summary:
    """The summary of a run's measurements."""
    if not found:
        headline = "Nothing was measured. `suite run --resume` goes on where the run stopped."
        return Summary(status("interrupted"), headline, "", (), "")
    workloads = list(dict.fromkeys(workload_name(item) for item in found))
    devices = devices_of(list(found))
    findings = [
        (device, finding)
        for device in devices
        if (finding := _finding([item for item in found if item.device == device]))
    ]
    return Summary(
        outcome=min((status(item.status) for item in found), key=lambda one: (one.tone == "quiet", one.order)),
        headline=_headline(found, devices),
        workload=workloads[0] if len(workloads) == 1 else f"{len(workloads)} workloads; the table names each",
        findings=findings[:_MOST_FINDINGS],
        caution=_caution(found),
    )


def _headline(found: Sequence[Measurement], devices: Sequence[str]) -> str:
    settings = listed(settings_of(list(found)))
    where = listed([shortened(device) for device in devices]) if len(devices) <= 4 else counted(len(devices), "device")
    counts = sorted(Counter(item.status for item in found).items(), key=lambda pair: (-status(pair[0]).order, pair[0]))
    if len(counts) == 1:
        ended = f"all {counts[0][0]}" if len(found) > 1 else counts[0][0]
    else:
        ended = listed([f"{count} {word}" for word, count in counts])
    return f"{counted(len(found), 'measurement')} of {settings} on {where}: {ended}."


def _finding(found: Sequence[Measurement]) -> str:
    usable = [item for item in found if item.comparable]
    if len(usable) < 2 or len({workload_name(item) for item in usable}) > 1:
        return ""
    sentences = []
    timed = [(ms, item) for item in usable if isinstance(ms := number(item.record, "latency_ms", "median"), float)]
    if len(timed) > 1:
        ms, item = min(timed, key=lambda pair: pair[0])
        sentences.append(f"lowest latency {item.setting}, {quantity(ms, 'ms')} a step{_ratio(item)}")
    sized = [(kib, item) for item in usable if isinstance(kib := number(item.record, "peak_memory_kib"), float)]
    if len(sized) > 1:
        kib, item = min(sized, key=lambda pair: pair[0])
        sentences.append(f"lowest peak memory {item.setting}, {quantity(kib, 'KiB')}")
    return "; ".join(sentences) + "." if sentences else ""


def _ratio(item: Measurement) -> str:
    found, setting = (
        number(item.record, "ratio_to_reference", "latency", "ratio"),
        value(item.record, "ratio_to_reference", "setting"),
    )
    if isinstance(found, Unavailable) or isinstance(setting, Unavailable) or setting == item.setting:
        return ""
    ends = interval(item.record, "ratio_to_reference", "latency", "ci95")
    shown = f", 95 % interval {times_span(*ends)}" if ends else ""
    return f" ({times(found)} that of {setting}{shown})"


def _caution(found: Sequence[Measurement]) -> str:
    emulated = [shortened(device) for device in devices_of([item for item in found if item.emulated])]
    labs = sorted({shortened(item.origin) for item in found if item.origin})
    said = []
    if emulated:
        verb = "is" if len(emulated) == 1 else "are"
        said.append(
            f"{listed(emulated)} {verb} emulated: such latencies show that the way works, not how fast a device is, "
            "and are never compared."
        )
    if labs:
        said.append(f"Measured by {listed(labs)} and imported: shown, and never judged here.")
    return " ".join(said)
