"""The table of a profile, for pages and terminals: groups of operators, each with its parts over all layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from reports.model.profile import FROZEN, NOT_ATTRIBUTED, ProfileRow, RowSum, SettingProfile, by_group, by_part
from reports.tables.sections import GridCell, GridRow, Head, Section, table
from reports.text.appearance import slot
from reports.text.numbers import decimals, plain, quantity

_LEAST_PERCENT = 0.5
"""Share of a step below which parts are summed up in one line."""


@dataclass(frozen=True)
class ProfileLine:
    """A group with all its time, or a part of it, whose `name` says what it does."""

    group: str
    name: str
    found: RowSum
    percent: float

    @property
    def numbers(self) -> tuple[str, str, str, str, str]:
        """Calls, milliseconds, percent of the step, GFLOP/s and GB/s, as text."""
        return (
            str(self.found.calls),
            _short(self.found.ms),
            f"{self.percent:.1f}",
            "-" if self.found.gflops_per_s is None else _short(self.found.gflops_per_s),
            "-" if self.found.gb_per_s is None else _short(self.found.gb_per_s),
        )


def profile_lines(profile: SettingProfile) -> Iterator[ProfileLine]:
    """Yields each group, the longest first, followed by its parts, with the shortest ones summed up."""
    step_ms = profile.step_ms

    def line(group: str, name: str, rows: Sequence[ProfileRow]) -> ProfileLine:
        found = RowSum.of(rows)
        return ProfileLine(group, name, found, 100 * found.ms / step_ms)

    for group, rows in by_group(profile.rows).items():
        yield line(group, "", rows)
        small: list[ProfileRow] = []
        for (part, name), of_part in by_part(rows).items():
            found = line(group, ", ".join(word for word in (part, name) if word), of_part)
            if found.percent >= _LEAST_PERCENT or group == NOT_ATTRIBUTED:
                yield found
            else:
                small += of_part
        if small:
            yield line(group, "others", small)


def profile_sentence(profile: SettingProfile) -> str:
    """States the time of a step, what profiling adds to it, and the largest groups outside the frozen products."""
    outside = {group: RowSum.of(rows).ms for group, rows in by_group(profile.rows).items() if group != FROZEN}
    largest = sorted(outside, key=lambda group: -outside[group])[:3]
    least, most = profile.overheads_percent[0], profile.overheads_percent[-1]
    shares = ", ".join(f"{group} {100 * outside[group] / profile.step_ms:.1f} %" for group in largest)
    return (
        f"{quantity(median(profile.plain_ms), 'ms')} a step, {profile.overhead_percent:+.1f} % with "
        f"the profile ({least:+.1f} to {most:+.1f} % in {len(profile.profiled_ms)} pairs of steps); "
        f"{profile.outside_percent:.1f} % of it is outside frozen products, most of that in {shares}"
    )


def profile_section(profile: SettingProfile) -> Section:
    """Builds the table of one setting."""
    rows = [
        GridRow(f"{profile.setting}-{index}", _cells(line, profile.setting))
        for index, line in enumerate(profile_lines(profile))
    ]
    heads = (
        Head("Purpose"),
        Head("Operator"),
        Head("Calls", "in a step", "number"),
        Head("Time", "ms a step", "number"),
        Head("Share", "% of the step", "number"),
        Head("GFLOP/s", kind="number"),
        Head("GB/s", kind="number"),
    )
    caption = f"{profile.setting}: time of the mean profiled step, by operator"
    return table(
        f"operators-{profile.setting}",
        f"Operators, {profile.setting}",
        caption,
        heads,
        rows,
        empty="There are no operators.",
    )


def _cells(line: ProfileLine, setting: str) -> tuple[GridCell, ...]:
    heading = GridCell(line.group, slot=None if line.name else slot(setting))
    return (heading, GridCell(line.name or "all"), *(GridCell(text) for text in line.numbers))


def _short(value: float) -> str:
    return plain(value, decimals(value)) if value >= 0.01 else f"{value:.3f}"
