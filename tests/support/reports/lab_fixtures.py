"""A lab over sixty nights: verdicts, histories, health, workloads, two runs side by side; one name is hostile."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from reports.model.histories import NIGHTS as NIGHTS_BACK
from reports.model.histories import (
    Change,
    Compared,
    ComparedMetric,
    DeviceSummary,
    HealthPoint,
    HistoryPoint,
    HistorySegment,
    HistorySummary,
    MetricHistory,
    Night,
    Recent,
    Remark,
    SeriesVerdict,
    WorkloadSummary,
)
from reports.model.measurement import Measurement
from tests.support.reports.report_fixtures import HOSTILE, RUN_ID, SETTINGS, FixtureSource, realistic, summary, workload

NIGHT_ID = RUN_ID
GROUP = "smollm2-135m/prge/xnnpack/q4/b4/T64/rank16"
METRICS = {"latency_ms": 1200.0, "peak_memory_kib": 190_000.0, "energy_net_mj_per_step": 6_400.0}
NIGHTS = 60
_BEGAN = datetime.fromisoformat("2026-01-02T02:15:00+00:00")
_NAMES = ("local", "jetson", HOSTILE)


def key(setting: str) -> str:
    return f"smollm2-135m/prge/{setting}/xnnpack/q4/b4/T64/rank16"


def night_id(number: int) -> str:
    """Returns the id of a night's run; the newest is the run of the other fixture."""
    return NIGHT_ID if number == NIGHTS - 1 else f"{_at(number)[:10]}T021500Z-{number:04x}"


def _at(number: int) -> str:
    return (_BEGAN + timedelta(days=number)).isoformat()


