"""One delegate for all parts that are alike, with their constants as arguments of each call.

The constants stay in a mapped data file, and no delegate packs its own copy of them: XNNPACK packs a weight during its
product. A layer that a step computes forward, forward again and backward is thus in memory once instead of in two
packed forms, and a program's file has one graph for all layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from workloads.lowering.delegation import DelegatedPart, delegate


def delegate_shared(part: nn.Module, example: tuple[Tensor, ...]) -> DelegatedPart:
    """Lowers `part` to a delegate that is called with the part's inputs, then with the constants that vary.

    Raises NotDelegatedError, naming the operators, if any operators of the part stay outside the delegate.
    """
    constants = varying_constants(part)
    around = _WithArguments(part, tuple(constants), len(example))
    (delegated,) = delegate([around], (*example, *constants.values()), weights_vary=True)
    return delegated


def varying_constants(part: nn.Module) -> dict[str, Tensor]:
    """Returns the constants in which similar parts differ: their state dict, and buffers that modules name as
    `varying`."""
    constants: dict[str, Tensor] = part.state_dict()
    for owner, module in part.named_modules():
        names: Sequence[str] = getattr(module, "varying", ())
        constants |= {f"{owner}.{name}".removeprefix("."): module.get_buffer(name) for name in names}
    return constants


class _WithArguments(nn.Module):
    def __init__(self, part: nn.Module, names: Sequence[str], inputs: int) -> None:
        super().__init__()
        self.part, self._names, self._inputs = part, tuple(names), inputs

    def forward(self, *arguments: Tensor) -> Tensor | tuple[Tensor, ...]:
        constants = dict(zip(self._names, arguments[self._inputs :], strict=True))
        result: Tensor | tuple[Tensor, ...] = functional_call(
            self.part,
            constants,
            arguments[: self._inputs],
            tie_weights=False,  # equal constants come one by one
        )
        return result


class Constants(nn.Module):
    """A part's constants in the order of its shared delegate's arguments."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self._names = []
        for name, value in varying_constants(part).items():
            self._names.append(name.replace(".", "__"))
            self.register_buffer(self._names[-1], value.detach())

    def values(self) -> list[Tensor]:
        """Returns the constants."""
        return [self.get_buffer(name) for name in self._names]


class DelegatedLayer(nn.Module):
    """A layer with two delegates that all layers share, forward and backward; `back` is None if it isn't needed."""

    def __init__(self, forth: DelegatedPart, back: DelegatedPart | None, constants: Constants) -> None:
        super().__init__()
        self.forth, self.backward, self.constants = forth, back, constants

    def forward(self, x: Tensor, bias: Tensor, *adapters: Tensor) -> Tensor:
        """x [1, b * T, hidden], bias [b, 1, 1, T, T], adapters [1, rank, out] -> like x."""
        result: Tensor = self.forth(x, bias, *adapters, *self.constants.values())
        return result

    def back(self, x: Tensor, bias: Tensor, gradient: Tensor, *adapters: Tensor) -> Sequence[Tensor]:
        """Takes forward's inputs and the gradient by its result -> the gradients by x and by each of the adapters."""
        if self.backward is None:
            raise TypeError("this layer was lowered without a backward pass")
        found = self.backward(x, bias, gradient, *adapters, *self.constants.values())
        result: Sequence[Tensor] = (found,) if isinstance(found, Tensor) else found  # without adapters there is one
        return result


def delegate_layers(blocks: Sequence[nn.Module], back: nn.Module, example: tuple[Tensor, ...]) -> list[nn.Module]:
    """Lowers the first of `blocks`, which differ only in their constants, and `back`, its backward pass.

    `example` are the inputs of a block. Raises NotDelegatedError if operators stay outside a delegate.
    """
    forth, backward = delegate_shared(blocks[0], example), _delegate_back(back, example)
    return [DelegatedLayer(forth, backward, Constants(block)) for block in blocks]


def delegate_plain_layers(
    below: Sequence[nn.Module],
    above: Sequence[nn.Module],
    back: Callable[[nn.Module], nn.Module],
    example: tuple[Tensor, ...],
) -> list[nn.Module]:
    """Lowers layers without adapters, `below` and `above` all adapters; only the latter have a backward pass.

    `back` creates the backward pass of a block. Returns all layers, those below first.
    """
    if not (below or above):
        return []
    forth = delegate_shared((below or above)[0], example)
    backward = _delegate_back(back(above[0]), example) if above else None
    return [
        *(DelegatedLayer(forth, None, Constants(block)) for block in below),
        *(DelegatedLayer(forth, backward, Constants(block)) for block in above),
    ]


def _delegate_back(back: nn.Module, example: tuple[Tensor, ...]) -> DelegatedPart:
    x, bias, *adapters = example
    return delegate_shared(back, (x, bias, torch.zeros_like(x), *adapters))
