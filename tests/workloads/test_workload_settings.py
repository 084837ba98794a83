"""A workload's settings: what is accepted, and the errors for the rest."""

from __future__ import annotations

import json

import pytest

from foundation.errors import UserError
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
    assert Workload("tiny", quant, q=1, b=1, T=1, rank=1).slices == 2


@pytest.mark.parametrize(
    ("outer", "inner", "slices"), [(True, True, 8), (True, False, 4), (False, True, 2), (False, False, 1)]
)
def test_slices_are_the_copies_of_the_batch_in_one_pass(outer: bool, inner: bool, slices: int) -> None:
    assert Workload("tiny", "fp32", q=4, outer_parallel=outer, inner_parallel=inner).slices == slices


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
