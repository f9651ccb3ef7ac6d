// A plan run on the values of a tape, and which of them its results are written over. Internal to autograd.
#pragma once

#include <rewind/autograd/graph.hpp>
#include <rewind/autograd/plan.hpp>

namespace rw::detail {

/// Inputs of a computation that their holders give up for its results (evaluate_over). What is paired is part of the plan's key; whether an
/// input is held elsewhere is looked at in each run.
class GivenUp {
 public:
  /// Pairs old[i] with roots[i], where one is among the inputs and the other among the outputs; appends the pairs to the key. The slots of
  /// all values that the nodes read are numbers below `count`, those of inputs and of outputs in order.
  GivenUp(const List<Node*>& nodes, int count, const List<Value*>& inputs, const List<Value*>& outputs, std::span<Value* const> roots,
          std::span<Value* const> old, Key& key);
  /// Of each input its output, or -1; empty if nothing is given up.
  std::vector<int> output_of() const;
  /// Whether nobody holds the value of an input, nor its memory, but who gives it up and the operations that are computed.
  bool alone(int input) const;

 private:
  struct Pair {
    int input, output;
  };
  const List<Value*>& inputs_;
  List<Pair> pairs_;
  List<std::uint32_t> reads_;  ///< of each value by its number, by operations that keep no history
};

/// Runs a plan; gives each output's storage and byte offset.
List<std::pair<StorageRef, Index>> run_plan(const Plan& plan, const List<Value*>& inputs, const List<CustomCall*>& customs,
                                            const GivenUp& given_up);

}  // namespace rw::detail
