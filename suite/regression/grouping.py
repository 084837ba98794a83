"""Groups the verdicts of a night into findings: one cause, one finding.

    1  Metrics that follow one another form a family: latency and energy; peak memory, memory after load and program
       size; every other metric is a family of its own. Families and directions are never mixed.
    2  A device that moved with its baseline is a finding of the device, if more than half of the workloads that it
       measures were blamed on it within five nights, at least twice.
    3  A change by the code is claimed for a kind of device in a setting if at least 80 % of the judged boards of that
       kind have it. Kinds and models of one setting are one finding, since they run the same program; so are the
       settings of a kind if 80 % of them changed.
    4  Of the remaining changes, those of one board are a finding of that board if they are in more than half of its
       workloads. The rest is one finding for each setting, which names its boards.
    5  What could not be decided is one finding for each reason, and one for each device if the reason is its own.

Why this is safe: a `regressed` series was confirmed in pairs and corrected for the night's many series, so at most one
in twenty is false, and n of m boards are false together with a probability of about 0.05^n. Grouping therefore adds no
false finding; it only chooses words. But a group must not claim a board that did not change. Hence the 80 %: a 5 % step
is caught in a night with probability .9 or more. So if all m = 5 boards changed, four or five have the verdict with
probability .92 or more (binomial), and of m = 10 boards eight or more with .93. A change of half of the boards hardly
ever gets there and is reported by the boards' names. Every claim gives n of m, and m counts only boards whose series
was judged that night: a board that was not measured is no evidence either way.

Why devices need a majority: a single series is blamed on its device by chance in some 0.4 % of nights (docs/
regression.md), which is a few series in each night of a lab. More than half of a device's workloads within five nights
are blamed by chance about once in thousands of device-nights, unless the device is the common cause. `segments`
requires two nights of five as well.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import TypeVar

from reports.model.findings import Affected, Category, Finding, Level
from reports.model.histories import SeriesVerdict
from reports.model.measurement import setting_of, workload_words
from reports.model.quantities import metric_order
from reports.model.reading import known_number, text
from reports.text.appearance import setting_order

RULE = "findings 1"

NEARLY_ALL = 0.8
"""Share of a kind's boards that is enough to claim a finding for the kind."""

NIGHTS_TOGETHER = 5
"""Nights within which the blamed workloads of a device are counted together."""

_FAMILIES = {
    **dict.fromkeys(("latency_ms", "energy_gross_mj_per_step", "energy_net_mj_per_step"), "latency_ms"),
    **dict.fromkeys(("peak_memory_kib", "memory_after_load_kib", "program_bytes"), "peak_memory_kib"),
}
_CHANGED: Mapping[str, Category] = {"regressed": "regressed", "accepted": "regressed", "improved": "improved"}
_UNDECIDED = "too large to ignore, too uncertain to count as a change"

Place = tuple[str, str, str]
"""Device, workload without its setting, setting."""
Cell = tuple[str, str, str]
"""Kind, workload without its setting, setting."""
Blamed = Mapping[tuple[str, str, str], Sequence[Place]]
"""What was blamed on devices in the last nights: (device, family, side) -> a place for each time."""
_T = TypeVar("_T")


@dataclass(frozen=True)
class Group:
    """Verdicts with one explanation. `settings` and `workloads` are empty if it holds for all that were measured."""

    category: Category
    family: str
    side: str
    level: Level
    settings: tuple[str, ...]
    workloads: tuple[str, ...]
    where: tuple[Affected, ...]
    members: tuple[SeriesVerdict, ...]
    reason: str = ""
    places: frozenset[Place] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "places", frozenset(place_of(one) for one in self.members))


def place_of(one: SeriesVerdict) -> Place:
    """Returns the place of a series."""
    return one.device, workload_words(one.workload), setting_of(one.workload)


def family_of(metric: str) -> str:
    """Returns the metric that stands for its family."""
    return _FAMILIES.get(metric, metric)


def side_of(one: SeriesVerdict) -> str:
    """Returns `worse` or `better`, or an empty text for a series without a change."""
    change = change_of(one)
    if not change:
        return ""
    return "worse" if (change > 0) == (one.direction == "lower") else "better"


def change_of(one: SeriesVerdict) -> float | None:
    """Returns the relative change, from the baseline if it was confirmed, else from the history."""
    if one.verdict in _CHANGED and (ratio := known_number(one.numbers, "ratio")) is not None:
        return ratio - 1
    if known_number(one.numbers, "drift_traced"):
        return known_number(one.numbers, "drift_change")
    return known_number(one.numbers, "change")


def is_of_device(one: SeriesVerdict) -> bool:
    """Returns whether the verdict blamed the device."""
    return one.verdict == "unchanged" and text(one.inputs, "cause") == "device"


