// The scan as an operator. Internal to autograd.
//
// Inputs: carries' first values, xs stacked along axis 0, captures. Results: carries' last values, ys stacked. Attributes:
//
// 0  backward in time
// 1  steps
// 2  the first closure
// 3  k > 0: a step is a chunk of k steps of the loop that is meant: the backward pass runs it again, and keeps carries alone;
//    whole_loop: the one step is a loop in chunks, and sums go on from chunk to chunk
// 4  steps of the loop that is meant, which number random elements; 0: its own
// 5  the number of its first step among those
#pragma once

#include <rewind/autograd/plan.hpp>
#include <rewind/autograd/scan.hpp>

namespace rw::detail {

constexpr std::int64_t whole_loop = -1;

void lower_scan(Lowering& lowering, const Instruction& instruction);
void scan_gradient(Pullback& pullback);

/// What a first differentiation will read of a scan becomes ys now, so that an early evaluation keeps it.
void keep_for_gradient(Node& node);

/// Steps between kept carries, as `wish` has it; 0 if all that the gradient reads is kept.
Index chunk_of(const Checkpoint& wish, Index steps, const Body& body, const Closures& closures);

/// The body of the one step (whole_loop) that is a loop over this body in chunks: its xs and ys have all steps.
std::shared_ptr<const Body> body_in_chunks(const std::shared_ptr<const Body>& body, bool reverse, Index steps, Index extent);

/// Bytes that a step leaves for its gradient: what the backward pass reads, and results of products, which leave the loop.
Index history_of_step(const Body& body, const Closures& closures);

}  // namespace rw::detail
