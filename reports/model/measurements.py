"""The measurements of a run as the pages use them: ordered by device and setting, with their sessions.

In a run's document anything may be missing or ``{"unavailable": "why"}``.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from foundation.unavailable import Unavailable
from reports.model.histories import Remark
from reports.text.appearance import setting_order
from reports.text.numbers import sort_key

Number = float | Unavailable
NOT_RECORDED = Unavailable("not recorded by this run")


def value(record: Mapping[str, Any], *path: str) -> Any:
    """What is at ``path``, or the first :class:`Unavailable` on the way to it."""
    here: Any = record
    for key in path:
        if not isinstance(here, Mapping) or here.get(key) is None:
            return NOT_RECORDED
        here = here[key]
        if isinstance(here, Mapping) and "unavailable" in here:
            return Unavailable(str(here["unavailable"]) or "no reason was recorded")
    return here


def number(record: Mapping[str, Any], *path: str) -> Number:
    """The finite number at ``path``, or why there is none."""
    found = value(record, *path)
    if isinstance(found, Unavailable):
        return found
    return as_number(found)


def as_number(found: object) -> Number:
    """``found`` as a finite float, or why it is none. A truth value is no number."""
    if isinstance(found, bool) or not isinstance(found, int | float):
        return Unavailable(f"recorded as {str(found)[:40]!r}, which is not a number")
    try:
        number_found = float(found)
    except OverflowError:
        return Unavailable("recorded as a number too large to show")
    return number_found if math.isfinite(number_found) else Unavailable(f"recorded as {number_found}")


def ordinal_text(record: Mapping[str, Any], key: str) -> str:
    """A count that the store begins at 0, as people count: from 1."""
    found = record.get(key)
    return str(found + 1) if isinstance(found, int) and not isinstance(found, bool) else "?"


def interval(record: Mapping[str, Any], *path: str) -> tuple[float, float] | None:
    """The two ends at ``path``, or None when there is no complete interval."""
    ends = value(record, *path)
    if not isinstance(ends, Sequence) or isinstance(ends, str) or len(ends) != 2:
        return None
    low, high = as_number(ends[0]), as_number(ends[1])
    if isinstance(low, Unavailable) or isinstance(high, Unavailable):
        return None
    return low, high


def text(record: Mapping[str, Any], *path: str, default: str = "") -> str:
    """The text at ``path``, or ``default`` when there is none."""
    found = value(record, *path)
    return default if isinstance(found, Unavailable) else str(found)


def records(record: Mapping[str, Any], *path: str) -> list[Mapping[str, Any]]:
    """The objects of the list at ``path``; an empty list when there is none."""
    found = value(record, *path)
    if not isinstance(found, Sequence) or isinstance(found, str):
        return []
    return [item for item in found if isinstance(item, Mapping)]


def mapping(record: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """The object at ``path``; an empty one when there is none."""
    found = value(record, *path)
    return found if isinstance(found, Mapping) else {}


def ratio(over: Number, under: Number) -> Number:
    """``over / under``, or why there is none."""
    if isinstance(over, Unavailable):
        return over
    if isinstance(under, Unavailable):
        return under
    return over / under if under > 0 else Unavailable("the value to divide by is 0")


_WORKLOAD_PARTS = (("q", "q"), ("b", "b"), ("T", "T"), ("rank", "rank"))


@dataclass(frozen=True)
class Measurement:
    """One measurement of the document (``record``) with what names it; ``origin`` is the lab of an imported one."""

    measurement_id: str
    device: str
    kind: str
    emulated: bool
    setting: str
    status: str
    reason: str
    record: Mapping[str, Any]
    origin: str = ""

    @property
    def workload(self) -> Mapping[str, Any]:
        """Model, method, shapes and so on, as recorded."""
        return mapping(self.record, "workload")

    @property
    def sessions(self) -> list[Mapping[str, Any]]:
        """Its sessions by ordinal and attempt."""
        return sorted(
            records(self.record, "sessions"),
            key=lambda session: (_whole(session, "ordinal"), _whole(session, "attempt")),
        )

    @property
    def comparable(self) -> bool:
        """Whether its numbers may be weighed against others: measured well, and on a real device."""
        return self.status in ("ok", "unstable") and not self.emulated


def _whole(record: Mapping[str, Any], key: str) -> int:
    found = record.get(key)
    return found if isinstance(found, int) else 0


def measurements(document: Mapping[str, Any]) -> list[Measurement]:
    """All measurements of a run, devices in the order of the document, settings from fp32 to nf4."""
    found = []
    for index, record in enumerate(records(document, "measurements")):
        reason = value(record, "reason")
        found.append(
            Measurement(
                measurement_id=text(record, "measurement_id", default=str(index + 1)),
                device=text(record, "device", default="unnamed device"),
                kind=text(record, "kind"),
                emulated=record.get("emulated") is True,
                setting=text(record, "workload", "quant", default="unknown"),
                status=text(record, "status", default="unknown"),
                reason="" if isinstance(reason, Unavailable) else str(reason),
                record=record,
                origin=text(record, "origin"),
            )
        )
    places = {device: index for index, device in reversed(list(enumerate(item.device for item in found)))}
    return sorted(found, key=lambda item: (places[item.device], setting_order(item.setting)))


def devices_of(found: list[Measurement]) -> list[str]:
    """The names of the devices, each once, in order."""
    return list(dict.fromkeys(item.device for item in found))


def settings_of(found: list[Measurement]) -> list[str]:
    """The settings, each once, from fp32 to nf4."""
    return sorted({item.setting for item in found}, key=setting_order)


def workload_name(item: Measurement) -> str:
    """Everything that is run but the setting: ``smollm2-135m, prge, q=4, b=4, T=64, rank=16, xnnpack``."""
    return workload_words(item.workload)


def workload_words(workload: Mapping[str, Any]) -> str:
    """The same, of a workload as recorded."""
    parts = [text(workload, "model", default="unknown model"), text(workload, "method", default="unknown method")]
    parts += [f"{shown}={workload[key]}" for key, shown in _WORKLOAD_PARTS if workload.get(key) is not None]
    parts += [str(workload["backend"])] if workload.get("backend") is not None else []
    known = {"model", "method", "quant", "backend", *(key for key, _ in _WORKLOAD_PARTS)}
    parts += [f"{key}={_short(workload[key])}" for key in sorted(set(workload) - known)]
    return ", ".join(parts)


def _short(entry: object) -> str:
    return ",".join(str(part) for part in entry) if isinstance(entry, list | tuple) else str(entry)


def remarks_of(document: Mapping[str, Any]) -> list[Remark]:
    """What people said of a run, the oldest first."""
    found = [
        Remark(
            text(record, "kind"),
            text(record, "at"),
            text(record, "author"),
            text(record, "text"),
            about=text(record, "about"),
        )
        for record in records(document, "remarks")
    ]
    return sorted(found, key=lambda remark: sort_key(remark.at))


def setting_of(workload: Mapping[str, Any]) -> str:
    """The quantization setting of a workload as recorded."""
    return text(workload, "quant", default="unknown")
