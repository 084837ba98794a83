"""The supported model families: what the keys of a config.json mean in each, and how its tensors are named.

A family is a line of FAMILIES, or a plugin's entry point. The differences of its layers from Llama's become numbers and
vectors of a `LayerForm`, which all code that computes or lowers a layer uses; nothing else in the suite depends on a
family's name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foundation.errors import UserError
from foundation.plugins import Registry
from workloads.models.config import BIASES, HEAD_NORMS, RESULT_NORMS, LayerForm, LlamaConfig, Rope, rope_of

if TYPE_CHECKING:
    import torch

Settings = Mapping[str, Any]
"""A config.json, with the family's defaults for keys that it leaves out."""

SLIDING, FULL = "sliding_attention", "full_attention"

#: Settings that change what a model computes, with the values for which our computation is right.
_PLAIN: dict[str, tuple[object, ...]] = {
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "hidden_act": ("silu",),
    "quantization_config": (),
    "partial_rotary_factor": (1.0,),
    "rope_interleaved": (False,),
    "attn_logit_softcapping": (),
    "final_logit_softcapping": (),
    "use_bidirectional_attention": (False,),
}


def _all_full(settings: Settings, layers: int) -> list[str]:
    del settings
    return [FULL] * layers


def _all_rotary(settings: Settings, layers: int) -> list[bool]:
    del settings
    return [True] * layers


