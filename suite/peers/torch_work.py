"""Peers in PyTorch: a P-RGE step, a forward pass and bare products as users would write them, and transformers' model.

The model has one type throughout, with PyTorch's fused attention, norms and activations. It is built from the suite's
weights, and computes the same as the suite's reference, within the rounding of its type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from suite.peers.peer import PeerJob, require_plain_layers
from workloads.methods.adapter import frozen_a
from workloads.models.config import PLAIN_FORM, LlamaConfig
from workloads.models.llama import DecoderLayer, Llama, Rotary, decoder_layer
from workloads.models.zoo import load_model
from workloads.workload import AdapterSlot, adapter_values, layout_of

if TYPE_CHECKING:
    from workloads.models.weights import ModelWeights

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int8}


class PeerModel(nn.Module):
    """A model of the Llama family with adapters, whose B differ between slices of the batch."""

    def __init__(self, job: PeerJob, weights: ModelWeights, dtype: torch.dtype) -> None:
        super().__init__()
        self.config, self.answers = weights.config, job.workload.answers
        self.ends = Llama.without_layers(self.config, weights.state).to(dtype)
        layers = (decoder_layer(self.config, weights.state, index).to(dtype) for index in range(self.config.layers))
        self.stack = nn.ModuleList(layers)
        self.layout = layout_of(job.workload, self.config)
        tensors = weights.state
        self.frozen_a = [frozen_a(job.workload, self.config, slot, tensors).to(dtype) for slot in self.layout]
        rotaries = Rotary.of_layers(self.config, job.workload.T)
        tables = {id(one): (one.key_cos[:, 0].to(dtype), one.key_sin[:, 0].to(dtype)) for one in rotaries}
        self.rotary = [tables[id(one)] for one in rotaries]

    @property
    def layers(self) -> list[DecoderLayer]:
        """The decoder layers, first to last."""
        return [layer for layer in self.stack if isinstance(layer, DecoderLayer)]

    def forward(self, tokens: Tensor, adapters: Tensor | None) -> Tensor:
        """tokens int64 [rows, T], adapters [slices, n] or None -> logits [rows, K, vocabulary]."""
        x: Tensor = self.ends.model.embed_tokens(tokens)
        places = {(slot.layer, slot.projection): index for index, slot in enumerate(self.layout)}
        for index, (layer, rotary) in enumerate(zip(self.layers, self.rotary, strict=True)):

            def project(owner: nn.Module, name: str, x: Tensor, index: int = index) -> Tensor:
                place = None if adapters is None else places.get((index, name))
                weight, bias = owner.get_submodule(name).get_parameter("weight"), owner._parameters.get(f"{name}_bias")
                result = functional.linear(x, weight, bias)
                if adapters is None or place is None:
                    return result
                return _with_share(result, x, self.frozen_a[place], adapters, self.layout[place])

            x = x + self._attention(layer, self._norm(layer.input_layernorm, x), rotary, project)
            x = x + self._feed_forward(layer, self._norm(layer.post_attention_layernorm, x), project)
        logits: Tensor = self.ends.lm_head(self._norm(self.ends.model.norm, x[:, -self.answers :]))
        return logits

    def _attention(
        self, layer: DecoderLayer, x: Tensor, rotary: tuple[Tensor, Tensor], project: Callable[..., Tensor]
    ) -> Tensor:
        config, attention = self.config, layer.self_attn
        rows, length, _ = x.shape
        q, k, v = (project(attention, name, x).view(rows, length, -1, config.head_dim) for name in _QKV)
        q, k = self._norm_of(attention, "q_norm", q), self._norm_of(attention, "k_norm", k)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        mixed = functional.scaled_dot_product_attention(
            _rotate(q, *rotary),
            _rotate(k, *rotary),
            v,
            is_causal=True,
            scale=config.form.query_scale,
            enable_gqa=config.heads != config.kv_heads,
        )
        mixed = mixed.transpose(1, 2).reshape(rows, length, -1)
        return self._norm_of(attention, "result_norm", project(attention, "o_proj", mixed))

    def _feed_forward(self, layer: DecoderLayer, x: Tensor, project: Callable[..., Tensor]) -> Tensor:
        gate, up = project(layer.mlp, "gate_proj", x), project(layer.mlp, "up_proj", x)
        gelu = self.config.form.gate == "gelu_tanh"
        gate = functional.gelu(gate, approximate="tanh") if gelu else functional.silu(gate)
        return self._norm_of(layer.mlp, "result_norm", project(layer.mlp, "down_proj", gate * up))

    def _norm_of(self, owner: nn.Module, name: str, x: Tensor) -> Tensor:
        """Applies a norm of `owner`, if its family has it."""
        module = owner._modules.get(name)
        return x if module is None else self._norm(module, x)

    def _norm(self, module: nn.Module, x: Tensor) -> Tensor:
        return functional.rms_norm(x, x.shape[-1:], module.get_parameter("weight"), self.config.norm_eps)


_QKV = ("q_proj", "k_proj", "v_proj")


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotates x [rows, heads, T, head_dim]; the sines in the tables [T, head_dim] include the sign of the rotation."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((second, first), dim=-1) * sin


def _with_share(result: Tensor, x: Tensor, lora_a: Tensor, adapters: Tensor, slot: AdapterSlot) -> Tensor:
    """Adds the adapter's share x A^T B, with a B for each slice."""
    slices = adapters.shape[0]
    lora_b = adapters[:, slot.offset : slot.offset + slot.size].view(slices, slot.rank, slot.features)
    inner = functional.linear(x, lora_a).view(slices, -1, slot.rank)
    return torch.baddbmm(result.view(slices, -1, slot.features), inner, lora_b).view(result.shape)


