// Moving instructions of a loop's body into the program around it: values get a leading time axis, or stay as they are if they do not
// depend on the step. Internal to autograd.
#pragma once

#include <rewind/autograd/operator.hpp>

namespace rw::detail {

/// Whether an instruction without operands from the step gives another value at each: random numbers, or a loop that draws such.
bool differs_by_step(const Instruction& c);

/// What a value of a body depends on: captures alone, or x_t too (random numbers count as such), or the carry.
enum class Depends : std::uint8_t { constant, x, carry };
/// The same of every value.
std::vector<Depends> dependence(const Body& body);

class Lifter {
 public:
  /// `scan`: the attributes of the loop.
  Lifter(Program& outer, const Program& body, const Attributes& scan)
      : outer_program_(outer), body_(body), scan_(scan), outer_(body.types.size(), -1), lifted_(body.types.size()) {}

  /// A value of the body that stands outside already.
  void bind(int value, int outer, bool lifted) {
    outer_[value] = outer;
    lifted_[value] = lifted;
  }
  bool has(int value) const { return outer_[value] >= 0; }
  bool lifted(int value) const { return lifted_[value] != 0; }
  int outer(int value) const { return outer_[value]; }

  /// Moves an instruction whose operands stand outside; false if they do not, or if its operation cannot be lifted.
  bool lift(const Instruction& c);

 private:
  Program& outer_program_;
  const Program& body_;
  const Attributes scan_;
  std::vector<int> outer_;
  std::vector<char> lifted_;
};

}  // namespace rw::detail
