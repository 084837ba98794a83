"""How much memory to work in the nf4 layer's kernel asks for: known from shapes, without torch."""

from __future__ import annotations

from workloads.models.config import LlamaConfig

BLOCK_FEATURES = 512
WIDEST_PANEL = 32
"""Constants of the kernel that decide how much scratch memory it needs."""


def scratch_values(config: LlamaConfig, rows: int, rank: int) -> int:
    """Float32 values of scratch memory that the kernel asks for with `rows` rows; rank 0 without adapters."""
    per_kv_head = (config.heads // config.kv_heads + 2) * config.head_dim
    block = max(BLOCK_FEATURES, per_kv_head)
    panels = config.hidden_size * _padded(3 * rank) + block * _padded(rank)
    return rows * (config.hidden_size + block + 4 * rank) + panels


def _padded(columns: int) -> int:
    return -(-columns // WIDEST_PANEL) * WIDEST_PANEL
