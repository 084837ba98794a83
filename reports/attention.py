"""What a person should look at first: regressions of the newest night, devices in trouble, runs cut short."""

from collections.abc import Sequence

from reports.badges import badges
from reports.device_page import device_status, outcome_words
from reports.escaping import file_name
from reports.histories import DeviceSummary
from reports.moments import shown, sort_key
from reports.night_verdicts import verdict_counts
from reports.pages import Grid, GridCell, GridRow, Head, Section
from reports.places import device_place, night_place, run_place
from reports.source import RunSummary
from reports.status import Status, status

_RECENT_NIGHTS, _RECENT_RUNS, _MOST_ROWS = 7, 10, 40


def attention(newest: Sequence[RunSummary], devices: Sequence[DeviceSummary]) -> Section:
    """The section of the overview; ``newest`` are the runs, the newest first."""
    rows = [*_nights(newest), *_devices(newest, devices), *_runs(newest)]
    if not rows:
        empty = "Nothing needs attention: no regression in the last nights, and every device ended its last run well."
        return Section("attention", "Needs attention", empty=empty)
    heads = (
        Head("What"),
        Head("State", kind="status", choices=True),
        Head("Finding", wide=True),
        Head("Next", wide=True),
    )
    more = len(rows) - _MOST_ROWS
    notes = [f"{more} further rows are not shown here; the tables below have them."] if more > 0 else []
    grid = Grid("attention", "The worst first", heads, sorted(rows, key=_order)[:_MOST_ROWS], notes)
    return Section("attention", "Needs attention", (grid,))


def _order(row: GridRow) -> int:
    return int(row.cells[1].sort or 0)


def _row(anchor: str, what: GridCell, judged: Status, finding: str, then: str) -> GridRow:
    state = GridCell(judged.word, sort=str(judged.order), status=judged)
    return GridRow(f"a-{file_name(anchor)}", (what, state, GridCell(finding), GridCell(then)))


def _nights(newest: Sequence[RunSummary]) -> list[GridRow]:
    """Of the last nights those with a regression, and the newest one when it could not tell."""
    rows = []
    nights = [run for run in newest if run.purpose == "nightly"][:_RECENT_NIGHTS]
    for place, run in enumerate(nights):
        word = next((word for word in ("regressed", "inconclusive") if run.verdicts.get(word)), "")
        if word == "regressed" or (word and place == 0):
            what = GridCell(f"Night of {shown(run.started_at)}", href=night_place(run.run_id))
            accept = f"`suite accept {_plain(run.run_id, 'RUN')} --why REASON`"
            then = f"{accept} takes the new level as the baseline, if it is meant"
            then = then if word == "regressed" else "its page says what stood in the way"
            rows.append(_row(f"night-{run.run_id}", what, status(word), f"{verdict_counts(run.verdicts)}", then))
    return rows


def _devices(newest: Sequence[RunSummary], devices: Sequence[DeviceSummary]) -> list[GridRow]:
    """Devices whose last run went badly, that warn, or that the newest night has missed."""
    rows = []
    last_night = next((run for run in newest if run.purpose == "nightly"), None)
    for one in devices:
        if one.origin:  # another lab's to look after
            continue
        worst = device_status(one.outcomes, one.warnings)
        what = GridCell(one.name, href=device_place(one.name), badges=badges(one.emulated))
        finding = "; ".join([outcome_words(one.outcomes), *one.warnings[:2]])
        if worst.tone in ("bad", "warn"):
            rows.append(_row(f"device-{one.name}", what, worst, finding, f"`suite devices check {_plain(one.name)}`"))
        elif last_night is not None and sort_key(one.last_at) < sort_key(last_night.started_at):
            finding = f"not in the night of {shown(last_night.started_at)}; last seen {shown(one.last_at)}"
            rows.append(
                _row(
                    f"device-{one.name}", what, status("missing"), finding, f"`suite devices check {_plain(one.name)}`"
                )
            )
    return rows


def _plain(name: str, instead: str = "NAME") -> str:
    """A device's or run's name where it can stand in a command as it is."""
    return name if name.replace("-", "").replace("_", "").replace(".", "").isalnum() else instead


def _runs(newest: Sequence[RunSummary]) -> list[GridRow]:
    """Of the last runs those that ended before their end."""
    rows = []
    for run in [run for run in newest if not run.origin][:_RECENT_RUNS]:
        judged = status(run.status)
        if run.status in ("interrupted", "partial", "failed"):
            then = (
                "`suite run --resume` goes on with the newest that was interrupted"
                if run.status == "interrupted"
                else "its page gives the reasons"
            )
            what = GridCell(f"Run {run.run_id}", href=run_place(run.run_id))
            rows.append(
                _row(f"run-{run.run_id}", what, judged, f"started {shown(run.started_at)}, ended {run.status}", then)
            )
    return rows
