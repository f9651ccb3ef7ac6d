// Gradients through rows of a small table. Where x is rows of a table E by index, and E has few rows, the gradients of matmul(x, W) need
// the incoming one, G, only summed by index: with S = scatter_add(G, index)
//
//   dW = x^T G = E^T S          dE = scatter_add(G W^T, index) = S W^T
//
// a product of E's rows each, rather than of x's. Rules decide it when they record, by what was recorded and its shapes alone: bits do not
// depend on what is evaluated, held or run again. (A row of E that is not finite makes dW so even if no index names it.)
//
// In a loop whose x_t are rows of E, the same rule gives the contributions of a step, and S alone is summed over time (behind.hpp): it is
// taken where W is a constant of the loop. Internal to autograd.
#pragma once

#include <rewind/autograd/operator.hpp>
#include <rewind/autograd/tape_state.hpp>

namespace rw::detail {

/// Whose rows a value is.
struct Gathered {
  Value* table = nullptr;  ///< none: it is no rows of a small table
  Value* taken = nullptr;  ///< index of the rows that were taken
  bool passes = false;     ///< contributions may go to the table's gradient at once: nobody asked for the rows' own
  List<Node*> views;       ///< of what was taken, the last first
  /// The index of each row: as the value, without its last axis.
  Variable index() const;
};

/// What an operand of a rule is rows of: the result of a gather, or what the trace knows to be such, or reshapes and slices of these. A
/// table is small if it is a matrix with at most half as many rows as are read of it.
Gathered gathered(const Pullback& p, int input);

}  // namespace rw::detail
