// Worded checks that layers share.
#pragma once

#include <rewind/autograd/variable.hpp>

namespace rw::nn::detail {

/// `value`, if it is at least 1. Throws ValueError: "LstmCell: hidden is 0 (it must be at least 1)".
Index positive(const char* layer, const char* what, Index value);

/// Throws ShapeError unless x's last axis has extent `inputs`.
void check_inputs(const char* layer, const Variable& x, Index inputs);

/// A cell's arguments: x [B,I], and a state of shape [B,H]. Throws ShapeError.
void check_step(const char* cell, const Variable& x, Index inputs, const char* name, const Variable& state, Index hidden);

}  // namespace rw::nn::detail
