// Frozen matrices as the arguments of operators.
#pragma once

#include <executorch/runtime/core/exec_aten/exec_aten.h>

#include "frozen_matrix.h"

namespace prge {

// Takes a weight and its scales, whose types and number determine its form. False if there is no such form, or if the
// scales don't fit the weight.
bool take_frozen(const executorch::aten::Tensor& weight,
                 executorch::aten::ArrayRef<executorch::aten::Tensor> scales, FrozenMatrix& matrix);

}  // namespace prge
