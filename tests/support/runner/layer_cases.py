"""Decoder layers of sizes that fit the kernels' blocks and others, with random arguments."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np
import torch

from tests.support.runner.kernel_calls import PACK, Frozen, frozen, pointer
from workloads.methods import operators
from workloads.models.config import (
    BIASES,
    HEAD_NORMS,
    PLAIN_FORM,
    RESULT_NORMS,
    VECTORS,
    LayerForm,
    LlamaConfig,
)
from workloads.models.llama import Rotary, attention_bias

ALL = tuple(range(7))
EPSILON = 1e-5


@dataclass(frozen=True)
class Case:
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    length: int
    slices: int = 2
    sequences: int = 2
    rank: int = 4
    adapted: tuple[int, ...] = ALL
    form: LayerForm = PLAIN_FORM
    results: int | None = None

    @property
    def config(self):
        sizes = (64, self.hidden, self.intermediate, 1, self.heads, self.kv_heads, self.head_dim)
        return LlamaConfig(*sizes, form=self.form)

    @property
    def rows(self):
        return self.results or self.length

    def sizes(self):
        sizes = (self.slices, self.sequences * self.length, self.length, self.hidden, self.intermediate)
        rank = self.rank if self.adapted else 0
        norms = (any(name in self.form.vectors for name in names) for names in (HEAD_NORMS, RESULT_NORMS))
        return np.array([*sizes, self.heads, self.kv_heads, self.head_dim, rank, *norms, self.rows], dtype=np.int64)


CASES = {
    "blocks of 64 straddle rows": Case(48, 80, 3, 1, 16, length=5),
    "one token, rank one": Case(64, 96, 2, 2, 32, length=1, sequences=1, rank=1),
    "features are no multiple of eight": Case(30, 50, 5, 5, 6, length=9),
    "several blocks of wide features, heads one by one": Case(192, 1100, 4, 2, 96, length=70, sequences=1),
    "all heads at once": Case(64, 128, 8, 4, 8, length=12),
    "some heads at once, the last ones fewer": Case(160, 64, 10, 5, 64, length=7),
    "heads wider than a block": Case(64, 64, 2, 1, 200, length=4),
    "rank wider than a panel, some projections": Case(64, 192, 2, 1, 32, length=6, rank=40, adapted=(0, 2, 6)),
    "no adapters": Case(64, 192, 2, 1, 32, length=6, adapted=()),
    "several passes over a row": Case(1100, 64, 2, 1, 16, length=3),
    "keys up to odd ones": Case(64, 64, 4, 2, 16, length=67, results=33, rank=5),
    "several tiles of rows": Case(64, 576, 2, 1, 32, length=90, slices=3, sequences=3),
    "more rows than a tile": Case(32, 512, 2, 1, 16, length=64, slices=1, sequences=32),
    "one result of a sequence": Case(64, 128, 8, 4, 8, length=12, results=1),
    "some results, blocks of wide features": Case(192, 1100, 4, 2, 96, length=150, sequences=1, results=70),
    "some results of sequences, part of the projections": Case(
        64, 576, 4, 2, 32, length=90, slices=3, sequences=3, results=7, adapted=(0, 3, 4, 6)
    ),
    "one result, all that a family has": Case(
        64, 1100, 4, 1, 40, length=9, form=LayerForm(VECTORS, "gelu_tanh", 0.25), results=1
    ),
    "biases of queries, keys and values": Case(160, 64, 10, 5, 64, length=7, form=LayerForm(BIASES)),
    "norms of heads": Case(64, 128, 8, 4, 24, length=70, form=LayerForm(HEAD_NORMS)),
    "all that a family has": Case(64, 1100, 4, 1, 40, length=9, form=LayerForm(VECTORS, "gelu_tanh", 0.25)),
    "one vector of each kind": Case(
        48, 80, 3, 1, 16, length=5, form=LayerForm((BIASES[1], HEAD_NORMS[0], RESULT_NORMS[1]))
    ),
}

# Not for nf4, which packs two values into a byte.
CASES_OF_WHOLE_VALUES = CASES | {
    "odd features, length and rank": Case(31, 51, 2, 1, 6, length=7, rank=3),
    "odd last block of wide features": Case(64, 1089, 2, 1, 32, length=37, sequences=3),
}


class Layer:
    """Random arguments of the operator, and how the kernel is called with them."""

    def __init__(self, case, form="nf4", seed=0):
        self.case, generator = case, torch.Generator().manual_seed(seed)
        config, sequences = case.config, case.slices * case.sequences

        def normal(*shape, scale=1.0):
            return torch.randn(*shape, generator=generator) * scale

        shapes = list(config.linear_shapes().values())
        self.x = normal(case.slices, case.sequences * case.length, case.hidden)
        first = torch.arange(sequences) % max(1, case.length // 2)
        self.bias = attention_bias(first, case.length)
        self.real = (torch.arange(case.length) >= first[:, None])[:, -case.rows :].reshape(case.slices, -1).numpy()
        self.norms = [1.0 + 0.2 * normal(case.hidden) for _ in range(2)]
        self.vectors = {
            VECTORS.index(name): (0.0 if name in BIASES else 1.0) + 0.3 * normal(size)
            for name, size in config.vector_sizes().items()
        }
        (tables,) = Rotary.of_layers(config, case.length, case.rows)
        self.rotary = [table.contiguous() for table in vars(tables).values()]
        stored = [PACK[form](normal(*shape, scale=shape[1] ** -0.5)) for shape in shapes]
        self.weights = [(weight, scales) for weight, *scales in stored]
        inner = [shapes[place] for place in case.adapted]
        self.lora_a = [normal(case.rank, in_features, scale=in_features**-0.5) for _, in_features in inner]
        self.lora_b = [normal(case.slices, case.rank, out_features, scale=0.3) for out_features, _ in inner]
        if form == "bf16":
            self.lora_a, self.lora_b = ([each.bfloat16() for each in some] for some in (self.lora_a, self.lora_b))

    def expected(self):
        weights = [weight for weight, _ in self.weights]
        scales = [scale for _, of_weight in self.weights for scale in of_weight]
        lists = (self.norms, self.rotary, weights, scales, self.lora_a, self.lora_b)
        double = [[value.double() if value.dtype == torch.float32 else value for value in each] for each in lists]
        case = self.case
        return operators.decoder_layer(
            self.x.double(), self.bias, self.x, *double, case.adapted, case.heads, case.kv_heads, EPSILON,
            *self.form(),
        ).numpy()  # fmt: skip

    def form(self):
        """The last arguments of the eager operator."""
        vectors = [value.double() for value in self.vectors.values()]
        return vectors, list(self.vectors), self.case.form.gate == "gelu_tanh"

    def form_of_kernel(self):
        """The last arguments of the kernel."""
        gelu = ctypes.c_bool(self.case.form.gate == "gelu_tanh")
        return addresses([self.vectors.get(place) for place in range(len(VECTORS))]), gelu

    def found(self, kernels, variant=0, in_place=True):
        x = self.x.numpy().copy()
        rows = self.case.sequences * self.case.rows
        in_place = in_place and self.case.rows == self.case.length
        out = x if in_place else np.full((x.shape[0], rows, x.shape[2]), np.nan, dtype=np.float32)
        scratch = np.full(kernels.prge_scratch_values(pointer(self.case.sizes())) + 16, np.nan, dtype=np.float32)
        scratch[-16:] = 7.0
        matrices = (Frozen * 7)(*(frozen(*weight) for weight in self.weights))
        assert kernels.prge_decoder_layer(
            ctypes.c_uint64(variant), pointer(self.case.sizes()), matrices, self.of_all(self.lora_a),
            self.of_all(self.lora_b), addresses(self.norms), addresses(self.rotary), *self.form_of_kernel(),
            ctypes.c_float(EPSILON), pointer(x), pointer(self.bias.numpy()), pointer(scratch), pointer(out),
        )  # fmt: skip
        assert (scratch[-16:] == 7.0).all()
        assert in_place or np.array_equal(x, self.x.numpy())
        return out

    def of_all(self, values):
        inputs = dict(zip(self.case.adapted, values, strict=True))
        return addresses([inputs.get(place) for place in ALL])


def addresses(values):
    return (ctypes.c_void_p * len(values))(*(None if value is None else value.data_ptr() for value in values))
