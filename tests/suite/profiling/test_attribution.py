"""Joining what the runner has timed with what a program computes, on sessions made up to the nanosecond."""

from __future__ import annotations

from typing import Any

import pytest

from devices.processes import ProcessEnd
from reports.model.profile import ProfileRow
from suite.errors import SuiteError
from suite.profiling.attribution import attribute, match_nodes, middle_half
from suite.sessions.collect import collect
from suite.sessions.events import StepEvent
from suite.sessions.record import SessionRecord
from tests.support.suite import recorded_session as recorded
from workloads.profile.instructions import Called, DelegateOperators
from workloads.profile.kernels import Kernel
from workloads.profile.operator import Group, Operator

PRODUCT = Operator("product", Group.FROZEN, "q_proj", 0, 1e6, 4e3)
SUM = Operator("add", Group.RESIDUAL, "", 0, 1e3, 12e3)
NOISE = Operator("perturb", Group.NOISE, bytes=8e3)
LAYER = Kernel(
    Operator("decoder_layer", Group.REST, layer=1),
    {"product q_proj": Operator("product", Group.FROZEN, "q_proj", 1, 2e6, 4e3)},
)
CALLED: list[Called] = [Kernel(NOISE, {}), DelegateOperators((PRODUCT, SUM)), LAYER]
NAMES = {1: ["Fully Connected (NC, F32) GEMM #1", "Add (ND) #1"], 2: ["product q_proj", "rotary"]}


US = 1_000


def call(instruction: int, start_us: int, us: int, parts_us: list[int], *, of_threads: bool = False) -> dict[str, Any]:
    """A call `start_us` after the begin of its step."""
    return {
        "event": "call", "instruction": instruction, "t0_ns": start_us * US, "t1_ns": (start_us + us) * US,
        "of_threads": of_threads, "parts_ns": [part * US for part in parts_us],
    }  # fmt: skip


def session(
    profiled: dict[int, list[dict[str, Any]]], *, steps: int = 4, names: dict[int, list[str]] = NAMES
) -> SessionRecord:
    """Measured steps of 100 ms, of which those of `profiled` have calls, each at its place in the step."""
    lines = [recorded.header(), recorded.load()]
    for index in range(steps):
        step = recorded.step(index)
        lines.append(step)
        if index in profiled:
            lines += [{"event": "parts", "instruction": place, "names": of_parts} for place, of_parts in names.items()]
            for each in profiled[index]:
                times = {name: step["t0_ns"] + each[name] for name in ("t0_ns", "t1_ns")}
                lines.append({**each, "step": index, **times})
    return collect("s", recorded.text([*lines, recorded.footer()]), ProcessEnd(rc=0))


CALLS = [
    call(0, 0, 1000, []),
    call(1, 1500, 20_000, [15_000, 4000]),
    call(2, 30_000, 40_000, [60_000, 10_000], of_threads=True),
]


def rows_of(record: SessionRecord) -> dict[str, ProfileRow]:
    return {f"{row.name} {row.layer}": row for row in attribute(record, CALLED).rows}


def test_operators_and_what_is_not_attributed_add_up_to_the_step() -> None:
    found = attribute(session({1: CALLS, 3: CALLS}), CALLED)
    assert found.plain_ms == found.profiled_ms == (100.0, 100.0)
    assert sum(row.ms for row in found.rows) == pytest.approx(100.0)


def test_time_is_where_it_was_reported() -> None:
    ms = {name: row.ms for name, row in rows_of(session({1: CALLS, 3: CALLS})).items()}
    assert ms == {
        "perturb None": 1.0,
        "Fully Connected (NC, F32) GEMM 0": 15.0,
        "Add (ND) 0": 4.0,
        "in delegates None": 1.0,
        "product 1": 30.0,  # 60 ms of two threads
        "rotate 1": 5.0,
        "in decoder_layer None": 5.0,
        "between instructions None": 39.0,
    }


