"""The roofline of made-up profiles and peaks, where the answer is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from foundation.errors import UserError
from reports.model.peaks import Peaks
from suite.profiling.roofline import Advice, advise, group_shares, points_of
from tests.support.suite.made_profiles import BATCHED, PEAKS, QUANTIZED, peak, profile, row


@pytest.mark.parametrize(
    ("gflop", "gbyte", "ms", "bound", "place", "share"),
    [
        (10.0, 0.1, 200.0, "compute", "memory", 0.5),  # 100 ms of operations, 10 ms of bytes
        (1.0, 1.0, 400.0, "bandwidth", "memory", 0.25),  # 10 ms of operations, 100 ms of bytes
        (1.0, 1.0, 80.0, "bandwidth", "cache", 0.25),  # sooner than memory gives them: 20 ms from the cache
        (5.0, 1.0, 80.0, "compute", "cache", 0.625),  # 50 ms of operations
        (0.0, 1.0, 100.0, "bandwidth", "memory", 1.0),  # moves bytes, and computes nothing
    ],
)
def test_an_operator_is_under_the_nearer_roof(
    gflop: float, gbyte: float, ms: float, bound: str, place: str, share: float
) -> None:
    (point,) = points_of(profile(row("attention", "mix", ms, gflop, gbyte)), PEAKS)
    assert (point.roof.bound, point.roof.place) == (bound, place)
    assert point.share == pytest.approx(share)
    assert point.intensity == pytest.approx(gflop / gbyte)
    assert point.gflops_per_s == pytest.approx(gflop / ms * 1e3)


def test_layers_are_summed_and_the_longest_operator_is_first() -> None:
    twice = row("frozen products", BATCHED, 100.0, 5.0, 0.1)
    points = points_of(profile(row("norm", "norm", 150.0, 0.1, 0.1), twice, replace(twice, layer=1)), PEAKS)
    assert [(point.group, point.ms, point.flops) for point in points] == [
        ("frozen products", 200.0, 1e10), ("norm", 150.0, 1e8),
    ]  # fmt: skip


def test_a_type_has_its_own_roof_and_one_without_peak_that_of_float32() -> None:
    names = (QUANTIZED, BATCHED, "Fully Connected (NC, F16) GEMM", "product")
    shares = {name: points_of(profile(row("frozen products", name, 200.0, 10.0, 0.1)), PEAKS)[0] for name in names}
    assert [shares[name].dtype for name in names] == ["int8", "float32", "float32", "float32"]
    assert [shares[name].share for name in names] == pytest.approx([0.125, 0.5, 0.5, 0.5])


WITH_BFLOAT16 = replace(PEAKS, peaks=(peak("bfloat16", "avx512_bf16", 200), *PEAKS.peaks))


def test_bf16_multiplies_a_layers_rounded_operands_in_its_own_type_where_the_processor_does() -> None:
    rows = (
        row("frozen products", "product", 50.0, 10.0, 0.1, "kernel"),
        row("attention", "softmax", 40.0, 1.0, 0.1, "kernel"),
        row("head and loss", "product", 30.0, 1.0, 0.1, "kernel"),
    )

    def types(peaks: Peaks, setting: str) -> list[str]:
        return [point.dtype for point in points_of(profile(*rows, quant=setting), peaks)]

    assert types(WITH_BFLOAT16, "bf16") == ["bfloat16", "float32", "float32"]
    assert types(PEAKS, "bf16") == types(WITH_BFLOAT16, "nf4") == ["float32"] * 3


def test_bf16_is_forecast_to_gain_where_the_processor_multiplies_it() -> None:
    product = row("frozen products", "product", 200.0, 10.0, 0.01, "kernel")
    head = row("head and loss", "product", 100.0, 5.0, 0.01, "kernel")
    assert "quant bf16" not in by_change(advise(profile(product, head, quant="nf4"), PEAKS))
    found = by_change(advise(profile(product, head, quant="nf4"), WITH_BFLOAT16))["quant bf16"]
    assert found.step_ms == pytest.approx(100.0 + 100.0)  # the head multiplies float32 rows


def test_a_group_is_bound_by_the_roof_that_most_of_its_time_is_under() -> None:
    rows = (
        row("attention", "scores", 300.0, 10.0, 0.1), row("attention", "softmax", 100.0, 0.1, 0.5),
        row("attention", "bias", 7.0, None, None), row("not attributed", "in delegates", 20.0, None, None),
    )  # fmt: skip
    attention, rest = group_shares(profile(*rows), PEAKS)
    assert (attention.bound, attention.ms, attention.uncounted_ms) == ("compute", 400.0, 7.0)
    assert (attention.compute_ms, attention.bandwidth_ms) == (300.0, 100.0)
    assert attention.share == pytest.approx((100 + 50) / 400)
    assert (rest.group, rest.bound, rest.share, rest.uncounted_ms) == ("not attributed", None, None, 20.0)


def by_change(found: tuple[Advice, ...]) -> Mapping[str, Advice]:
    return {one.words: one for one in found}


def test_products_bound_by_compute_gain_by_a_faster_type_alone() -> None:
    found = advise(profile(row("frozen products", BATCHED, 200.0, 10.0, 0.01)), PEAKS)
    assert found[0].change == {"quant": "int8-dynamic"}
    assert found[0].step_ms == pytest.approx(50.0)  # half of a roof that is four times as high
    assert found[0].gain == pytest.approx(4.0)
    assert found[0].saved_ms == {"frozen products": pytest.approx(150.0)}
    others = by_change(found[1:])
    assert set(others) == {"b 8", "q 8", "q 2, b 8", "q 8, b 2"}
    assert all(one.gain == pytest.approx(1.0) for one in others.values())


def test_a_step_that_is_not_products_gains_nothing_by_another_type() -> None:
    found = by_change(advise(profile(row("attention", "mix", 200.0, 10.0, 0.01)), PEAKS))
    assert found["quant int8-dynamic"].gain == pytest.approx(1.0)


def test_products_bound_by_their_weights_gain_by_more_rows_for_each_pass() -> None:
    # All slices of one token go through the model at once, before and after: 1 GB of weights, for twice the tokens.
    read = replace(row("frozen products", BATCHED, 200.0, 4.0, 1.0), calls=1)
    found = by_change(advise(profile(read, T=1, b=1), PEAKS))
    assert found["b 2"].gain == pytest.approx(2.0)
    assert found["q 8"].gain == pytest.approx(2.0)


def test_operands_stay_in_the_cache_where_they_are_in_it() -> None:
    # 1 GB in 80 ms, half of it weights, is more than memory gives; 1.5 GB in 160 ms would not be.
    read = replace(row("frozen products", BATCHED, 80.0, 0.5, 1.0), calls=1)
    found = by_change(advise(profile(read, T=1, b=1, q=1), PEAKS))
    assert found["b 2"].step_ms == pytest.approx(1.5 * 80.0)


def test_decoding_is_shared_by_the_rows_of_a_pass() -> None:
    # 256 rows a pass, the fewest of nf4, are 4 rows of 64 tokens; 8 of them are still one pass each.
    rows = (
        row("dequantization", "dequantize", 100.0, None, 1.0, "kernel"),
        row("frozen products", "product", 300.0, 10.0, 0.01, "kernel"),
    )
    found = by_change(advise(profile(*rows, quant="nf4"), PEAKS))
    assert found["b 8"].step_ms == pytest.approx(100.0 + 600.0)
    assert found["b 8"].gain == pytest.approx(800.0 / 700.0)
    assert found["b 8"].saved_ms["dequantization"] == pytest.approx(50.0)
    assert found["q 8"].gain == pytest.approx(1.0)
    assert found["quant fp32"].step_ms == pytest.approx(300.0)


def test_updates_cost_by_query_and_what_lies_between_calls_by_pass() -> None:
    rows = (
        row("noise and update", "update", 50.0, None, 0.1, "kernel"),
        row("not attributed", "between instructions", 20.0, None, None, "runtime"),
        row("not attributed", "in decoder_layer", 10.0, None, None, "kernel"),
    )
    found = by_change(advise(profile(*rows, quant="nf4"), PEAKS))
    assert found["b 8"].step_ms == pytest.approx(50.0 + 20.0 + 20.0)
    assert found["q 8"].step_ms == pytest.approx(100.0 + 40.0 + 20.0)
    assert found["q 2, b 8"].step_ms == pytest.approx(25.0 + 10.0 + 10.0)


def test_queries_stay_where_the_method_has_no_choice() -> None:
    found = by_change(
        advise(profile(row("norm", "norm", 10.0, 0.1, 0.1), method="mezo-full", q=1, quant="fp16"), PEAKS)
    )
    assert not [words for words in found if words.startswith("q ")]


@pytest.mark.parametrize("workload", [{"quant": "fp33"}, {"q": 0}, {"model": 3, "q": "x"}])
def test_a_profile_of_no_workload_is_refused(workload: dict[str, str | int]) -> None:
    with pytest.raises(UserError):
        advise(profile(row("norm", "norm", 10.0, 0.1, 0.1), **workload), PEAKS)
