"""The eager reference of training all weights, from MeZO's formula: perturb all, two forward passes, update.

It shares nothing with the program but the model's arithmetic and the definition of the noise: all perturbed weights are
made at once and stand in the model during a pass, and updates are rounded between two neighbours that numpy names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workloads.lowering.arithmetic_probe import Accumulation
from workloads.methods.noise import ROUNDING_STREAM, normal, uniform
from workloads.models.config import LlamaConfig
from workloads.quantize.apply import product_dtype
from workloads.reference.eager import Batch, OnProgress, Reference
from workloads.workload import Workload

Stored = dict[str, Tensor]
"""Weights by their canonical names, flat, as the setting stores them."""

_VALUES_AT_ONCE = 1 << 20

_NO_ADAPTER = torch.zeros(0)


class AllWeightsReference(Reference):
    """A reference whose steps train the weights; its products are float32 in every setting, as the program's are."""

    def __init__(
        self,
        workload: Workload,
        config: LlamaConfig,
        state: Mapping[str, Tensor],
        accumulation: Accumulation = Accumulation.FP32,
    ) -> None:
        super().__init__(workload, config, state, accumulation, exact=True)
        self._state = state
        self._layers = list(self._layers)
        self._places = self._own_places()

    def _own_places(self) -> Stored:
        """Gives the model tensors of its own, which nobody else reads, and returns them by name."""
        places = dict(self._model.ends.named_parameters())
        for index, layer in enumerate(self._layers):
            for name, value in layer.named_parameters():
                places[f"model.layers.{index}.{name.replace('_proj_bias', '_proj.bias')}"] = value
        for value in places.values():
            value.data = value.data.clone()
        return {name: places[name] for name in self.config.tensor_shapes()}

    def _stored(self) -> Stored:
        """Returns the model's own weights."""
        matrices = product_dtype(self.workload.setting)
        return {
            name: self._state[name].to(torch.float32 if self._state[name].dim() == 1 else matrices, copy=True).flatten()
            for name in self._places
        }

    def _steps(
        self, batches: Sequence[Batch], adapter: Tensor, seed: int, lr: float, eps: float, on_progress: OnProgress
    ) -> Iterator[NDArray[np.float32]]:
        """Makes one training step after the other."""
        del adapter
        weights, step = self._stored(), 0
        while True:
            noise = self._noise(seed, step)
            losses = self._losses_around(weights, noise, batches[step % len(batches)], eps, on_progress)
            slope = (losses[0] - losses[1]) / (2.0 * eps) if eps > 0 else 0.0
            if lr * slope != 0.0:
                self._move(weights, noise, lr * slope, seed, step)
            self.trained = weights
            yield np.array(losses, dtype=np.float32).reshape(2, 1)
            step += 1

    def _step(
        self, adapter: Tensor, batch: Batch, step: int, seed: int, eps: float, on_progress: OnProgress
    ) -> tuple[NDArray[np.float32], Tensor]:
        """Returns the losses of a step of the untrained model, and no direction."""
        losses = self._losses_around(self._stored(), self._noise(seed, step), batch, eps, on_progress)
        return np.array(losses, dtype=np.float32).reshape(2, 1), torch.zeros_like(adapter)

    def _noise(self, seed: int, step: int) -> Stored:
        """Returns the noise of all weights, float32."""
        return {
            name: torch.from_numpy(normal(seed, step, slot, 0, value.numel()))
            for slot, (name, value) in enumerate(self._places.items())
        }

    def _losses_around(
        self, weights: Stored, noise: Stored, batch: Batch, eps: float, on_progress: OnProgress
    ) -> list[float]:
        """Returns L(W + eps z) and L(W - eps z), and leaves the model at W."""
        losses = []
        for done, scale in ((0.0, eps), (0.5, -eps)):
            self._set(weights, noise, scale)
            losses.append(self.loss(_NO_ADAPTER, batch))
            on_progress(done + 0.5)
        self._set(weights, noise, 0.0)
        return losses

    def _set(self, weights: Stored, noise: Stored, scale: float) -> None:
        for name, place in self._places.items():
            place.data.copy_(torch.add(weights[name].float(), noise[name], alpha=scale).reshape(place.shape))

    def _move(self, weights: Stored, noise: Stored, rate: float, seed: int, step: int) -> None:
        """Takes rate * noise from the weights, in place."""
        for slot, name in enumerate(self._places):
            values, noises = weights[name].numpy(), noise[name].numpy()
            for first in range(0, values.size, _VALUES_AT_ONCE):
                part = values[first : first + _VALUES_AT_ONCE]
                exact = part.astype(np.float64) - rate * noises[first : first + part.size].astype(np.float64)
                part[:] = _between(exact, part.dtype, uniform(seed, step, slot + ROUNDING_STREAM, first, part.size))


def _between(
    exact: NDArray[np.float64], dtype: np.dtype[np.floating], draws: NDArray[np.float32]
) -> NDArray[np.floating]:
    """Rounds to one of the two values of a type beside each number.

    It is that of larger magnitude where the draw is below the part of the way there.
    """
    near = exact.astype(dtype)
    beyond = np.where(np.abs(near) > np.abs(exact), np.float64(0.0), np.copysign(np.inf, exact)).astype(dtype)
    other = np.nextafter(near, beyond)
    outer, inner = (np.where((np.abs(near) > np.abs(other)) == far, near, other) for far in (True, False))
    gap = outer.astype(np.float64) - inner.astype(np.float64)
    share = (exact - inner.astype(np.float64)) / gap
    return np.where(near == exact, near, np.where(draws < share, outer, inner))
