"""How a program is trained, besides what it is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainingSettings:
    """What a program gets besides the batches: learning rate, perturbation size, and the seed of the noise."""

    lr: float = 1e-3
    eps: float = 1e-2
    seed: int = 7
