"""Makes names and keys: run ids, session ids, workload keys, fingerprints of series, tags, labs, stamps, authors."""

from __future__ import annotations

import getpass
import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from foundation.errors import UserError
from foundation.text import printable
from foundation.unavailable import Json, finite

IMPORTED = "imported"
"""The purpose of a run that was measured by another lab."""

ORIGIN_MARK = ":"
"""Separates a lab and the name of its device; names in an inventory can't contain it."""

#: Part of each series' fingerprint. Increase it when a change of the method of measuring changes what numbers mean.
MEASUREMENT_VERSION = 1

_PARTS = ("model", "method", "quant", "backend")
_NUMBERS = ("q", "b", "T", "rank")


def canonical(value: Any) -> str:
    """Returns JSON with sorted keys and no spaces, so that equal values have equal text. Non-finite is unavailable."""
    return json.dumps(finite(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def timestamp(now: datetime | None = None) -> str:
    """Returns the time as UTC, ISO 8601 with offset, to the millisecond."""
    return (now or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="milliseconds")


def new_run_id(now: datetime | None = None) -> str:
    """Returns an id such as `2026-11-22T14-03-22-ab12`: the start in seconds (UTC) and random hexadecimal digits."""
    return f"{(now or datetime.now(UTC)).astimezone(UTC):%Y-%m-%dT%H-%M-%S}-{secrets.token_hex(2)}"


def workload_key(workload: Mapping[str, Json]) -> str:
    """Returns a line that identifies a workload: `smollm2-135m/prge/int8/xnnpack/q4/b4/T64/rank16` and other parts."""
    named = [str(workload[part]) for part in _PARTS if part in workload]
    sized = [f"{part}{workload[part]}" for part in _NUMBERS if part in workload]
    others = sorted(set(workload) - {*_PARTS, *_NUMBERS})
    return "/".join([*named, *sized, *(f"{key}={canonical(workload[key])}" for key in others)])


def session_id(
    run_id: str, device: str, workload: Mapping[str, Json], ordinal: int, attempt: int, role: str = "measured"
) -> str:
    """Returns an id that is unique over all runs and a valid file name: run, device, setting, ordinal, attempt."""
    plain = re.sub(r"[^A-Za-z0-9-]+", "-", f"{device}.{workload.get('quant', '')}".replace(".", "_"))[:60]
    parts = [device, workload_key(workload), *([] if role == "measured" else [role])]
    digest = hashlib.sha256(canonical(parts).encode()).hexdigest()[:8]
    return f"{run_id}.{plain}.{digest}.s{ordinal}.a{attempt}"


def fingerprint(
    *,
    kind: str,
    emulated: bool,
    hardware: Mapping[str, Json],
    os_build: str,
    workload: str,
    measurement_version: int,
    setup: Mapping[str, Json],
) -> str:
    """Returns 16 hexadecimal digits over all that may change performance without a change of the code under test.

    `setup` is what is known of threads, CPUs and power mode; unknown ones are left out.
    """
    facts = [kind, emulated, dict(hardware), os_build, workload, measurement_version, *([dict(setup)] if setup else [])]
    return hashlib.sha256(canonical(facts).encode()).hexdigest()[:16]


NO_POWER_MODE = "the device reports no power mode"

_USUAL_WINDOW_S = 10.0
_DESIGN = ("sessions", "steps", "max_warm_up_steps")


def design_of(plan: Mapping[str, Json]) -> str:
    """Returns the values of a plan's document on which the comparability of nights depends: how often and how long."""
    found = {key: plan[key] for key in _DESIGN if key in plan}
    window = plan.get("energy_window_s", _USUAL_WINDOW_S)
    return canonical(found if window == _USUAL_WINDOW_S else found | {"energy_window_s": window})


LONGEST = 64
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
#: Words, dates, ids and hashes that the command line already interprets as a run.
_TAKEN = re.compile(r"latest|previous|all|[0-9]+|[0-9]{4}-[0-9]{2}.*|[0-9a-f]{6,64}")


def checked_tag(name: str) -> str:
    """Returns the name. Raises UserError if it could be confused with run ids, dates, hashes or series."""
    quoted = printable(name, 80)
    if _NAME.fullmatch(name) is None or len(name) > LONGEST:
        raise UserError(
            f"'{quoted}' can't be a tag: use at most {LONGEST} letters, digits and . _ + -, beginning with a letter or "
            "digit"
        )
    if _TAKEN.fullmatch(name) is not None:
        raise UserError(f"'{quoted}' can't be a tag, as it looks like a run's id, date or hash: put a word before it")
    return name


def author() -> str:
    """Returns `$USER`, or the system's user name, or `unknown`."""
    try:
        return printable(getpass.getuser(), 80)
    except (KeyError, OSError):
        return "unknown"


def stamp(*parts: object) -> str:
    """Returns 32 hexadecimal digits over the parts, whose `repr` must be complete."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


#: Key of the lab's name in the environment of an imported run.
IMPORTED_FROM = "imported_from"


def lab_of(device: str) -> str:
    """Returns the lab from which a device's numbers were imported, or an empty text for this lab's own."""
    lab, mark, _ = device.partition(ORIGIN_MARK)
    return lab if mark else ""


def origin_entry(device: str) -> dict[str, str]:
    """Returns the additional values of an imported device's or measurement's document; empty for this lab's own."""
    lab = lab_of(device)
    return {"origin": lab} if lab else {}


FORMER_INT8, INT8_DYNAMIC = "int8", "int8-dynamic"
"""Until schema 5, int8 was the name of the setting with 8-bit activations; since then, it has only 8-bit weights."""

_ONE, _SEVERAL = ("quant", "setting"), "quants"
"""Keys whose values are the name of a setting, or a list of names."""


def rename_former_int8(value: Any) -> Any:
    """Returns JSON in which every mention of the former int8 as a setting has its new name."""
    if isinstance(value, list):
        return [rename_former_int8(item) for item in value]
    if not isinstance(value, dict):
        return value
    renamed: dict[str, Any] = {}
    for key, item in value.items():
        if key in _ONE and item == FORMER_INT8:
            renamed[key] = INT8_DYNAMIC
        elif key == _SEVERAL and isinstance(item, list):
            renamed[key] = [INT8_DYNAMIC if name == FORMER_INT8 else name for name in item]
        else:
            renamed[key] = rename_former_int8(item)
    return renamed
