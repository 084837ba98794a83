#include "kernel_times.h"

#include <algorithm>
#include <new>
#include <utility>

#include "clock.h"
#include "kernels/frozen_product.h"
#include "signals.h"

namespace runner {
namespace {

// The size of a small layer's products: a repetition takes about a millisecond in the wide variants and ten in SSE2.
constexpr int64_t kRows = 256, kIn = 576, kOut = 512;
constexpr int kTurns = 4, kRepetitionsInTurn = 2;  // the first pays for what the other variants did before

constexpr std::pair<const char*, prge::Form> kForms[] = {{"bf16", prge::Form::bfloat16},
                                                         {"int8", prge::Form::int8},
                                                         {"nf4", prge::Form::nf4},
                                                         {"nf4-double", prge::Form::nf4_double}};

// Operands of a product that suit every form: each reads the bytes as small weights, 0.0115 as bfloat16 and 60 times a
// scale as int8.
class Product {
 public:
  // The processor time of one product, with the loops that a layer of this form would use.
  int64_t make(prge::Form form, const prge::SimdLoops& variant) {
    const bool pairs = form == prge::Form::bfloat16 && variant.of_pairs != nullptr;
    const prge::SimdLoops& loops = pairs ? *variant.of_pairs : variant;
    const std::vector<float>* x = &x_;
    if (pairs) {
      for (int64_t row = 0; row < kRows; ++row) {
        loops.round_bfloat16(x_.data() + row * kIn, kIn, words_.data() + row * kIn);
      }
      x = &words_;
    }
    const prge::FrozenMatrix weight{form, values_.data(), scales_.data(), codes_.data(), 0.02f, kOut, kIn};
    const int64_t t0_ns = thread_ns();
    if (!prge::linear_frozen(loops, x->data(), kRows, weight, y_.data())) throw std::bad_alloc();
    return std::max<int64_t>(1, thread_ns() - t0_ns);
  }

 private:
  std::vector<float> x_ = std::vector<float>(kRows * kIn, 0.25f), words_ = std::vector<float>(kRows * kIn);
  std::vector<float> y_ = std::vector<float>(kRows * kOut);
  std::vector<uint8_t> values_ = std::vector<uint8_t>(2 * kOut * kIn, 0x3c);
  std::vector<uint8_t> codes_ = std::vector<uint8_t>(kOut * kIn / 64, 200);
  std::vector<float> scales_ = std::vector<float>(kOut * kIn / 64, 0.02f);
};

}  // namespace

void print_product_times(Events& events, const std::vector<std::string>&, int64_t threads) {
  if (threads != 1) throw Failure(Stage::job, "job.threads must be 1: kernels are compared on one thread.");
  if (prge::simd_variant(1) == nullptr) return;
  Product product;
  for (const auto& [name, form] : kForms) {
    std::vector<ProductTimes> found;
    for (size_t i = 0; prge::simd_variant(i) != nullptr; ++i) found.push_back({name, prge::simd_variant(i)->name, {}});
    for (int turn = 0; turn < kTurns && stop_signal() == nullptr; ++turn) {
      for (size_t i = 0; i < found.size(); ++i) {
        for (int j = 0; j < kRepetitionsInTurn; ++j) found[i].ns.push_back(product.make(form, *prge::simd_variant(i)));
      }
    }
    for (const ProductTimes& times : found) {
      if (!times.ns.empty()) events.product(times);
    }
  }
}

}  // namespace runner
