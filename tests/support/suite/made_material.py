"""Made-up material for experiments with known answers: measurements, trainings, profiles, without a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from foundation.unavailable import Json
from reports.model.experiment import Experiment
from reports.model.measurement import Measurement
from reports.model.profile import FROZEN, Profile, ProfileRow, SettingProfile
from reports.model.training import Training
from suite.experiments.material import Material
from suite.stats import median, session_interval


@dataclass(frozen=True)
class MadeMaterial(Material):
    """Material given directly: measurements, trainings and profile of each part, and what devices report."""

    made_measurements: Mapping[str, Sequence[Measurement]] = field(default_factory=dict)
    made_trainings: Mapping[str, Sequence[Training]] = field(default_factory=dict)
    made_profiles: Mapping[str, Profile] = field(default_factory=dict)
    made_facts: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)

    def measurements(self, part: str, device: str | None = None) -> list[Measurement]:
        return [one for one in self.made_measurements.get(part, ()) if device in (None, one.device)]

    def trainings(self, part: str, device: str | None = None) -> list[Training]:
        return [one for one in self.made_trainings.get(part, ()) if device in (None, one.device)]

    def profile(self, part: str) -> Profile | None:
        return self.made_profiles.get(part)

    def facts(self, part: str, device: str) -> Mapping[str, Json]:
        return self.made_facts.get(device, {})


def made_material(
    name: str,
    *,
    devices: tuple[str, ...] = ("jetson",),
    measurements: Mapping[str, Sequence[Measurement]] | None = None,
    trainings: Mapping[str, Sequence[Training]] | None = None,
    profiles: Mapping[str, Profile] | None = None,
    facts: Mapping[str, Mapping[str, Json]] | None = None,
) -> MadeMaterial:
    """Returns the material of an experiment; profiles are by part and device (`where, jetson`), facts by device."""
    experiment = Experiment(
        "2026-11-29T10-00-00-aaaa", name, "What?", False, devices, None, ("suite", "experiment", name), "", "running"
    )
    nothing = cast(Any, None)  # neither store nor home is used
    return MadeMaterial(experiment, nothing, nothing, measurements or {}, trainings or {}, profiles or {}, facts or {})


def made_measurement(
    sessions_ms: Sequence[float] = (100.0, 101.0, 99.0),
    *,
    device: str = "jetson",
    emulated: bool = False,
    status: str = "ok",
    reason: str | None = None,
    peaks_kib: Sequence[float] | float = 500_000.0,
    weight_bytes: float | None = 400_000_000.0,
    energies_mj: Sequence[float] = (),
    error: float | None = 1e-5,
    noise: float = 1e-5,
    loss: float = 8.0,
    **workload: Json,
) -> Measurement:
    """A measurement whose sessions have these medians; without energies it has no power sensor. `error` and `noise` of
    the losses are relative; an error of None: not compared. `workload`: what differs from P-RGE in fp32, q=4 b=4 T=64.
    """
    peaks = list(peaks_kib) if isinstance(peaks_kib, Sequence) else [peaks_kib] * len(sessions_ms)
    interval = session_interval(sessions_ms) if sessions_ms else None
    no_sensor = {"unavailable": "the device has no power sensor that can be read"}
    document: dict[str, Any] = {
        "device": device,
        "kind": "jetson",
        "emulated": emulated,
        "workload": {
            **{"model": "smollm2-135m", "method": "prge", "quant": "fp32", "backend": "xnnpack"},
            **{"q": 4, "b": 4, "T": 64, "rank": 16},
            **workload,
        },
        "status": status,
        "reason": reason,
        "peak_memory_kib": max(peaks) if peaks else None,
        "weight_bytes": weight_bytes,
        "energy_mj_per_step": {"gross": median(energies_mj), "sessions_gross": list(energies_mj)}
        if energies_mj
        else no_sensor,
        "sessions": [
            {
                "session_id": f"s{place}",
                "ordinal": place,
                "attempt": 0,
                "status": "ok",
                "median_ms": ms,
                "hwm_kib": peak,
            }
            for place, (ms, peak) in enumerate(zip(sessions_ms, peaks, strict=True))
        ],
    }
    if sessions_ms:
        ends = None if interval is None else interval.document()
        document["latency_ms"] = {"median": median(sessions_ms), "ci95": ends, "sessions": list(sessions_ms)}
    if error is not None:
        document["loss"] = {"first": loss, "max_relative_error": error, "noise": noise * loss, "reference_steps": 3}
    return Measurement.from_document(document)


def made_profile(device: str, groups_ms: Mapping[str, Mapping[str, float]]) -> Profile:
    """A profile of settings from what a step spends in each group."""
    settings = []
    for quant, groups in groups_ms.items():
        rows = tuple(
            ProfileRow(group, "q_proj" if group == FROZEN else "", group, "kernel", 0, 1, ms, 1e9, 1e6)
            for group, ms in groups.items()
        )
        step = sum(groups.values())
        settings.append(SettingProfile({"quant": quant}, "p" * 8, 2, (step,) * 3, (step,) * 3, 3, rows))
    return Profile("2026-11-29T10-00-00-bbbb", "", device, "jetson", False, {}, tuple(settings), {})
