"""The Llama family and its relatives in plain PyTorch, written so that a complete decoder layer lowers to one delegate.

Hidden states and everything between two products are float32 in every setting; a product with a float16 weight has
float16 operands and a float16 result, which is widened immediately. Three formulas differ from the textbook, not in
result: RMSNorm's mean is a product with a constant row (a reduction would cut the graph), the sign of the rotation's
half turn is in the sine table, 1/sqrt(head_dim) in the queries' tables. Hidden states are [slices, rows * T, hidden]; a
slice is the batch with its own adapter, so adapters are one batched product.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from workloads.models.config import PROJECTIONS, LlamaConfig, Rope
from workloads.models.conversion import to_half, to_single

MASKED = -30000.0
"""Added to the score of a masked key: finite, so that a row without any key stays finite, and within float16."""


@dataclass(frozen=True)
class Rotary:
    """Tables for T positions, each float32 [T, 1, head_dim], with the half turn's sign in the sines.

    Those of the queries may have only the last K positions; a layer then computes the results of these.
    """

    query_cos: Tensor
    query_sin: Tensor
    key_cos: Tensor
    key_sin: Tensor

    @classmethod
    def tables(cls, config: LlamaConfig, length: int, layer: int = 0) -> Rotary:
        """Computes a layer's tables in float64. Left padding needs no offset, as scores depend only on distances."""
        angle = torch.arange(length, dtype=torch.float64)[:, None] * _frequencies(config, layer)[None, :]
        cos = torch.cat([angle.cos(), angle.cos()], dim=-1)[:, None, :]
        sin = torch.cat([-angle.sin(), angle.sin()], dim=-1)[:, None, :]
        scale = config.head_dim**-0.5 if config.form.query_scale is None else config.form.query_scale
        return cls(*(table.to(torch.float32) for table in (cos * scale, sin * scale, cos, sin)))

    @classmethod
    def of_layers(cls, config: LlamaConfig, length: int, results: int | None = None) -> list[Rotary]:
        """Returns each layer's tables, shared by layers with the same positions; `results`: K of the last layer."""
        made: dict[Rope | None, Rotary] = {}
        for layer in range(config.layers):
            if config.rope(layer) not in made:
                made[config.rope(layer)] = cls.tables(config, length, layer)
        tables = [made[config.rope(layer)] for layer in range(config.layers)]
        if results is not None and results < length:
            last = {name: getattr(tables[-1], name)[-results:].clone() for name in ("query_cos", "query_sin")}
            tables[-1] = replace(tables[-1], **last)
        return tables

    def last_rows(self, x: Tensor) -> Tensor:
        """Returns the rows that get results: [slices, rows * T, features] -> [slices, rows * K, features]."""
        if self.query_cos.shape == self.key_cos.shape:
            return x
        rows = x.reshape(-1, self.key_cos.shape[0], x.shape[-1])[:, -self.query_cos.shape[0] :]
        return rows.reshape(x.shape[0], -1, x.shape[-1])


def _frequencies(config: LlamaConfig, layer: int) -> Tensor:
    """Returns a layer's rotary frequencies in radians a position, float64 [head_dim / 2]; zero without rotary."""
    rope, half = config.rope(layer), config.head_dim // 2
    if rope is None:
        return torch.zeros(half, dtype=torch.float64)
    frequencies = rope.theta ** (-torch.arange(half, dtype=torch.float64) / half)
    return frequencies / torch.tensor(rope.divisors, dtype=torch.float64) if rope.divisors else frequencies


def attention_bias(first: Tensor, length: int) -> Tensor:
    """Returns the additive causal mask with left padding: first int64 [b] -> float32 [b, 1, 1, T, T]."""
    position = torch.arange(length)
    causal = position[None, :] <= position[:, None]
    real = position[None, None, :] >= first[:, None, None]
    allowed = (causal[None] & real).to(torch.float32)
    return ((allowed - 1.0) * -MASKED)[:, None, None]


