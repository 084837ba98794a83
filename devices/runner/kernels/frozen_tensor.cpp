#include "frozen_tensor.h"

#include "nf4.h"

namespace prge {
namespace {

using executorch::aten::ArrayRef;
using executorch::aten::ScalarType;
using executorch::aten::Tensor;

bool is_float(const Tensor& tensor, int64_t values) {
  return tensor.scalar_type() == ScalarType::Float && tensor.numel() == values;
}

bool take_double(ArrayRef<Tensor> scales, int64_t blocks, FrozenMatrix& matrix) {
  if (scales[0].scalar_type() != ScalarType::Byte || scales[0].numel() != blocks || !is_float(scales[2], 1) ||
      !is_float(scales[1], (blocks + kAbsmaxBlock - 1) / kAbsmaxBlock)) {
    return false;
  }
  matrix.form = Form::nf4_double;
  matrix.absmax_codes = scales[0].const_data_ptr<uint8_t>();
  matrix.scales = scales[1].const_data_ptr<float>();
  matrix.absmax_offset = *scales[2].const_data_ptr<float>();
  return true;
}

// One scale for each of `wanted` parts of the matrix.
bool take_scale(ArrayRef<Tensor> scales, Form form, int64_t wanted, FrozenMatrix& matrix) {
  if (scales.size() != 1 || !is_float(scales[0], wanted)) return false;
  matrix.form = form;
  matrix.scales = scales[0].const_data_ptr<float>();
  return true;
}

}  // namespace

bool take_frozen(const Tensor& weight, ArrayRef<Tensor> scales, FrozenMatrix& matrix) {
  const ScalarType type = weight.scalar_type();
  if (weight.dim() != 2) return false;
  matrix = FrozenMatrix{};
  matrix.values = weight.const_data_ptr();
  matrix.out_features = weight.size(0);
  matrix.in_features = weight.size(1) * (type == ScalarType::Byte ? 2 : 1);
  const int64_t blocks = (matrix.out_features * matrix.in_features + kNf4BlockValues - 1) / kNf4BlockValues;
  switch (type) {
    case ScalarType::Byte:
      return scales.size() == 3 ? take_double(scales, blocks, matrix) : take_scale(scales, Form::nf4, blocks, matrix);
    case ScalarType::Char:
      return take_scale(scales, Form::int8, matrix.out_features, matrix);
    case ScalarType::BFloat16:
      matrix.form = Form::bfloat16;
      return scales.empty();
    case ScalarType::Half:
      matrix.form = Form::float16;
      return scales.empty();
    case ScalarType::Float:
      return scales.empty();
    default:
      return false;
  }
}

}  // namespace prge
