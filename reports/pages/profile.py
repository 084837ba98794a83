"""The page of a profile: for each setting the time of its steps, flame figures, and a table of operators.

In a flame figure a step is the box on top and its parts are below it, each box as wide as its time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from reports.figures.panels import Figure, Trace
from reports.model.measurement import workload_words
from reports.model.profile import NOT_ATTRIBUTED, Profile, ProfileRow, RowSum, SettingProfile, by_group
from reports.tables.profile_lines import profile_section, profile_sentence
from reports.tables.sections import Banner, Facts, Link, Page, Section
from reports.text.appearance import badges, status
from reports.text.escaping import figure_text
from reports.text.numbers import moment_text

_TERMS = (
    (
        "Time",
        "Mean over the profiled steps, without the slowest and the fastest quarter. XNNPACK times operators inside "
        "delegates in whole microseconds, rounded down. Parts of the suite's own kernels are timed on every thread; "
        "their times are summed and divided by the number of threads.",
    ),
    (
        "Not attributed",
        "Time that no operator reported: preparing calls and fractions of microseconds in delegates, threads waiting "
        "for others in kernels, and the runtime between instructions.",
    ),
    (
        "GFLOP/s, GB/s",
        "Operations carried out (padding and masked scores included), or bytes (each operand read once, each result "
        "written once), divided by the time of the operators for which they are counted.",
    ),
    (
        "Overhead",
        "Steps with and without the profile alternate in one process: the median ratio of neighbouring steps.",
    ),
)


def profile_page(profile: Profile) -> Page:
    """Builds the page, which has no links: it is sent and kept as one file."""
    items = [(Link(one.setting, f"#operators-{one.setting}"), profile_sentence(one)) for one in profile.settings]
    failed = [(Link(quant, ""), f"no profile: {reason}") for quant, reason in profile.failed.items()]
    outcome = status("ok" if not failed else "partial" if items else "failed")
    headline = f"Where the time of a training step goes on {profile.device}, by operator."
    first = profile.settings[0].workload if profile.settings else {}
    return Page(
        title=f"Profile {profile.profile_id}",
        heading=f"Profile {profile.profile_id}",
        lead=f"{moment_text(profile.started_at)}, {profile.device}. {workload_words(first) if first else ''}",
        banner=Banner(outcome, headline, (*items, *failed)),
        sections=tuple(_sections(profile)),
        badges=badges(profile.emulated),
    )


def _sections(profile: Profile) -> Iterator[Section]:
    for one in profile.settings:
        figures = (flame_by_group(one), flame_by_place(one))
        yield Section(f"flame-{one.setting}", f"Flame, {one.setting}", figures=figures)
        yield profile_section(one)
    facts = [(name, str(value)) for name, value in profile.machine.items()]
    threads = ", ".join(str(one.threads) for one in profile.settings)
    facts += [("threads", threads), ("programs", ", ".join(one.program for one in profile.settings))]
    yield Section("method", "Device and method", facts=(Facts("Device", facts),), terms=_TERMS)


_HEIGHT_PX = 460
_COLOURS = 8
_Path = tuple[str, ...]


def flame_by_group(profile: SettingProfile) -> Figure:
    """Draws groups of operators, below them their parts, and below these the operators of all layers together."""
    return _flame(
        profile,
        f"flame-{profile.setting}-groups",
        f"{profile.setting}: a step by the purpose of its operators",
        lambda row: (row.group, row.part, row.name),
        sort=True,
    )


def flame_by_place(profile: SettingProfile) -> Figure:
    """Draws what is inside and outside delegates, below it layers, and below these groups, parts and operators."""
    return _flame(
        profile,
        f"flame-{profile.setting}-places",
        f"{profile.setting}: a step by layers",
        lambda row: (_PLACES.get(row.place, row.place), _layer(row), row.group, " ".join((row.part, row.name)).strip()),
        sort=False,
    )


_PLACES = {
    "delegate": "inside delegates",
    "kernel": "operators outside delegates",
    "runtime": "the runtime between them",
}


def _layer(row: ProfileRow) -> str:
    return "" if row.layer is None else f"layer {row.layer}"


def _flame(
    profile: SettingProfile, name: str, title: str, path: Callable[[ProfileRow], _Path], *, sort: bool
) -> Figure:
    """Draws a box for each prefix of a path: with `sort` the widest first, otherwise in program order."""
    boxes: dict[_Path, list[ProfileRow]] = {(): list(profile.rows)}
    for row in profile.rows:
        steps = tuple(step for step in path(row) if step)
        for depth in range(1, len(steps) + 1):
            boxes.setdefault(steps[:depth], []).append(row)
    step_ms = profile.step_ms
    paths = [box for box in boxes if box == () or RowSum.of(boxes[box]).ms > 0]
    colours = _colours(paths, list(by_group(profile.rows)))
    trace: Trace = {
        "type": "icicle",
        "sort": sort,
        "ids": ["/".join(("step", *box)) for box in paths],
        "labels": [figure_text(box[-1] if box else f"{profile.setting} step") for box in paths],
        "parents": ["/".join(("step", *box[:-1])) if box else "" for box in paths],
        "values": _whole_values(paths, boxes),
        "branchvalues": "total",
        "tiling": {"orientation": "v"},
        "hovertext": [_words(RowSum.of(boxes[box]), step_ms) for box in paths],
        "hovertemplate": "%{label}<br>%{hovertext}<extra></extra>",
        "texttemplate": "%{label}<br>%{percentRoot:.1%}",
        "textfont": {"color": ["var(--text)" if colour == "var(--grid)" else "var(--surface)" for colour in colours]},
        "marker": {"colors": colours, "line": {"color": "var(--surface)", "width": 1}},
        "pathbar": {"visible": True},
    }
    layout = {
        "height": _HEIGHT_PX,
        "margin": {"l": 8, "r": 8, "t": 32, "b": 8},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": "var(--text)"},
        "hoverlabel": {"align": "left", "namelength": -1},
    }
    caption = "Each box is as wide as its time in the mean profiled step; click it to zoom in."
    return Figure(name, title, caption, [trace], layout)


def _whole_values(paths: Sequence[_Path], boxes: dict[_Path, list[ProfileRow]]) -> list[int]:
    """Returns times in nanoseconds, each box's at least the sum of its parts: plotly refuses parts that exceed it."""
    own = {box: round(1e6 * RowSum.of(boxes[box]).ms) for box in paths}
    children: dict[_Path, list[_Path]] = {}
    for box in paths:
        if box:
            children.setdefault(box[:-1], []).append(box)
    for box in sorted(children, key=len, reverse=True):
        own[box] = max(own[box], sum(own[child] for child in children[box]))
    return [own[box] for box in paths]


def _words(found: RowSum, step_ms: float) -> str:
    words = [f"{found.ms:.3f} ms, {100 * found.ms / step_ms:.1f} %", f"{found.calls} calls"]
    if found.gflops_per_s:
        words.append(f"{found.gflops_per_s:.1f} GFLOP/s")
    if found.gb_per_s:
        words.append(f"{found.gb_per_s:.1f} GB/s")
    return "<br>".join(words)


def _colours(paths: Sequence[_Path], groups: Sequence[str]) -> list[str]:
    """Returns the colour of each box: its group's, or grey above groups and for time that is not attributed."""
    found = []
    for box in paths:
        group = next((step for step in box if step in groups), NOT_ATTRIBUTED)
        grey = group == NOT_ATTRIBUTED
        found.append("var(--grid)" if grey else f"var(--setting-{groups.index(group) % _COLOURS})")
    return found
