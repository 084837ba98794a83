"""The material of an answer: everything that an experiment's parts have measured, read from the store and the home."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from devices.checks.facts import hardware_words
from foundation.errors import UserError
from foundation.unavailable import Json
from reports.model.experiment import Experiment
from reports.model.measurement import Measurement
from reports.model.profile import Profile
from reports.model.training import Training
from suite.experiments.kept import own_path, read_own
from suite.home import Home
from suite.profiling.kept import read_profile
from suite.report_data.source import StoreSource
from suite.store.store import Store
from suite.store.trainings import Trainings


@dataclass(frozen=True)
class Material:
    """What was measured for an experiment."""

    experiment: Experiment
    store: Store
    home: Home

    def measurements(self, part: str, device: str | None = None) -> list[Measurement]:
        """Returns the measurements of a part, of one device if it is named; empty if the part was not started."""
        run_id = self._id(part)
        found = StoreSource(self.store).run(run_id).measurements if run_id else []
        return [one for one in found if device in (None, one.device)]

    def facts(self, part: str, device: str) -> Mapping[str, Json]:
        """Returns the facts that the device reported in a part's run; empty if the run did not reach it."""
        run_id = self._id(part)
        found = StoreSource(self.store).surroundings(run_id).devices.get(device) if run_id else None
        return {} if found is None else found.facts

    def trainings(self, part: str, device: str | None = None) -> list[Training]:
        """Returns the trainings of a part, of one device if it is named."""
        group_id = self._id(part)
        found = Trainings(self.store.database).in_group(group_id) if group_id else []
        return [one for one in found if device in (None, one.device)]

    def profile(self, part: str) -> Profile | None:
        """Returns the profile of a part, or None if it can't be read."""
        profile_id = self._id(part)
        try:
            return read_profile(profile_id, self.home) if profile_id else None
        except UserError:
            return None

    def own(self, part: str) -> Json:
        """Returns the results of an `own` part, or None if there are none."""
        name = self._id(part)
        return read_own(own_path(self.experiment.experiment_id, name, self.home)) if name else None

    def hardware(self, device: str) -> str:
        """Returns the device's hardware in words, as it was recorded last; empty if the device was never reached."""
        known = self.store.hardware(device)
        if not known:
            return ""
        words = [*hardware_words(known), str(known.get("machine"))]
        if known.get("virtual_machine"):
            words.append(f"virtual machine ({known['virtual_machine']})")
        return ", ".join(words)

    def missing(self, device: str, parts: Sequence[str] | None = None) -> tuple[str, ...]:
        """Returns the reason for each part, measurement or training of the device that has no result."""
        lines = []
        others = set(self.experiment.devices) - {device}
        for part in self.experiment.parts:
            if part.device in others or (parts is not None and part.name not in parts):
                continue
            if part.status == "failed":
                lines.append(f"{part.name}: {part.reason}")
            reader = _LISTS.get(part.kind)
            lines += reader(self, part.name, device) if reader else []
        return tuple(dict.fromkeys(lines))

    def _id(self, part: str) -> str:
        found = self.experiment.part(part)
        return "" if found is None else found.made_id


def _missing_measurements(material: Material, part: str, device: str) -> list[str]:
    return [
        f"{part}, {one.workload.get('quant')}: {one.status}: {one.reason}"
        for one in material.measurements(part, device)
        if one.status not in ("ok", "unstable")
    ]


def _missing_trainings(material: Material, part: str, device: str) -> list[str]:
    """Returns a sentence for each reason, which many trainings may share, such as a lost device."""
    by_reason: dict[str, list[str]] = {}
    for one in material.trainings(part, device):
        if one.status != "finished":
            name = f"{one.workload.get('method')} {one.workload.get('quant')}, seed {one.seed}"
            by_reason.setdefault(f"{one.status}: {one.reason}", []).append(name)
    return [
        f"{part}, {names[0] if len(names) == 1 else f'{len(names)} trainings'}: {reason}"
        for reason, names in by_reason.items()
    ]


def _missing_settings(material: Material, part: str, device: str) -> list[str]:
    found = material.profile(part)
    failed = {} if found is None or found.device != device else found.failed
    return [f"{part}, {quant}: {reason}" for quant, reason in failed.items()]


_LISTS: Mapping[str, Callable[[Material, str, str], list[str]]] = {
    "measure": _missing_measurements,
    "train": _missing_trainings,
    "profile": _missing_settings,
}
