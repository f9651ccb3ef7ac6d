// The simple recurrent network.
#pragma once

#include <rewind/nn/recurrent.hpp>

namespace rw::nn {

enum class Activation { tanh, relu };

struct RnnOptions {
  Activation activation = Activation::tanh;
};

/// h' = f(x wx + h wh + b) with f tanh or relu (Elman 1990, "Finding structure in time").
struct RnnCell {
  using Options = RnnOptions;
  using State = Variable;  ///< h [B,H]
  Parameter wx, wh, b;     ///< [I,H] glorot, [H,H] orthogonal, [H] zeros
  Activation activation;

  /// Throws ValueError unless both extents are at least 1.
  RnnCell(Index inputs, Index hidden, const RnnOptions& options = {});
  /// x [B,I], h [B,H] -> [B,H]. Throws ShapeError.
  Variable operator()(const Variable& x, const Variable& h) const;
  Variable initial(Index batch) const;  ///< zeros
  REWIND_FIELDS(wx, wh, b)
};

extern template class Recurrent<RnnCell>;
using Rnn = Recurrent<RnnCell>;

}  // namespace rw::nn
