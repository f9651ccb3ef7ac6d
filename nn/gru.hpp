// The gated recurrent unit, in its two forms.
#pragma once

#include <optional>
#include <rewind/nn/recurrent.hpp>

namespace rw::nn {

enum class Reset {
  before,  ///< r acts on h, before the product with the candidate's weight: the form of the paper
  after,   ///< r acts on the product: the form of cuDNN and PyTorch, and one product a step
};

struct GruOptions {
  Reset reset = Reset::after;
};

/// Gated recurrent unit (Cho et al. 2014, arXiv:1406.1078; Chung et al. 2014, arXiv:1412.3555). z, r and the candidate n are blocks of H
/// columns in this order.
///   before:  n = tanh(x wx_n + (r h) wn + b_n),               h' = (1 - z) h + z n
///   after:   n = tanh(x wx_n + b_n + r (h wh_n + bn)),        h' = (1 - z) n + z h
/// with z = sigmoid(x wx_z + h wh_z + b_z), r likewise. Note that z is the share of the new in one, of the old in the other, as published.
struct GruCell {
  using Options = GruOptions;
  using State = Variable;           ///< h [B,H]
  Parameter wx;                     ///< [I,3H] glorot
  Parameter wh;                     ///< [H,2H] before (z r), [H,3H] after; orthogonal in blocks
  Parameter b;                      ///< [3H] zeros
  std::optional<Parameter> wn, bn;  ///< wn [H,H], before only; bn [H], after only

  /// Throws ValueError unless both extents are at least 1.
  GruCell(Index inputs, Index hidden, const GruOptions& options = {});
  /// x [B,I], h [B,H] -> [B,H]. Throws ShapeError.
  Variable operator()(const Variable& x, const Variable& h) const;
  Variable initial(Index batch) const;  ///< zeros
  Reset reset() const { return wn ? Reset::before : Reset::after; }
  REWIND_FIELDS(wx, wh, b, wn, bn)
};

extern template class Recurrent<GruCell>;
using Gru = Recurrent<GruCell>;

}  // namespace rw::nn
