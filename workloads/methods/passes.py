"""The forward passes of a step: the outer loop over queries and the inner over + and -, each parallel or not.

Also the scratch memory of the nf4 layer's kernel. All of it follows from shapes, without torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from workloads.method import UNPERTURBED, Sides
from workloads.models.config import HEAD_NORMS, PROJECTIONS, RESULT_NORMS, LlamaConfig
from workloads.workload import Workload

BOTH, PLUS, MINUS = 0, 1, -1
"""Signs of a pass: + for every query and then - for every query; only +; only -."""


@dataclass(frozen=True)
class ForwardPass:
    """Queries first_query .. first_query + queries - 1 with `signs`, side by side; UNPERTURBED may be one of them."""

    first_query: int
    queries: int
    signs: int

    @property
    def slices(self) -> int:
        """Copies of the batch that run side by side."""
        return self.queries * (2 if self.signs == BOTH else 1)

    def chunks(self, rows_per_slice: int, at_least: int) -> tuple[ForwardPass, ...]:
        """Splits the pass into equal groups of slices: as many groups as possible with `at_least` rows each.

        A group is some queries with both signs or, if one slice has enough rows, one query with one sign, whose noise
        is then drawn twice. It passes through the whole model before the next one starts, so that memory holds only the
        hidden states and perturbed adapters of one group.
        """
        first, end = self.first_query, self.first_query + self.queries
        if rows_per_slice >= at_least and self.signs == BOTH:
            return tuple(ForwardPass(query, 1, signs) for query in range(first, end) for signs in (PLUS, MINUS))
        rows_per_query = rows_per_slice * self.slices // self.queries
        width = next(
            width
            for width in range(1, self.queries + 1)
            if width == self.queries or (self.queries % width == 0 and width * rows_per_query >= at_least)
        )
        return tuple(replace(self, first_query=query, queries=width) for query in range(first, end, width))


UNPERTURBED_PASS = ForwardPass(first_query=UNPERTURBED, queries=1, signs=PLUS)
"""The pass with the adapter itself."""


@dataclass(frozen=True)
class Loops:
    """Number of queries, and which of the two loops run in parallel as slices of one forward pass.

    A one-sided step has the adapter itself as an additional query, and no inner loop; a step without sides has only
    that.
    """

    queries: int
    outer_parallel: bool = True
    inner_parallel: bool = True
    sides: Sides = Sides.TWO

    @classmethod
    def of(cls, workload: Workload) -> Loops:
        """Returns the loops of a workload's step."""
        return cls(
            workload.q, bool(workload.outer_parallel), bool(workload.inner_parallel), workload.training_method.sides
        )

    def passes(self) -> Iterator[ForwardPass]:
        """The forward passes of a step, in their order."""
        two, none = self.sides is Sides.TWO, self.sides is Sides.NONE
        begin, end = 0 if two else UNPERTURBED, UNPERTURBED + 1 if none else self.queries
        width = end - begin if self.outer_parallel else 1
        for first in range(begin, end, width):
            for signs in (PLUS,) if not two else (BOTH,) if self.inner_parallel else (PLUS, MINUS):
                yield ForwardPass(first, width, signs)


BLOCK_FEATURES = 512
WIDEST_PANEL = 32
"""Constants of the kernel that decide how much scratch memory it needs."""


def scratch_values(config: LlamaConfig, rows: int, rank: int, results: int | None = None) -> int:
    """Returns the float32 values of scratch memory that the kernel needs for `rows` rows; rank 0 without adapters.

    `results`: how many of the rows get results, if not all.
    """
    per_kv_head = (config.heads // config.kv_heads + 2) * config.head_dim
    block = max(BLOCK_FEATURES, per_kv_head)
    panels = config.hidden_size * _padded(3 * rank) + block * _padded(rank)
    residual = config.hidden_size if _has(config, RESULT_NORMS) else 0
    some = 0 if results in (None, rows) else results * (config.hidden_size + 4 * rank)
    return rows * (config.hidden_size + block + 4 * rank + residual) + panels + some


def backward_scratch_values(config: LlamaConfig, rows: int, rank: int) -> int:
    """Returns the same for the backward pass of a layer."""
    attention, feed_forward = config.query_size + 2 * config.kv_size, 3 * config.intermediate_size
    kept = 2 * (config.hidden_size + config.query_size + config.kv_size) + (len(PROJECTIONS) + 2) * rank
    kept += config.query_size + config.kv_size if _has(config, HEAD_NORMS) else 0
    kept += 2 * config.hidden_size if _has(config, RESULT_NORMS) else 0
    return rows * (kept + max(attention, feed_forward))


def _has(config: LlamaConfig, vectors: Sequence[str]) -> bool:
    return any(name in config.form.vectors for name in vectors)


def _padded(columns: int) -> int:
    return -(-columns // WIDEST_PANEL) * WIDEST_PANEL
