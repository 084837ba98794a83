"""The page of a profile: for each setting what its steps take, flame figures, and a table of operators."""

from __future__ import annotations

from collections.abc import Iterator

from reports.figures.profile_figures import flame_by_group, flame_by_place
from reports.model.measurement import workload_words
from reports.model.profile import Profile
from reports.tables.profile_lines import profile_section, profile_sentence
from reports.tables.sections import Banner, Facts, Link, Page, Section
from reports.text.appearance import badges, status
from reports.text.numbers import moment_text

_TERMS = (
    (
        "Time",
        "Of the mean of the profiled steps, the slowest and the fastest quarter left out. Operators inside of "
        "delegates are timed by XNNPACK in whole microseconds, rounded down; parts of the suite's own kernels on every "
        "thread, summed and divided by the number of threads.",
    ),
    (
        "Not attributed",
        "What no operator has reported: in delegates the preparation of a call and fractions of microseconds, in "
        "kernels threads that wait for others, and the runtime between instructions.",
    ),
    (
        "GFLOP/s, GB/s",
        "Operations that are carried out, padding and masked scores included, and bytes of every operand, read once, "
        "and every result, written once, by the time of the operators for which they are counted.",
    ),
    (
        "Overhead",
        "Steps with and without the profile take turns in one process; the median over neighbours of their ratio.",
    ),
)


def profile_page(profile: Profile) -> Page:
    """Builds the page, which leads nowhere: it is sent and kept as one file."""
    items = [(Link(one.setting, f"#operators-{one.setting}"), profile_sentence(one)) for one in profile.settings]
    failed = [(Link(quant, ""), f"no profile: {reason}") for quant, reason in profile.failed.items()]
    outcome = status("ok" if not failed else "partial" if items else "failed")
    headline = f"Where the time of a training step goes on {profile.device}, operator by operator."
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
