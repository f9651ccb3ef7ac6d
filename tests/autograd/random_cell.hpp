// A random recurrent cell in a loop over a batch, from a seed: rows of the batch are independent, so that threads may divide it, and the
// loop is worth dividing.
#pragma once

#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/scan.hpp>

#include <vector>

#include "random_source.hpp"

namespace rw::test {

class RandomCell : private RandomSource {
 public:
  RandomCell(std::uint64_t seed, DType dtype) : RandomSource(seed, dtype), dtype_(dtype) { rw::seed(seed); }

  /// The loop's results and the gradients of a loss made of them.
  std::vector<Variable> record() {
    const Index T = 7 + pick(4), B = 33 + pick(32), I = 16 + pick(16), H = 40 + pick(25), V = 11;
    const Variable x = leaf({T, B, I}), wx = leaf({I, 3 * H}, 0.2), wh = leaf({H, 3 * H}, 0.2), b = leaf({3 * H}, 0.2),
                   table = leaf({V, H}, 0.3);
    const Variable scale = leaf({H}), shift = leaf({B, 1}), projection = leaf({H, I}, 0.2);
    const Variable tokens = integers({T, B}, V);
    struct State {
      Variable h, c;
    };
    struct Input {
      Variable x, token;
    };
    int extras[5];
    for (int& e : extras) e = pick(2);
    int swaps = pick(3);
    auto body = [&](const State& s, const Input& in) {
      auto gates = matmul(in.x, wx) + matmul(s.h, wh) + b;
      if (extras[0]) gates = gates + matmul(gather(table, in.token), slice(wh, 0, 0, wh.shape()[0]));
      auto [f, g, o] = split<3>(gates);
      auto c = sigmoid(f) * s.c + (1 - sigmoid(f)) * tanh(g);
      if (extras[1]) c = (c - mean(c, -1, true)) * rsqrt(variance(c, -1, true) + 1e-3) * scale;
      auto h = sigmoid(o) * tanh(c) + 0.1 * shift;
      if (extras[2]) h = h * (uniform(h.shape(), dtype_) < 0.8);
      if (extras[3]) h = tanh(h + softmax(h, -1));
      auto y = extras[4] ? matmul(h, projection) : concatenate({h, in.x}, -1);
      State next{h, c};
      if (swaps == 1) next = {c, h};
      if (swaps == 2) next = {h, s.h};
      return std::pair{next, std::vector<Variable>{y, next.h, s.h, in.x * 0.5}};
    };
    State first{zeros({B, H}, dtype_), leaf({B, H})};
    auto [last, ys] = scan(body, first, Input{x, tokens}, {.reverse = pick(2) == 1});
    std::vector<Variable> outputs{last.h, last.c};
    outputs.insert(outputs.end(), ys.begin(), ys.end());
    Variable loss = 0.0;
    for (const auto& v : outputs) loss = loss + mean(square(v) + v);
    for (const auto& g : detail::gradients(loss, std::vector<Variable>{x, wx, wh, b, table, scale, shift, projection, first.c}))
      outputs.push_back(g);
    return outputs;
  }

 private:
  DType dtype_;
};

}  // namespace rw::test
