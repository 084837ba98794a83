"""The hot loops for aarch64, on an emulated processor: weights to the bit of their definition, and their products."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.runner.kernel_calls import PACK
from tests.support.twins.twin_emulator import EMULATOR
from tests.support.twins.twin_needs import need_programs
from workloads.quantize.frozen import dequantize

pytestmark = pytest.mark.slow

KERNELS = Path(__file__).parents[4] / "devices" / "runner" / "kernels"
FORMS = {"fp16": 1, "bf16": 2, "int8": 3, "nf4": 4}
SHAPES = [(1, 1, 1), (9, 7, 38), (13, 8, 191), (8, 4, 64), (17, 8, 128)]
PANEL = """
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "variant.h"

PRGE_DECLARE_VARIANT(loops)

template <typename Value>
void read(std::vector<Value>& values) {
  if (std::fread(values.data(), sizeof(Value), values.size(), stdin) != values.size()) std::exit(1);
}

int main(int, char** argv) {
  const long form = std::atol(argv[1]), rows = std::atol(argv[2]), out = std::atol(argv[3]), in = std::atol(argv[4]);
  std::vector<float> x(rows * in), panel(in * 8), y(rows * out), scales(std::atol(argv[5]));
  std::vector<unsigned char> values(std::atol(argv[6]));
  read(x), read(scales), read(values);
  prge::FrozenMatrix matrix{static_cast<prge::Form>(form), values.data(), scales.data()};
  matrix.out_features = out;
  matrix.in_features = in;
#if defined(PRGE_PAIRS)
  const long words = (in + 1) / 2;
  for (long row = 0; row < rows; ++row) loops::round_bfloat16(&x[row * in], in, &x[row * in]);
  loops::decode_pairs(matrix, 0, out, 0, in, panel.data());
#else
  const long words = in;
  loops::decode(matrix, 0, out, 0, in, panel.data());
#endif
  loops::multiply(rows, words, x.data(), in, panel.data(), y.data(), out, out, false);
  std::fwrite(panel.data(), 4, panel.size(), stdout);
  std::fwrite(y.data(), 4, y.size(), stdout);
}
"""


@pytest.mark.parametrize(
    ("form", "rows", "out_features", "in_features"),
    [(form, *shape) for form in FORMS for shape in SHAPES if form != "nf4" or shape[-1] % 2 == 0],
)
def test_weights_are_decoded_and_multiplied(loops, form, rows, out_features, in_features):
    x, weight = random_operands(rows, out_features, in_features)
    packed, *scales = PACK[form](weight)
    panel, y = run(loops, form, x, packed, scales)
    decoded = dequantize(packed, scales).numpy()
    assert np.array_equal(panel[:, :out_features].T, decoded)
    assert not panel[:, out_features:].any()
    assert_close(y, x, decoded)


def test_every_finite_value_of_float16_is_widened(loops):
    every = torch.arange(-(2**15), 2**15).short().view(torch.float16)
    weight = every.where(every.isfinite(), torch.zeros(())).half().view(8, -1)
    panel, _y = run(loops, "fp16", np.zeros((1, weight.shape[1]), np.float32), weight, [])
    assert np.array_equal(panel.T, weight.float().numpy())


@pytest.mark.parametrize(("rows", "out_features", "in_features"), SHAPES)
def test_pairs_of_bfloat16_are_multiplied(loops_of_pairs, rows, out_features, in_features):
    x, weight = random_operands(rows, out_features, in_features)
    weight = weight.bfloat16()
    x[0, 0], x[-1, -1] = 2.0**-130, 3.0
    _panel, y = run(loops_of_pairs, "bf16", x, weight, [])
    assert_close(y, torch.from_numpy(x).bfloat16().float().numpy(), weight.float().numpy())


def random_operands(rows, out_features, in_features):
    generator = torch.Generator().manual_seed(rows)
    x = torch.randn(rows, in_features, generator=generator)
    return x.numpy(), torch.randn(out_features, in_features, generator=generator)


def assert_close(y, x, weight):
    exact, size = x.astype(np.float64) @ weight.T.astype(np.float64), np.abs(x) @ np.abs(weight).T
    assert np.abs(y - exact).max() < 2.0**-23 * x.shape[1] * size.max()


def run(program, form, x, packed, scales):
    """The panel [in, 8] of the weights, and the product [rows, out]."""
    rows, in_features = x.shape
    scale = scales[0].numpy() if scales else np.empty(0, np.float32)
    values = packed.contiguous().view(torch.uint8).numpy()
    out_features = values.size * 8 // ({"int8": 8, "nf4": 4}.get(form, 16) * in_features)
    sizes = [FORMS[form], rows, out_features, in_features, scale.size, values.size]
    data = x.tobytes() + scale.tobytes() + values.tobytes()
    command = [EMULATOR, "-cpu", "max", program, *map(str, sizes)]
    found = np.frombuffer(subprocess.run(command, input=data, capture_output=True, check=True).stdout, np.float32)
    panel, y = np.split(found, [in_features * 8])
    return panel.reshape(in_features, 8), y.reshape(rows, out_features)


@pytest.fixture(scope="module")
def loops(tmp_path_factory):
    return build(tmp_path_factory.mktemp("loops"))


@pytest.fixture(scope="module")
def loops_of_pairs(tmp_path_factory):
    return build(tmp_path_factory.mktemp("pairs"), "-march=armv8.2-a+bf16", "-DPRGE_PAIRS")


def build(folder, *options):
    """A program that decodes a matrix of at most eight rows and multiplies by it."""
    need_programs(EMULATOR, "aarch64-linux-gnu-g++")
    (folder / "main.cpp").write_text(PANEL)
    shape = ["-DPRGE_VARIANT=loops", "-DPRGE_VECTOR_BYTES=16", "-DPRGE_ROW_GROUP=8", "-DPRGE_PANEL_VECTORS=2"]
    options = ["-std=c++17", "-O3", "-ffp-contract=off", "-static", *options, "-I", str(KERNELS), *shape]
    sources = [folder / "main.cpp", KERNELS / "product_loops.cpp", KERNELS / "decode_loops.cpp"]
    program = folder / "product"
    subprocess.run(["aarch64-linux-gnu-g++", *options, *sources, "-o", program], check=True, timeout=300)
    return program
