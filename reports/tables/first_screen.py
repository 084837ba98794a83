"""A lab at a glance, for the overview: boards by nights, kinds by settings with their sparklines, and the facts that
decide whether to trust the last night's numbers.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median

from reports.files import device_place, night_place, series_place, workload_place
from reports.model.findings import CATEGORIES
from reports.model.histories import DeviceSummary, Night, Recent, SeriesVerdict
from reports.model.measurement import Measurement, in_page_order, workload_words
from reports.model.quantities import LATENCY
from reports.model.reading import known_number
from reports.tables.answers import SparkOf, kind_matrix
from reports.tables.findings import anchor_of, category_status
from reports.tables.pictures import Answer, HeatCell, HeatColumn, HeatGrid, HeatRow, Spark
from reports.tables.sections import Section
from reports.text.appearance import Status
from reports.text.escaping import shorten
from reports.text.numbers import day_and_time, format_count, format_list, percent_span, plain

_OK = Status("ok", "", "good", 10)
_MISSING = Status("missing", "✗", "bad", 0, "could not be reached")
_FAILED = Status("failed", "!", "bad", 1, "a measurement ended without a number")
_ABSENT = Status("not in the night", "·", "quiet", 9)
_BAD_ENDS = ("failed", "lost", "invalid")
_MOST_NAMES, _MOST_ROWS = 2, 8
_LEAST_SPREAD = 0.05


def heat_section(nights: Sequence[Night], devices: Sequence[DeviceSummary]) -> Section:
    """Builds the grid of our own boards' outcomes in each night, boards with the worst last night first."""
    rows = [_heat_row(one.name, nights) for one in devices if not one.origin]
    rows = [row for row in rows if any(cell.status for cell in row.cells)]
    title = "Boards, night by night"
    if not rows:
        return Section(
            "boards", title, empty="No board has been in a night yet: `suite nightly` measures those of a plan."
        )
    columns = [
        HeatColumn(day_and_time(night.started_at)[8:10], day_and_time(night.started_at), night_place(night.run_id))
        for night in nights
    ]
    caption = f"The outcome of each board in the last {format_count(len(nights), 'night')}; a square links to its night"
    rows.sort(key=lambda row: (_order(row.cells[-1]), row.name))
    return Section("boards", title, heats=(HeatGrid("nights-heat", caption, columns, rows),))


def _order(cell: HeatCell) -> int:
    return 11 if cell.status is None else cell.status.order


def _heat_row(device: str, nights: Sequence[Night]) -> HeatRow:
    first = next((place for place, night in enumerate(nights) if device in night.outcomes), len(nights))
    cells = [HeatCell(None, "") if place < first else _heat_cell(device, night) for place, night in enumerate(nights)]
    return HeatRow(shorten(device, 28), cells, device_place(device))


def _heat_cell(device: str, night: Night) -> HeatCell:
    outcome, words = _outcome(device, night)
    finding = night.finding_of(device)
    words = f"{words}: {shorten(finding.subject, 80)}" if finding is not None and outcome is not _OK else words
    anchor = f"#{anchor_of(finding)}" if finding is not None else ""
    return HeatCell(outcome, f"{day_and_time(night.started_at)[:10]} {words}", f"{night_place(night.run_id)}{anchor}")


def _outcome(device: str, night: Night) -> tuple[Status, str]:
    counts, finding = night.outcomes.get(device), night.finding_of(device)
    if device in night.unreached:
        return _MISSING, _MISSING.word
    bad = sum((counts or {}).get(word, 0) for word in _BAD_ENDS)
    if bad:
        return _FAILED, f"{bad} of {sum((counts or {}).values())} failed"
    if finding is not None:
        # For readers of the grid, a night without any number from the board is a missing one, whatever the cause.
        found = _MISSING if finding.category == "missing" else category_status(finding)
        return replace(found, order=2 + CATEGORIES.index(finding.category)), found.word
    return (_ABSENT, _ABSENT.word) if not counts else (_OK, _OK.word)


def kinds_sections(recent: Recent) -> list[Section]:
    """Builds the matrices of kinds by settings: a screenful for the workloads measured most, the others folded."""
    groups = sorted(recent.latest.items(), key=lambda pair: -len(pair[1]))
    first: list[tuple[str, Sequence[Measurement]]] = []
    for key, found in groups:
        kinds = sum(len({(item.kind, item.emulated) for item in own}) for _, own in [*first, (key, found)])
        if first and kinds > _MOST_ROWS:
            break
        first.append((key, found))
    rest = groups[len(first) :]
    sections = [_kinds_section("costs", "Kinds and settings", first, recent.nights)]
    if rest:
        summary = f"The same for {format_count(len(rest), 'more workload')}"
        sections.append(
            _kinds_section("costs-more", "Kinds and settings, more workloads", rest, recent.nights, summary)
        )
    return sections


def _kinds_section(
    name: str,
    title: str,
    groups: Sequence[tuple[str, Sequence[Measurement]]],
    nights: Sequence[Night],
    folded: str = "",
) -> Section:
    group_of = {item.measurement_id: key for key, found in groups for item in found}
    found = in_page_order([item for _, own in groups for item in own if not item.origin])

    def link_of(items: Sequence[Measurement]) -> str:
        first = items[0]
        if len({item.device for item in items}) == 1 and first.workload_key:
            return series_place(first.device, first.workload_key)
        return workload_place(group_of[first.measurement_id])

    matrix = kind_matrix(found, sparks(nights), link_of, name)
    if matrix is None:
        return Section(
            name, title, empty="Nothing has been measured yet: `suite run --device local` measures this machine."
        )
    if len(nights) > 1:
        matrix = replace(matrix, caption=f"{matrix.caption}. The line: latency over {len(nights)} nights")
    words = {workload_words(item.workload) for item in found}
    return Section(name, title, prose=sorted(words) if len(words) == 1 else (), matrices=(matrix,), folded=folded)


