// RMSprop.
#pragma once

#include <rewind/optim/optimizer.hpp>

namespace rw::optim {
namespace rule {

/// RMSprop (Tieleman & Hinton 2012, lecture 6.5): v' = decay v + (1 - decay) g^2, p' = p - rate g / (sqrt(v') + epsilon).
struct RmsProp {
  double rate = 1e-2, decay = 0.99, epsilon = 1e-8;
  struct Slots {
    Variable v;
  };
  Variable operator()(const Variable& p, const Variable& g, Slots& s, const Step& k) const {
    s.v = decay * s.v + (1 - decay) * square(g);
    return p - k.rate * g / (sqrt(s.v) + epsilon);
  }
};

}  // namespace rule

extern template class Optimizer<rule::RmsProp>;
using RmsProp = Optimizer<rule::RmsProp>;

}  // namespace rw::optim
