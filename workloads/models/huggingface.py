"""Models from a Hugging Face folder: config.json, safetensors (one file or shards), tokenizer.json."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from foundation.errors import UserError
from foundation.foreign_files import open_regular, parse_json, read_regular
from foundation.text import printable
from foundation.unavailable import is_number
from workloads.models.config import LlamaConfig
from workloads.models.families import Family, family_of, form_of, plain_theta
from workloads.models.foreign_tokenizer import load_tokenizer_json
from workloads.models.weights import (
    Digest,
    LazyTensors,
    ModelWeights,
    check_tensors,
    document_sha256,
    file_sha256,
    within_vocabulary,
)

if TYPE_CHECKING:
    import torch


SINGLE_FILE = "model.safetensors"
SHARD_INDEX = "model.safetensors.index.json"
MOST_JSON_BYTES = 16 << 20
MOST_HEADER_BYTES = 16 << 20
"""The limit for the header of a safetensors file: names and shapes of about 100,000 tensors."""
#: Types by their name in safetensors; bfloat16 is widened, the others are kept.
DTYPES = ("F32", "F16", "BF16")
MOST_LAYERS = 10_000
"""More are a mistake."""

LONGEST_NAME = 200
"""The longest name of a shard; file systems allow 255 bytes."""

ROWS_AT_A_TIME = 4096
"""Rows of the tables that are compared at a time."""


def load_folder(name: str, folder: Path, digest: Digest | None = None) -> ModelWeights:
    """Returns the model in a Hugging Face folder; tensors are read at each access, bfloat16 as float32.

    Whether the head is the embedding follows from the tensors: if it differs, it is separate. Raises `UserError` for
    files that are missing, truncated or contradict each other, and for unsupported features. Weights are read only from
    safetensors, as pickled ones can run code.
    """
    config, family, settings = read_config(folder)
    table = _tensor_table(folder)
    if config.tie_embeddings and _head_differs(table):
        config = dataclasses.replace(config, tie_embeddings=False)
    check_tensors(config, {tensor: shape for tensor, (_, shape) in table.items()}, folder, family.stored_name)
    tokenizer_path = folder / "tokenizer.json"
    ids = {kind: _token_id(settings, kind, config.vocab_size, folder) for kind in ("bos", "eos", "pad")}
    tokenizer = load_tokenizer_json(tokenizer_path, ids["bos"], ids["eos"], ids["pad"])
    tokenizer = within_vocabulary(config, tokenizer, folder)

    def source(tensor: str) -> Callable[[], torch.Tensor]:
        stored = family.stored_name(tensor)
        return lambda: family.value(config, tensor, _read_tensor(table[stored][0], stored))

    sources = {tensor: source(tensor) for tensor in config.tensor_shapes()}
    hashed = {folder / "config.json", tokenizer_path, *(file for file, _ in table.values())}
    of_files = document_sha256({path.name: (digest or file_sha256)(path) for path in hashed})
    return ModelWeights(name, config, LazyTensors(sources), of_files, tokenizer, source=str(folder))


def read_config(folder: Path) -> tuple[LlamaConfig, Family, dict[str, Any]]:
    """Returns the model described by config.json, its family, and the file's content with the family's defaults.

    Raises `UserError` for a file that is missing or damaged, and for features that are not supported.
    """
    path = folder / "config.json"
    given = _read_json(path)
    family = family_of(given, path)
    settings = {**family.defaults, **given}
    hidden, heads = _integer(settings, "hidden_size", path), _integer(settings, "num_attention_heads", path)
    head_dim = _integer(settings, "head_dim", path, default=hidden // heads if heads else 0)
    layers = _integer(settings, "num_hidden_layers", path)
    if layers > MOST_LAYERS:
        raise UserError(f"{path}: num_hidden_layers is {layers}, more than {MOST_LAYERS}: copy the file again.")
    theta, eps = plain_theta(settings), settings.get("rms_norm_eps", 1e-6)
    if not is_number(theta) or not is_number(eps):
        words = f"{printable(repr(theta), 40)} and {printable(repr(eps), 40)}"
        raise UserError(f"{path}: rope_theta and rms_norm_eps must be numbers, but they are {words}.")
    config = LlamaConfig(
        vocab_size=_integer(settings, "vocab_size", path),
        hidden_size=hidden,
        intermediate_size=_integer(settings, "intermediate_size", path),
        layers=layers,
        heads=heads,
        kv_heads=_integer(settings, "num_key_value_heads", path, default=heads),
        head_dim=head_dim,
        rope_theta=float(theta),
        norm_eps=float(eps),
        tie_embeddings=bool(settings.get("tie_word_embeddings", False)),
        max_positions=_integer(settings, "max_position_embeddings", path, default=2048),
        form=form_of(family, settings, layers, head_dim, path),
    )
    return config, family, settings


def _head_differs(table: Mapping[str, tuple[Path, tuple[int, ...]]]) -> bool:
    """Returns whether a folder has an output head that is not a copy of the embedding; compares some rows at a time."""
    places = [table.get(name) for name in ("model.embed_tokens.weight", "lm_head.weight")]
    if places[0] is None or places[1] is None:
        return False
    (of_embedding, shape), (of_head, head_shape) = places[0], places[1]
    if shape != head_shape:
        return True
    try:
        with safe_open(of_embedding, framework="pt") as one, safe_open(of_head, framework="pt") as other:
            embedding, head = one.get_slice("model.embed_tokens.weight"), other.get_slice("lm_head.weight")
            return any(
                bool((embedding[start : start + ROWS_AT_A_TIME] != head[start : start + ROWS_AT_A_TIME]).any())
                for start in range(0, shape[0], ROWS_AT_A_TIME)
            )
    except (OSError, SafetensorError) as error:
        raise UserError(f"{of_head}: lm_head.weight can't be read ({error}): copy the file again.") from error


def _integer(settings: dict[str, Any], key: str, path: Path, default: int | None = None) -> int:
    value = settings.get(key)
    if value is None:
        value = default
    if not isinstance(value, int) or isinstance(value, bool):
        raise UserError(f"{path}: {key} must be a whole number, but it is {str(value)[:40]}: copy the file again.")
    return value


def _token_id(settings: dict[str, Any], kind: str, vocab_size: int, folder: Path) -> int | None:
    """Returns a token id of config.json: a number, the first of a list (of several ends), or None.

    -1 means none. A padding id may be beyond the vocabulary, as it is masked; any other such id raises `UserError`.
    """
    key = f"{kind}_token_id"
    value = settings.get(key)
    if isinstance(value, list) and value:
        value = value[0]
    if value is None or value == -1:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 0 or (kind != "pad" and value >= vocab_size):
        raise UserError(
            f"{folder / 'config.json'}: {key} is {printable(str(value), 40)}, which is not one of the {vocab_size} "
            "tokens: copy the file again."
        )
    return value


def _tensor_table(folder: Path) -> dict[str, tuple[Path, tuple[int, ...]]]:
    """Returns each tensor's file (the only one, or the shard that the index names) and shape."""
    single = folder / SINGLE_FILE
    if single.exists():
        return {tensor: (single, shape) for tensor, shape in _shapes(single).items()}
    if not (folder / SHARD_INDEX).exists():
        raise UserError(
            f"{folder} has neither {SINGLE_FILE} nor {SHARD_INDEX}: convert the weights to safetensors; other formats "
            "are not read."
        )
    shards = _shard_of_each_tensor(folder)
    table: dict[str, tuple[Path, tuple[int, ...]]] = {}
    for shard in sorted(set(shards.values())):
        shapes = _shapes(shard).items()
        table |= {tensor: (shard, shape) for tensor, shape in shapes if shards.get(tensor) == shard}
    return table


