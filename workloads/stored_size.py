"""Bytes of what a setting stores, from shapes alone."""

from __future__ import annotations

from workloads.models.config import LlamaConfig

BYTES_PER_VALUE = {"fp32": 4.0, "fp16": 2.0, "int8": 1.0, "nf4": 0.5}
BYTES_PER_OPERAND = {"fp32": 4, "fp16": 2, "int8": 4, "nf4": 4}
"""Of what a product takes: A, B and activations on their way. All else is float32."""


def matrix_bytes(quant: str, rows: int, columns: int) -> int:
    """A frozen matrix with its scales: one for each row in int8, for each block of 64 in nf4."""
    scales = {"int8": 4 * rows, "nf4": 4 * -(-rows * columns // 64)}.get(quant, 0)
    return round(rows * columns * BYTES_PER_VALUE[quant]) + scales


def table_bytes(quant: str, config: LlamaConfig) -> int:
    """The embedding, or a head of its own."""
    return matrix_bytes(quant, config.vocab_size, config.hidden_size)


def layer_bytes(quant: str, config: LlamaConfig) -> int:
    """The seven projections of a decoder layer."""
    return sum(matrix_bytes(quant, *shape) for shape in config.linear_shapes().values())