class LabSource(FixtureSource):
    """Everything that spans several runs, from seeded noise; tests change its attributes."""

    def __init__(self, nights: int = NIGHTS) -> None:
        base = realistic(steps=4)
        counts = {"regressed": 1, "improved": 1, "inconclusive": 1, "insufficient": 2, "unchanged": 22}
        newest = replace(base.summaries[1], purpose="nightly", verdicts=counts)
        earlier = [
            summary(night_id(number), started_at=_at(number), finished_at=_at(number), purpose="nightly",
                    verdicts={"unchanged": 27} if number != nights - 3 else {"regressed": 2, "unchanged": 25})
            for number in range(nights - 1)
        ]  # fmt: skip
        super().__init__([newest, base.summaries[0], *earlier], base.documents, base.traces)
        for run in earlier:
            self.documents[run.run_id] = base.documents[RUN_ID] | {
                "run_id": run.run_id,
                "measurements": [],
                "remarks": [],
                "tags": [],
            }
        self.length = nights

    def verdicts(self, run_id: str) -> list[SeriesVerdict]:
        if run_id != NIGHT_ID:
            return []
        words = iter(["unchanged", "regressed", "improved", "inconclusive", "insufficient", "insufficient"])
        return [
            self._verdict(device, setting, metric, next(words, "unchanged"), place)
            for place, (device, setting, metric) in enumerate(
                (device, setting, metric) for device in _NAMES for setting in SETTINGS[:3] for metric in METRICS
            )
        ]

    @staticmethod
    def _verdict(device: str, setting: str, metric: str, word: str, place: int) -> SeriesVerdict:
        value = METRICS[metric]
        numbers: dict[str, Any] = {
            "centre": value * 0.95,
            "points": 30,
            "change": 0.05,
            "sentence": "Like its history.",
        }
        if word in ("regressed", "improved"):
            ratio = 1.052 if word == "regressed" else 0.931
            numbers |= {"ratio": ratio, "ratio_low": ratio - 0.01, "ratio_high": ratio + 0.012, "pairs": 10}
            numbers |= {"p": 0.00098, "q": 0.0039, "command": f"suite compare 3f2a {setting} --device jetson"}
            numbers["sentence"] = "Measured in turn with the baseline 10 times, the candidate is +5.2 %."
        if word == "inconclusive":
            numbers["sentence"] = f"The device was not in the same state: governor was {HOSTILE}."
        return SeriesVerdict(
            device, key(setting), workload(setting), metric, "lower", device == HOSTILE, f"m{place}", word, "nightly",
            _at(59), value, numbers, {"pairs": [[1.0, 1.05]]},
        )  # fmt: skip

    def recent(self) -> Recent:
        latest = {GROUP: LabSource.latest(self, GROUP)}
        return Recent(self._nights(), latest, LabSource.verdicts(self, NIGHT_ID), ["local"])

    def _nights(self) -> list[Night]:
        """Returns the nights: the third device was added ten nights ago, failed once, and is missing in the newest."""
        ids = [*(night_id(number) for number in range(self.length - 1)), *([NIGHT_ID] if self.length else [])]
        return [self._night(number, run_id) for number, run_id in enumerate(ids)][-NIGHTS_BACK:]

    def _night(self, number: int, run_id: str) -> Night:
        left = self.length - 1 - number
        outcomes = {name: {"ok": 4} for name in _NAMES[:2]}
        if left < 10:
            outcomes[HOSTILE] = {"failed": 3} if left in (0, 5) else {"ok": 3}
        latencies = {
            (name, key(setting)): METRICS["latency_ms"] * (1.06 if left < 8 and setting == "int8" else 1.0) + number % 3
            for name in _NAMES[:2]
            for setting in SETTINGS
        }
        gone = frozenset({HOSTILE} if left == 0 else ())
        return Night(run_id, _at(number), outcomes, gone, self.findings(run_id), latencies)

    def histories(self, run_id: str | None = None) -> list[HistorySummary]:
        return [
            HistorySummary(device, key(setting), GROUP, workload(setting), device == HOSTILE, self.length)
            for device in _NAMES
            for setting in SETTINGS
        ]

    def history(self, device: str, workload_key: str) -> list[MetricHistory]:
        rng = np.random.default_rng(len(device) + len(workload_key))
        return [self._metric(metric, base, rng, device) for metric, base in METRICS.items()]

    def _metric(self, metric: str, base: float, rng: np.random.Generator, device: str) -> MetricHistory:
        levels = np.where(np.arange(self.length) < self.length // 2, base, base * 1.06)
        values = levels * rng.normal(1.0, 0.012, self.length)
        points = [
            HistoryPoint(
                _at(number), night_id(number), f"m{number}", float(value), "ok",
                float(value * 0.985) if metric == "latency_ms" else None,
                float(value * 1.017) if metric == "latency_ms" else None,
                3, "regressed" if number == self.length // 2 else "unchanged",
            )
            for number, value in enumerate(values)
        ]  # fmt: skip
        middle, quarter = self.length // 2, self.length // 4
        if not points:
            return MetricHistory(metric, "lower", [])
        remark = HOSTILE if device == HOSTILE else "the new kernel was rolled out"
        remarks = [Remark("annotation", _at(quarter), "lena", remark, night_id(quarter))]
        segments = [HistorySegment(0, quarter, "first point"), HistorySegment(quarter, self.length, "device changed")]
        changes = [Change(middle, "worse", base, base * 1.06)]
        drift = "+6.1 % from the first 10 to the last 10 of 60 nights: drift (2.1 % allowed)."
        return MetricHistory(metric, "lower", points, segments, changes, remarks, drift)

    def devices(self, run_id: str | None = None) -> list[DeviceSummary]:
        return [
            DeviceSummary("local", "local", False, NIGHT_ID, _at(59), {"ok": 4}, ("governor: schedutil",)),
            DeviceSummary("jetson", "jetson", False, NIGHT_ID, _at(59), {"ok": 3, "unsupported": 1}),
            DeviceSummary(HOSTILE, "android", True, night_id(40), _at(40), {"failed": 2, "ok": 1}, (HOSTILE,)),
        ]

    def health(self, device: str) -> list[HealthPoint]:
        rng = np.random.default_rng(3)
        battery = device == HOSTILE
        return [
            HealthPoint(
                night_id(number), _at(number), HOSTILE if battery else "Debian 12 6.1.0",
                41.0 + float(rng.normal(0, 1)), 56.0 + float(rng.normal(0, 2)),
                int(number % 17 == 0), 90.0 - number / 4 if battery else None,
                41_000.0 - 120 * number, {"ok": 3, "throttled": int(number % 17 == 0)},
                [("governor", "warning", "schedutil")] if number % 9 == 0 else [],
            )
            for number in range(self.length)
        ]  # fmt: skip

    def workloads(self, run_id: str | None = None) -> list[WorkloadSummary]:
        return [WorkloadSummary(GROUP, workload("fp32"), list(_NAMES), list(SETTINGS))]

    def latest(self, workload: str) -> list[Measurement]:
        more = {"run_id": NIGHT_ID, "started_at": _at(59)}
        found = self.documents[RUN_ID]["measurements"]
        return [
            Measurement.from_document(record | more | {"workload_key": key(record["workload"]["quant"])})
            for record in found
        ]

    def compared(self, before: str, after: str) -> Compared:
        outcomes = iter(["worse", "better", "missing", "insufficient"])
        metrics = [
            self._compared(device, setting, next(outcomes, "same")) for device in _NAMES for setting in SETTINGS[:3]
        ]
        return Compared(before, after, metrics, [("torch", "2.12.0", "2.13.0"), (f"{HOSTILE}: OS build", "a", HOSTILE)])

    @staticmethod
    def _compared(device: str, setting: str, outcome: str) -> ComparedMetric:
        emulated, named = device == HOSTILE, (device, workload(setting), "latency_ms", "lower")
        if outcome == "missing":
            return ComparedMetric(*named, outcome, 1200.0, None, emulated=emulated)
        ratio = {"worse": 1.06, "better": 0.93}.get(outcome, 1.004)
        return ComparedMetric(
            *named, outcome, 1200.0, 1200.0 * ratio, ratio, ratio - 0.01,
            ratio + 0.01, 0.012, (5, 5), f"over 5 and 5 sessions: {outcome}.", emulated,
        )  # fmt: skip
