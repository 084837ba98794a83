"""A run with its measurements and what surrounds them: devices as they were, environment, remarks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from foundation.unavailable import Json
from reports.model.histories import Remark
from reports.model.measurement import Measurement
from reports.model.reading import items, mapping, records, text, value
from reports.text.numbers import sort_key


@dataclass(frozen=True)
class PreflightCheck:
    """What a check of a device before its sessions found; ``remedy`` is what to do about it."""

    name: str
    status: str
    detail: str = ""
    remedy: str = ""

    @classmethod
    def from_document(cls, found: Json) -> "PreflightCheck":
        """Reads one of a device's ``preflight``."""
        return cls(*(text(found, key) for key in ("name", "status", "detail", "remedy")))


@dataclass(frozen=True)
class RunDevice:
    """A device as it was in a run. ``facts`` are whatever its kind can read; ``origin`` is the lab it belongs to."""

    kind: str
    emulated: bool
    facts: Mapping[str, Json]
    preflight: tuple[PreflightCheck, ...]
    origin: str = ""

    @classmethod
    def from_document(cls, found: Json) -> "RunDevice":
        """Reads one of a run's ``devices``."""
        return cls(
            kind=text(found, "kind"),
            emulated=value(found, "emulated") is True,
            facts=mapping(found, "facts"),
            preflight=tuple(PreflightCheck.from_document(one) for one in records(found, "preflight")),
            origin=text(found, "origin"),
        )


@dataclass(frozen=True)
class RunContents:
    """A run. ``started_at`` and ``finished_at`` are ISO 8601 or empty, ``remarks`` the oldest first.

    ``document`` is what it was read from (docs/contracts.md), which is offered as a file.
    """

    run_id: str
    started_at: str
    finished_at: str
    command: str
    origin: str
    environment: Mapping[str, Json]
    devices: Mapping[str, RunDevice]
    remarks: tuple[Remark, ...]
    tags: tuple[str, ...]
    measurements: tuple[Measurement, ...]
    document: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "RunContents":
        """Reads a run's document, or a part of one."""
        remarks = [Remark.from_document(one) for one in records(document, "remarks")]
        return cls(
            run_id=text(document, "run_id"),
            started_at=text(document, "started_at"),
            finished_at=text(document, "finished_at"),
            command=text(document, "command"),
            origin=text(document, "origin"),
            environment=mapping(document, "environment"),
            devices={str(name): RunDevice.from_document(one) for name, one in mapping(document, "devices").items()},
            remarks=tuple(sorted(remarks, key=lambda remark: sort_key(remark.at))),
            tags=tuple(str(name) for name in items(document, "tags")),
            measurements=tuple(
                Measurement.from_document(one, place) for place, one in enumerate(records(document, "measurements"))
            ),
            document=document,
        )
