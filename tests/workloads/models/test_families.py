"""Models of each family as transformers saves them: the same logits, and what is not supported is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from foundation.errors import UserError
from tests.support.workloads.family_models import FAMILIES, LLAMA3, family_model, save_family
from workloads.models.config import LlamaConfig, Rope, llama3_divisors
from workloads.models.huggingface import load_folder, read_config
from workloads.models.llama import Llama


def logits_of_both(model: Any, folder: Path, length: int, first: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the logits of our network and of transformers', at real tokens; `first` of each row is its first one."""
    generator = torch.Generator().manual_seed(length)
    tokens = torch.randint(3, 500, (len(first), length), generator=generator)
    starts = torch.tensor(first)
    real = torch.arange(length)[None, :] >= starts[:, None]
    loaded = load_folder("some", folder)
    with torch.no_grad():
        ours = Llama.load(loaded.config, loaded.state)(tokens, starts)
        theirs = model(input_ids=tokens, attention_mask=real.long()).logits
    return ours[real], theirs[real]


def relative_error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())


@pytest.mark.parametrize("name", FAMILIES)
def test_logits_equal_those_of_transformers(name: str, tmp_path: Path) -> None:
    """With grouped heads, left padding up to the last token, and rows beyond what Llama 3's scaling started from."""
    model = family_model(name)
    folder = save_family(model, tmp_path / "model")
    ours, theirs = logits_of_both(model, folder, 96, [0, 40, 95])
    assert theirs.std() > 0.3
    assert relative_error(ours, theirs) < 1e-4


@pytest.mark.parametrize("name", ["llama3", "gemma3_text"])
def test_logits_are_those_of_the_other_kind_of_head_too(name: str, tmp_path: Path) -> None:
    model = family_model(name, tie_word_embeddings=False)
    ours, theirs = logits_of_both(model, save_family(model, tmp_path / "model"), 24, [0, 5])
    assert relative_error(ours, theirs) < 1e-4


@pytest.mark.slow
def test_long_rows_give_the_logits_of_transformers(tmp_path: Path) -> None:
    """With one key and value for all heads, heads apart from the width, and a large base.

    A row of real tokens alone, and one that is padding but for its last token.
    """
    odd: dict[str, Any] = {"num_key_value_heads": 1, "head_dim": 48, "rope_theta": 8e6}
    model = family_model("llama", num_hidden_layers=2, max_position_embeddings=2048, **odd)
    ours, theirs = logits_of_both(model, save_family(model, tmp_path / "model"), 2048, [0, 2047])
    assert relative_error(ours, theirs) < 1e-4


def changed(folder: Path, **changes: object) -> Path:
    """Changes keys of config.json; None removes one."""
    path = folder / "config.json"
    document = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in document.items() if value is not None}))
    return folder


def test_older_files_spell_rotary_scaling_otherwise(tmp_path: Path) -> None:
    """`rope_scaling` beside `rope_theta`, with `rope_type` or `type`, stands for `rope_parameters`."""
    folder = save_family(family_model("llama3"), tmp_path / "model")
    newer = read_config(folder)[0]
    assert newer.rope(0) != Rope(500_000.0)
    for key in ("rope_type", "type"):
        older = {"rope_type": None} | LLAMA3 | {key: "llama3"}
        changed(folder, rope_parameters=None, rope_theta=500_000.0, rope_scaling=older)
        assert read_config(folder)[0] == newer


def test_older_files_of_gemma_have_a_pattern_and_a_local_base(tmp_path: Path) -> None:
    folder = save_family(family_model("gemma3_text"), tmp_path / "model")
    newer = read_config(folder)[0]
    older = {"rope_theta": 1e6, "rope_local_base_freq": 1e4, "sliding_window_pattern": 2}
    changed(folder, rope_parameters=None, layer_types=None, **older)
    assert read_config(folder)[0] == newer
    scaled = {"rope_type": "linear", "factor": 8.0}
    ropes = read_config(changed(folder, rope_scaling=scaled))[0].form.ropes
    assert ropes[:2] == (Rope(1e4), Rope(1e6, (8.0,) * 16))


