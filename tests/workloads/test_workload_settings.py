"""A workload's settings: what is accepted, and the errors for the rest."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from foundation.errors import UserError
from workloads.methods.passes import MINUS, PLUS, Loops
from workloads.models.config import PROJECTIONS
from workloads.quantize.settings import QUANTIZATION_SETTINGS
from workloads.workload import Workload


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"quant": "int4"}, r"Unknown quantization setting 'int4': did you mean .*int8"),
        ({"quant": "FP32"}, r"Unknown quantization setting 'FP32': did you mean fp32"),
        (
            {"quant": "x"},
            r"Unknown quantization setting 'x': choose one of 8da4w, bf16, fp16, fp32, int8, int8-dynamic, nf4, "
            r"nf4-double\.",
        ),
        ({"method": "prg"}, r"Unknown method 'prg': did you mean prge"),
        ({"method": "mezo-lora-fa", "q": 4}, r"mezo-lora-fa has 1 query a step, but q is 4: leave -q out"),
        (
            {"method": "mezo-lora-fa", "q": 1, "outer_parallel": True},
            r"mezo-lora-fa runs its outer loop in turn, but outer is on: leave it out",
        ),
        (
            {"method": "mezo-lora-fa", "q": 1, "inner_parallel": True},
            r"mezo-lora-fa runs its inner loop in turn, but inner is on: leave it out",
        ),
        ({"backend": "xnpack"}, r"Unknown backend 'xnpack': did you mean xnnpack"),
        ({"noise": "kernels"}, r"Unknown noise 'kernels': did you mean kernel"),
        ({"targets": ("q_proj", "w_proj")}, r"Unknown target module 'w_proj': did you mean .*_proj"),
        ({"targets": ()}, r"No target module is named.*: choose from q_proj, .*, down_proj"),
        ({"q": 0}, r"q is 0, but it must be at least 1"),
        ({"b": -1}, r"b is -1, but it must be at least 1"),
        ({"T": 0}, r"T is 0, but it must be at least 1"),
        ({"rank": 0}, r"rank is 0, but it must be at least 1"),
        ({"answers": 0}, r"answers is 0, but it must be at least 1"),
        ({"T": 4, "answers": 5}, r"The answers need 5 positions, but T is 4: raise T to 5 or more\."),
        ({"quant": "nf4", "noise": "stock"}, r"nf4 needs the runner's kernel.*: choose noise `kernel`, or one of fp32"),
        (
            {"quant": "int8", "noise": "stock"},
            r"int8 needs the runner's kernel.*or one of fp32, fp16, int8-dynamic, 8da4w",
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_senseless_settings_are_refused_in_one_sentence(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=f"^{sentence}") as caught:
        Workload(**{"model": "tiny", "quant": "fp32", **settings})  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("quant", QUANTIZATION_SETTINGS)
def test_smallest_shape_is_accepted(quant: str) -> None:
    assert Workload("tiny", quant, q=1, b=1, T=1, rank=1).forward_tokens == 2


@pytest.mark.parametrize(
    ("outer", "inner", "slices"), [(True, True, 8), (True, False, 4), (False, True, 2), (False, False, 1)]
)
def test_slices_are_the_copies_of_the_batch_in_one_pass(outer: bool, inner: bool, slices: int) -> None:
    workload = Workload("tiny", "fp32", q=4, outer_parallel=outer, inner_parallel=inner)
    assert next(Loops.of(workload).passes()).slices == slices


def test_document_holds_every_setting_as_json() -> None:
    workload = Workload("tiny", "nf4", targets=("q_proj", "v_proj"))
    document = json.loads(json.dumps(workload.document()))
    assert document.pop("targets") == ["q_proj", "v_proj"]
    assert Workload(targets=("q_proj", "v_proj"), **document) == workload


def test_the_order_of_targets_does_not_change_the_workload() -> None:
    forth, back = (Workload("tiny", "nf4", targets=targets) for targets in (("q_proj", "v_proj"), ("v_proj", "q_proj")))
    assert back == forth
    assert back.document() == forth.document()


def test_all_targets_in_any_order_are_the_default() -> None:
    default = Workload("tiny", "nf4")
    assert default.targets == PROJECTIONS
    assert Workload("tiny", "nf4", targets=PROJECTIONS[::-1]) == default


def test_a_method_resolves_the_loops_that_are_left_open() -> None:
    assert Workload("tiny", "fp32") == Workload("tiny", "fp32", outer_parallel=True, inner_parallel=True)
    mezo = Workload("tiny", "fp32", q=1, method="mezo-lora-fa")
    assert mezo == replace(mezo, outer_parallel=False, inner_parallel=False)
    assert [each.signs for each in Loops.of(mezo).passes()] == [PLUS, MINUS]


@pytest.mark.parametrize(("q", "passes"), [(1, 2), (4, 8), (16, 32)])
def test_two_passes_of_each_query_are_the_cost_of_a_step(q: int, passes: int) -> None:
    assert Workload("tiny", "fp32", q=q, b=3, T=8).forward_tokens == passes * 3 * 8
