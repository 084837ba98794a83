"""Do the claims of the paper hold on a device? Each claim gets a measured factor, its interval, a verdict and a reason.

headline_cases.py has what is compared, claims.py the rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from foundation.unavailable import Unavailable
from reports.model.experiment import (
    Answer,
    Cell,
    Curve,
    Evidence,
    Picture,
    interval_cells,
    share_name,
    table_of,
    with_rows,
)
from reports.model.measurement import Measurement, shape_words
from reports.model.profile import FROZEN, RowSum, SettingProfile, by_group
from reports.model.training import Training, contender_names
from reports.text.numbers import format_count, format_list, times
from suite.experiments.answers.claims import Claim, Factor, Verdict, Word, decide
from suite.experiments.answers.headline_cases import (
    ADAPTERS,
    BACKPROP,
    CLAIMS,
    ENGINE,
    INNER,
    Case,
    cases_of_accuracy,
    cases_of_steps,
    claims_of_queries,
    peaks_of,
    step_words,
)
from suite.experiments.material import Material

_DECODING = "dequantization"
_WORDS: tuple[Word, ...] = ("agrees", "does not", "can't be told")


@dataclass(frozen=True)
class _Finding:
    """A claim with the case that decides it."""

    name: str
    claim: Claim
    case: Case
    verdict: Verdict
    why: str = ""

    @property
    def share(self) -> float | None:
        """The measured factor as a multiple of the claimed figure."""
        value = self.case.factor.value
        return None if isinstance(value, Unavailable) else value / self.claim.figure

    @property
    def share_ends(self) -> tuple[float, float]:
        """The ends of the share's interval; without one, both are the share itself, so no bar is drawn."""
        ends = self.case.factor.interval
        if isinstance(ends, Unavailable):
            return self.share or 0.0, self.share or 0.0
        return ends.low / self.claim.figure, ends.high / self.claim.figure


def answer(material: Material, device: str) -> Answer:
    """Answers for one device."""
    steps, trainings = material.measurements("steps", device), material.trainings("trainings", device)
    profile = material.profile(share_name("where", device))
    profiles = {} if profile is None else {one.setting: one for one in profile.settings}
    model = material.experiment.model
    cases = [*cases_of_steps(steps, model), *cases_of_accuracy(trainings, model)]
    claims = CLAIMS | claims_of_queries(trainings)
    findings = [_finding(name, claim, cases, profiles) for name, claim in claims.items()]
    evidence = with_rows(
        _claims_table(findings),
        _cases_table(cases),
        _engine_table(steps),
        _trainings_table(trainings),
        _profile_table(profiles),
    )
    return Answer(_sentence(findings), _picture(findings), evidence)


def _finding(name: str, claim: Claim, cases: Sequence[Case], profiles: Mapping[str, SettingProfile]) -> _Finding:
    own = [one for one in cases if one.claim == name]
    decided = decide(claim, [one.factor for one in own])
    if decided is None:
        nothing = "nothing that it compares was measured"
        return _Finding(name, claim, Case(name, "-", Factor.missing(nothing)), Verdict("can't be told", nothing))
    place, verdict = decided
    why = _why(own[place], profiles) if verdict.word == "does not" else verdict.reason
    return _Finding(name, claim, own[place], verdict, why)


def _why(case: Case, profiles: Mapping[str, SettingProfile]) -> str:
    """Returns why a claim does not hold: for memory the share of the weights, for time where it goes."""
    own = case.subject
    if own is None:
        return "the trainings' accuracies are below"
    if case.claim in (ADAPTERS, BACKPROP) or case.claim.startswith("memory"):
        weights, peaks = own.weight_bytes, peaks_of(own)
        if isinstance(weights, Unavailable) or not peaks:
            return "what the memory consists of is unknown"
        return f"weights are {100 * weights / 1024 / max(peaks):.0f} % of its peak"
    if case.claim == ENGINE:
        return "the session's loss check names the step that is off"
    found = profiles.get(own.setting)
    if found is None:
        return f"there is no profile of {own.setting}, so where the time goes is unknown"
    return f"of a step in {own.setting} with {shape_words(found.workload)} {_shares(found)}"


def _shares(found: SettingProfile) -> str:
    groups = {name: RowSum.of(rows).ms for name, rows in by_group(found.rows).items()}
    decoding = 100 * groups.get(_DECODING, 0.0) / found.step_ms
    largest = [name for name in groups if name not in (FROZEN, _DECODING)][:2]
    return (
        f"{100 - found.outside_percent:.0f} % are products with frozen weights, {decoding:.0f} % decode them, and "
        f"{found.outside_percent - decoding:.0f} % are something else, most of it {format_list(largest)}"
    )


