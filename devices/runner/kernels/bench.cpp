// Compares the kernels with the delegate's own float32 product, within one process: `bench [threads]`.
//
// One line per measurement. Ratios are to XNNPACK's float32 matrix product of the same shape and threads, which is what
// an fp32 program would run.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

#include "../thread_pool.h"
#include "frozen_product.h"
#include "noise.h"

// The part of XNNPACK's C interface (xnnpack.h) used here; the wheel ships the library without the header.
extern "C" {
struct xnn_operator;
struct pthreadpool;
int xnn_initialize(const void* allocator);
int xnn_create_fully_connected_nc_f32(size_t input_channels, size_t output_channels, size_t input_stride,
                                      size_t output_stride, const float* kernel, const float* bias, float output_min,
                                      float output_max, uint32_t flags, void* weights_cache, xnn_operator** op);
int xnn_reshape_fully_connected_nc_f32(xnn_operator* op, size_t batch_size, pthreadpool* threadpool);
int xnn_setup_fully_connected_nc_f32(xnn_operator* op, const float* input, float* output);
int xnn_run_operator(xnn_operator* op, pthreadpool* threadpool);
int xnn_delete_operator(xnn_operator* op);
}
namespace executorch::extension::threadpool {
pthreadpool* get_pthreadpool();
}

namespace {

template <typename Work>
double best_seconds(int repeats, Work work) {
  double best = 1e30;
  for (int i = 0; i < repeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    work();
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

std::vector<float> ramp(size_t size) {
  std::vector<float> values(size);
  for (size_t i = 0; i < size; ++i) values[i] = static_cast<float>(i % 31) * 0.01f - 0.15f;
  return values;
}

double xnnpack_seconds(int64_t rows, int64_t in, int64_t out, const std::vector<float>& x, std::vector<float>& y) {
  const std::vector<float> kernel = ramp(static_cast<size_t>(in * out));
  auto* pool = executorch::extension::threadpool::get_pthreadpool();
  xnn_operator* op = nullptr;
  const float infinity = __builtin_inff();
  if (xnn_initialize(nullptr) != 0 ||
      xnn_create_fully_connected_nc_f32(in, out, in, out, kernel.data(), nullptr, -infinity, infinity, 0, nullptr,
                                        &op) != 0 ||
      xnn_reshape_fully_connected_nc_f32(op, rows, pool) != 0 ||
      xnn_setup_fully_connected_nc_f32(op, x.data(), y.data()) != 0) {
    std::fprintf(stderr, "XNNPACK refused the product\n");
    std::exit(1);
  }
  const double seconds = best_seconds(5, [&] { xnn_run_operator(op, pool); });
  xnn_delete_operator(op);
  return seconds;
}

// The product of a layer in bf16, with rows that are rounded once.
void compare_pairs(const prge::SimdLoops& loops, int64_t rows, const prge::FrozenMatrix& weight,
                   const std::vector<float>& x, double flops, double reference) {
  const int64_t in = weight.in_features, out = weight.out_features;
  std::vector<float> words(x.size()), y(static_cast<size_t>(rows * out));
  for (int64_t row = 0; row < rows; ++row) loops.round_bfloat16(x.data() + row * in, in, words.data() + row * in);
  const double seconds = best_seconds(5, [&] { prge::linear_frozen(loops, words.data(), rows, weight, y.data()); });
  std::printf("product %ldx%ldx%ld bf16 %s, rounded rows %.1f GFLOP/s, %.2f of xnnpack_f32\n", long(rows), long(in),
              long(out), loops.name, flops / seconds / 1e9, reference / seconds);
}

void compare_products(int64_t rows, int64_t in, int64_t out) {
  const std::vector<float> x = ramp(static_cast<size_t>(rows * in + 16));
  std::vector<float> y(static_cast<size_t>(rows * out + 16));
  // Small numbers in every form: 0.0115 as bfloat16, 60 times a scale as int8.
  const std::vector<uint8_t> values(static_cast<size_t>(in * out * 2), 0x3c);
  const std::vector<uint8_t> absmax_codes(static_cast<size_t>(in * out / 64 + 1), 200);
  const std::vector<float> scales(static_cast<size_t>(in * out / 64 + out + 1), 0.02f);
  const double flops = 2.0 * static_cast<double>(rows) * static_cast<double>(in) * static_cast<double>(out);
  const double reference = xnnpack_seconds(rows, in, out, x, y);
  std::printf("product %ldx%ldx%ld xnnpack_f32 %.1f GFLOP/s\n", long(rows), long(in), long(out),
              flops / reference / 1e9);
  const std::pair<const char*, prge::Form> forms[] = {{"bf16", prge::Form::bfloat16}, {"int8", prge::Form::int8},
                                                      {"nf4", prge::Form::nf4}, {"nf4-double", prge::Form::nf4_double}};
  for (const auto& [name, form] : forms) {
    const prge::FrozenMatrix weight{form, values.data(), scales.data(), absmax_codes.data(), 0.02f, out, in};
    for (size_t i = 0; const prge::SimdLoops* loops = prge::simd_variant(i); ++i) {
      const double seconds =
          best_seconds(5, [&] { prge::linear_frozen(*loops, x.data(), rows, weight, y.data()); });
      std::printf("product %ldx%ldx%ld %s %s %.1f GFLOP/s, %.2f of xnnpack_f32\n", long(rows), long(in), long(out),
                  name, loops->name, flops / seconds / 1e9, reference / seconds);
      if (form == prge::Form::bfloat16 && loops->of_pairs != nullptr) {
        compare_pairs(*loops->of_pairs, rows, weight, x, flops, reference);
      }
    }
  }
}

void time_noise(int64_t values) {
  std::vector<float> adapter(static_cast<size_t>(values));
  std::vector<float> out(static_cast<size_t>(values) * 4);
  const double seconds = best_seconds(
      5, [&] { prge::perturb({adapter.data(), 0, values, {7, 3}, 0.01f, 0, 4, prge::Signs::plus}, out.data()); });
  std::printf("perturb %ld normals: %.1f ms\n", long(values * 4), seconds * 1e3);
  const float gradient[4] = {1, 2, 3, 4};
  const int64_t key[2] = {7, 3};
  const double updated =
      best_seconds(5, [&] { prge::update(adapter.data(), gradient, 4, key, 0.1f, values, out.data()); });
  std::printf("update %ld normals: %.1f ms\n", long(values * 4), updated * 1e3);
  for (size_t i = 0; const prge::SimdLoops* loops = prge::simd_variant(i); ++i) {
    const double one = best_seconds(3, [&] {
      prge::fill_noise(*loops, prge::Distribution::normal, prge::noise_stream(key, 0), 0, 1 << 16, out.data());
    });
    std::printf("normals %s, 1 thread: %.2f ns each\n", loops->name, one * 1e9 / (1 << 16));
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int64_t threads = runner::set_thread_count(argc > 1 ? static_cast<uint32_t>(std::atoi(argv[1])) : 1);
  std::printf("threads %ld\n", long(threads));
  compare_products(2048, 576, 1536);
  compare_products(2048, 1536, 576);
  time_noise(2'500'000);
}
