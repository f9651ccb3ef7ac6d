// Losses: scalars, means over everything.
#pragma once

#include <rewind/autograd/variable.hpp>

namespace rw::nn {

/// mean over all positions of logsumexp(logits) - logits[target], in nats: logits [.., V], targets [..] of i32 or i64. Stable for logits of
/// any size. A target outside 0 .. V-1 makes the loss NaN, and so every gradient. Throws ShapeError, DTypeError.
Variable cross_entropy(const Variable& logits, const Variable& targets);

/// mean((y - target)^2) of two equal shapes. Throws ShapeError.
Variable mean_squared_error(const Variable& y, const Variable& target);

}  // namespace rw::nn
