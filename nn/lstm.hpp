// Long short-term memory.
#pragma once

#include <rewind/nn/recurrent.hpp>

namespace rw::nn {

struct LstmOptions {
  double forget_bias = 1;  ///< what the forget gate's bias begins with: it remembers at first (Jozefowicz et al. 2015, section 2.2)
};

/// Long short-term memory with forget gate (Gers, Schmidhuber & Cummins 2000), without peepholes. f, i, g, o are blocks of H columns in
/// this order: forget gate, input gate, candidate, output gate.
///   c' = sigmoid(f) c + sigmoid(i) tanh(g),  h' = sigmoid(o) tanh(c')  with  [f i g o] = x wx + h wh + b
struct LstmCell {
  using Options = LstmOptions;
  struct State {
    Variable h, c;  ///< [B,H] each
  };
  Parameter wx, wh, b;  ///< [I,4H] glorot, [H,4H] orthogonal in blocks, [4H] zeros but for the forget bias

  /// Throws ValueError unless both extents are at least 1.
  LstmCell(Index inputs, Index hidden, const LstmOptions& options = {});
  /// x [B,I]. Throws ShapeError.
  State operator()(const Variable& x, const State& s) const;
  State initial(Index batch) const;  ///< zeros
  REWIND_FIELDS(wx, wh, b)
};

extern template class Recurrent<LstmCell>;
using Lstm = Recurrent<LstmCell>;

}  // namespace rw::nn
