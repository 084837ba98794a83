"""Reads an external power meter through a program on the host that prints `seconds watts` lines while it runs.

`suite devices check` tries it briefly.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from devices.access.inspection import Row
from devices.errors import DeviceError
from devices.inventory.entry import DeviceEntry
from devices.processes import Deadline, ProcessEnd, supervise
from devices.transports.transport import LineSplitter, OutputBudget
from foundation.causes import cause_line
from foundation.text import printable
from suite import stats
from suite.energy.session_energy import METER

MeterClock = Literal["monotonic", "epoch"]

_LONGEST_S = 7 * 86400.0
_OUTPUT_LIMIT_BYTES = 1 << 30
_LINE_LIMIT_BYTES = 4096
_MOST_LINES_PER_S = 10_000
# A line may wait in the program's buffer, but never come from the future.
_OLDEST_S, _NEWEST_S = 60.0, 1.0
_MOST_WATTS = 100_000.0
_GRACE_S = 1.0


@dataclass(frozen=True)
class MeterSample:
    """A reading at a time of the host's CLOCK_MONOTONIC."""

    t_ns: int
    watts: float


class _Ended(Exception):  # noqa: N818 - a request, not an error
    """The program is no longer needed."""


class _Flood(Exception):  # noqa: N818 - caught here and reported as the program's trouble
    """The program prints more than any meter would."""


class MeterProgram:
    """Runs the program during the `with` block. Never raises because of what the program does.

    `samples()` returns the readings so far; `trouble` is why there are none, or no more.
    """

    def __init__(self, command: Sequence[str], clock: MeterClock = "monotonic") -> None:
        self._command, self._clock = tuple(command), clock
        self._samples: list[MeterSample] = []
        self._first_bad: str | None = None
        self._ending: str | None = None
        self._stop = threading.Event()
        self._second_s, self._lines = 0.0, 0
        self._thread = threading.Thread(target=self._run, name="meter", daemon=True)

    def __enter__(self) -> MeterProgram:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def trouble(self) -> str | None:
        """Why there are no readings, or no more; None while everything is fine."""
        if self._ending is not None:
            return self._ending
        if self._samples:
            return None
        return self._first_bad or f"{self._name} printed nothing"

    @property
    def ended(self) -> bool:
        """Whether the program has ended."""
        return self._ending is not None

    def samples(self, begin_ns: int = 0, end_ns: int | None = None) -> tuple[MeterSample, ...]:
        """Returns the readings so far, in order."""
        taken = tuple(self._samples)
        return tuple(item for item in taken if item.t_ns >= begin_ns and (end_ns is None or item.t_ns <= end_ns))

    @property
    def _name(self) -> str:
        return f"the meter's program {printable(self._command[0], 80)!r}"

    def _run(self) -> None:
        lines = LineSplitter(self._take, OutputBudget(_OUTPUT_LIMIT_BYTES), _LINE_LIMIT_BYTES)
        try:
            ending = supervise(
                self._command,
                deadline=Deadline(_LONGEST_S),
                cwd=None,
                on_output=lines.feed,
                while_waiting=self._check,
                grace_s=_GRACE_S,
            )
            self._ending = self._sentence(ending)
        except _Ended:
            return
        except _Flood as flood:
            self._ending = f"{self._name} {flood} and was ended"
        except DeviceError as error:
            self._ending = str(error).rstrip(".")

    def _check(self) -> None:
        if self._stop.is_set():
            raise _Ended

    def _sentence(self, ending: ProcessEnd) -> str:
        cause = cause_line(ending.stderr_tail)
        how = f"was ended by {ending.signal}" if ending.signal else f"ended with exit code {ending.rc}"
        bad = f"; {self._first_bad}" if self._first_bad and not self._samples else ""
        return f"{self._name} {how} after {len(self._samples)} readings{cause}{bad}"

    def _take(self, line: str) -> None:
        self._count()
        if not line.strip():
            return
        sample = self._parsed(line)
        if isinstance(sample, MeterSample):
            self._samples.append(sample)
        elif self._first_bad is None:
            self._first_bad = sample

    def _count(self) -> None:
        now_s = time.monotonic()
        if now_s - self._second_s >= 1.0:
            self._second_s, self._lines = now_s, 0
        self._lines += 1
        if self._lines > _MOST_LINES_PER_S:
            raise _Flood(f"printed more than {_MOST_LINES_PER_S} lines in a second")

    def _parsed(self, line: str) -> MeterSample | str:
        words = line.split()
        numbers = _numbers(words)
        if numbers is None:
            return f"{self._name} printed {printable(line, 60)!r}, not `seconds watts`"
        seconds, watts = numbers
        now_s = time.monotonic()
        offset_s = time.time() - now_s if self._clock == "epoch" else 0.0
        age_s = now_s - (seconds - offset_s)
        if not -_NEWEST_S <= age_s <= _OLDEST_S:
            other = "monotonic" if self._clock == "epoch" else "epoch"
            return (
                f"{self._name} prints times {abs(age_s):.0f} s off the host's {self._clock} clock; "
                f"correct it, or set `clock: {other}` beside its command"
            )
        sample = MeterSample(round((seconds - offset_s) * 1e9), watts)
        if self._samples and sample.t_ns < self._samples[-1].t_ns:
            return f"{self._name} prints times that run backwards"
        return sample


def wait_for_samples(meter: MeterProgram, count: int, sleep: Callable[[float], None], longest_s: float) -> bool:
    """Waits for the program's readings. Returns whether there are enough within `longest_s` seconds."""
    end_s = time.monotonic() + longest_s
    while len(meter.samples()) < count and not meter.ended and time.monotonic() < end_s:
        sleep(0.05)
    return len(meter.samples()) >= count


def _numbers(words: Sequence[str]) -> tuple[float, float] | None:
    """Parses two finite numbers, the second of which is a power."""
    if len(words) != 2 or any(len(word) > 40 or "_" in word for word in words):
        return None
    try:
        seconds, watts = (float(word) for word in words)
    except ValueError:
        return None
    usable = math.isfinite(seconds) and math.isfinite(watts) and abs(watts) <= _MOST_WATTS
    return (seconds, watts) if usable else None


_READINGS = 10
_LONGEST_LOOK_S = 5.0


def meter_rows(entry: DeviceEntry) -> tuple[Row, ...]:
    """Returns a row for the meter with its rate and its present reading; no row without a meter."""
    power = entry.power
    if power is None or power.command is None:
        return ()
    item = f"sensor {METER}"
    with MeterProgram(power.command, power.clock) as program:
        wait_for_samples(program, _READINGS, time.sleep, _LONGEST_LOOK_S)
        readings, trouble = program.samples(), program.trouble
    if len(readings) < 2 or trouble is not None:
        reason = trouble or f"{len(readings)} readings in {_LONGEST_LOOK_S:g} s, but at least 2 are needed"
        remedy = "run its command by hand: it must print `seconds watts` lines immediately, until it is ended"
        return (Row(item, "unavailable", f"power_mw: {reason}", remedy),)
    spacing_s = stats.median([(b.t_ns - a.t_ns) / 1e9 for a, b in itertools.pairwise(readings)])
    watts = stats.median([reading.watts for reading in readings])
    rate = f"{1 / spacing_s:.1f} readings per second" if spacing_s > 0 else "many readings at once"
    return (Row(item, "ok", f"power_mw: external meter, {rate}, {watts:.2f} W now; the device's total"),)