class RMSNorm(nn.Module):
    """x * weight / sqrt(mean(x^2) + eps) over the last dimension, in float32."""

    mean_row: Tensor
    eps: Tensor

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        for name, value in _norm_constants(size, eps).items():
            self.register_buffer(name, value, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        mean_square = functional.linear(x * x, self.mean_row)
        return x * torch.rsqrt(mean_square + self.eps) * self.weight


def _norm_constants(size: int, eps: float) -> dict[str, Tensor]:
    """Returns RMSNorm's other constants as tensors: Python numbers would become constants of the trace."""
    return {"mean_row": torch.full((1, size), 1.0 / size), "eps": torch.tensor([eps])}


class GeluGate(nn.Module):
    """The argument of the sigmoid in the tanh approximation of GELU's gate: 0.5 (1 + tanh(u)) = sigmoid(2 u).

    2 u = x (linear + cubic x^2) with linear = 2 sqrt(2 / pi) and cubic = 0.044715 linear (Hendrycks & Gimpel,
    arXiv 1606.08415).
    """

    linear: Tensor
    cubic: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name, value in _gelu_constants().items():
            self.register_buffer(name, value, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * (self.linear + self.cubic * (x * x))

    def derivative(self, x: Tensor) -> Tensor:
        """Returns the derivative of `forward` by x."""
        square = self.cubic * (x * x)
        return self.linear + (square + square + square)


def _gelu_constants() -> dict[str, Tensor]:
    linear = 2.0 * math.sqrt(2.0 / math.pi)
    return {"linear": torch.tensor([linear]), "cubic": torch.tensor([0.044715 * linear])}


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotates pairs of values, one in each half of the last dimension."""
    half = x.shape[-1] // 2
    swapped = torch.cat([x[..., half:], x[..., :half]], dim=-1)
    return x * cos + swapped * sin


class Attention(nn.Module):
    """Grouped-query self-attention. `products`: the type of its products' operands."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.products = torch.float32
        for name in PROJECTIONS[:4]:
            out_features, in_features = config.projection_shape(name)
            self.add_module(name, nn.Linear(in_features, out_features, bias=False))
        _add_vectors(self, config, "self_attn")

    def forward(self, x: Tensor, rotary: Rotary, bias: Tensor, adapters: Mapping[str, Tensor]) -> Tensor:
        heads = self.split(operand(x, self.products), rotary, adapters)
        mixed = operand(attention_weights(heads, bias), self.products).bmm(heads.value_rows())
        mixed = join_queries(self.config, mixed, x.shape[0], rotary.query_cos.shape[0])
        mixed = mixed if mixed.dtype == torch.float16 else operand(mixed, self.products)
        return applied(self, "result_norm", project(self, "o_proj", mixed, adapters))

    def split(self, x: Tensor, rotary: Rotary, adapters: Mapping[str, Tensor]) -> Heads:
        """Returns the queries, keys and values of the operands x [slices, rows * T, hidden]."""
        return split_heads(self, *self.parts(x, rotary, adapters), rotary)

    def parts(self, x: Tensor, rotary: Rotary, adapters: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Returns them before norms and rotation: float32 [slices, rows * K or T, their heads * head_dim]."""
        operands = zip(PROJECTIONS[:3], (rotary.last_rows(x), x, x), strict=True)
        q, k, v = (self._biased(name, project(self, name, rows, adapters)) for name, rows in operands)
        return q, k, v

    def _biased(self, name: str, x: Tensor) -> Tensor:
        bias = self._parameters.get(f"{name}_bias")
        return x if bias is None else x + bias


def _add_vectors(module: nn.Module, config: LlamaConfig, part: str) -> None:
    """Adds to a part of a layer the VECTORS that its form has: `q_proj_bias` and so on, and norms by their names."""
    for name, size in config.vector_sizes().items():
        owner, last, kind = name.split(".")
        if owner == part and kind == "bias":
            module.register_parameter(f"{last}_bias", nn.Parameter(torch.zeros(size)))
        elif owner == part:
            module.add_module(last, RMSNorm(size, config.norm_eps))


def applied(owner: nn.Module, name: str, x: Tensor) -> Tensor:
    """Applies the module `name` of `owner`, if its family has it."""
    module = owner._modules.get(name)
    result: Tensor = x if module is None else module(x)
    return result


@dataclass(frozen=True)
class Heads:
    """Rotated queries and keys, and values, each of type `products`.

    queries [sequences * kv_heads, group * K, head_dim]: the heads of a group are stacked as rows, so that keys and
    values need no copies; K is T, or the number of rows that get results. keys [sequences * kv_heads, head_dim, T],
    values [sequences, kv_heads, T, head_dim].
    """

    queries: Tensor
    keys: Tensor
    values: Tensor

    def value_rows(self) -> Tensor:
        """The values as the right side of a batched product, [sequences * kv_heads, T, head_dim]."""
        return self.values.reshape(-1, *self.values.shape[2:])


def split_heads(attention: Attention, q: Tensor, k: Tensor, v: Tensor, rotary: Rotary) -> Heads:
    """Normalizes and rotates the result of `Attention.parts`, and arranges it for batched products."""
    config, length, results = attention.config, rotary.key_cos.shape[0], rotary.query_cos.shape[0]
    sequences = k.shape[0] * k.shape[1] // length
    heads, kv_heads, head_dim = config.heads, config.kv_heads, config.head_dim
    q = applied(attention, "q_norm", q.reshape(sequences, results, heads, head_dim))
    q = rotate(q, rotary.query_cos, rotary.query_sin)
    k = applied(attention, "k_norm", k.reshape(sequences, length, kv_heads, head_dim))
    k = rotate(k, rotary.key_cos, rotary.key_sin)
    v = v.reshape(sequences, length, kv_heads, head_dim)
    q, k, v = (operand(x, attention.products) for x in (q, k, v))
    q, k, v = q.transpose(1, 2), k.permute(0, 2, 3, 1), v.transpose(1, 2)
    return Heads(
        q.reshape(sequences * kv_heads, heads // kv_heads * results, head_dim),
        k.reshape(sequences * kv_heads, head_dim, length),
        v,
    )


def attention_weights(heads: Heads, bias: Tensor) -> Tensor:
    """Returns the softmax of the scores, float32 [sequences * kv_heads, group * K, T]; bias [sequences, 1, 1, K, T]."""
    results, length = bias.shape[-2:]
    scores = widened(heads.queries.bmm(heads.keys))
    rows = scores.reshape(bias.shape[0], -1, scores.shape[1] // results, results, length) + bias
    return rows.softmax(dim=-1).reshape(scores.shape)


def join_queries(config: LlamaConfig, rows: Tensor, slices: int, results: int) -> Tensor:
    """Turns rows in the arrangement of Heads.queries into [slices, rows * K, heads * head_dim]."""
    heads = rows.reshape(-1, config.heads, results, config.head_dim)
    return heads.transpose(1, 2).reshape(slices, -1, config.heads * config.head_dim)


class FeedForward(nn.Module):
    """SwiGLU, or the same with another gate. `products`: the type of its products' operands."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.products = torch.float32
        if config.form.gate == "gelu_tanh":
            self.slope = GeluGate()
        for name in PROJECTIONS[4:]:
            out_features, in_features = config.projection_shape(name)
            self.add_module(name, nn.Linear(in_features, out_features, bias=False))
        _add_vectors(self, config, "mlp")

    def forward(self, x: Tensor, adapters: Mapping[str, Tensor]) -> Tensor:
        x = operand(x, self.products)
        gate = project(self, "gate_proj", x, adapters)
        up = project(self, "up_proj", x, adapters)
        gated = operand(self.gated(gate, up), self.products)
        return applied(self, "result_norm", project(self, "down_proj", gated, adapters))

    def gated(self, gate: Tensor, up: Tensor) -> Tensor:
        """silu(gate) * up, or with GELU."""
        return gate * torch.sigmoid(applied(self, "slope", gate)) * up


def project(owner: nn.Module, name: str, x: Tensor, adapters: Mapping[str, Tensor]) -> Tensor:
    """Applies the projection `name` of `owner`, with its adapter [slices, rank, out] if it has one -> float32."""
    module = owner.get_submodule(name)
    result: Tensor = module(x, adapters[name]) if name in adapters else module(x)
    return widened(result)


def operand(x: Tensor, products: torch.dtype) -> Tensor:
    """Rounds float32 x to operands of type `products`.

    Values of bfloat16 stay float32 tensors: a product of them is summed in float32, and has no other rounding.
    """
    if products == torch.bfloat16:
        rounded = x.to(torch.bfloat16).to(x.dtype)
        # In the backward pass, rounding counts as the identity: autograd's own would round gradients too.
        return x + (rounded - x).detach() if x.requires_grad else rounded
    return to_half(x) if products == torch.float16 else x


def widened(x: Tensor) -> Tensor:
    """Converts the result of a product to float32."""
    return to_single(x) if x.dtype == torch.float16 else x


class DecoderLayer(nn.Module):
    """Attention and feed-forward, each after an RMSNorm and added to the residual stream.

    Keys and values are computed for all rows, everything else only for the rows in `rotary`'s query tables.
    """

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = FeedForward(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config.norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.norm_eps)

    def forward(self, x: Tensor, rotary: Rotary, bias: Tensor, adapters: Mapping[str, Tensor]) -> Tensor:
        if rotary.query_cos.shape != rotary.key_cos.shape:
            bias = bias[:, :, :, -rotary.query_cos.shape[0] :]
        x = rotary.last_rows(x) + self.self_attn(self.input_layernorm(x), rotary, bias, adapters)
        result: Tensor = x + self.mlp(self.post_attention_layernorm(x), adapters)
        return result


class Decoder(nn.Module):
    """Embedding, layers and the last norm, named as in Hugging Face's checkpoints."""

    def __init__(self, config: LlamaConfig, layers: int) -> None:
        super().__init__()
        size = config.vocab_size, config.hidden_size  # to give it values, the meta device would import for a second
        self.embed_tokens: nn.Module = nn.Embedding(*size, _weight=torch.empty(size))
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(layers))
        self.norm = RMSNorm(config.hidden_size, config.norm_eps)


def decoder_layer(config: LlamaConfig, state: Mapping[str, Tensor], index: int) -> DecoderLayer:
    """Returns a frozen decoder layer around the tensors of `state`, reading only those of this layer."""
    with torch.device("meta"):
        layer = DecoderLayer(config)
    names = {name: name.replace("_proj_bias", "_proj.bias") for name in layer.state_dict()}
    _fill(layer, {name: state[f"model.layers.{index}.{stored}"] for name, stored in names.items()}, config)
    return layer


def _fill(module: nn.Module, tensors: Mapping[str, Tensor], config: LlamaConfig) -> None:
    """Gives a module on the meta device its tensors and its norms' constants, and freezes it.

    Norms and biases are float32, whatever the weights are.
    """
    widened_vectors = {name: value.float() if value.dim() == 1 else value for name, value in tensors.items()}
    module.load_state_dict(widened_vectors, strict=True, assign=True)
    constants: dict[int, dict[str, Tensor]] = {}
    for norm in (part for part in module.modules() if isinstance(part, RMSNorm)):
        size = norm.weight.shape[0]
        for name, value in constants.setdefault(size, _norm_constants(size, config.norm_eps)).items():
            norm.register_buffer(name, value, persistent=False)
    for gate in (part for part in module.modules() if isinstance(part, GeluGate)):
        for name, value in _gelu_constants().items():
            gate.register_buffer(name, value, persistent=False)
    module.requires_grad_(False).eval()


class Llama(nn.Module):
    """A causal language model; `load` takes the canonical state dict of workloads.models."""

    def __init__(self, config: LlamaConfig, layers: int | None = None) -> None:
        super().__init__()
        self.config = config
        self.model = Decoder(config, config.layers if layers is None else layers)
        self.lm_head: nn.Module = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    @property
    def layers(self) -> list[DecoderLayer]:
        """The decoder layers, first to last."""
        return [layer for layer in self.model.layers if isinstance(layer, DecoderLayer)]

    @classmethod
    def load(cls, config: LlamaConfig, state: Mapping[str, Tensor]) -> Llama:
        """Returns a frozen model around the tensors of `state`, without a second copy of them in memory."""
        model = cls.without_layers(config, state)
        model.model.layers.extend(decoder_layer(config, state, index) for index in range(config.layers))
        return model

    @classmethod
    def without_layers(cls, config: LlamaConfig, state: Mapping[str, Tensor]) -> Llama:
        """Returns the embedding, last norm and head of the frozen model, which surround the decoder layers."""
        with torch.device("meta"):
            model = cls(config, layers=0)
        names = [name for name in model.state_dict() if name != "lm_head.weight" or not config.tie_embeddings]
        tensors = {name: state[name] for name in names}
        if config.tie_embeddings:
            tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
        _fill(model, tensors, config)
        if config.tie_embeddings:  # one shared parameter, so that a conversion keeps a single tensor
            model.lm_head.register_parameter("weight", model.model.embed_tokens.get_parameter("weight"))
        return model

    def forward(self, tokens: Tensor, first: Tensor) -> Tensor:
        """tokens int64 [b, T], first int64 [b] (index of each row's first real token) -> logits [b, T, vocabulary]."""
        rows, length = tokens.shape
        x = self.model.embed_tokens(tokens).to(torch.float32).reshape(1, rows * length, -1)
        self.config.require_length(length, "this model")
        bias = attention_bias(first, length)
        for layer, rotary in zip(self.layers, Rotary.of_layers(self.config, length), strict=True):
            x = layer(x, rotary, bias, {})
        logits: Tensor = self.lm_head(self.model.norm(x))
        return logits.reshape(rows, length, -1)
