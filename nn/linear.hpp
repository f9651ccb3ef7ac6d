// The affine layer.
#pragma once

#include <optional>
#include <rewind/autograd/fields.hpp>

namespace rw::nn {

struct LinearOptions {
  bool bias = true;
  bool transposed = false;  ///< keeps the weight as [O,I], so that it can be one with an embedding: head.weight = share(embed.weight)
};

/// y = x weight + bias: x [.., I] -> [.., O]. The weight begins with glorot, the bias with zeros.
struct Linear {
  using Options = LinearOptions;
  Parameter weight;               ///< [I,O], or [O,I] if transposed
  std::optional<Parameter> bias;  ///< [O]
  bool transposed;

  /// Throws ValueError unless both extents are at least 1.
  Linear(Index inputs, Index outputs, const LinearOptions& options = {});
  /// Throws ShapeError unless x's last axis is I.
  Variable operator()(const Variable& x) const;
  REWIND_FIELDS(weight, bias)
};

}  // namespace rw::nn
