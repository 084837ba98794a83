"""Computes the adapters' A from a task's activations: the directions in which the classes of examples differ.

The more values P-RGE perturbs, the noisier its estimate, so the perturbed values should matter. For a task of k classes
with answers of one token, each projection gets k rows. The last k - 1 are Fisher's discriminants of its inputs at the
position that predicts the answer, w = (S + c mean(diag S) I)^-1 (mean of a class - mean of the first), S the covariance
within classes [Fisher 1936; the ridge: Friedman 1989]. The first row is along the mean input, which is the same for all
examples: its B shifts all answers alike, as the answers' words have to be learned too, and the discriminants are made
orthogonal to it. Only forward passes are needed, layer by layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from foundation.errors import UserError
from workloads.methods.adapter import name_of_a
from workloads.models.config import LlamaConfig
from workloads.models.llama import DecoderLayer, Rotary, attention_bias
from workloads.quantize.apply import LayeredModel
from workloads.tasks.batches import padded_batch
from workloads.tasks.encoding import Example, RowLayout
from workloads.workload import AdapterSlot, Workload, layout_of

TOKENS = 65_536
"""The most tokens of full-length examples: 1,024 rows of 64 tokens, as many as in 32 steps of q=4 and b=4."""
FEWEST = 64
"""Examples that are used whatever their length."""
_ROWS = 16
_RIDGE = 2.0
"""c: with 1 and 2 trainings were alike, with .3 one diverged at the same rate (docs/training.md)."""
_NOTHING = 1e-10
"""A variance below this share of the squared mean is rounding."""


def discriminant_a(
    workload: Workload,
    config: LlamaConfig,
    state: Mapping[str, Tensor],
    examples: Sequence[Example],
    layout: RowLayout,
) -> dict[str, Tensor]:
    """Returns each A float32 [rank, in] by `name_of_a`, without the factor alpha / rank, from training `examples`.

    Raises UserError for a task whose answers have several tokens, a class without two examples, and for a rank that is
    not the number of classes.
    """
    right = torch.tensor([example.right for example in examples])
    _require_classes(workload, examples, right)
    slots = layout_of(workload, config)
    factor = workload.alpha / workload.rank
    found: dict[str, Tensor] = {}
    for layer, inputs in _inputs_of_layers(config, state, examples, layout, slots):
        for slot in (one for one in slots if one.layer == layer):
            found[name_of_a(slot)] = directions(inputs[slot.projection], right) / factor
    return found


def directions(x: Tensor, right: Tensor) -> Tensor:
    """Returns the rows of A, float32 [classes, in], for inputs x [n, in] of the classes `right` int64 [n].

    A's product with an input is 1 on average in its first row, and has a standard deviation of 1 in the others. Inputs
    that are the same for all examples, as may be the case in the first layer's attention, have no discriminants: zeros.
    """
    x = x.double()
    classes = range(int(right.max()) + 1)
    means = torch.stack([x[right == one].mean(0) for one in classes])
    within = x - means[right]
    covariance = within.T @ within / len(x)
    mean, variance = x.mean(0), float(covariance.diagonal().mean())
    first = (mean / (mean @ mean))[None]
    if variance <= _NOTHING * float(mean @ mean) / x.shape[1]:
        return torch.cat([first, torch.zeros(len(classes) - 1, x.shape[1], dtype=x.dtype)]).float()
    ridge = _RIDGE * variance * torch.eye(x.shape[1], dtype=x.dtype)
    found = torch.linalg.solve(covariance + ridge, (means[1:] - means[0]).T).T
    along = mean / mean.norm()
    found = found - (found @ along)[:, None] * along
    spread = (x @ found.T).std(0)
    return torch.cat([first, found / spread[:, None]]).float()


def _require_classes(workload: Workload, examples: Sequence[Example], right: Tensor) -> None:
    if len({example.candidates for example in examples}) != 1 or any(len(one) != 1 for one in examples[0].candidates):
        raise UserError(
            "A discriminant A needs a task whose answers are the same words for all examples, one token each: leave "
            "out --init, or choose another task."
        )
    count = len(examples[0].candidates)
    few = [one for one in range(count) if int((right == one).sum()) < 2]
    if few:
        raise UserError(
            f"Answer {few[0] + 1} of {count} has fewer than 2 of {len(examples)} examples, and a discriminant A needs "
            "2 of each: give more examples, or leave out --init."
        )
    if workload.rank != count:
        raise UserError(
            f"rank is {workload.rank}, but a discriminant A has a row for each of the task's {count} answers: use "
            f"--rank {count}."
        )


@torch.no_grad()
def _inputs_of_layers(
    config: LlamaConfig,
    state: Mapping[str, Tensor],
    examples: Sequence[Example],
    layout: RowLayout,
    slots: Sequence[AdapterSlot],
) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """Yields, for each layer with adapters, the inputs [n, in] of its projections at each example's last position.

    All examples pass through a layer before the next one is created, so that only one layer is in memory.
    """
    model = LayeredModel(config, state, "fp32")
    order = sorted(range(len(examples)), key=lambda place: len(examples[place].prompt))
    groups = [order[start : start + _ROWS] for start in range(0, len(order), _ROWS)]
    hidden, bias, rotary = list[Tensor](), list[Tensor](), list[Sequence[Rotary]]()
    for group in groups:
        batch = padded_batch([layout.row(examples[place], examples[place].right) for place in group])
        embedded = model.embedding(torch.from_numpy(batch.tokens)).to(torch.float32)
        hidden.append(embedded.reshape(1, -1, config.hidden_size))
        bias.append(attention_bias(torch.from_numpy(batch.first), batch.length))
        rotary.append(Rotary.of_layers(config, batch.length))
    back = torch.tensor([place for group in groups for place in group]).argsort()
    adapted = {slot.layer for slot in slots}
    for index in range(max(adapted) + 1):
        layer = model.layer(index)
        seen = _watch(layer, [slot.projection for slot in slots if slot.layer == index])
        for number, x in enumerate(hidden):
            hidden[number] = layer(x, rotary[number][index], bias[number], {})
            for inputs in seen.values():
                rows = inputs[-1].reshape(-1, bias[number].shape[-1], inputs[-1].shape[-1])
                inputs[-1] = rows[:, -1].clone()  # of all positions, only the last is kept
        if index in adapted:
            yield index, {name: torch.cat(inputs)[back] for name, inputs in seen.items()}


def _watch(layer: DecoderLayer, projections: Sequence[str]) -> dict[str, list[Tensor]]:
    """Returns the lists to which these projections append their inputs from now on."""
    seen: dict[str, list[Tensor]] = {name: [] for name in projections}
    for owner in (layer.self_attn, layer.mlp):
        for name, module in owner.named_children():
            if name in seen:
                module.register_forward_pre_hook(lambda _module, given, name=name: seen[name].append(given[0]))
    return seen