@dataclass(frozen=True)
class Family:
    """One `model_type`. `defaults` are transformers' defaults for keys that a file may leave out."""

    vectors: tuple[str, ...] = ()
    defaults: Mapping[str, object] = field(default_factory=dict)
    plain: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    """Values of settings that differ from those of other families."""
    gate: str = "silu"
    kinds: Callable[[Settings, int], list[str]] = _all_full
    """Returns whether each layer's attention is sliding or full."""
    may_list_kinds: bool = False
    """Whether the file's `layer_types`, if present, decides instead."""
    rotary: Callable[[Settings, int], list[bool]] = _all_rotary
    """Returns whether each layer has rotary positions."""
    names: Mapping[str, str] = field(default_factory=dict)
    """The family's own names of a layer's tensors, by the name in `LlamaConfig.tensor_shapes`."""
    one_and_weight: bool = False
    """Whether norms multiply by 1 + weight, and the embedding is multiplied by sqrt(hidden_size)."""

    def stored_name(self, name: str) -> str:
        """Returns the family's name of a tensor."""
        prefix, middle, rest = name.partition(".layers.")
        index, _, last = rest.partition(".")
        return f"{prefix}{middle}{index}.{self.names[last]}" if last in self.names else name

    def value(self, config: LlamaConfig, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """Returns a stored tensor in the form that our model uses."""
        if not self.one_and_weight:
            return tensor
        return with_scaled_embedding(config, name, 1.0 + tensor.float() if tensor.dim() == 1 else tensor)


def with_scaled_embedding(config: LlamaConfig, name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Returns a tensor of a model whose embedding is multiplied by sqrt(hidden_size).

    The factor is multiplied into the table and, if the head is the same table, divided out of the last norm's weight:
    this gives the same logits without an extra multiplication.
    """
    scale = math.sqrt(config.hidden_size)
    if name == "model.embed_tokens.weight":
        return tensor.float() * scale
    return tensor.float() / scale if name == "model.norm.weight" and config.tie_embeddings else tensor


def _all_sliding(settings: Settings, layers: int) -> list[str]:
    return [SLIDING if settings.get("sliding_window") is not None else FULL] * layers


def _sliding_from_a_layer_on(settings: Settings, layers: int) -> list[str]:
    if not settings.get("use_sliding_window") or settings.get("sliding_window") is None:
        return [FULL] * layers
    return [SLIDING if index >= settings["max_window_layers"] else FULL for index in range(layers)]


def _with_rotary(settings: Settings, layers: int) -> list[bool]:
    listed = settings.get("no_rope_layers")
    if listed is None:
        return [(index + 1) % settings["no_rope_layer_interval"] != 0 for index in range(layers)]
    return [bool(has) for has in listed[:layers]]  # ones mark the layers with rotary positions


def _sliding_without_rotary(settings: Settings, layers: int) -> list[str]:
    if not settings.get("use_sliding_window") or settings.get("sliding_window") is None:
        return [FULL] * layers
    return [FULL if has else SLIDING for has in _with_rotary(settings, layers)]


def _full_every_few(settings: Settings, layers: int) -> list[str]:
    pattern = settings.get("sliding_window_pattern") or settings.get("_sliding_window_pattern") or 6
    return [SLIDING if (index + 1) % pattern else FULL for index in range(layers)]


_QWEN = {
    "num_key_value_heads": 32,
    "use_sliding_window": False,
    "sliding_window": 4096,
    "max_window_layers": 28,
    "max_position_embeddings": 32768,
}

_FAMILIES: dict[str, Family] = {
    "llama": Family(),
    "mistral": Family(
        defaults={
            "num_key_value_heads": 8,
            "sliding_window": 4096,
            "max_position_embeddings": 131072,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
        kinds=_all_sliding,
    ),
    "qwen2": Family(
        vectors=BIASES,
        defaults=_QWEN,
        plain={"attention_bias": (True, False)},
        kinds=_sliding_from_a_layer_on,
        may_list_kinds=True,
    ),
    "qwen3": Family(
        vectors=HEAD_NORMS, defaults={**_QWEN, "head_dim": 128}, kinds=_sliding_from_a_layer_on, may_list_kinds=True
    ),
    "smollm3": Family(
        defaults={
            "num_key_value_heads": 4,
            "tie_word_embeddings": True,
            "rope_theta": 2_000_000.0,
            "no_rope_layer_interval": 4,
            "use_sliding_window": False,
            "max_position_embeddings": 32768,
            "bos_token_id": 128000,
            "eos_token_id": 128001,
            "pad_token_id": 128004,
        },
        kinds=_sliding_without_rotary,
        may_list_kinds=True,
        rotary=_with_rotary,
    ),
    "gemma3_text": Family(
        vectors=(*HEAD_NORMS, *RESULT_NORMS),
        defaults={
            "num_key_value_heads": 4,
            "head_dim": 256,
            "hidden_activation": "gelu_pytorch_tanh",
            "query_pre_attn_scalar": 256,
            "sliding_window": 4096,
            "tie_word_embeddings": True,
            "rope_theta": 1_000_000.0,
            "rope_local_base_freq": 10_000.0,
            "max_position_embeddings": 131072,
            "bos_token_id": 2,
            "eos_token_id": 1,
            "pad_token_id": 0,
        },
        plain={"hidden_act": ("gelu_pytorch_tanh",), "hidden_activation": ("gelu_pytorch_tanh",)},
        gate="gelu_tanh",
        kinds=_full_every_few,
        may_list_kinds=True,
        names={
            "self_attn.result_norm.weight": "post_attention_layernorm.weight",
            "post_attention_layernorm.weight": "pre_feedforward_layernorm.weight",
            "mlp.result_norm.weight": "post_feedforward_layernorm.weight",
        },
        one_and_weight=True,
    ),
}


def _accept(name: str, loaded: object) -> Family:
    del name
    if not isinstance(loaded, Family):
        raise TypeError(f"is of type {type(loaded).__name__} instead of workloads.models.families.Family")
    return loaded


FAMILIES = Registry("families", _FAMILIES, _accept)
"""By `model_type`, including those of plugins."""


def family_of(settings: Settings, path: Path) -> Family:
    """Returns the family of a config.json; raises `UserError` for an unsupported family or setting."""
    kind = settings.get("model_type")
    family = FAMILIES.get(kind) if isinstance(kind, str) else None
    if family is None:
        others = " (for gemma3, only the text model: gemma3_text)" if kind == "gemma3" else ""
        raise UserError(
            f"{path} describes a model of type {str(kind)[:40]!r}: only {', '.join(FAMILIES)} are supported{others}."
        )
    for key, plain in {**_PLAIN, **family.plain}.items():
        value = settings.get(key)
        if value is not None and value not in plain:
            understood = " or ".join(str(each) for each in plain)
            advice = f"use a model whose {key} is {understood}" if plain else "use a model without it"
            raise UserError(f"{path}: {key} is {str(value)[:40]}, which is not supported for {kind}: {advice}.")
    return family


def form_of(family: Family, settings: Settings, layers: int, head_dim: int, path: Path) -> LayerForm:
    """Returns the differences of a model's layers from Llama's. Raises `UserError` for unsupported ones."""
    _require_one_spelling(settings, path)
    kinds = _kinds(family, settings, layers, path)
    has_rotary = _listed(family.rotary, settings, layers, "no_rope_layers", path)
    by_kind = {kind: _rope(settings, kind, head_dim, path) for kind in set(kinds)}
    ropes = tuple(by_kind[kind] if has else None for kind, has in zip(kinds, has_rotary, strict=True))
    plain = all(rope == Rope(plain_theta(settings)) for rope in ropes)
    # Other families' files may have the key; transformers reads it only in this one.
    scalar = settings.get("query_pre_attn_scalar") if "query_pre_attn_scalar" in family.defaults else None
    if scalar is not None and (isinstance(scalar, bool) or not isinstance(scalar, int | float) or scalar <= 0):
        raise UserError(f"{path}: query_pre_attn_scalar must be a number above 0, but it is {str(scalar)[:40]}.")
    return LayerForm(
        vectors=family.vectors,
        gate=family.gate,
        query_scale=None if scalar in (None, head_dim) else float(scalar) ** -0.5,
        ropes=() if plain else ropes,
        window=_window(settings, path) if SLIDING in kinds else None,
    )


def plain_theta(settings: Settings) -> float:
    """Returns the base of the rotary angles in layers of full attention."""
    parameters = _parameters(settings, FULL)
    theta: float = parameters.get("rope_theta", settings.get("rope_theta", 10_000.0))
    return theta


def _kinds(family: Family, settings: Settings, layers: int, path: Path) -> list[str]:
    listed = settings.get("layer_types")
    if listed is None or not family.may_list_kinds:
        return _listed(family.kinds, settings, layers, "sliding_window", path)
    if not isinstance(listed, list) or len(listed) < layers or not all(kind in (SLIDING, FULL) for kind in listed):
        raise UserError(
            f"{path}: layer_types should name {SLIDING} or {FULL} for each of {layers} layers: others are not "
            "supported."
        )
    # If the window is switched off or absent, such layers have none.
    off = settings.get("sliding_window") is None or settings.get("use_sliding_window") is False
    by_window = {SLIDING: FULL if off else SLIDING, FULL: FULL}
    return [by_window[kind] if "use_sliding_window" in settings else kind for kind in listed[:layers]]


def _listed(
    of: Callable[[Settings, int], list[Any]], settings: Settings, layers: int, key: str, path: Path
) -> list[Any]:
    try:
        found = of(settings, layers)
    except (TypeError, ZeroDivisionError) as error:
        raise UserError(
            f"{path}: {key} and the keys that belong to it make no sense ({error}): copy the file again."
        ) from error
    if len(found) != layers:
        raise UserError(f"{path}: {key} is for {len(found)} layers instead of {layers}: copy the file again.")
    return found


def _window(settings: Settings, path: Path) -> int | None:
    window = settings.get("sliding_window")
    if window is not None and (isinstance(window, bool) or not isinstance(window, int) or window < 1):
        raise UserError(f"{path}: sliding_window must be a number of positions, but it is {str(window)[:40]}.")
    return window


def _require_one_spelling(settings: Settings, path: Path) -> None:
    """Raises `UserError` if a file's two descriptions of rotary positions differ, or don't cover each kind of layer.

    In transformers one of them takes precedence, and not the same one in all families.
    """
    newer, older = settings.get("rope_parameters"), settings.get("rope_scaling")
    if newer and older and newer != older:
        raise UserError(f"{path} has rope_parameters and a different rope_scaling: remove the wrong one.")
    nested = isinstance(newer, Mapping) and (SLIDING in newer or FULL in newer)
    if newer and "rope_local_base_freq" in settings and not nested:
        raise UserError(f"{path}: rope_parameters should have {SLIDING} and {FULL}, each with its own: correct it.")


def _parameters(settings: Settings, kind: str) -> Mapping[str, Any]:
    """Returns the rotary parameters of one kind of layers, from the newer or the older key."""
    newer, older = settings.get("rope_parameters") or {}, settings.get("rope_scaling") or {}
    if isinstance(newer, Mapping) and (SLIDING in newer or FULL in newer):
        newer = newer.get(kind) or {}
    # The older key never applies to layers with their own base.
    local = kind == SLIDING and "rope_local_base_freq" in settings
    found = newer or ({} if local else older)
    return found if isinstance(found, Mapping) else {"rope_type": found}


def _rope(settings: Settings, kind: str, head_dim: int, path: Path) -> Rope:
    local = settings.get("rope_local_base_freq") if kind == SLIDING else None
    theta = settings.get("rope_theta", 10_000.0) if local is None else local
    return rope_of(_parameters(settings, kind), theta, head_dim, path)
