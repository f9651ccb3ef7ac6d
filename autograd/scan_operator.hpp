// The scan as an operator. Internal to autograd.
//
// Inputs: carries' first values, xs stacked along axis 0, captures. Results: carries' last values, ys stacked. Attributes: backward in
// time, steps, the first closure, whether the backward pass runs the body again rather than keep more than carries.
#pragma once

#include <rewind/autograd/plan.hpp>

namespace rw::detail {

void lower_scan(Lowering& lowering, const Instruction& instruction);
void scan_gradient(Pullback& pullback);

/// What a first differentiation will read of a scan becomes ys now, so that an early evaluation keeps it.
void keep_for_gradient(Node& node);

/// Bytes that a step leaves for its gradient: what the backward pass reads, and results of products, which leave the loop.
Index history_of_step(const Body& body, const Closures& closures);

}  // namespace rw::detail
