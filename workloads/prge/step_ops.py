"""What a step does around the decoder layers, as operators of our own: tokens in, losses and gradients out.

Each does what some ten operators of the runtime would, which cost more memory for their code than for their results.
The kernels are in devices/runner/kernels/step_parts.h; docs/contracts.md has the semantics.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from workloads.models.llama import attention_bias as one_bias
from workloads.prge.ops import ONE, register
from workloads.prge.passes import BOTH, MINUS, PLUS
from workloads.quantize.nf4 import BLOCK, CODES


def embed(tokens: Tensor, table: Tensor, scales: Sequence[Tensor], slices: int, alone: bool) -> Tensor:
    """Rows of a table for tokens int64 [b, T], `slices` times -> float32 [slices, b * T, hidden].

    table: float32 or float16 [vocabulary, hidden]; int8, with scales[0] of each row; or uint8 [vocabulary, hidden / 2],
    NF4 with its absmax in scales[0]. `alone`: nothing else reads the table, so that it need not be mapped.
    """
    del alone
    rows = functional.embedding(tokens.reshape(-1), table)
    if table.dtype == torch.int8:
        rows = rows.to(torch.float32) * scales[0].reshape(-1, 1)[tokens.reshape(-1)]
    if table.dtype == torch.uint8:
        rows = CODES[torch.stack([rows >> 4, rows & 0xF], dim=-1).long()].reshape(rows.shape[0], -1)
        place = tokens.reshape(-1, 1) * rows.shape[1] + torch.arange(rows.shape[1])
        rows = rows * scales[0][place // BLOCK]
    return rows.to(torch.float32).repeat(slices, 1, 1)


def attention_bias(first: Tensor, length: int, slices: int) -> Tensor:
    """first int64 [b] -> float32 [slices * b, 1, 1, T, T]: 0 where a position sees another, else MASKED."""
    return one_bias(first, length).repeat(slices, 1, 1, 1, 1)


def answer_rows(x: Tensor, length: int, answers: int) -> Tensor:
    """The last `answers` of every `length` rows: [slices, b * T, hidden] -> [slices * b * K, hidden]."""
    return x.reshape(-1, length, x.shape[-1])[:, -answers:].reshape(-1, x.shape[-1])


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """x float32 [rows, hidden], divided by its root mean square and multiplied by the weight [hidden]."""
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon) * weight


def answer_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy summed over a row's answer tokens.

    logits float32 [slices * b * K, vocabulary], labels int64 [b, K] with -1 for "no label" -> float32
    [slices, b].
    """
    log_probability = logits.reshape(-1, *labels.shape, logits.shape[-1]).log_softmax(dim=-1)
    wanted = labels.clamp(min=0)[None, :, :, None].expand(log_probability.shape[0], -1, -1, 1)
    picked = log_probability.gather(-1, wanted).squeeze(-1)
    return -(picked * (labels >= 0).to(torch.float32)).sum(dim=-1)


def collect_losses(parts: Sequence[Tensor], signs: Sequence[int]) -> Tensor:
    """Losses of chunks [slices, b] in the order of their queries, with each chunk's signs -> float32 [2, q, b]."""
    plus = [part[: len(part) // 2] if s == BOTH else part for part, s in zip(parts, signs, strict=True) if s != MINUS]
    minus = [part[len(part) // 2 :] if s == BOTH else part for part, s in zip(parts, signs, strict=True) if s != PLUS]
    return torch.stack([torch.cat(plus), torch.cat(minus)])


def mean_losses(row_losses: Tensor, labels: Tensor) -> Tensor:
    """row_losses float32 [2, q, b] -> [2, q]: their sums over the batch by the number of its labels."""
    return row_losses.sum(dim=-1) / (labels >= 0).to(torch.float32).sum()


def gradient(losses: Tensor, eps: Tensor) -> Tensor:
    """losses float32 [2, q] -> the projected gradients [q]: (L+ - L-) / (2 eps), or 0 if eps is."""
    active = (eps > 0).to(torch.float32)
    return (losses[0] - losses[1]) * active / (2.0 * eps + (1.0 - active))


def _embed_shape(tokens: Tensor, table: Tensor, scales: Sequence[Tensor], slices: int, alone: bool) -> Tensor:
    del scales, alone
    hidden = table.shape[1] * (2 if table.dtype == torch.uint8 else 1)
    return table.new_empty((slices, tokens.numel(), hidden), dtype=torch.float32)


def _bias_shape(first: Tensor, length: int, slices: int) -> Tensor:
    return first.new_empty((slices * first.numel(), 1, 1, length, length), dtype=torch.float32)


def _rows_shape(x: Tensor, length: int, answers: int) -> Tensor:
    return x.new_empty(x.numel() // x.shape[-1] // length * answers, x.shape[-1])


def _norm_shape(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    del weight, epsilon
    return torch.empty_like(x)


def _answer_losses_shape(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.new_empty((logits.shape[0] // labels.numel(), labels.shape[0]), dtype=torch.float32)


def _collect_shape(parts: Sequence[Tensor], signs: Sequence[int]) -> Tensor:
    del signs
    return parts[0].new_empty(2, sum(part.shape[0] for part in parts) // 2, parts[0].shape[1])


def _mean_shape(row_losses: Tensor, labels: Tensor) -> Tensor:
    del labels
    return row_losses.new_empty(row_losses.shape[:2])


def _gradient_shape(losses: Tensor, eps: Tensor) -> Tensor:
    del eps
    return losses.new_empty(losses.shape[1])


register("embed", "Tensor tokens, Tensor table, Tensor[] scales, int slices, bool alone", ONE, embed, _embed_shape)
register("attention_bias", "Tensor first, int length, int slices", ONE, attention_bias, _bias_shape)
register("answer_rows", "Tensor x, int length, int answers", ONE, answer_rows, _rows_shape)
register("rms_norm", "Tensor x, Tensor weight, float epsilon", ONE, rms_norm, _norm_shape)
register("answer_losses", "Tensor logits, Tensor labels", ONE, answer_losses, _answer_losses_shape)
register("collect_losses", "Tensor[] parts, int[] signs", ONE, collect_losses, _collect_shape)
register("mean_losses", "Tensor row_losses, Tensor labels", ONE, mean_losses, _mean_shape)
register("gradient", "Tensor losses, Tensor eps", ONE, gradient, _gradient_shape)
