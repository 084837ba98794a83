"""Our own operators for torch: schemas, shapes for export, and eager reference kernels.

They cover the noise, the work around the decoder layers (tokens in, losses and gradients out), and products with frozen
matrices in all stored forms (workloads/quantize/frozen.py), including those of a whole decoder layer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from workloads.method import UNPERTURBED
from workloads.methods.noise import Distribution, normal, rademacher
from workloads.methods.passes import BOTH, MINUS, PLUS
from workloads.models.config import PROJECTIONS, VECTORS
from workloads.models.llama import Rotary, operand
from workloads.models.llama import attention_bias as one_bias
from workloads.quantize.frozen import columns, dequantize

# torch.library has no types, hence the ignores.
_library = torch.library.Library("prge", "DEF")  # type: ignore[no-untyped-call]

_PERTURB = (
    "Tensor adapter, Tensor key, Tensor eps, Tensor after, int offset, int rank, int[] features, "
    "int first_query, int queries, int signs, ScalarType dtype"
)
_UPDATE = "Tensor adapter, Tensor projected_gradient, Tensor pending_key, Tensor lr"


def perturb(
    adapter: Tensor,
    key: Tensor,
    eps: Tensor,
    after: Tensor,
    offset: int,
    rank: int,
    features: Sequence[int],
    first_query: int,
    queries: int,
    signs: int,
    dtype: torch.dtype,
    distribution: Distribution = normal,
) -> list[Tensor]:
    """adapter[...] ± eps * noise, from `offset` on -> `dtype` [signs * queries, rank, f] for each f of `features`.

    The noise of the query UNPERTURBED is zero.
    """
    del after
    seed, step = (int(value) for value in key)
    perturbed = []
    for width in features:
        size = rank * width
        base = adapter[offset : offset + size]
        noise = torch.stack(
            [
                torch.zeros(size)
                if query == UNPERTURBED
                else torch.from_numpy(distribution(seed, step, query, offset, size))
                for query in range(first_query, first_query + queries)
            ]
        )
        factors = {BOTH: (1.0, -1.0), PLUS: (1.0,), MINUS: (-1.0,)}[signs]
        both = torch.cat([base + sign * eps * noise for sign in factors]).reshape(-1, rank, width)
        perturbed.append(both.to(dtype))
        offset += size
    return perturbed


def update(
    adapter: Tensor, projected_gradient: Tensor, pending_key: Tensor, lr: Tensor, distribution: Distribution = normal
) -> Tensor:
    """adapter - lr * mean over the queries of projected_gradient[i] * noise(pending_key, i) -> float32 [n]."""
    seed, step = (int(value) for value in pending_key)
    direction = torch.zeros_like(adapter)
    for query, gradient in enumerate(projected_gradient):
        direction += gradient * torch.from_numpy(distribution(seed, step, query, 0, adapter.numel()))
    return adapter - lr * direction / projected_gradient.numel()


def linear_frozen(x: Tensor, weight: Tensor, scales: Sequence[Tensor]) -> Tensor:
    """x [..., in] times the transposed frozen weight [out, in] -> [..., out], all values and sums float32."""
    return functional.linear(x, dequantize(weight, scales))


def _perturb_shape(
    adapter: Tensor,
    key: Tensor,
    eps: Tensor,
    after: Tensor,
    offset: int,
    rank: int,
    features: Sequence[int],
    first_query: int,
    queries: int,
    signs: int,
    dtype: torch.dtype,
) -> list[Tensor]:
    del key, eps, after, offset, first_query
    slices = (2 if signs == BOTH else 1) * queries
    return [adapter.new_empty((slices, rank, width), dtype=dtype) for width in features]


def _linear_shape(x: Tensor, weight: Tensor, scales: Sequence[Tensor]) -> Tensor:
    del scales
    return x.new_empty(*x.shape[:-1], weight.shape[0])


ONE, _ONE_OUT = "Tensor", ("Tensor(a!) out", "Tensor(a!)")
SEVERAL, _SEVERAL_OUT = "Tensor[]", ("Tensor(a!)[] out", "()")


def register(
    name: str, arguments: str, result: str, kernel: Callable[..., object], shape: Callable[..., object]
) -> None:
    """Registers an operator in both of its forms; `shape` returns results of the right shape without values."""
    out, out_result = _ONE_OUT if result == ONE else _SEVERAL_OUT
    _library.define(f"{name}({arguments}) -> {result}")  # type: ignore[no-untyped-call]
    _library.define(f"{name}.out({arguments}, *, {out}) -> {out_result}")  # type: ignore[no-untyped-call]
    _library.impl(name, kernel, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
    _library.impl(name, shape, "Meta")  # type: ignore[no-untyped-call]


def like_first(first: Tensor, *others: object) -> Tensor:
    """The `shape` of operators whose result is like their first argument."""
    del others
    return torch.empty_like(first)


register("perturb", _PERTURB, SEVERAL, perturb, _perturb_shape)
register("update", _UPDATE, ONE, update, like_first)
register("perturb_rademacher", _PERTURB, SEVERAL, functools.partial(perturb, distribution=rademacher), _perturb_shape)
register("update_rademacher", _UPDATE, ONE, functools.partial(update, distribution=rademacher), like_first)
register("linear_frozen", "Tensor x, Tensor weight, Tensor[] scales", ONE, linear_frozen, _linear_shape)


def embed(tokens: Tensor, table: Tensor, scales: Sequence[Tensor], slices: int, alone: bool) -> Tensor:
    """Rows of a frozen table for tokens int64 [b, T], `slices` times -> float32 [slices, b * T, hidden].

    `alone`: nothing else reads the table, so that it need not be in memory.
    """
    del alone
    return dequantize(table, scales)[tokens.reshape(-1)].repeat(slices, 1, 1)


def attention_bias(first: Tensor, length: int, slices: int) -> Tensor:
    """first int64 [b] -> float32 [slices * b, 1, 1, T, T]: 0 where a position sees another, else MASKED."""
    return one_bias(first, length).repeat(slices, 1, 1, 1, 1)


def answer_rows(x: Tensor, length: int, answers: int) -> Tensor:
    """Returns the last `answers` of every `length` rows: [slices, b * T, hidden] -> [slices * b * K, hidden]."""
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
    targets = labels.clamp(min=0)[None, :, :, None].expand(log_probability.shape[0], -1, -1, 1)
    picked = log_probability.gather(-1, targets).squeeze(-1)
    return -(picked * (labels >= 0).to(torch.float32)).sum(dim=-1)


def collect_losses(parts: Sequence[Tensor], signs: Sequence[int]) -> Tensor:
    """Orders the losses of chunks [slices, b] by query, with each chunk's signs -> float32 [2, q, b].

    Without a - they are [1, slices, b].
    """
    plus = [part[: len(part) // 2] if s == BOTH else part for part, s in zip(parts, signs, strict=True) if s != MINUS]
    minus = [part[len(part) // 2 :] if s == BOTH else part for part, s in zip(parts, signs, strict=True) if s != PLUS]
    return torch.stack([torch.cat(side) for side in (plus, minus) if side])


def mean_losses(row_losses: Tensor, labels: Tensor) -> Tensor:
    """row_losses float32 [s, q, b] -> [s, q]: their sums over the batch, divided by the number of its labels."""
    return row_losses.sum(dim=-1) / (labels >= 0).to(torch.float32).sum()


def gradient(losses: Tensor, eps: Tensor) -> Tensor:
    """losses float32 [2, q] -> the projected gradients [q]: (L+ - L-) / (2 eps), or 0 if eps is 0."""
    active = (eps > 0).to(torch.float32)
    return (losses[0] - losses[1]) * active / (2.0 * eps + (1.0 - active))


def _embed_shape(tokens: Tensor, table: Tensor, scales: Sequence[Tensor], slices: int, alone: bool) -> Tensor:
    del scales, alone
    return table.new_empty((slices, tokens.numel(), columns(table)), dtype=torch.float32)


def _bias_shape(first: Tensor, length: int, slices: int) -> Tensor:
    return first.new_empty((slices * first.numel(), 1, 1, length, length), dtype=torch.float32)


def _rows_shape(x: Tensor, length: int, answers: int) -> Tensor:
    return x.new_empty(x.numel() // x.shape[-1] // length * answers, x.shape[-1])


def _answer_losses_shape(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.new_empty((logits.shape[0] // labels.numel(), labels.shape[0]), dtype=torch.float32)


def _collect_shape(parts: Sequence[Tensor], signs: Sequence[int]) -> Tensor:
    sides = 1 if all(sign == PLUS for sign in signs) else 2
    return parts[0].new_empty(sides, sum(part.shape[0] for part in parts) // sides, parts[0].shape[1])


def _mean_shape(row_losses: Tensor, labels: Tensor) -> Tensor:
    del labels
    return row_losses.new_empty(row_losses.shape[:2])


def _gradient_shape(losses: Tensor, eps: Tensor) -> Tensor:
    del eps
    return losses.new_empty(losses.shape[1])


register("embed", "Tensor tokens, Tensor table, Tensor[] scales, int slices, bool alone", ONE, embed, _embed_shape)
register("attention_bias", "Tensor first, int length, int slices", ONE, attention_bias, _bias_shape)
register("answer_rows", "Tensor x, int length, int answers", ONE, answer_rows, _rows_shape)
register("rms_norm", "Tensor x, Tensor weight, float epsilon", ONE, rms_norm, like_first)
register("answer_losses", "Tensor logits, Tensor labels", ONE, answer_losses, _answer_losses_shape)
register("collect_losses", "Tensor[] parts, int[] signs", ONE, collect_losses, _collect_shape)
register("mean_losses", "Tensor row_losses, Tensor labels", ONE, mean_losses, _mean_shape)
register("gradient", "Tensor losses, Tensor eps", ONE, gradient, _gradient_shape)

DECODER_LAYER = (
    "Tensor x, Tensor bias, Tensor scratch, Tensor[] norms, Tensor[] rotary, Tensor[] weights, Tensor[] scales, "
    "Tensor[] lora_a, Tensor[] lora_b, int[] adapted, int heads, int kv_heads, float epsilon"
)
GENERAL_LAYER = f"{DECODER_LAYER}, Tensor[] vectors, int[] places, bool gelu"


class _Arithmetic:
    """Products and norms of a layer in the type of x; `vectors` by name, `adapters` by place."""

    def __init__(
        self,
        weights: Sequence[Tensor],
        scales: Sequence[Tensor],
        adapters: Mapping[int, tuple[Tensor, Tensor]],
        vectors: Mapping[str, Tensor],
        epsilon: float,
    ) -> None:
        self._weights, self._scales, self._adapters = weights, scales, adapters
        self._vectors, self._epsilon = vectors, epsilon
        self._products = torch.bfloat16 if weights[0].dtype == torch.bfloat16 else torch.float32

    def round(self, value: Tensor) -> Tensor:
        return operand(value, self._products)

    def project(self, name: str, value: Tensor) -> Tensor:
        place, each = PROJECTIONS.index(name), len(self._scales) // len(self._weights)
        weight = dequantize(self._weights[place], self._scales[place * each : (place + 1) * each])
        result = value @ weight.to(value.dtype).T
        if place in self._adapters:
            a, b = self._adapters[place]
            result = result + self.round(value @ a.T) @ b
        bias = self._vectors.get(f"self_attn.{name}.bias")
        return result if bias is None else result + bias

    def norm(self, value: Tensor, weight: Tensor | None) -> Tensor:
        if weight is None:
            return value
        return value * torch.rsqrt(value.square().mean(-1, keepdim=True) + self._epsilon) * weight

    def own_norm(self, name: str, value: Tensor) -> Tensor:
        """Applies the norm of this name, if the layer has it."""
        return self.norm(value, self._vectors.get(f"{name}.weight"))


def decoder_layer(
    x: Tensor,
    bias: Tensor,
    scratch: Tensor,
    norms: Sequence[Tensor],
    rotary: Sequence[Tensor],
    weights: Sequence[Tensor],
    scales: Sequence[Tensor],
    lora_a: Sequence[Tensor],
    lora_b: Sequence[Tensor],
    adapted: Sequence[int],
    heads: int,
    kv_heads: int,
    epsilon: float,
    vectors: Sequence[Tensor] = (),
    places: Sequence[int] = (),
    gelu: bool = False,
) -> Tensor:
    """x float32 [slices, rows, hidden], bias [sequences, 1, 1, T, T] -> the layer's result, like x.

    norms: of attention and feed-forward. rotary: cosines and sines [T, 1, head_dim] of queries and of keys, sign and
    scale folded in. With tables [K, 1, head_dim] of queries only the last K rows of each sequence get results, [slices,
    rows / T * K, hidden]. weights: of the seven projections; scales: those of the first, then of the second, and so on.
    lora_a [rank, in] and lora_b [slices, rank, out] belong to the projections whose places `adapted` has. If weights
    are bfloat16, all operands of products are rounded to it. `scratch` is working memory; its values have no meaning.
    vectors: the layer's additional vectors, those of VECTORS at `places`. gelu: the gate is the tanh approximation of
    GELU.
    """
    del scratch
    adapters = {place: (a.to(x.dtype), b.to(x.dtype)) for place, a, b in zip(adapted, lora_a, lora_b, strict=True)}
    named = {VECTORS[place]: vector.to(x.dtype) for place, vector in zip(places, vectors, strict=True)}
    layer = _Arithmetic(weights, scales, adapters, named, epsilon)
    normal = layer.round(layer.norm(x, norms[0]))
    tables = Rotary(*rotary)
    results, length, head_dim = tables.query_cos.shape[0], *tables.key_cos.shape[::2]
    q = layer.project("q_proj", tables.last_rows(normal)).reshape(-1, results, heads, head_dim)
    k, v = (layer.project(name, normal).reshape(-1, length, kv_heads, head_dim) for name in PROJECTIONS[1:3])
    q = layer.round(_rotated(layer.own_norm("self_attn.q_norm", q), *rotary[:2]))
    k = layer.round(_rotated(layer.own_norm("self_attn.k_norm", k), *rotary[2:]))
    k, v = (value.repeat_interleave(heads // kv_heads, dim=2) for value in (k, layer.round(v)))
    scores = torch.einsum("sqhd,skhd->shqk", q, k) + bias[:, 0, :, length - results :]
    mixed = torch.einsum("shqk,skhd->sqhd", layer.round(scores.softmax(dim=-1)), v)
    x = tables.last_rows(x)
    mixed = layer.round(mixed.reshape(*x.shape[:2], heads * head_dim))
    x = x + layer.own_norm("self_attn.result_norm", layer.project("o_proj", mixed))
    normal = layer.round(layer.norm(x, norms[1]))
    gate = layer.project("gate_proj", normal)
    opened = functional.gelu(gate, approximate="tanh") if gelu else functional.silu(gate)
    gated = layer.round(opened * layer.project("up_proj", normal))
    return x + layer.own_norm("mlp.result_norm", layer.project("down_proj", gated))


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    return x * cos + x.roll(x.shape[-1] // 2, dims=-1) * sin


def layer_shape(
    x: Tensor, bias: Tensor, scratch: Tensor, norms: Sequence[Tensor], rotary: Sequence[Tensor], *others: object
) -> Tensor:
    """The `shape` of decoder_layer's result."""
    del bias, scratch, norms, others
    return x.new_empty(x.shape[0], x.shape[1] // rotary[2].shape[0] * rotary[0].shape[0], x.shape[2])


register("decoder_layer", DECODER_LAYER, ONE, decoder_layer, layer_shape)
register("general_layer", GENERAL_LAYER, ONE, decoder_layer, layer_shape)