def _shard_of_each_tensor(folder: Path) -> dict[str, Path]:
    index_path = folder / SHARD_INDEX
    entries = _read_json(index_path).get("weight_map")
    if not isinstance(entries, dict) or not entries:
        raise UserError(f"{index_path} has no weight_map: copy the folder again.")
    for tensor, shard in entries.items():
        if not isinstance(shard, str) or Path(shard).name != shard or len(shard) > LONGEST_NAME:
            raise UserError(
                f"{index_path} places {tensor} in {str(shard)[:80]!r}, which is not the name of a file in the folder."
            )
        if not (folder / shard).is_file():
            raise UserError(f"{folder} lacks {shard}, one of its {len(set(entries.values()))} shards: copy it too.")
    return {tensor: folder / shard for tensor, shard in entries.items()}


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Returns the name and shape of each tensor, from the header alone."""
    shapes = {}
    try:
        _check_header(path)
        with safe_open(path, framework="pt") as file:
            for tensor in file.keys():  # noqa: SIM118 a safetensors file is not a mapping
                part = file.get_slice(tensor)
                if part.get_dtype() not in DTYPES:
                    raise UserError(f"{path}: {tensor} has type {part.get_dtype()}, only {', '.join(DTYPES)} are read.")
                shapes[tensor] = tuple(part.get_shape())
    except (OSError, ValueError, SafetensorError) as error:
        size = path.stat().st_size if path.exists() else 0
        raise UserError(f"{path} is damaged or ends early at {size} bytes ({error}): copy the file again.") from error
    return shapes


def _check_header(path: Path) -> None:
    """Raises ValueError for a header larger than the file or any real one, `UserError` unless it is a regular file."""
    with open_regular(path, what="a safetensors file") as stream:
        left = os.fstat(stream.fileno()).st_size - 8
        claimed = int.from_bytes(stream.read(8), "little")
    if claimed > left:
        raise ValueError(f"it claims a header of {claimed} bytes, but only {max(left, 0)} bytes are left")
    if claimed > MOST_HEADER_BYTES:
        raise ValueError(f"it claims a header of {claimed} bytes, but the limit is {MOST_HEADER_BYTES}")


def _read_tensor(path: Path, name: str) -> torch.Tensor:
    import torch  # takes seconds, and a run with cached programs needs no tensors

    try:
        with safe_open(path, framework="pt") as file:
            tensor: torch.Tensor = file.get_tensor(name)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: {name} can't be read any more ({error}): copy the file again.") from error
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = parse_json(read_regular(path, what=path.name, limit_bytes=MOST_JSON_BYTES), finite=False)
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: give a folder in Hugging Face's layout, or a .gguf file.") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} can't be read as JSON ({error}): copy it again from the model's origin.") from error
    if not isinstance(document, dict):
        raise UserError(f"{path} should hold a JSON object: copy it again from the model's origin.")
    return document
