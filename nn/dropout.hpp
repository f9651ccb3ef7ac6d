// Dropout.
#pragma once

#include <rewind/autograd/fields.hpp>

namespace rw::nn {

/// While training, each element is 0 with probability `rate`, else x / (1 - rate); otherwise x (Srivastava et al. 2014, "Dropout", in its
/// inverted form). The identity under Evaluation, and for rate 0. No mask is stored: it is drawn again where it is needed.
struct Dropout {
  double rate;

  /// Throws ValueError unless 0 <= rate < 1.
  explicit Dropout(double rate = 0.5);
  Variable operator()(const Variable& x) const;
  REWIND_FIELDS()
};

}  // namespace rw::nn