class TorchStep:
    """A P-RGE step. All slices go through the model as one batch."""

    def __init__(self, job: PeerJob) -> None:
        torch.set_num_threads(job.threads)
        tokens, labels = (torch.from_numpy(part) for part in job.read_inputs())
        self.q, self.training, self._dtype = job.workload.q, job.training, _DTYPES[job.peer.dtype]
        model = PeerModel(job, load_model(job.workload.model, job.weights_path), self._dtype)
        self._model: Callable[..., Tensor] = torch.compile(model, dynamic=False) if job.peer.compiled else model
        self._b, self._tokens, self._labels = len(tokens), tokens.repeat(2 * self.q, 1), labels.repeat(2 * self.q, 1)
        self.adapter = torch.zeros(adapter_values(model.layout))
        self._generator = torch.Generator().manual_seed(self.training.seed)

    @torch.no_grad()
    def perform(self) -> Sequence[float]:
        """Makes a step. Returns its losses, [2, q] flattened."""
        noise = torch.randn(self.q, len(self.adapter), generator=self._generator)
        losses = self.losses(noise)
        gradient = (losses[: self.q] - losses[self.q :]) / (2 * self.training.eps)
        self.adapter -= self.training.lr / self.q * (gradient @ noise)
        return losses.tolist()

    @torch.no_grad()
    def losses(self, noise: Tensor) -> Tensor:
        """noise [q, n] -> the losses of + and of - [2 q]."""
        moved = torch.cat((self.adapter + self.training.eps * noise, self.adapter - self.training.eps * noise))
        logits = self._model(self._tokens, moved.to(self._dtype)).float()
        of_tokens = functional.cross_entropy(
            logits.flatten(0, 1), self._labels.flatten(), ignore_index=-1, reduction="none"
        )
        return of_tokens.view(2 * self.q, -1).sum(1) / (self._labels[: self._b] >= 0).sum()

    @torch.no_grad()
    def logits(self) -> NDArray[np.float32]:
        """Returns the logits with an adapter of zeros, which does not change the model."""
        nothing = torch.zeros(2 * self.q, len(self.adapter), dtype=self._dtype)
        return _array(self._model(self._tokens, nothing)[: self._b])


