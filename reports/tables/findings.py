"""Findings as cards: what, where, how much and since when; folded in each are its evidence and how to reproduce it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from reports.files import device_place, series_place
from reports.model.findings import Finding, Member, Size
from reports.model.histories import HistoryPoint, SeriesVerdict
from reports.model.quantities import metric_title
from reports.model.reading import items
from reports.tables.sections import Grid, GridCell, GridRow, Head, Link
from reports.text.appearance import Status, setting_order, slot
from reports.text.escaping import file_name, shorten
from reports.text.numbers import format_count, format_list, percent_change, percent_span

_LOOKS = {
    "missing": ("✗", "bad"),
    "failed": ("✗", "bad"),
    "regressed": ("▼", "bad"),
    "device": ("◆", "warn"),
    "inconclusive": ("?", "warn"),
    "improved": ("▲", "good"),
}
_WORDS = {"device": "device changed", "missing": "device missing"}
_WEB = ("https://", "http://")
_MARKED = ("regressed", "improved", "accepted")
_MOST_LINES, _MOST_STRIP = 90, 60
_WIDTH, _HEIGHT, _EDGE = 240.0, 64.0, 4.0
_SLOPE_HEIGHT = 140.0


@dataclass(frozen=True)
class Drawing:
    """Lines in a box of `width` by `height`; `band` is the part of the height that is noise or too small to count.

    ``marks`` are points that stand out; ``words`` describe the drawing for screen readers.
    """

    width: float
    height: float
    lines: Sequence[str]
    words: str
    band: tuple[float, float] | None = None
    marks: Sequence[tuple[float, float]] = ()


@dataclass(frozen=True)
class Card:
    """One finding. ``href`` links to its full description, empty on that page; ``settled``: nobody needs to act."""

    anchor: str
    status: Status
    title: str
    sizes: Sequence[str]
    life: str
    settings: Sequence[tuple[str, int]]
    where: Sequence[str]
    boards: Sequence[Link]
    facts: Sequence[str] = ()
    differences: Sequence[str] = ()
    links: Sequence[str] = ()
    commands: Sequence[str] = ()
    href: str = ""
    settled: bool = False
    strip: Drawing | None = None
    slopes: Drawing | None = None
    series: Grid | None = None


@dataclass(frozen=True)
class FindingCards:
    """The findings of a night: those that need a look, and the others folded."""

    heading: str
    cards: Sequence[Card]
    settled: Sequence[Card] = ()
    empty: str = ""


def finding_cards(
    found: Sequence[Finding],
    heading: str,
    *,
    page: str = "",
    verdicts: Iterable[SeriesVerdict] = (),
    histories: Mapping[str, Sequence[HistoryPoint]] | None = None,
    empty: str = "",
) -> FindingCards:
    """Returns the cards of findings; ``page`` is where they are described in full, empty if that is this page.

    On that page, ``verdicts`` have the pairs that confirmed them, and ``histories`` the points of a series of each.
    """
    pairs = {(one.device, one.workload_key, one.metric): one for one in verdicts}
    cards = [_card(one, page, pairs, (histories or {}).get(one.id, ())) for one in found]
    return FindingCards(
        heading, [one for one in cards if not one.settled], [one for one in cards if one.settled], empty
    )


def anchor_of(one: Finding) -> str:
    """Returns the id of a finding's card on a page."""
    return file_name(one.id)


def category_status(one: Finding) -> Status:
    """Returns the status that a finding is displayed with: that of its category while it is open."""
    if one.state == "fixed":
        return Status("fixed", "✓", "good", 5)
    if one.muted or one.state == "accepted":
        return Status("muted" if one.muted else "accepted", "\u2013" if one.muted else "✓", "quiet", 5)
    glyph, tone = _LOOKS[one.category]
    return Status(_WORDS.get(one.category, one.category), glyph, tone, 0)


def leading(one: Finding) -> Member | None:
    """Returns the series that shows a finding best: the one whose leading metric changed most."""
    own = [member for member in one.members if member.estimate is not None]
    first = [member for member in own if member.metric == one.metric] or own
    return max(first, key=lambda member: abs(member.estimate.ratio - 1) if member.estimate else 0.0, default=None)


Pairs = Mapping[tuple[str, str, str], SeriesVerdict]


def _card(one: Finding, page: str, verdicts: Pairs, points: Sequence[HistoryPoint]) -> Card:
    whole = not page
    addresses = [note.text for note in one.notes if note.kind == "link" and note.text.startswith(_WEB)]
    notes = [f"{note.kind} by {note.author}: {note.text}" for note in one.notes if note.text not in addresses]
    doubts = [] if one.seen else ["no measurement of tonight could confirm it"]
    known = 0 < one.accepted_series < len(one.members)
    partly = [f"{one.accepted_series} of {len(one.members)} series accepted"] if known else []
    sure = [one.confirmation.words] if one.confirmation.words and whole else []
    reason = [one.reason] if one.reason and one.category in ("missing", "failed", "inconclusive") else []
    return Card(
        anchor=anchor_of(one),
        status=category_status(one),
        title=one.subject,
        sizes=[_size(size) for size in one.sizes] if not reason else [shorten(reason[0], 240)],
        life=one.life,
        settings=[(setting, slot(setting)) for setting in sorted(one.settings, key=setting_order)],
        where=[part.words for part in one.where] if one.level == "boards" else [],
        boards=[Link(shorten(board), device_place(board)) for board in one.devices],
        facts=[_sentence(it) for it in (*doubts, *partly, *sure, *notes, *([one.muted] if one.muted else []))],
        differences=[difference.words for difference in one.differences],
        links=addresses,
        commands=_commands(one) if whole else (),
        href=f"{page}#{anchor_of(one)}" if page else "",
        settled=not one.is_open,
        strip=_strip(one, points) if whole and points else None,
        slopes=_slopes(one, verdicts) if whole else None,
        series=_series(one) if whole and one.sizes else None,
    )


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}"


