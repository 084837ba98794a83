"""A finding: a change with one cause, however many series show it, and its history over nights.

The rules that group verdicts are in `suite.regression.grouping`; the store keeps a document of each night that a
finding was seen in, and people's notes on it. Sizes are ratios: 1.068 is +6.8 %.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from typing import Literal

from pydantic import TypeAdapter

from foundation.unavailable import Json
from reports.model.quantities import metric_title
from reports.text.numbers import format_list, moment_text, percent_change, percent_span

Category = Literal["missing", "failed", "regressed", "device", "inconclusive", "improved"]
CATEGORIES: tuple[Category, ...] = ("missing", "failed", "regressed", "device", "inconclusive", "improved")
"""In reading order: a missing device comes first, as it has no number at all."""

State = Literal["new", "known", "accepted", "fixed"]
Level = Literal["kind", "boards", "device"]
_MOST_BOARDS, _MOST_WORKLOADS = 4, 2


@dataclass(frozen=True)
class Estimate:
    """A ratio to the baseline with its 95 % interval; a change relative to the device's own history has no interval."""

    ratio: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Member:
    """One series of a finding, in one night. ``estimate`` is None if nothing was measured."""

    device: str
    workload_key: str
    metric: str
    estimate: Estimate | None = None
    series_id: int = 0
    measurement_id: str = ""

    @property
    def place(self) -> tuple[str, str]:
        """Device and workload."""
        return self.device, self.workload_key


@dataclass(frozen=True)
class Affected:
    """The boards of a kind that show a finding, out of ``of`` that could have shown it that night."""

    kind: str
    boards: tuple[str, ...]
    of: int

    @property
    def words(self) -> str:
        """``all 8 jetson boards``, ``7 of 8 jetson boards``."""
        count = len(self.boards)
        if self.of <= 1 and count == 1:
            return self.boards[0]
        return f"{f'all {count}' if count >= self.of else f'{count} of {self.of}'} {self.kind} boards"


@dataclass(frozen=True)
class Difference:
    """Something that has changed since the baseline was measured."""

    what: str
    before: str
    after: str
    boards: int = 1

    @property
    def words(self) -> str:
        """``torch 2.12.0 → 2.13.0``, or ``4 programs changed``."""
        return f"{self.what} {self.before} → {self.after}" if self.before else f"{self.what} {self.after}"


@dataclass(frozen=True)
class Confirmation:
    """How certain it is: the fewest pairs of any of its series, and the largest p and q."""

    pairs: int
    p: float | None = None
    q: float | None = None

    @property
    def words(self) -> str:
        """In words; empty if nothing was measured again."""
        if not self.pairs:
            return ""
        known = [(name, found) for name, found in (("p", self.p), ("q", self.q)) if found is not None]
        sure = [f"{name} {'below 0.0001' if found < 1e-4 else f'at most {found:.2g}'}" for name, found in known]
        return ", ".join([f"measured in turn with the baseline {self.pairs} times or more", *sure])


@dataclass(frozen=True)
class Note:
    """What a person noted on a finding: a ``note``, a ``link``, or that it is muted (``mute``)."""

    kind: str
    at: str
    author: str
    text: str


@dataclass(frozen=True)
class Size:
    """How much a metric changed in the series of a finding: the smallest and the largest change."""

    metric: str
    series: int
    least: Estimate
    most: Estimate

    @property
    def words(self) -> str:
        """``Latency of a step +6.1 to +7.4 %``, or a single change with its interval."""
        if self.series == 1 or self.least == self.most:
            one = self.most
            known = one.low is not None and one.high is not None
            span = f" (95 %: {percent_span(one.low, one.high)})" if known else ""  # type: ignore[arg-type]
            return f"{metric_title(self.metric)} {percent_change(one.ratio)}{span}"
        return f"{metric_title(self.metric)} {percent_span(self.least.ratio, self.most.ratio)}"