class TorchForward:
    """Forward passes of the rows of a step. `run` takes tokens [rows, T] and returns logits [rows, K, vocabulary]."""

    def __init__(self, job: PeerJob, run: Callable[[Tensor], Tensor]) -> None:
        tokens = torch.from_numpy(job.read_inputs()[0])
        self._run, self._b, self._tokens = run, len(tokens), tokens.repeat(2 * job.workload.q, 1)

    @torch.no_grad()
    def perform(self) -> Sequence[float]:
        """Computes the logits. There are no losses."""
        self._run(self._tokens)
        return ()

    @torch.no_grad()
    def logits(self) -> NDArray[np.float32]:
        """Returns the logits of the batch, which is the first of its copies."""
        return _array(self._run(self._tokens)[: self._b])


class TorchProducts:
    """The seven products of each layer with the layer's own weights. Products of the same width share their input."""

    def __init__(self, job: PeerJob, weights: ModelWeights) -> None:
        dtype, config = _DTYPES[job.peer.dtype], weights.config
        names = [f"model.layers.{layer}.{name}.weight" for layer in range(config.layers) for name in _linears(config)]
        self._weights = [_convert(weights.state[name], dtype) for name in names]
        rows, generator = job.rows * job.workload.T, torch.Generator().manual_seed(0)
        widths = sorted({weight.shape[1] for weight in self._weights})
        self._inputs = {width: _convert(torch.randn(rows, width, generator=generator), dtype) for width in widths}
        self._product = functional.linear if dtype != torch.int8 else _int8_product

    @torch.no_grad()
    def perform(self) -> Sequence[float]:
        """Computes the products."""
        for weight in self._weights:
            self._product(self._inputs[weight.shape[1]], weight)
        return ()

    def logits(self) -> None:
        """Returns None, as bare products have no logits."""


def _linears(config: LlamaConfig) -> Sequence[str]:
    return tuple(config.linear_shapes())


def _convert(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Converts to a type; to 8 bits with one scale for all values, which is dropped."""
    if dtype != torch.int8:
        return values.to(dtype)
    return (values * (127 / values.abs().max())).round().to(torch.int8)


def _int8_product(x: Tensor, weight: Tensor) -> Tensor:
    return torch._int_mm(x, weight.t())


def make_step(job: PeerJob) -> TorchStep:
    """Returns a step, eager or compiled."""
    return TorchStep(job)


def make_forward(job: PeerJob) -> TorchForward:
    """Returns forward passes of the same model without adapters."""
    torch.set_num_threads(job.threads)
    model = PeerModel(job, load_model(job.workload.model, job.weights_path), _DTYPES[job.peer.dtype])
    return TorchForward(job, lambda tokens: model(tokens, None))


def make_products(job: PeerJob) -> TorchProducts:
    """Returns the bare products."""
    torch.set_num_threads(job.threads)
    return TorchProducts(job, load_model(job.workload.model, job.weights_path))


def make_transformers(job: PeerJob) -> TorchForward:
    """Returns forward passes of transformers' model, with the attention that it chooses itself.

    Raises UserError for a model that is not of Llama's own form.
    """
    import transformers

    torch.set_num_threads(job.threads)
    weights = load_model(job.workload.model, job.weights_path)
    config = weights.config
    require_plain_layers(job, config.form == PLAIN_FORM)
    made = transformers.LlamaForCausalLM._from_config(transformers_config(config), dtype=_DTYPES[job.peer.dtype])
    model: Any = made.eval().requires_grad_(False)
    own = model.state_dict()
    for name in weights.state:
        own[name].copy_(weights.state[name])
    answers = job.workload.answers
    return TorchForward(job, lambda tokens: model(input_ids=tokens, use_cache=False, logits_to_keep=answers).logits)


def transformers_config(config: LlamaConfig, **more: str) -> Any:
    """Returns transformers' configuration of a model of Llama's own form, with `more` settings besides the shapes."""
    import transformers

    made: Any = transformers.LlamaConfig  # its type hints cover only some of its arguments
    return made(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.kv_heads,
        head_dim=config.head_dim,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
        rms_norm_eps=config.norm_eps,
        tie_word_embeddings=config.tie_embeddings,
        max_position_embeddings=config.max_positions,
        **more,
    )


def _array(logits: Tensor) -> NDArray[np.float32]:
    found: NDArray[np.float32] = logits.float().numpy()
    return found
