"""Turns sessions into measurements and trainings into races, and reads results as data frames.

    from suite import results
    lab = results.open()
    lab.measurements(devices="jetson", settings=["fp32", "int8"])

Start at measurement.py for statistics, or at frames.py for data frames (docs/results.md).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from foundation.errors import UserError
from suite.home import Home

if TYPE_CHECKING:
    from suite.results.frames import Results


def open(path: str | Path | None = None) -> Results:
    """Opens a store, or a folder of exported tables, to read its results as data frames.

    `path`: a suite home or its `store.sqlite`, the folder of an `inventory.yaml` with a home beside it, or a folder
    that `suite data export --format csv` or `parquet` wrote. The default is the home that the command line would use:
    `$SUITE_HOME`, or else `.suite` in the current folder.

    Raises UserError (`foundation.errors`) if there are no results, and StoreError (`suite.errors`) for a store that is
    damaged, locked, or of another version than this suite's.
    """
    # pandas and the database take long to load, and turning sessions into measurements doesn't need them.
    from suite.results.exported import ExportedTables
    from suite.results.frames import Results
    from suite.results.stored import StoredTables

    place = Home.locate().root if path is None else Path(path).expanduser()
    if place.is_file():
        return Results(StoredTables.open(place))
    for store in (place / "store.sqlite", place / ".suite" / "store.sqlite"):
        if store.is_file():
            return Results(StoredTables.open(store))
    if any((place / f"measurements.{ending}").is_file() for ending in ("parquet", "csv")):
        return Results(ExportedTables(place))
    raise UserError(f"there are no results in {place}: {_advice(place)}")


def _advice(place: Path) -> str:
    if not place.exists():
        return "it does not exist"
    if any(place.glob("*.json")):
        return "import runs that were exported as JSON into a store by `suite data import FILE --from LAB`"
    return "name a suite home (`.suite`), its store.sqlite, or a folder that `suite data export` wrote"
