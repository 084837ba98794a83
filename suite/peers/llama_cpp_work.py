"""llama.cpp as a peer, through llama-cpp-python: writes its files from the suite's weights and decodes a step's rows.

Each row is a sequence of its own. One call of `llama_decode` computes all of them, with only the answers' logits.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gguf
import numpy as np
from numpy.typing import NDArray

from foundation.errors import UserError
from suite.peers.peer import PeerJob
from workloads.models.config import LlamaConfig
from workloads.models.gguf import LAYER_NAMES, TOP_NAMES

if TYPE_CHECKING:
    import torch

_BLOCK = 32
"""Values that share a scale in Q8_0 and Q4_0."""
_MOST_ROWS = 256
"""The most sequences that a context of llama.cpp can have (LLAMA_MAX_SEQ)."""
_ERROR_LEVEL = 4
_ENDS = ("model.embed_tokens.weight", "lm_head.weight")


def write_model(config: LlamaConfig, state: Mapping[str, torch.Tensor], dtype: str, path: Path) -> None:
    """Writes the GGUF file of a model of Llama's own form, without a vocabulary, with its matrices as `dtype`.

    Norms are float32. Embedding and head are Q8_0 in a Q4_0 file, since llama.cpp's own tool keeps them more precise
    too. Raises UserError for widths that are not multiples of a type's block.
    """
    if dtype != "F16" and (config.hidden_size % _BLOCK or config.intermediate_size % _BLOCK):
        raise UserError(
            f"{dtype} has blocks of {_BLOCK} values, but the widths {config.hidden_size} and "
            f"{config.intermediate_size} are not multiples of that: choose another model, or llama-f16."
        )
    writer = gguf.GGUFWriter(path, "llama")
    _add_shape(writer, config)
    for name, stored in _stored_names(config):
        values = state[name].float().numpy()
        if values.ndim == 1:
            writer.add_tensor(stored, values)
            continue
        heads = {"q_proj": config.heads, "k_proj": config.kv_heads}.get(name.split(".")[-2])
        kind = gguf.GGMLQuantizationType["Q8_0" if dtype == "Q4_0" and name in _ENDS else dtype]
        packed = gguf.quants.quantize(values if heads is None else _rotary_pairs(values, heads), kind)
        writer.add_tensor(stored, packed, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_shape(writer: gguf.GGUFWriter, config: LlamaConfig) -> None:
    writer.add_context_length(config.max_positions)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("no_vocab")


def _stored_names(config: LlamaConfig) -> Iterator[tuple[str, str]]:
    """Yields the name of each tensor in the suite and in the file."""
    tops = {ours: theirs for theirs, ours in TOP_NAMES.items()}
    layers = {ours: theirs for theirs, ours in LAYER_NAMES.items()}
    for name in config.tensor_shapes():
        if name in tops:
            yield name, tops[name]
        else:
            _, _, layer, part = name.removesuffix(".weight").split(".", 3)
            yield name, f"blk.{layer}.{layers[part]}.weight"


def _rotary_pairs(rows: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Reorders rows [heads * head_dim, in] from halves to neighbouring rotary pairs (reverses `gguf.rotary_halves`)."""
    columns = rows.shape[1]
    return np.ascontiguousarray(rows.reshape(heads, 2, -1, columns).swapaxes(1, 2).reshape(-1, columns))


class LlamaForward:
    """The rows of a step in one context of llama.cpp, with its defaults except for sizes and threads."""

    def __init__(self, job: PeerJob) -> None:
        import llama_cpp  # an optional dependency

        self._api: Any = llama_cpp
        self._errors: list[str] = []
        self._listener = llama_cpp.llama_log_callback(self._keep_error)  # kept: C calls it as long as it may log
        self._api.llama_log_set(self._listener, ctypes.c_void_p(0))
        self._api.llama_backend_init()
        tokens, labels = job.read_inputs()
        self._answers, self._b, self._rows = labels.shape[1], len(tokens), job.rows
        self._context = self._open(job, tokens.shape[1])
        self._vocabulary = self._api.llama_vocab_n_tokens(self._api.llama_model_get_vocab(self._model))
        self._batch = self._batch_of(np.tile(tokens, (2 * job.workload.q, 1)))

    def _open(self, job: PeerJob, length: int) -> Any:
        api, total = self._api, self._rows * length
        if self._rows > _MOST_ROWS:
            raise UserError(
                f"a step has {self._rows} rows, but llama.cpp decodes at most {_MOST_ROWS} at once: choose a smaller "
                "q or b."
            )
        of_model = api.llama_model_default_params()
        of_model.n_gpu_layers = 0
        self._model = api.llama_model_load_from_file(str(job.model_file).encode(), of_model)
        if not self._model:
            raise UserError(f"llama.cpp can't load {job.model_file}{self._reason()}")
        sizes = api.llama_context_default_params()
        sizes.n_ctx = sizes.n_batch = total
        sizes.n_ubatch = min(total, sizes.n_ubatch)
        sizes.n_seq_max, sizes.n_outputs_max = self._rows, self._rows * self._answers
        sizes.n_threads = sizes.n_threads_batch = job.threads
        context = api.llama_init_from_model(self._model, sizes)
        if not context:
            raise UserError(f"llama.cpp can't make a context for {self._rows} rows of {length} tokens{self._reason()}")
        return context

    def _batch_of(self, tokens: NDArray[np.int64]) -> Any:
        rows, length = tokens.shape
        batch = self._api.llama_batch_init(tokens.size, 0, 1)
        batch.n_tokens = tokens.size
        for index, token in enumerate(tokens.reshape(-1).tolist()):
            row, position = divmod(index, length)
            batch.token[index], batch.pos[index] = token, position
            batch.n_seq_id[index], batch.seq_id[index][0] = 1, row
            batch.logits[index] = position >= length - self._answers
        self._places = [row * length + length - self._answers + k for row in range(rows) for k in range(self._answers)]
        return batch

    def perform(self) -> Sequence[float]:
        """Decodes all rows. There are no losses."""
        self._api.llama_memory_clear(self._api.llama_get_memory(self._context), False)
        code = self._api.llama_decode(self._context, self._batch)
        if code != 0:
            raise UserError(f"llama_decode returned {code}{self._reason()}")
        self._api.llama_synchronize(self._context)
        return ()

    def logits(self) -> NDArray[np.float32]:
        """Returns the logits of the first copy of the batch."""
        self.perform()
        read = self._api.llama_get_logits_ith
        found = [
            np.ctypeslib.as_array(read(self._context, place), (self._vocabulary,)).copy()
            for place in self._places[: self._b * self._answers]
        ]
        return np.stack(found).reshape(self._b, self._answers, self._vocabulary)

    def _keep_error(self, level: int, text: bytes, _user_data: Any) -> None:
        if level == _ERROR_LEVEL:
            self._errors.append(text.decode("utf-8", "replace").strip())

    def _reason(self) -> str:
        return f": {self._errors[0]}" if self._errors else ""


def make_forward(job: PeerJob) -> LlamaForward:
    """Returns forward passes of the model in the job's file."""
    return LlamaForward(job)