def test_operations_of_a_step_do_not_depend_on_how_many_are_counted() -> None:
    for calls in ({1: CALLS}, {1: CALLS, 3: CALLS}):
        found = rows_of(session(calls))
        assert (found["product 1"].flops, found["product 1"].bytes, found["product 1"].calls) == (2e6, 4e3, 1)
        assert found["perturb None"].flops is None
        assert found["rotate 1"].bytes is None


def test_a_part_that_no_node_stands_for_is_a_row_without_operations() -> None:
    names = {**NAMES, 1: ["Fully Connected (NC, F32) GEMM #1", "Pack LHS #1"]}
    found = rows_of(session({1: CALLS}, names=names))
    assert (found["Pack LHS None"].ms, found["Pack LHS None"].flops, found["Pack LHS None"].group) == (
        4.0,
        None,
        "rest",
    )


def test_operators_that_were_fused_into_others_leave_the_rest_at_their_places() -> None:
    convert = Operator("convert", Group.ROUND)
    others = [Operator("product", Group.LOW_RANK, "q_proj"), Operator("batched product", Group.LOW_RANK)]
    names = [
        "Fully Connected (NC, QDU8, F32, QC8W) GEMM",
        "Fully Connected (NC, F32) GEMM",
        "Batch Matrix Multiply (NC, F32) GEMM",
    ]
    assert match_nodes(names, [convert, PRODUCT, *others]) == [PRODUCT, *others]
    assert match_nodes(["Square (NC)", "Unheard Of (NC)", "Add (ND)"], [Operator("multiply", Group.NORM), SUM]) == [
        Operator("multiply", Group.NORM), None, SUM,
    ]  # fmt: skip


def test_conversions_for_a_processor_without_float16_leave_products_with_their_nodes() -> None:
    """As on a Cortex-A72: XNNPACK computes in float32, so it widens weights first, and narrows no result."""
    to_half, to_single = Operator("convert", Group.ROUND, "fp16"), Operator("convert", Group.ROUND, "fp32")
    shares = [
        [
            Operator("product", Group.FROZEN, name), to_single, Operator("product", Group.LOW_RANK, name),
            Operator("batched product", Group.LOW_RANK, name), to_single, Operator("add", Group.LOW_RANK, name),
        ]
        for name in ("q_proj", "k_proj", "v_proj")
    ]  # fmt: skip
    nodes = [to_half, *(node for share in shares for node in share), to_half]
    product, batched = "Fully Connected (NC, F32) GEMM", "Batch Matrix Multiply (NC, F32) GEMM"
    names = [*["Convert (NC)"] * 7, *[product, product, batched, "Add (ND)"] * 3, "Convert (NC)"]
    products = [node for share in shares for node in share if node is not to_single]
    assert match_nodes(names, nodes) == [*[None] * 7, *products, to_half]


def test_a_conversion_without_a_node_rounds_operands() -> None:
    found = rows_of(session({1: CALLS}, names={**NAMES, 1: ["Fully Connected (NC, F32) GEMM #1", "Convert (NC) #1"]}))
    assert found["Convert (NC) None"].group == "rounding of operands"


def test_a_step_that_the_system_held_up_does_not_count() -> None:
    steps = [
        StepEvent.model_validate(recorded.step(index, ms=ms)) for index, ms in enumerate([10.0, 900.0, 11.0, 12.0])
    ]
    assert [step.latency_ms for step in middle_half(steps)] == [11.0, 12.0]
    assert middle_half(steps[:3]) == sorted(steps[:3], key=lambda step: step.latency_ms)


@pytest.mark.parametrize("profiled", [{}, {0: CALLS, 1: CALLS, 2: CALLS, 3: CALLS}])
def test_a_session_without_steps_of_both_kinds_gives_no_profile(profiled: dict[int, list[dict[str, Any]]]) -> None:
    with pytest.raises(SuiteError, match="no steps with and without a profile"):
        attribute(session(profiled), CALLED)


def test_a_program_of_fewer_instructions_than_the_runner_tells_of_is_refused() -> None:
    with pytest.raises(SuiteError, match="instruction 9, but the program has only 3"):
        attribute(session({1: [call(9, 0, 1000, [])]}), CALLED)
