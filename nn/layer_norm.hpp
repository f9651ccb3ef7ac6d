// Layer normalisation.
#pragma once

#include <rewind/autograd/fields.hpp>

namespace rw::nn {

/// y = (x - mean) / sqrt(variance + epsilon) * gain + bias over the last axis: x [.., I] -> [.., I]. The gain begins with ones, the bias
/// with zeros (Ba, Kiros & Hinton 2016, arXiv:1607.06450, equation 4).
struct LayerNorm {
  Parameter gain, bias;  ///< [I]
  double epsilon;

  /// Throws ValueError unless inputs is at least 1 and epsilon is positive.
  explicit LayerNorm(Index inputs, double epsilon = 1e-5);
  /// Throws ShapeError unless x's last axis is I.
  Variable operator()(const Variable& x) const;
  REWIND_FIELDS(gain, bias)
};

}  // namespace rw::nn
