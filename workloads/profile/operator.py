"""Operators as listed in a profile, their groups, and the names of constants.

Operations are those carried out: 2 m n k for a product, padding and masked scores included; otherwise one for each
result of an addition, a multiplication, a sigmoid or the like, five for each score of a softmax and four for each value
of a norm. Bytes count every operand, read once, and every result, written once: the least that must be moved.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from workloads.models.config import PROJECTIONS

SOFTMAX_FLOPS, NORM_FLOPS, ROTARY_FLOPS, GATE_FLOPS = 5, 4, 3, 3


class Group(StrEnum):
    """What an operator is for, in the order of the table."""

    FROZEN = "frozen products"
    DECODE = "dequantization"
    ROUND = "rounding of operands"
    LOW_RANK = "low-rank share"
    ATTENTION = "attention"
    ROTARY = "rotary"
    NORM = "norm"
    GATE = "gate"
    RESIDUAL = "residual"
    EMBED = "embedding and mask"
    HEAD = "head and loss"
    NOISE = "noise and update"
    REST = "rest"
    NOT_ATTRIBUTED = "not attributed"


@dataclass(frozen=True)
class Operator:
    """One operator: `name` is what it does, `part` where, such as `q_proj`, and `layer` is its layer, if any.

    `flops` and `bytes` are None where they are not counted.
    """

    name: str
    group: Group
    part: str = ""
    layer: int | None = None
    flops: float | None = None
    bytes: float | None = None


_NAME = re.compile(r"layers\.(\d+)\..*?(?:projections\.(\d)|(\w+_proj))")


@dataclass(frozen=True)
class Constants:
    """Names of constants by their digest, from the catalogs of data files."""

    names: Mapping[str, str]

    def projection(self, key: str) -> tuple[int, str] | None:
        """Returns the layer and the projection of a frozen matrix or an A, None for any other constant."""
        found = _NAME.match(self.names.get(key, ""))
        if found is None:
            return None
        layer, number, name = found.groups()
        return int(layer), name if number is None else PROJECTIONS[int(number)]

    def is_low_rank(self, key: str) -> bool:
        """Whether it is an A."""
        return self.names.get(key, "").endswith(".lora_a")

    def is_table(self, key: str) -> bool:
        """Whether it is the head's matrix, which may be the embedding too."""
        return self.names.get(key, "").startswith(("head.lm_head.", "embedding."))
