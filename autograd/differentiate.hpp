// The reverse sweep over the recorded graph. Internal to autograd.
#pragma once

#include <rewind/autograd/operator.hpp>

namespace rw::detail {

struct Seed {
  Value* value;
  Variable gradient;
};

/// Gradients of the sum over seeds of <seed.gradient, seed.value> by each target, recorded in the current trace; empty where there is no
/// dependence. `walked` receives the nodes that lie between. Throws TapeError where a released history is reached.
List<Variable> differentiate(std::span<const Seed> seeds, std::span<Value* const> targets, List<Node*>* walked = nullptr);

/// The parameter whose leaf a value is, or stands for; nullptr if it is none's.
Place* place_of(const Value* leaf);

/// The leaves of parameters that are not frozen, behind a value.
List<Value*> trainable_leaves(Value* value);

}  // namespace rw::detail