def _claims_table(findings: Sequence[_Finding]) -> Evidence:
    rows: list[dict[str, Cell]] = []
    for one in findings:
        rows.append(
            {
                "claim": one.claim.words,
                "source": one.claim.source,
                "this device": _known(one.case.factor.value),
                **interval_cells(one.case.factor.interval),
                "in": one.case.words,
                "verdict": one.verdict.word,
                "why": one.why,
                "command": " && ".join(one.case.commands),
            }
        )
    note = (
        "Factors with 95 % intervals. A case agrees if its interval lies above the claimed figure, or contains it and "
        "excludes the value without the claim. A claim about the best case needs one case that agrees; a claim about "
        "all cases fails if one case lies below."
    )
    return table_of("The claims", rows, note)


def _cases_table(cases: Sequence[Case]) -> Evidence:
    rows: list[dict[str, Cell]] = [
        {"of": one.claim, "in": one.words, "factor": _known(one.factor.value), **interval_cells(one.factor.interval)}
        for one in cases
        if one.claim != ENGINE
    ]
    return table_of(
        "All comparisons behind the claims", rows, "95 % intervals over sessions; for accuracies, over seeds."
    )


def _engine_table(steps: Sequence[Measurement]) -> Evidence:
    rows: list[dict[str, Cell]] = [
        {
            "step": step_words(one),
            "steps compared": _known(one.loss.reference_steps),
            "largest relative error of a loss": _known(one.loss.max_relative_error),
            "noise of a loss": _known(one.loss.noise),
            "loss": _known(one.loss.first),
        }
        for one in steps
    ]
    note = "Noise: the difference between two correct implementations, one standard deviation."
    return table_of("Losses of the program compared with those of the eager reference", rows, note)


def _trainings_table(trainings: Sequence[Training]) -> Evidence:
    names = contender_names(trainings)
    rows: list[dict[str, Cell]] = [
        {
            "training": names[one.training_id],
            "seed": one.seed,
            "steps": one.steps,
            "accuracy before": one.evaluations[0].accuracy if one.evaluations else None,
            "after": one.evaluations[-1].accuracy if one.evaluations else None,
            "loss after": one.evaluations[-1].loss if one.evaluations else None,
        }
        for one in trainings
    ]
    return table_of("Trainings at equal forward tokens", rows)


def _profile_table(profiles: Mapping[str, SettingProfile]) -> Evidence:
    rows: list[dict[str, Cell]] = []
    for quant, found in profiles.items():
        groups = {name: RowSum.of(own) for name, own in by_group(found.rows).items()}
        frozen = groups.get(FROZEN)
        rows.append(
            {
                "setting": quant,
                "step, ms": found.step_ms,
                "outside of frozen products, %": found.outside_percent,
                "decoding, %": 100 * groups[_DECODING].ms / found.step_ms if _DECODING in groups else 0.0,
                "frozen products, GFLOP/s": None if frozen is None else frozen.gflops_per_s,
            }
        )
    return table_of("Where a step's time goes", rows, "+ and - side by side share the reading and decoding of weights.")


def _known(value: float | Unavailable) -> float | None:
    return None if isinstance(value, Unavailable) else value


def _sentence(findings: Sequence[_Finding]) -> str:
    by_word = {word: [one for one in findings if one.verdict.word == word] for word in _WORDS}
    agreeing, against, open_ones = (by_word[word] for word in _WORDS)
    words = f"{len(agreeing)} of {format_count(len(findings), 'claim')} hold here"
    if against:
        words += (
            f", {len(against)} {'does' if len(against) == 1 else 'do'} not ({format_list(_name_findings(against))})"
        )
    if open_ones:
        words += f", and for {len(open_ones)} it can't be told ({format_list(_name_findings(open_ones))})"
    inner = next((one.case.factor.value for one in agreeing if one.name == INNER), None)
    if isinstance(inner, float):
        words += f"; + and - side by side make a step {inner:.2f} times as fast at best"
    return f"{words}."


def _name_findings(findings: Sequence[_Finding]) -> list[str]:
    values = [(one.name, one.case.factor.value) for one in findings]
    return [name if isinstance(value, Unavailable) else f"{name} {times(value)}" for name, value in values]


def _picture(findings: Sequence[_Finding]) -> Picture | None:
    """Draws how far each claim is reached, a colour for each verdict."""
    curves = []
    for word in _WORDS:
        own = [(one, one.share) for one in findings if one.verdict.word == word and one.share is not None]
        if own:
            curves.append(
                Curve(
                    word,
                    tuple(one.name for one, _ in own),
                    tuple(share for _, share in own),
                    low=tuple(one.share_ends[0] for one, _ in own),
                    high=tuple(one.share_ends[1] for one, _ in own),
                    words=tuple(f"{one.claim.words}: {one.case.words}" for one, _ in own),
                    look="points",
                )
            )
    if not curves:
        return None
    return Picture(
        "How far this device reaches the claimed figures",
        "claim",
        "measured / claimed",
        tuple(curves),
        caption="At 1 and above it reaches the claimed figure. Bars: 95 % intervals.",
        y_log=True,
    )
