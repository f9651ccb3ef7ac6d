// Slices by a recorded start. Internal to autograd.
#pragma once

#include <rewind/autograd/graph.hpp>

namespace rw::detail {

/// Elements start .. start+extent-1 of an axis; start is a number or a constant, and must fit.
Variable part(const Variable& x, int axis, const Variable& start, Index extent);

/// out += in, same shape and dtype, any strides.
void accumulate(const View& in, const View& out);

}  // namespace rw::detail
