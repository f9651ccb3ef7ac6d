// Recurrence as one node: scan(body, carry, xs) runs body(carry, x_t) -> (carry, y_t) over axis 0 of xs.
#pragma once

#include <rewind/autograd/structs.hpp>
#include <rewind/autograd/variable.hpp>
#include <vector>

namespace rw {

/// Which carries of a loop are kept for the gradient; the steps between are run again by the backward pass, with the same numbers. Kept
/// carries stand at equal distances, from the first on in the order in which the loop runs, whatever the number of steps: a loop of no more
/// steps than that keeps its first carry alone. Without gradients (NoGrad) none is kept.
struct Checkpoint {
  Index every = 0;    ///< steps from one kept carry to the next; 0: all that the gradient reads is kept
  bool root = false;  ///< the root of the number of steps instead
  Index budget = 0;   ///< bytes: as far apart as the history of the loop fits there; 0: no limit
};

namespace checkpoint {
/// Every k-th carry. Throws ValueError unless k is at least 1.
Checkpoint every(Index k);
/// About as many carries as steps between two of them.
inline Checkpoint sqrt() { return {.root = true}; }
/// No more carries than it takes to keep kept carries and the history of the steps between two of them within n bytes: what a step's
/// gradient reads and the results of its products. All is kept if that fits; the least is taken if nothing does. Throws ValueError unless
/// n is at least 1.
Checkpoint bytes(Index n);
}  // namespace checkpoint

struct ScanOptions {
  bool reverse = false;  ///< from the last step to the first; y_t stands at t all the same
  Index steps = -1;      ///< needed only where there are no xs
  Checkpoint checkpoint = {};
};

namespace detail {
/// The untyped core: begins a body's trace, and turns it into the scan's node.
class ScanTrace {
 public:
  ScanTrace(const List<Variable>& carry, const List<Variable>& xs, const ScanOptions& options);
  ~ScanTrace();  ///< abandons the trace if finish was not reached
  ScanTrace(const ScanTrace&) = delete;
  const List<Variable>& carry() const { return carry_; }  ///< inside the body
  const List<Variable>& x() const { return x_; }
  struct Result {
    List<Variable> last, ys;
  };
  Result finish(const List<Variable>& next, const List<Variable>& ys);

 private:
  struct Impl;
  Impl* impl_;
  List<Variable> carry_, x_;
};
}  // namespace detail

/// Runs body over time. carry and x are Variables or structs of them; body returns std::pair{next carry, y}. Gives std::pair{last
/// carry, ys stacked along a new axis 0}. Shapes and dtypes of the carry must not change (ShapeError, DTypeError); all xs have the same
/// extent of axis 0. Zero steps return the carry. Variables from outside are constants of the loop, their gradients sum over time.
template <class Body, class Carry, class X>
auto scan(Body&& body, const Carry& carry, const X& xs, const ScanOptions& options = {}) {
  detail::List<Variable> c, x;
  flatten(carry, c);
  flatten(xs, x);
  detail::ScanTrace trace(c, x, options);
  auto [next, y] = body(unflatten_like(carry, trace.carry()), unflatten_like(xs, trace.x()));
  detail::List<Variable> n, ys;
  flatten(next, n);
  flatten(y, ys);
  auto result = trace.finish(n, ys);
  return std::pair{unflatten_like(carry, result.last), unflatten_like(y, result.ys)};
}

}  // namespace rw
