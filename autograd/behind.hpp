// What the gradient of a loop leaves to be multiplied behind it. Gradients of a loop's constants sum over the steps, and
//
//   sum of E^T S_t = E^T (sum of S_t)      sum of S_t W^T = (sum of S_t) W^T
//
// where E, W are constants of the loop and S_t is a sum of rows by index (gathered.hpp), or what a loop inside has summed, as one over a
// chunk of time has: S_t alone is summed, and one product follows the outermost loop. Internal to autograd.
#pragma once

#include <rewind/autograd/operator.hpp>

namespace rw::detail {

/// A contribution to the gradient of constant `target`: the product of a sum over all steps and another constant.
struct Behind {
  int sum, constant, target;
  bool sum_left;  ///< the sum is the left operand
  bool ta, tb;
  bool operator==(const Behind&) const = default;
};

/// Splits the gradients that a step gives into terms. Constants of the loop have numbers of their own, as the caller likes.
class SplitTerms {
 public:
  /// Instructions below `boundary` are forward. `constants`: the number of a value that is a constant of the loop, -1 of others. With
  /// `one_loop`, scans among the instructions are one that goes on: equal results of theirs, which stand at equal places, are one sum.
  SplitTerms(Program& joint, std::size_t boundary, std::vector<int> constants, bool one_loop)
      : joint_(joint),
        boundary_(static_cast<int>(boundary)),
        constants_(std::move(constants)),
        one_loop_(one_loop),
        made_(producers(joint)) {}

  /// Takes what can be multiplied behind the loop from a contribution to constant `target`. Gives the sum of the other terms, -1 if there
  /// are none.
  int split(int value, int target);
  /// Removes what neither results nor sums read any more.
  void finish();

  std::vector<int> sums;         ///< values of the program
  std::vector<Behind> products;  ///< `sum` counts in `sums`

 private:
  bool take(int term, int target);
  bool summed(int v) const;
  int number(int sum);
  int add(int a, int b);

  Program& joint_;
  int boundary_;
  std::vector<int> constants_;
  bool one_loop_;
  std::vector<int> made_;
  std::vector<std::vector<int>> parts_;  ///< of each sum
};

}  // namespace rw::detail