@pytest.mark.parametrize("name", ["mistral", "qwen2", "qwen3", "smollm3", "gemma3_text"])
def test_absent_keys_mean_what_they_mean_to_transformers(name: str, tmp_path: Path) -> None:
    """A key that a file leaves out has its family's default, not Llama's."""
    folder = save_family(family_model(name), tmp_path / "model")
    keys = [
        *("num_key_value_heads", "head_dim", "sliding_window", "tie_word_embeddings", "rope_parameters"),
        *("no_rope_layers", "layer_types", "max_position_embeddings", "query_pre_attn_scalar"),
    ]
    changed(folder, hidden_size=4096, num_attention_heads=32, **dict.fromkeys(keys))
    theirs = type(family_model(name).config).from_pretrained(folder)
    changed(folder, **{key: value for key, value in theirs.to_dict().items() if value is not None})
    explicit = read_config(folder)[0]
    changed(folder, **dict.fromkeys(keys))
    assert read_config(folder)[0] == explicit


def test_a_window_that_rows_do_not_reach_is_no_obstacle_and_a_longer_row_is_refused(tmp_path: Path) -> None:
    config: LlamaConfig = read_config(save_family(family_model("mistral"), tmp_path / "model"))[0]
    config.require_length(256, "it")
    with pytest.raises(UserError, match=r"T is 257, but layers of it see only 256 positions.*choose a T up to 256"):
        config.require_length(257, "it")
    folder = save_family(family_model("qwen2"), tmp_path / "without")
    assert read_config(folder)[0].form.window is None
    switched_on = changed(folder, use_sliding_window=True, sliding_window=8, max_window_layers=3, layer_types=None)
    assert read_config(switched_on)[0].form.window == 8
    assert read_config(changed(folder, max_window_layers=4))[0].form.window is None


def test_a_window_of_just_the_rows_length_changes_nothing(tmp_path: Path) -> None:
    """transformers masks what is further back than the window: nothing, if rows are no longer."""
    model = family_model("mistral", sliding_window=24)
    ours, theirs = logits_of_both(model, save_family(model, tmp_path / "model"), 24, [0, 3])
    assert relative_error(ours, theirs) < 1e-4


REFUSED: dict[str, tuple[str, dict[str, object], str]] = {
    "the model with pictures": ("gemma3_text", {"model_type": "gemma3"}, "for gemma3, only the text model"),
    "soft caps": ("gemma3_text", {"final_logit_softcapping": 30.0}, "final_logit_softcapping is 30.0"),
    "both directions": ("gemma3_text", {"use_bidirectional_attention": True}, "use_bidirectional_attention is True"),
    "a gate": ("gemma3_text", {"hidden_activation": "silu"}, "hidden_activation is silu, .* is gelu_pytorch_tanh"),
    "biases": ("qwen3", {"attention_bias": True}, "attention_bias is True, which is not supported for qwen3"),
    "kinds of layers": ("qwen3", {"layer_types": ["linear_attention"] * 4}, "layer_types should name"),
    "few kinds": ("gemma3_text", {"layer_types": ["full_attention"]}, "for each of 4 layers"),
    "few layers": ("smollm3", {"no_rope_layers": [1, 0]}, "no_rope_layers is for 2 layers instead of 4"),
    "a word for a window": ("mistral", {"sliding_window": "wide"}, "sliding_window must be a number of positions"),
    "scaling": ("qwen2", {"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, "'yarn' rotary scaling"),
    "a scaling's number": (
        "llama3",
        {"rope_parameters": LLAMA3 | {"low_freq_factor": "low"}},
        "low_freq_factor of its rotary positions must be a number",
    ),
    "two scalings": (
        "llama3",
        {"rope_scaling": {"rope_type": "linear", "factor": 2.0}},
        "has rope_parameters and a different rope_scaling",
    ),
    "one base for two kinds": (
        "gemma3_text",
        {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}},
        "rope_parameters should have sliding_attention and full_attention",
    ),
    "partial": ("llama", {"rope_parameters": {"partial_rotary_factor": 0.5}}, "'partial' rotary scaling"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_supported_is_refused_by_name(case: str, tmp_path: Path) -> None:
    name, changes, message = REFUSED[case]
    folder = save_family(family_model(name), tmp_path / "model")
    with pytest.raises(UserError, match=message):
        load_folder("some", changed(folder, **changes))


def test_frequencies_between_the_ranges_are_interpolated() -> None:
    """Long waves are stretched by the factor, short ones stay, and one in the middle of both lies between."""
    divisors = llama3_divisors(500_000.0, 64, 8.0, 1.0, 4.0, 8192.0)
    assert divisors[0] == 1.0
    assert divisors[-1] == 8.0
    assert sorted(divisors) == list(divisors)
    assert any(1.0 < divisor < 8.0 for divisor in divisors)
