// The product with transposed operands, as gradient rules and passes use it. Internal to autograd.
#pragma once

#include <rewind/autograd/plan.hpp>

namespace rw::detail {

/// a b with the last two axes of either exchanged first; shapes must fit.
Variable product(const Variable& a, const Variable& b, bool transpose_a, bool transpose_b);

}  // namespace rw::detail
