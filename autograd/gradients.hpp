// Reverse-mode differentiation: gradients are recorded as more of the same operations.
#pragma once

#include <array>
#include <rewind/autograd/structs.hpp>
#include <rewind/autograd/variable.hpp>
#include <span>
#include <vector>

namespace rw {

struct BackwardOptions {
  bool retain = false;  ///< keep the history for another differentiation
};

/// Adds d loss / d p to the gradient of each Parameter p that loss depends on, evaluates, and releases the history it walked: a later
/// differentiation that reaches it throws TapeError. loss has one element (ShapeError). Frozen parameters are left out.
void backward(const Variable& loss, const BackwardOptions& options = {});

namespace detail {
std::vector<Variable> gradients(const Variable& loss, std::span<const Variable> xs);
}

/// d loss / d x for each x, recorded and pending: they can be differentiated again. Zeros where loss does not depend on x. loss has
/// one element (ShapeError); history is kept.
template <std::size_t N>
std::array<Variable, N> gradients(const Variable& loss, const Variable (&xs)[N]) {
  auto found = detail::gradients(loss, xs);
  std::array<Variable, N> result;
  for (std::size_t i = 0; i < N; ++i) result[i] = std::move(found[i]);
  return result;
}
/// The same for a Variable, or for any struct of Variables, which comes back as the same struct.
template <VariableStruct S>
S gradients(const Variable& loss, const S& xs) {
  std::vector<Variable> flat;
  flatten(xs, flat);
  return unflatten_like(xs, detail::gradients(loss, flat));
}

}  // namespace rw
