"""Results as pandas data frames: the class that `suite.results.open` returns, and the types of columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Unpack

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foundation.errors import UserError
from suite.results import tables
from suite.results.tables import Cell, Chunk, Filters, Kind, Selection, Source, Table

MOST_ROWS = 50_000_000
"""Limit for one data frame: some 4 GB."""


class Results:
    """The results of a store or of a folder of exported tables, as data frames.

    Each method returns a frame with a new index, in the order of runs and measurements. All methods take the same
    filters; rows must match all that are given. Only what is asked for is read.

    - `devices`, `models`, `settings`: a name or several (`"jetson"`, `["int8", "nf4"]`).
    - `runs`: as on the command line: ids or the start of one, tags, dates, `latest`, `previous`; in a folder only ids.
    - `since`, `until`: runs that started at or after that time, or before it: a date (`"2026-11-22"`, its midnight), a
      text or a `datetime`, on this machine's clock unless it has an offset.
    - `sensors` (for `samples`): names of sensors.

    Types: times are `datetime64[us, UTC]`. Numbers that may be missing are `Int64`, `Float64` and `boolean`, and never
    0 for what was not measured; numbers that every row has are `int64` and `float64`. Texts are `category` if few
    different ones recur, else `string`; they are missing where there is nothing to report. Units are the stored ones,
    with which names end. `run_id`, `measurement_id` and `session_id` join the frames. `role` is `measured`, or
    `candidate` and `baseline` for what a night measured again in turn.

    Raises UserError (`foundation.errors`) for a name or time that does not exist, with a suggestion, and for more rows
    than fit; StoreError (`suite.errors`) if the store can no longer be read.
    """

    def __init__(self, source: Source) -> None:
        self._source = source

    def measurements(self, **filters: Unpack[Filters]) -> pd.DataFrame:
        """Returns a row for each measurement: one workload on one device in one run, over all its sessions.

        - What was measured: `run_id`, `measurement_id`, `role`, `device`, `workload_key`, `started_at` (of the run),
          `purpose` (`run`, `nightly`, `imported`), `kind`, `emulated`, `model`, `method`, `quant`, `backend`, `q`, `b`,
          `T`, `rank`.
        - How it went: `planned_sessions`, `status`, `reason`, `throttled`; `unavailable` is why numbers are missing.
        - Numbers: `latency_ms_median` with `latency_ms_ci95_low` and `_high`, `peak_memory_kib`, `program_bytes`,
          `energy_mj_per_step_net` and `_gross`, `power_mw_mean`, `temperature_c_max`, losses, ratios to the reference
          setting, and all others in docs/results.md.
        """
        return self._frame(tables.MEASUREMENTS, filters)

    def sessions(self, **filters: Unpack[Filters]) -> pd.DataFrame:
        """Returns a row for each session, which is a process of its own on the device; also for failed ones.

        `session_id`, `ordinal`, `attempt`, `status`, `reason`, `cause`, `median_ms` of its measured steps, `load_ms`,
        `hwm_kib` (peak memory), `t_begin_ns` on the device's clock, `idle_before_mw`, `idle_after_mw`, `committed_at`,
        and what names its measurement.
        """
        return self._frame(tables.SESSIONS, filters)

    def steps(self, **filters: Unpack[Filters]) -> pd.DataFrame:
        """Returns a row for each training step, including warm-up (`phase`).

        `session_id`, `step`, `phase`, `t0_ns` and `t1_ns` on the device's clock, `latency_ms`, `losses` (a tuple of
        numbers, which may be NaN or infinite), `mean_loss` (NaN also if there is no loss), and what names its
        measurement.
        """
        return self._frame(tables.STEPS, filters)

    def samples(self, **filters: Unpack[Filters]) -> pd.DataFrame:
        """Returns a row for each reading of a sensor.

        `session_id`, `sensor`, `quantity` (`power_mw`, `temperature_mc`, `memory_kib`), which has the unit of `value`,
        `t_ns` on the clock of the steps, and what names its measurement.
        """
        return self._frame(tables.SAMPLES, filters)

    def verdicts(self, **filters: Unpack[Filters]) -> pd.DataFrame:
        """Returns a row for each series that a night judged; if it was judged twice, the last verdict.

        `metric`, `direction` (which is better), `at`, `verdict` (`regressed`, `improved`, `unchanged`, `inconclusive`,
        `insufficient`), `accepted` (whether somebody accepted the level, so that a regression no longer counts),
        `cause`, `rule`, `value` and `centre` (tonight's and the usual one) in the unit with which `metric` ends,
        `ratio` to the baseline with `ratio_low`, `ratio_high`, `p` and `q` if it was confirmed, `sentence`, `command`
        (measures it again), and what names its measurement.
        """
        return self._frame(tables.VERDICTS, filters)

    def findings(self, **filters: Unpack[Filters]) -> pd.DataFrame:
        """Returns a row for each finding of each night. A finding has one cause, however many series it affects.

        - Which: `run_id`, `at` (when that night started), `finding` (its name over all nights), `category` (`missing`,
          `failed`, `regressed`, `device`, `inconclusive`, `improved`), `state` that night (`new`, `known`, `accepted`,
          `fixed`; an acceptance counts for all nights), `seen` (false if the night measured nothing that could reveal
          it), `since` and `nights` (how often it was seen), `muted` (by whom and why).
        - What and where: `level` (`kind`, `boards`, `device`), `metric`, `side` (`worse`, `better`), `settings`,
          `workloads` (missing: all that were measured), `devices`, `boards` that have it out of `of` judged ones,
          `headline`.
        - How much: the smallest and the largest ratio of `metric` to the baseline, `ratio_least` and `ratio_most`, with
          their 95 % intervals (`_low`, `_high`); the fewest `pairs`, the largest `p` and `q`.
        - `differences` from the baseline, and people's `notes`.

        Filters: `devices` keeps findings that name one of them, `settings` also findings about every setting; `models`
        can't be used for findings.
        """
        return self._frame(tables.FINDINGS, filters)

    def close(self) -> None:
        """Closes the store; a `with` block does so at its end. May be called twice."""
        self._source.close()

    def __enter__(self) -> Results:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<results of {self._source.name}>"

    def _frame(self, table: Table, filters: Filters) -> pd.DataFrame:
        selection = Selection.of(filters)
        if selection.sensors and table is not tables.SAMPLES:
            raise UserError(f"{table.name} have no sensors to choose: leave `sensors` out, or read samples")
        if selection.models and table is tables.FINDINGS:
            raise UserError("findings have no models to choose: leave `models` out, or read verdicts")
        return frame(table, self._source.chunks(table, selection))


def frame(table: Table, chunks: Iterator[Chunk]) -> pd.DataFrame:
    """Returns chunks as one data frame with typed columns. Raises UserError for more than MOST_ROWS rows."""
    columns = {name: _COLUMNS[kind](kind) for name, kind in table.columns.items()}
    rows = 0
    for chunk in chunks:
        rows += chunk.rows
        if rows > MOST_ROWS:
            raise UserError(
                f"the selection has more than {MOST_ROWS} {table.name}, too many for a data frame: select fewer runs, "
                "devices or settings at once"
            )
        for name, column in columns.items():
            if name in chunk.same:
                column.repeat(chunk.same[name], chunk.rows)
            else:
                column.extend(chunk.columns[name])
    return pd.DataFrame({name: column.array() for name, column in columns.items()})


class _Numbers:
    """A column of numbers or booleans, with a mask if some may be missing."""

    def __init__(self, kind: Kind) -> None:
        self._type: Any = {"number": np.float64, "value": np.float64, "truth": np.bool_}.get(kind, np.int64)
        self._masked = kind in ("whole", "number", "truth")
        self._missing = np.nan if kind == "value" else 0 if self._masked else None
        self._values: list[NDArray[Any]] = [np.empty(0, self._type)]
        self._masks: list[NDArray[np.bool_]] = [np.empty(0, np.bool_)]

    def extend(self, cells: Sequence[Cell] | NDArray[Any]) -> None:
        if self._masked:
            self._masks.append(np.fromiter((cell is None for cell in cells), np.bool_, len(cells)))
        if not isinstance(cells, np.ndarray):
            numbers = [self._missing if cell is None else cell for cell in cells]
            cells = np.array(numbers, self._type)  # refuses None where every row must have a number
        self._values.append(cells)

    def repeat(self, cell: Cell, rows: int) -> None:
        self.extend(np.full(rows, cell, self._type))

    def array(self) -> Any:
        values = np.concatenate(self._values)
        if not self._masked:
            return values
        arrays = {
            np.int64: pd.arrays.IntegerArray,
            np.float64: pd.arrays.FloatingArray,
            np.bool_: pd.arrays.BooleanArray,
        }
        return arrays[self._type](values, np.concatenate(self._masks))


class _Texts:
    """A column of texts or times, each different one stored once."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._codes: dict[Cell, int] = {None: -1, "": -1}
        self._parts: list[NDArray[np.int32]] = [np.empty(0, np.int32)]

    def extend(self, cells: Sequence[Cell] | NDArray[Any]) -> None:
        self._parts.append(np.fromiter(map(self._code, cells), np.int32, len(cells)))

    def repeat(self, cell: Cell, rows: int) -> None:
        self._parts.append(np.full(rows, self._code(cell), np.int32))

    def _code(self, cell: Cell) -> int:
        return self._codes.setdefault(cell, len(self._codes) - 2)

    def array(self) -> Any:
        codes, texts = np.concatenate(self._parts), list(self._codes)[2:]
        if self._kind == "category":
            order = sorted(range(len(texts)), key=texts.__getitem__)  # type: ignore[arg-type]  # texts, no other cells
            place = np.full(len(texts) + 1, -1, np.int32)  # the last one is for -1
            place[order] = np.arange(len(texts), dtype=np.int32)
            names = pd.Index([texts[each] for each in order], dtype=str)
            return pd.Categorical.from_codes(place[codes], categories=names)
        if self._kind == "time":
            times = pd.to_datetime(pd.Series(texts, dtype="object"), utc=True, format="ISO8601", errors="coerce")
            return times.dt.as_unit("us").array.take(codes, allow_fill=True)
        return pd.array(texts, dtype="string").take(codes, allow_fill=True)


class _Tuples:
    """A column of tuples of numbers."""

    def __init__(self, _kind: Kind) -> None:
        self._cells: list[Any] = []

    def extend(self, cells: Sequence[Cell] | NDArray[Any]) -> None:
        self._cells += cells

    def repeat(self, cell: Cell, rows: int) -> None:
        self._cells += [cell] * rows

    def array(self) -> Any:
        array = np.empty(len(self._cells), object)
        array[:] = self._cells
        return array


_COLUMNS: dict[Kind, type[_Numbers] | type[_Texts] | type[_Tuples]] = {
    **dict.fromkeys(("text", "category", "time"), _Texts),
    **dict.fromkeys(("whole", "number", "truth", "count", "value"), _Numbers),
    "numbers": _Tuples,
}
