// Stochastic gradient descent.
#pragma once

#include <rewind/optim/optimizer.hpp>

namespace rw::optim {
namespace rule {

/// Gradient descent; with momentum, v' = momentum v + g and p' = p - rate v', or p' = p - rate (g + momentum v') with Nesterov's
/// (Sutskever et al. 2013, "On the importance of initialization and momentum", in the form that keeps the rate out of v).
struct Sgd {
  double rate = 1e-2, momentum = 0;
  bool nesterov = false;
  struct Slots {
    Variable velocity;
  };
  Variable operator()(const Variable& p, const Variable& g, Slots& s, const Step& k) const {
    if (momentum == 0) return p - k.rate * g;
    s.velocity = momentum * s.velocity + g;
    return p - k.rate * (nesterov ? g + momentum * s.velocity : s.velocity);
  }
};

}  // namespace rule

extern template class Optimizer<rule::Sgd>;
using Sgd = Optimizer<rule::Sgd>;

}  // namespace rw::optim
