// A loop with a checkpoint, to be compared with the same loop without.
#pragma once

#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/scan.hpp>
#include <rewind/autograd/tape.hpp>
#include <utility>
#include <vector>

#include "lstm.hpp"

namespace rw::test {

/// An LSTM with dropout on its state: results and first gradients, and a gradient of these.
inline std::vector<Variable> checkpointed(Index steps, bool reverse, Checkpoint checkpoint, DType dtype, bool second) {
  seed(21);
  const Index batch = 3, hidden = 5;
  Variable x = draw({steps, batch, 4}, dtype), h = draw({batch, hidden}, dtype);
  Lstm lstm(4, hidden, dtype);
  auto [last, ys] = scan(
      [&](const State& s, const Variable& x) {
        auto n = lstm_step(x, s, lstm.wx, lstm.wh, lstm.b);
        n.h = n.h * bernoulli({batch, hidden}, 0.7, dtype);
        return std::pair{n, n.h};
      },
      State{h, h}, x, {.reverse = reverse, .checkpoint = checkpoint});
  std::vector<Variable> in{x, h, lstm.wx, lstm.wh, lstm.b};
  auto g = detail::gradients(sum(square(ys)) + sum(last.c), in);
  std::vector<Variable> out = g;
  out.push_back(ys);
  out.push_back(last.h);
  if (second)
    for (auto& v : detail::gradients(sum(square(g[0])) + sum(square(g[3])), in)) out.push_back(v);
  return out;
}

}  // namespace rw::test