def sparks(nights: Sequence[Night]) -> SparkOf:
    """Returns a function that draws the latency of measurements over the nights.

    Each series is divided by its own median before the median over series is taken, so that a missing board shifts
    nothing.
    """

    def spark_of(items: Sequence[Measurement]) -> Spark | None:
        places = {(item.device, item.workload_key) for item in items}
        own = {place: [night.latency_ms.get(place) for night in nights] for place in places}
        middles = {
            place: median(known) for place, found in own.items() if (known := [one for one in found if one is not None])
        }
        values: list[float | None] = []
        for number in range(len(nights)):
            ratios = [one / middles[place] for place, found in own.items() if (one := found[number]) is not None]
            values.append(median(ratios) if ratios else None)
        known = [one for one in values if one is not None]
        if len(known) < 2:
            return None
        marks = []
        for number, night in enumerate(nights):
            began = next((found for place in places if (found := night.began(*place)) is not None), None)
            if began is not None and values[number] is not None:
                marks.append((number, category_status(began).tone))
        words = (
            f"Latency over {format_count(len(known), 'night')}: {percent_span(min(known), max(known))} of its median"
        )
        return Spark(values, words, marks, _LEAST_SPREAD)

    return spark_of


def trust_section(recent: Recent, counts: Mapping[str, int]) -> Section:
    """Builds the answers on whether the last night can be trusted; ``counts`` are its verdicts by word."""
    title = "Can I trust it?"
    if not recent.nights:
        empty = "One run is only a first look. After 10 nights of `suite nightly`, each series is judged."
        return Section("trust", title, empty=empty)
    answers = (_coverage(counts, recent.verdicts), _noise(recent.verdicts), _steadiness(recent), _gaps(recent.nights))
    return Section("trust", title, answers=answers)


def _coverage(counts: Mapping[str, int], verdicts: Sequence[SeriesVerdict]) -> Answer:
    total, few, unsure = sum(counts.values()), counts.get("insufficient", 0), counts.get("inconclusive", 0)
    words = [f"{few:,} have too few nights yet"] if few else []
    words += [f"{unsure:,} inconclusive"] if unsure else []
    points = [one for verdict in verdicts if (one := known_number(verdict.numbers, "points")) is not None]
    words += [f"against {int(median(points))} earlier nights"] if points else []
    return Answer("Series judged", f"{total - few - unsure:,} of {total:,}" if total else "none", words)


def _noise(verdicts: Sequence[SeriesVerdict]) -> Answer:
    """States how far from its history a latency must be to stand out, typically and on the noisiest board."""
    margins: dict[str, list[float]] = {}
    for one in verdicts:
        margin, centre = known_number(one.numbers, "margin"), known_number(one.numbers, "centre")
        if one.metric == LATENCY and margin is not None and centre:
            margins.setdefault(one.device, []).append(margin / centre)
    if not margins:
        return Answer("Noise", "not known", ("No latency has a history to compare with yet.",))
    typical = median(one for found in margins.values() for one in found)
    worst = max(margins, key=lambda device: median(margins[device]))
    words = ["of a step's latency is within noise"]
    if len(margins) > 1:
        words.append(f"most on {shorten(worst, 28)}: {plain(100 * median(margins[worst]), 1)}\u00a0%")
    return Answer("Noise", f"±{plain(100 * typical, 1)}\u00a0%", words)


def _steadiness(recent: Recent) -> Answer:
    """Names the devices that were busy last night, and those that changed by themselves."""
    drifting = dict.fromkeys(
        board for one in recent.nights[-1].findings if one.category == "device" and one.is_open for board in one.devices
    )
    named = (("busy", recent.busy), ("changed by itself", list(drifting)))
    words = [f"{why}: {_names(names)}" for why, names in named if names]
    count = len({*recent.busy, *drifting})
    answer = f"{count} unsteady" if count else "all steady"
    return Answer("Devices", answer, words or ["none was busy, none changed by itself"])


def _gaps(nights: Sequence[Night]) -> Answer:
    """Counts the nights in which boards have no complete result."""
    boards = dict.fromkeys(name for night in nights for name in (*night.outcomes, *night.unreached))
    rows = {name: _heat_row(name, nights) for name in boards}
    gaps = Counter(
        name
        for name, row in rows.items()
        for cell in row.cells
        if cell.status is not None and cell.status.word in (_MISSING.word, _FAILED.word, _ABSENT.word)
    )
    total = sum(cell.status is not None for row in rows.values() for cell in row.cells)
    if not gaps:
        return Answer("Gaps", "none", (f"every board has a result in each of {format_count(len(nights), 'night')}",))
    most, count = gaps.most_common(1)[0]
    words = (f"of {total:,} nights of boards", f"most on {shorten(most, 28)}: {count}")
    return Answer("Gaps", f"{sum(gaps.values()):,}", words)


def _names(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMES
    kept = [shorten(name, 28) for name in names[:_MOST_NAMES]]
    return format_list([*kept, f"{more} more"] if more > 0 else kept)
