"""The kernel of a whole decoder layer against the eager operator, for shapes that fit its blocks and others."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from tests.support.runner.kernel_calls import PACK, Frozen, frozen, pointer, variants
from workloads.methods import operators
from workloads.methods.passes import scratch_values
from workloads.models.config import LlamaConfig
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

    @property
    def config(self):
        return LlamaConfig(64, self.hidden, self.intermediate, 1, self.heads, self.kv_heads, self.head_dim)

    def sizes(self):
        sizes = (self.slices, self.sequences * self.length, self.length, self.hidden, self.intermediate)
        rank = self.rank if self.adapted else 0
        return np.array([*sizes, self.heads, self.kv_heads, self.head_dim, rank], dtype=np.int64)


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
    "several tiles of rows": Case(64, 576, 2, 1, 32, length=90, slices=3, sequences=3),
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
        self.real = (torch.arange(case.length) >= first[:, None]).reshape(case.slices, -1).numpy()
        self.norms = [1.0 + 0.2 * normal(case.hidden) for _ in range(2)]
        tables = Rotary.tables(config, case.length)
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
            self.x.double(), self.bias, self.x, *double, case.adapted, case.heads, case.kv_heads, EPSILON
        ).numpy()

    def found(self, kernels, variant=0, in_place=True):
        x = self.x.numpy().copy()
        out = x if in_place else np.full_like(x, np.nan)
        scratch = np.full(kernels.prge_scratch_values(pointer(self.case.sizes())) + 16, np.nan, dtype=np.float32)
        scratch[-16:] = 7.0
        matrices = (Frozen * 7)(*(frozen(*weight) for weight in self.weights))
        assert kernels.prge_decoder_layer(
            ctypes.c_uint64(variant), pointer(self.case.sizes()), matrices, self.of_all(self.lora_a),
            self.of_all(self.lora_b), addresses(self.norms), addresses(self.rotary),
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


@pytest.mark.parametrize("form", [form for form in PACK if form != "bf16"])
@pytest.mark.parametrize("name", CASES)
def test_layer_equals_the_eager_operator(kernels, name, form):
    """Hidden states are of the order of one; sums over some 1000 features round to 1e-5 in float32.

    Positions before the first real token attend to nothing: their scores are lost in the mask's rounding, and unused.
    """
    layer = Layer(CASES[name], form)
    expected = layer.expected()
    for variant in variants(kernels):
        for in_place in (True, False):
            found = layer.found(kernels, variant, in_place)
            assert np.isfinite(found).all()
            assert np.abs(found - expected)[layer.real].max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("name", CASES)
def test_layer_of_bfloat16_rounds_operands_where_the_eager_operator_does(kernels, name):
    """An operand near the middle of two bfloat16 may be rounded the other way, by 2^-8 of itself.

    Most values are not reached by that and equal to float32 rounding. With one kind of operand left unrounded, the
    median is 2e-4 or more.
    """
    layer = Layer(CASES[name], "bf16")
    expected = layer.expected()
    for variant in variants(kernels):
        for in_place in (True, False):
            found = layer.found(kernels, variant, in_place)
            assert np.isfinite(found).all()
            errors = np.abs(found - expected)[layer.real] / np.abs(expected).max()
            print(f"{name}: {np.median(errors):.1e} in the median, {errors.max():.1e} at most")
            assert np.median(errors) < 1e-5
            assert errors.max() < 5e-3


@pytest.mark.parametrize("name", CASES)
def test_program_reserves_the_scratch_memory_that_the_kernel_needs(kernels, name):
    case = CASES[name]
    sizes = case.sizes()
    reserved = scratch_values(case.config, int(sizes[0] * sizes[1]), int(sizes[8]))
    assert reserved == kernels.prge_scratch_values(pointer(sizes))


def test_threads_do_not_change_a_bit_of_a_layer(kernels):
    layer = Layer(CASES["several tiles of rows"])
    found = set()
    for threads in (1, 2, 3):
        kernels.prge_set_threads(threads)
        found.add(layer.found(kernels).tobytes())
    assert len(found) == 1


def test_slices_see_their_own_adapters(kernels):
    """Each slice gives the same result alone as beside the others."""
    layer = Layer(CASES["all heads at once"])
    whole = layer.found(kernels)
    alone = Layer(CASES["all heads at once"])
    alone.case = replace(layer.case, slices=1)
    for index in range(layer.case.slices):
        alone.x = layer.x[index : index + 1].clone()
        alone.lora_b = [b[index : index + 1].clone() for b in layer.lora_b]
        alone.bias = layer.bias[index * layer.case.sequences :][: layer.case.sequences].clone()
        assert np.abs(alone.found(kernels)[0] - whole[index]).max() < 1e-5


def test_answer_losses_are_the_cross_entropy(kernels):
    logits = torch.randn(12, 5001, generator=torch.Generator().manual_seed(0)) * 8.0
    labels = torch.tensor([[3, 5000], [-1, 7], [-1, -1]])
    every = labels.repeat(2, 1).reshape(-1)
    expected = torch.nn.functional.cross_entropy(logits.double(), every, ignore_index=-1, reduction="none")
    for variant in variants(kernels):
        found = np.full(6, np.nan, dtype=np.float32)
        kernels.prge_answer_losses(
            ctypes.c_uint64(variant), pointer(logits.numpy()), ctypes.c_int64(12), ctypes.c_int64(5001),
            pointer(labels.numpy()), ctypes.c_int64(6), ctypes.c_int64(2), pointer(found),
        )  # fmt: skip
        assert np.allclose(found, expected.reshape(6, 2).sum(dim=-1).numpy(), rtol=1e-6, atol=0.0)
