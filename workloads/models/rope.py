"""Rotary positions as checkpoints describe them: a base, and how long contexts scale the frequencies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foundation.errors import UserError
from workloads.models.config import Rope

SCALINGS = ("default", "linear", "llama3")
MOST_HEAD_DIM = 16_384
"""Wider heads are a slip; each pair of a head's values has a divisor of its own."""
_LLAMA3 = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")


def rope_of(parameters: Mapping[str, Any], theta: float, head_dim: int, where: Path) -> Rope:
    """Returns the rotary positions of `rope_parameters` or `rope_scaling` in a config.json, or their like in GGUF.

    `theta` is the base where `parameters` have none. Raises `UserError` for a scaling that is not supported, that
    lacks a number, or of heads that no model has.
    """
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    base = _number(parameters.get("rope_theta", theta), "rope_theta", where)
    if kind not in SCALINGS or parameters.get("partial_rotary_factor", 1.0) != 1.0:
        asked = kind if kind not in SCALINGS else "partial"
        raise UserError(
            f"{where} asks for {str(asked)[:40]!r} rotary scaling, which is not supported: use a model with one of "
            f"{', '.join(SCALINGS)}."
        )
    if kind == "default":
        if parameters.get("factor", 1.0) != 1.0:
            raise UserError(f"{where} has a rotary factor of an unknown type: name its rope_type.")
        return Rope(base)
    if head_dim > MOST_HEAD_DIM:
        raise UserError(f"{where} has heads of {head_dim} values, more than {MOST_HEAD_DIM}: copy the file again.")
    names = ("factor",) if kind == "linear" else _LLAMA3
    numbers = [_number(parameters.get(name), name, where) for name in names]
    half = head_dim // 2
    if kind == "linear":
        return Rope(base, () if numbers[0] == 1.0 else (numbers[0],) * half)
    return Rope(base, llama3_divisors(base, half, *numbers))


def llama3_divisors(
    theta: float, half: int, factor: float, low: float, high: float, original_positions: float
) -> tuple[float, ...]:
    """Returns by what Llama 3.1 divides each frequency.

    Waves shorter than original_positions / high stay, those longer than original_positions / low are stretched by
    `factor`, and between the two the frequency is interpolated linearly in original_positions / wavelength (Llama 3.1,
    arXiv 2407.21783, and its reference code).
    """
    divisors = []
    for index in range(half):
        turns = original_positions * theta ** (-index / half) / (2.0 * math.pi)
        share = min(1.0, max(0.0, (turns - low) / (high - low))) if high > low else float(turns >= low)
        divisors.append(1.0 / (share + (1.0 - share) / factor))
    return tuple(divisors)


def _number(value: object, name: str, where: Path) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{where}: {name} of its rotary positions must be a number, but it is {str(value)[:40]}.")
    if not (value > 0 and math.isfinite(value)):
        raise UserError(
            f"The model's {name} is {value}, but it must be a number above 0: check its configuration, {where}."
        )
    return float(value)