@dataclass(frozen=True)
class Finding:
    """One cause, as seen in one night.

    ``settings`` and ``workloads`` (in words) are what it is limited to; empty means all that were measured. ``level``
    is its scope: a whole ``kind``, the named ``boards``, or everything that one ``device`` measures. ``since`` is the
    first of consecutive nights, ``nights`` how many found it; ``seen`` is False if tonight measured nothing that could
    confirm it. ``muted`` is why nobody is notified, empty if they are.
    """

    id: str
    category: Category
    state: State
    metric: str
    side: str
    level: Level
    settings: tuple[str, ...]
    workloads: tuple[str, ...]
    where: tuple[Affected, ...]
    members: tuple[Member, ...]
    reason: str = ""
    since_run: str = ""
    since_at: str = ""
    nights: int = 1
    seen: bool = True
    differences: tuple[Difference, ...] = ()
    confirmation: Confirmation = Confirmation(0)
    commands: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    muted: str = ""
    accepted_series: int = 0

    @cached_property
    def sizes(self) -> tuple[Size, ...]:
        """How much each metric changed, in the order of the members."""
        return _sizes(self.members)

    @property
    def devices(self) -> tuple[str, ...]:
        """Every board that shows it."""
        return tuple(board for part in self.where for board in part.boards)

    @property
    def is_open(self) -> bool:
        """Whether it needs a look."""
        return self.state in ("new", "known") and not self.muted

    @property
    def subject(self) -> str:
        """What and where: ``int8 on all 8 jetson boards``."""
        if self.level == "kind":
            place = format_list([part.words for part in self.where])
        else:
            more = len(self.devices) - _MOST_BOARDS
            names = [*self.devices[:_MOST_BOARDS], *([f"{more} more"] if more > 0 else [])]
            place = format_list(list(names))
        if self.category in ("device", "missing") or (self.category == "failed" and not self.settings):
            return place
        setting = format_list(list(self.settings)) if self.settings else "every setting"
        workload = ""
        if self.workloads:
            more = len(self.workloads) - _MOST_WORKLOADS
            workload = f" of {'; '.join(self.workloads[:_MOST_WORKLOADS])}{f' and {more} more' if more > 0 else ''}"
        return f"{setting}{workload} on {place}"

    @property
    def headline(self) -> str:
        """The finding in one line: subject and sizes, or the reason if there is no size."""
        if self.category in ("missing", "failed", "inconclusive") or not self.sizes:
            return f"{self.subject}: {self.reason}"
        sizes = "; ".join(size.words for size in self.sizes)
        return f"{self.subject}: {sizes}"

    @property
    def details(self) -> list[str]:
        """Details, a sentence each: what differs, how certain it is, people's notes."""
        found = [f"{part.words}: {', '.join(part.boards)}" for part in self.where if self.level != "device"]
        if self.differences:
            found.append(f"differs from the baseline: {'; '.join(one.words for one in self.differences)}")
        if self.confirmation.words:
            found.append(self.confirmation.words)
        if 0 < self.accepted_series < len(self.members):
            found.append(f"{self.accepted_series} of {len(self.members)} series accepted")
        found += [f"{note.kind} by {note.author}: {note.text}" for note in self.notes]
        return [*found, self.muted] if self.muted else found

    @property
    def life(self) -> str:
        """Since when, in words."""
        day = moment_text(self.since_at)[:10]
        if self.state == "fixed":
            return f"fixed tonight, seen since {day}"
        if self.state == "new":
            return "new tonight"
        nights = f"{self.nights} nights" if self.nights != 1 else "1 night"
        known = f"known since {day}, {nights}"
        known = f"accepted, {known}" if self.state == "accepted" else known
        return known if self.seen else f"{known}, not measured tonight"

    def document(self) -> dict[str, Json]:
        """Returns it as JSON values, derived ones included."""
        sizes: Json = [asdict(size) for size in self.sizes]
        return asdict(self) | {"sizes": sizes, "subject": self.subject, "headline": self.headline}

    @classmethod
    def from_document(cls, found: Json) -> "Finding | None":
        """Reads what :meth:`document` returns, None for anything else."""
        try:
            return _adapter().validate_python(found)
        except ValueError:
            return None


@lru_cache(maxsize=1)
def _adapter() -> TypeAdapter[Finding]:
    return TypeAdapter(Finding)


def _sizes(members: Sequence[Member]) -> tuple[Size, ...]:
    by_metric: dict[str, list[Estimate]] = {}
    for member in members:
        if member.estimate is not None:
            by_metric.setdefault(member.metric, []).append(member.estimate)
    found = []
    for metric, estimates in by_metric.items():
        ordered = sorted(estimates, key=lambda one: abs(one.ratio - 1))
        found.append(Size(metric, len(ordered), ordered[0], ordered[-1]))
    return tuple(found)


def in_reading_order(found: Sequence[Finding]) -> list[Finding]:
    """Sorts findings: open ones before muted, accepted and fixed ones; then by category, new and large ones first."""

    def size(one: Finding) -> float:
        return max((abs(each.most.ratio - 1) for each in one.sizes), default=0.0)

    return sorted(
        found,
        key=lambda one: (
            not one.is_open, CATEGORIES.index(one.category), one.state != "new", not one.seen,
            -len(one.devices), -size(one), one.id,
        ),
    )  # fmt: skip
