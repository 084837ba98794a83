"""A from what layers see of a task: planted differences are found, and inputs are those that transformers has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from foundation.errors import UserError
from tests.support.workloads.in_transformers import transformers_model
from workloads.methods.adapter import name_of_a
from workloads.models.zoo import load_model
from workloads.reference.discriminant import directions, discriminant_a
from workloads.tasks.encoding import Example, RowLayout
from workloads.workload import Workload, layout_of

WORKLOAD = Workload("tiny", "fp32", rank=2, layers="1", targets=("q_proj", "gate_proj", "down_proj"))
ANSWERS = ((5,), (6,))


def _examples(count: int = 24) -> list[Example]:
    generator = torch.Generator().manual_seed(3)
    lengths = torch.randint(3, 14, (count,), generator=generator).tolist()
    prompts = [torch.randint(10, 500, (length,), generator=generator).tolist() for length in lengths]
    return [Example(tuple(prompt), ANSWERS, place % 2) for place, prompt in enumerate(prompts)]


LAYOUT = RowLayout(16, 1, 0, (1,))


def test_a_product_with_an_input_is_one_on_average_and_then_of_spread_one() -> None:
    right = torch.arange(60) % 3
    x = torch.randn(60, 12, generator=torch.Generator().manual_seed(1)) + 4.0
    found = x @ directions(x, right).T
    assert found[:, 0].mean() == pytest.approx(1.0, abs=1e-5)
    assert found[:, 1:].std(0).tolist() == pytest.approx([1.0, 1.0], abs=1e-5)
    assert found.shape == (60, 3)


def test_classes_that_differ_in_one_direction_are_separated_by_it() -> None:
    right = torch.arange(200) % 2
    generator = torch.Generator().manual_seed(2)
    apart = torch.nn.functional.normalize(torch.randn(20, generator=generator), dim=0)
    common = torch.randn(20, generator=generator)
    x = 3.0 * common + torch.randn(200, 20, generator=generator) + torch.outer(6.0 * (right - 0.5), apart)
    row = directions(x, right)[1]
    assert ((x @ row > (x @ row).median()) == (right == 1)).float().mean() > 0.98
    mean = x.mean(0)
    assert float(row @ mean) == pytest.approx(0.0, abs=1e-4)
    across = apart - apart @ mean / (mean @ mean) * mean
    assert float(torch.cosine_similarity(row, across, dim=0)) > 0.85


def test_inputs_that_are_all_the_same_have_no_discriminants() -> None:
    x = torch.randn(1, 12, generator=torch.Generator().manual_seed(5)).repeat(20, 1)
    found = directions(x + 1e-8 * torch.randn(20, 12, generator=torch.Generator().manual_seed(6)), torch.arange(20) % 2)
    assert (x @ found[0]).tolist() == pytest.approx([1.0] * 20)
    assert found[1].abs().max() == 0


def test_the_inputs_of_projections_are_those_of_transformers() -> None:
    weights, examples = load_model("tiny"), _examples()
    found = discriminant_a(WORKLOAD, weights.config, weights.state, examples, LAYOUT)
    assert list(found) == [f"layers.1.{name}.lora_a" for name in ("q_proj", "gate_proj", "down_proj")]
    theirs: Any = transformers_model(weights)
    seen = dict[str, list[torch.Tensor]]()
    layer = theirs.model.layers[1]
    for name, module in (("q_proj", layer.self_attn.q_proj), ("gate_proj", layer.mlp.gate_proj)):
        module.register_forward_pre_hook(
            lambda _module, given, name=name: seen.setdefault(name, []).append(given[0][0, -1])
        )
    with torch.no_grad():
        for example in examples:
            theirs(torch.tensor([[1, *example.prompt]]))
    right = torch.tensor([example.right for example in examples])
    for name, inputs in seen.items():
        expected = directions(torch.stack(inputs), right) / (WORKLOAD.alpha / WORKLOAD.rank)
        torch.testing.assert_close(found[f"layers.1.{name}.lora_a"], expected, rtol=2e-3, atol=2e-5)


def test_the_order_of_examples_makes_no_difference() -> None:
    weights, examples = load_model("tiny"), _examples()
    found = discriminant_a(WORKLOAD, weights.config, weights.state, examples, LAYOUT)
    again = discriminant_a(WORKLOAD, weights.config, weights.state, examples[::-1], LAYOUT)
    for name, a in found.items():
        torch.testing.assert_close(again[name], a, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("examples", "rank", "sentence"),
    [
        ([Example((9,), ((5, 6), (7, 8)), place % 2) for place in range(8)], 2, "one token each"),
        ([Example((9,), ((5,), (6 + place,)), place % 2) for place in range(8)], 2, "the same words for all examples"),
        ([Example((9,), ANSWERS, 0) for _ in range(8)], 2, "Answer 2 of 2 has fewer than 2 of 8 examples"),
        (_examples(8), 16, "use --rank 2"),
    ],
)
def test_a_task_without_discriminants_is_a_sentence(examples: list[Example], rank: int, sentence: str) -> None:
    weights = load_model("tiny")
    with pytest.raises(UserError, match=sentence):
        discriminant_a(replace(WORKLOAD, rank=rank), weights.config, weights.state, examples, LAYOUT)


def test_names_say_layer_and_projection() -> None:
    slots = layout_of(WORKLOAD, load_model("tiny").config)
    assert [name_of_a(slot) for slot in slots] == [f"layers.1.{name}.lora_a" for name in WORKLOAD.targets]
