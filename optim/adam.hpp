// Adam, and Adam with decoupled weight decay.
#pragma once

#include <rewind/optim/optimizer.hpp>

namespace rw::optim {
namespace rule {

/// Adam (Kingma & Ba 2015, arXiv:1412.6980, algorithm 1).
struct Adam {
  double rate = 1e-3, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  struct Slots {
    Variable m, v;
  };
  Variable operator()(const Variable& p, const Variable& g, Slots& s, const Step& k) const {
    s.m = beta1 * s.m + (1 - beta1) * g;
    s.v = beta2 * s.v + (1 - beta2) * square(g);
    auto m_hat = s.m / (1 - pow(beta1, k.number)), v_hat = s.v / (1 - pow(beta2, k.number));
    return p - k.rate * m_hat / (sqrt(v_hat) + epsilon);
  }
};

/// Adam with decoupled weight decay (Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2): p' = adam(p) - rate decay p.
struct AdamW {
  double rate = 1e-3, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, decay = 1e-2;
  using Slots = Adam::Slots;
  Variable operator()(const Variable& p, const Variable& g, Slots& s, const Step& k) const {
    return Adam{rate, beta1, beta2, epsilon}(p, g, s, k) - k.rate * decay * p;
  }
};

}  // namespace rule

extern template class Optimizer<rule::Adam>;
extern template class Optimizer<rule::AdamW>;
using Adam = Optimizer<rule::Adam>;
using AdamW = Optimizer<rule::AdamW>;

}  // namespace rw::optim