def group_night(
    night: Sequence[SeriesVerdict],
    kinds: Mapping[str, str],
    blamed: Blamed,
    known: Sequence[Group] = (),
) -> list[Group]:
    """Groups the verdicts of a night.

    `kinds` are those of all devices; `blamed` is from the last `NIGHTS_TOGETHER` - 1 nights. Verdicts in `known` groups
    need no other explanation.
    """
    judged = [one for one in night if one.verdict != "insufficient"]
    explained = {id(one) for group in known for one in group.members}
    found = []
    for family, own in _group_by(judged, lambda one: family_of(one.metric)).items():
        for side in ("worse", "better"):
            found += _devices(family, side, own, kinds, blamed)
            changed = [one for one in own if is_changed(one) and side_of(one) == side and id(one) not in explained]
            found += _Night(family, side, _decided(own), kinds).groups(changed)
    return [*found, *_undecided([one for one in judged if one.verdict == "inconclusive"], kinds)]


def is_changed(one: SeriesVerdict) -> bool:
    """Returns whether the code changed the series."""
    return one.verdict in _CHANGED


def group_within(
    night: Sequence[SeriesVerdict], kinds: Mapping[str, str], scope: Finding, members: Sequence[SeriesVerdict]
) -> Group:
    """Returns the group of verdicts that a known finding explains, counted within its scope."""
    own = [one for one in night if one.verdict != "insufficient" and family_of(one.metric) == scope.metric]
    workloads = set(scope.workloads) or {place_of(one)[1] for one in own}
    return _Night(scope.metric, scope.side, _decided(own), kinds).group(scope.level, members, workloads)


def is_within(one: SeriesVerdict, scope: Finding, kinds: Mapping[str, str]) -> bool:
    """Returns whether a finding explains a verdict: same family and side, its boards or kinds, its settings."""
    device, workload, setting = place_of(one)
    here = kinds.get(device, "") in {part.kind for part in scope.where} if scope.level == "kind" else (
        device in scope.devices
    )  # fmt: skip
    alike = _CHANGED.get(one.verdict) == scope.category and family_of(one.metric) == scope.metric
    limits = ((setting, scope.settings), (workload, scope.workloads))
    return alike and side_of(one) == scope.side and here and all(not of or mine in of for mine, of in limits)


def _decided(series: Sequence[SeriesVerdict]) -> list[SeriesVerdict]:
    """Returns the series that could have revealed a change tonight."""
    return [one for one in series if one.verdict != "inconclusive"]


def _devices(
    family: str, side: str, own: Sequence[SeriesVerdict], kinds: Mapping[str, str], blamed: Blamed
) -> list[Group]:
    """Returns groups for the devices that moved in most of their workloads."""
    tonight = _group_by([one for one in own if is_of_device(one) and side_of(one) == side], lambda one: one.device)
    found = []
    for device, members in tonight.items():
        times = [*{place_of(one) for one in members}, *blamed.get((device, family, side), ())]
        of = {place_of(one) for one in own if one.device == device}
        if len(times) > 1 and len(set(times) & of) > len(of) / 2:
            where = (Affected(kinds.get(device, ""), (device,), 1),)
            found.append(Group("device", family, side, "device", (), (), where, _sort_members(members)))
    return found


@dataclass(frozen=True)
class _Claim:
    """The cells for which a finding of kinds is claimed."""

    kinds: Set[str]
    workloads: Set[str]
    settings: Set[str]

    @classmethod
    def of(cls, cells: Sequence[Cell]) -> _Claim:
        """Returns the claim that these cells make up."""
        return cls(*(frozenset(cell[part] for cell in cells) for part in range(3)))


