"""What of an experiment has no result on a device, with the reason."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

from foundation.unavailable import Json
from reports.model.experiment import Part
from suite.experiments.material import Material
from suite.store.store import Store
from tests.support.reports.training_fixtures import made_up
from tests.support.suite.made_material import made_material, made_measurement, made_profile

FAILED = {"nf4": "the session is invalid"}


def material() -> Material:
    """Steps and trainings of two devices; the profile of one lost a setting, that of the other everything."""
    found = made_material(
        "headline",
        devices=("jetson", "pi"),
        measurements={
            "steps": [
                made_measurement(),
                made_measurement([], device="pi", status="failed", reason="lost", quant="int8"),
            ]
        },
        trainings={"curves": [made_up([(0, 0.5)], status="failed", reason="not finite")]},
        profiles={"where, jetson": replace(made_profile("jetson", {}), failed=FAILED)},
    )
    parts = (
        Part("steps", "measure", "partial", "r"),
        Part("curves", "train", "partial", "t"),
        Part("where, jetson", "profile", "partial", "p"),
        Part("where, pi", "profile", "failed", reason="no route"),
        Part("more", "own", "failed", reason="no compiler"),
    )
    return replace(found, experiment=replace(found.experiment, parts=parts))


def test_a_device_lists_what_it_lacks_and_not_what_others_lack() -> None:
    assert material().missing("jetson") == (
        "curves, prge fp32, seed 7: failed: not finite",
        "where, jetson, nf4: the session is invalid",
        "more: no compiler",
    )
    assert material().missing("pi") == ("steps, int8: failed: lost", "where, pi: no route", "more: no compiler")


def test_a_devices_hardware_is_that_of_its_last_record(tmp_path: Path) -> None:
    with contextlib.closing(Store.open(tmp_path / "suite.sqlite")) as store:
        found = replace(material(), store=store)
        assert Material.hardware(found, "pi") == ""
        store.record_device("pi", "linux", False, {"machine": "aarch64", "cpu_models": [], "memory_kib": None})
        assert Material.hardware(found, "pi") == "? x aarch64, unknown memory, aarch64"
        cores: dict[str, Json] = {"cpu_models": ["Cortex-A55", "Cortex-A76"], "cpu_count": 8, "machine": "aarch64"}
        known: dict[str, Json] = {"board": "Board 5", "memory_kib": 8 << 20, "virtual_machine": "qemu", **cores}
        store.record_device("pi", "linux", False, known)
        assert Material.hardware(found, "pi") == (
            "Board 5, 8 x Cortex-A55 and Cortex-A76, 8.0 GiB, aarch64, virtual machine (qemu)"
        )


def test_parts_can_be_chosen() -> None:
    assert material().missing("jetson", ["curves"]) == ("curves, prge fp32, seed 7: failed: not finite",)
