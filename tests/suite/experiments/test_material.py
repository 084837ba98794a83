"""What of an experiment has no result on a device, with the reason."""

from __future__ import annotations

from dataclasses import replace

from reports.model.experiment import Part
from suite.experiments.material import Material
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


def test_parts_can_be_chosen() -> None:
    assert material().missing("jetson", ["curves"]) == ("curves, prge fp32, seed 7: failed: not finite",)
