// Loops that keep every k-th carry alone: how far apart, and the loop over chunks of k steps that is recorded in place of the loop. The
// gradient of the loop over chunks keeps the carries between chunks and runs each chunk again (scan_gradient.cpp); what is left of the time
// is a chunk of its own. Both stand in one body, so that their sums are one chain over all steps.
#include <algorithm>
#include <cmath>
#include <functional>
#include <rewind/autograd/passes/passes.hpp>
#include <rewind/autograd/scan.hpp>
#include <rewind/autograd/scan_operator.hpp>
#include <rewind/autograd/tape_state.hpp>
#include <rewind/autograd/trace.hpp>
#include <rewind/core/format.hpp>

namespace rw::detail {

namespace {

Index bytes_of(const Type& type) { return type.shape.size() * size_of(type.dtype); }

/// The extent of the fewest chunks whose history is within the budget, or of those of the least history; 0 if that is all of it.
Index within(Index budget, Index steps, const Body& body, const Closures& closures) {
  const Index step = history_of_step(body, closures);
  Index carry = 0, best = 0, least = steps * step;
  for (int c = 0; c < body.carries; ++c) carry += bytes_of(body.program.types[body.program.inputs[c]]);
  for (Index chunks = 2; least > budget && chunks <= steps && chunks * carry < least; ++chunks) {
    const Index extent = (steps + chunks - 1) / chunks, kept = (steps + extent - 1) / extent;
    const Index bytes = kept * carry + extent * step;
    if (bytes < least) least = bytes, best = extent;
  }
  return best;
}

/// The one body for all such loops over this body: found by it, not by its text. By reference, for what a function holds is allocated.
std::shared_ptr<const Body> body_over_chunk(const std::shared_ptr<const Body>& body, bool reverse, Index extent) {
  auto make = [&] { return over_chunk(body, reverse, extent); };
  return derived_body(*body, {reverse, static_cast<std::uint64_t>(extent)}, std::ref(make));
}

}  // namespace

Index chunk_of(const Checkpoint& wish, Index steps, const Body& body, const Closures& closures) {
  if (steps == 0 || tape_of_thread().no_grad) return 0;
  if (wish.budget > 0) return within(wish.budget, steps, body, closures);
  return std::min(steps, wish.root ? static_cast<Index>(std::sqrt(static_cast<double>(steps))) : wish.every);
}

std::shared_ptr<const Body> body_in_chunks(const std::shared_ptr<const Body>& body, bool reverse, Index steps, Index extent) {
  auto time = stretches(reverse, steps, extent);
  for (auto& s : time) s.over_chunk = body_over_chunk(body, reverse, s.extent);
  auto make = [&] { return in_chunks(*body, {reverse, steps}, time); };
  return derived_body(*body, {reverse, static_cast<std::uint64_t>(extent), static_cast<std::uint64_t>(steps)}, std::ref(make));
}

}  // namespace rw::detail

namespace rw {

Checkpoint checkpoint::every(Index k) {
  if (k < 1) fail<ValueError>("checkpoint::every: {} steps (at least 1 is needed)", k);
  return {.every = k};
}

Checkpoint checkpoint::bytes(Index n) {
  if (n < 1) fail<ValueError>("checkpoint::bytes: {} bytes (at least 1 is needed)", n);
  return {.budget = n};
}

}  // namespace rw
