"""Decoder layers that a step goes through both ways, lowered once for all of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from workloads.lowering.delegation import DelegatedPart
from workloads.lowering.shared_delegate import Constants, delegate_shared


class DelegatedLayer(nn.Module):
    """A layer by two delegates, forth and back, which all layers share."""

    def __init__(self, forth: DelegatedPart, back: DelegatedPart, constants: Constants) -> None:
        super().__init__()
        self.forth, self.backward, self.constants = forth, back, constants

    def forward(self, x: Tensor, bias: Tensor, *adapters: Tensor) -> Tensor:
        """x [1, b * T, hidden], bias [b, 1, 1, T, T], adapters [1, rank, out] -> like x."""
        result: Tensor = self.forth(x, bias, *adapters, *self.constants.values())
        return result

    def back(self, x: Tensor, bias: Tensor, gradient: Tensor, *adapters: Tensor) -> Sequence[Tensor]:
        """The same and the gradient by the result -> the gradients by x, and by each of the adapters."""
        result: Sequence[Tensor] = self.backward(x, bias, gradient, *adapters, *self.constants.values())
        return result


def delegate_layers(blocks: Sequence[nn.Module], back: nn.Module, example: tuple[Tensor, ...]) -> list[nn.Module]:
    """Lowers the first of `blocks`, all alike but for their constants, and `back`, the way back through it.

    `example` are the inputs of a block. Raises NotDelegatedError when operators stay outside of a delegate.
    """
    x, bias, *adapters = example
    forth = delegate_shared(blocks[0], example)
    backward = delegate_shared(back, (x, bias, torch.zeros_like(x), *adapters))
    return [DelegatedLayer(forth, backward, Constants(block)) for block in blocks]