@dataclass(frozen=True)
class _Night:
    """Groups the changes of one family to one side, given the series that could have revealed one."""

    family: str
    side: str
    judged: Sequence[SeriesVerdict]
    kinds: Mapping[str, str]

    def groups(self, changed: Sequence[SeriesVerdict]) -> list[Group]:
        """Returns the fewest explanations that the rules allow: kinds, then boards, then what is left."""
        found: list[Group] = []
        left = list(changed)
        for claim in self._claims(changed):
            taken = [one for one in left if self._kind(one) in claim.kinds and place_of(one)[2] in claim.settings]
            left = [one for one in left if not (self._kind(one) in claim.kinds and place_of(one)[2] in claim.settings)]
            found.append(self.group("kind", taken, claim.workloads))
        for device, own in _group_by(left, lambda one: one.device).items():
            of = {place_of(one) for one in self.judged if one.device == device}
            hit = {place_of(one) for one in own}
            if len(hit) > max(1, len(of) / 2):
                found.append(self.group("device", own, {place[1] for place in hit}))
                left = [one for one in left if one.device != device]
        rest = _group_by(left, lambda one: place_of(one)[2])
        return found + [self.group("boards", own, {place_of(one)[1] for one in own}) for own in rest.values()]

    def _claims(self, changed: Sequence[SeriesVerdict]) -> list[_Claim]:
        """Returns the claims for kinds: first kinds that changed in nearly every setting, then each setting."""
        hit, of = self._boards(changed), self._boards(self.judged)
        whole = {cell for cell, boards in hit.items() if _is_nearly_all(len(boards), len(of[cell]))}
        # One board alone is no evidence for its kind: it joins a claim for other kinds, or is a board's finding.
        firm = {cell for cell in whole if len(of[cell]) > 1}
        every = set()
        for kind in {cell[0] for cell in firm}:
            cells = [cell for cell in of if cell[0] == kind]
            if len({cell[2] for cell in cells}) > 1 and _is_nearly_all(sum(one in whole for one in cells), len(cells)):
                every.add(kind)
        claims = [_Claim.of([cell for cell in whole if cell[0] in every])] if every else []
        for setting in sorted({cell[2] for cell in firm if cell[0] not in every}, key=setting_order):
            claims.append(_Claim.of([cell for cell in whole if cell[2] == setting and cell[0] not in every]))
        return claims

    def _boards(self, series: Sequence[SeriesVerdict]) -> dict[Cell, set[str]]:
        found: dict[Cell, set[str]] = {}
        for one in series:
            device, workload, setting = place_of(one)
            found.setdefault((self._kind(one), workload, setting), set()).add(device)
        return found

    def group(self, level: Level, members: Sequence[SeriesVerdict], claimed: Set[str]) -> Group:
        """Returns the group of `members`, claimed for these workloads.

        Its settings and workloads are limited to these, unless they are all that was measured on its kinds or boards.
        """
        boards, kinds = {one.device for one in members}, {self._kind(one) for one in members}
        near = [one for one in self.judged if (self._kind(one) in kinds if level == "kind" else one.device in boards)]
        settings, every = {place_of(one)[2] for one in members}, {place_of(one)[2] for one in near}
        of_settings = [one for one in self.judged if self._kind(one) in kinds and place_of(one)[2] in settings]
        measured = {place_of(one)[1] for one in near if place_of(one)[2] in settings}
        return Group(
            category=_CHANGED[members[0].verdict],
            family=self.family,
            side=self.side,
            level=level,
            settings=() if settings == every and len(every) > 1 else tuple(sorted(settings, key=setting_order)),
            workloads=() if claimed >= measured else tuple(sorted(claimed)),
            where=_where(boards, {one.device for one in of_settings if place_of(one)[1] in claimed}, self.kinds),
            members=_sort_members(members),
        )

    def _kind(self, one: SeriesVerdict) -> str:
        return self.kinds.get(one.device, "")


def _is_nearly_all(count: int, of: int) -> bool:
    return count >= math.ceil(NEARLY_ALL * of - 1e-9)


def _undecided(series: Sequence[SeriesVerdict], kinds: Mapping[str, str]) -> list[Group]:
    found = []
    by_device: dict[str, list[SeriesVerdict]] = {}
    for reason, own in _group_by(series, reason_of).items():
        devices = {one.device for one in own}
        if len(devices) > 1:
            found.append(_of_reason(reason, own, kinds))
        else:
            by_device.setdefault(own[0].device, []).extend(own)
    for own in by_device.values():
        reasons = list(Counter(map(reason_of, own)))
        more = f" (and {len(reasons) - 1} other reasons)" if len(reasons) > 1 else ""
        found.append(_of_reason(reasons[0] + more, own, kinds))
    return found


def reason_of(one: SeriesVerdict) -> str:
    """Returns why a series could not be decided."""
    states = one.inputs.get("state_differences")
    if isinstance(states, list | tuple) and states:
        return f"the device was in another state: {'; '.join(map(str, states))}"
    _, mark, why = one.sentence.partition("Not confirmed: ")
    return why.rstrip(".") if mark else _UNDECIDED


def _of_reason(reason: str, own: Sequence[SeriesVerdict], kinds: Mapping[str, str]) -> Group:
    """Returns the group of a reason, whatever metrics were suspected."""
    boards = {one.device for one in own}
    settings = tuple(sorted({setting_of(one.workload) for one in own}, key=setting_order))
    level: Level = "device" if len(boards) == 1 else "boards"
    where = _where(boards, boards, kinds)
    return Group("inconclusive", "", "", level, settings, (), where, _sort_members(own), reason)


def _where(boards: set[str], of: set[str], kinds: Mapping[str, str]) -> tuple[Affected, ...]:
    by_kind = _group_by(sorted(boards), lambda board: kinds.get(board, ""))
    return tuple(
        Affected(kind, tuple(own), sum(kinds.get(board, "") == kind for board in of))
        for kind, own in sorted(by_kind.items())
    )


def _sort_members(members: Sequence[SeriesVerdict]) -> tuple[SeriesVerdict, ...]:
    return tuple(sorted(members, key=lambda one: (metric_order(one.metric), one.device, one.workload_key)))


def _group_by(found: Sequence[_T], key: Callable[[_T], str]) -> dict[str, list[_T]]:
    parts: dict[str, list[_T]] = {}
    for one in found:
        parts.setdefault(key(one), []).append(one)
    return parts