def _size(size: Size) -> str:
    return f"{size.words} over {format_count(size.series, 'series', 'series')}" if size.series > 1 else size.words


def _commands(one: Finding) -> list[str]:
    """Returns the commands to act on it: measure it again, accept it, link where it is being fixed."""
    found = list(one.commands[:1])
    if one.category == "regressed" and one.is_open:
        found.append(f'suite annotate {one.id} --link URL --note "…"')
    if one.category in ("missing", "failed") and len(one.devices) == 1:
        found.append(f"suite devices check {one.devices[0]}")
    return [*found, f'suite mute {one.id} --until DATE --why "…"'] if one.is_open else found


def _strip(one: Finding, points: Sequence[HistoryPoint]) -> Drawing | None:
    """Draws the nights of the series that shows a finding best; those in which it was found are marked."""
    last = [point for point in points if not point.aside][-_MOST_STRIP:]
    member = leading(one)
    if len(last) < 2 or member is None:
        return None
    values = [point.value for point in last]
    low, high = min(values), max(values)
    spread = max(high - low, 0.05 * high) or 1.0
    middle = (high + low) / 2

    def place(index: int) -> tuple[float, float]:
        share = (values[index] - middle) / spread
        return _EDGE + (_WIDTH - 2 * _EDGE) * index / (len(last) - 1), _HEIGHT / 2 - (_HEIGHT - 2 * _EDGE) * share

    spots = [place(index) for index in range(len(last))]
    marked = [
        spots[index] for index, point in enumerate(last) if point.verdict in ("regressed", "improved", "accepted")
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
    subject = f"{shorten(member.device)}, {metric_title(member.metric).lower()}"
    words = f"{subject}: {format_count(len(last), 'night')}, the marked ones were found changed"
    return Drawing(_WIDTH, _HEIGHT, [line], words, marks=[(round(x, 1), round(y, 1)) for x, y in marked])


def _slopes(one: Finding, verdicts: Pairs) -> Drawing | None:
    """Draws the pairs that confirmed it, from the baseline to the candidate; 100 % is the baseline's median."""
    lines: list[tuple[float, float]] = []
    for member in one.members:
        found = verdicts.get((member.device, member.workload_key, member.metric))
        if found is None or member.metric != (one.metric or member.metric):
            continue
        pairs = [_pair(pair) for key in ("pairs", "pairs_again") for pair in items(found.inputs, key)]
        known = [pair for pair in pairs if pair is not None]
        if known:
            middle = sorted(before for before, _ in known)[len(known) // 2]
            lines += [(before / middle, after / middle) for before, after in known]
    if not lines:
        return None
    kept = lines[:: max(1, -(-len(lines) // _MOST_LINES))]
    low = min(0.97, *(min(pair) for pair in kept))
    high = max(1.03, *(max(pair) for pair in kept))

    def height(ratio: float) -> float:
        return _SLOPE_HEIGHT - _EDGE - (_SLOPE_HEIGHT - 2 * _EDGE) * (ratio - low) / (high - low)

    drawn = [f"{_EDGE:.0f},{height(a):.1f} {_WIDTH - _EDGE:.0f},{height(b):.1f}" for a, b in kept]
    words = (
        f"{format_count(len(lines), 'pair')} of sessions, baseline on the left, tonight's program on the right; "
        f"changes within the band (2.5 %) don't count. Lowest {percent_change(low)}, highest {percent_change(high)}."
    )
    return Drawing(_WIDTH, _SLOPE_HEIGHT, drawn, words, band=(height(1.025), height(0.975)))


def _pair(found: object) -> tuple[float, float] | None:
    ends = [one for one in items(found) if isinstance(one, int | float)]  # type: ignore[arg-type]
    return (float(ends[0]), float(ends[1])) if len(ends) == 2 and ends[0] > 0 else None


def _series(one: Finding) -> Grid:
    """Lists the series of a finding, the largest change first."""
    heads = (
        Head("Device", choices=True), Head("Workload"), Head("Metric", choices=True),
        Head("Change", "95 % interval", "number"),
    )  # fmt: skip
    ordered = sorted(
        one.members, key=lambda member: -abs(member.estimate.ratio - 1) if member.estimate is not None else 0.0
    )
    rows = [GridRow(f"{anchor_of(one)}-{place}", _cells(member)) for place, member in enumerate(ordered)]
    count = format_count(len(rows), "series", "series")
    settings = format_list(list(one.settings)) if one.settings else "every setting"
    return Grid(f"g-{anchor_of(one)}", f"{count}, the largest change first ({settings})", heads, rows)


def _cells(member: Member) -> tuple[GridCell, ...]:
    estimate = member.estimate
    change = GridCell("\u2013")
    if estimate is not None:
        known = estimate.low is not None and estimate.high is not None
        small = [percent_span(estimate.low, estimate.high)] if known else ["to its history"]  # type: ignore[arg-type]
        change = GridCell(percent_change(estimate.ratio), small, f"{estimate.ratio:.7g}")
    link = f"{series_place(member.device, member.workload_key)}#{file_name(member.metric)}"
    return (
        GridCell(member.device, href=device_place(member.device)),
        GridCell(member.workload_key),
        GridCell(metric_title(member.metric), href=link),
        change,
    )
