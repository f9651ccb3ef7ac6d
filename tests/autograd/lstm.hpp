// An LSTM as a user writes it, and how results of two ways are compared: for the tests of scan.
#pragma once

#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/scan.hpp>

#include <doctest/doctest.h>

#include "support.hpp"

namespace rw::test {

inline constexpr DType f64 = DType::f64;

inline Variable draw(const Shape& shape, DType dtype = f64) { return random::normal(shape, 0, 0.6, dtype); }

struct State {
  Variable h, c;
};

/// An LSTM's step, as a user writes it.
inline State lstm_step(const Variable& x, const State& s, const Variable& wx, const Variable& wh, const Variable& b) {
  auto [f, i, o, g] = split<4>(matmul(x, wx) + matmul(s.h, wh) + b);
  auto c = sigmoid(f) * s.c + sigmoid(i) * tanh(g);
  return {sigmoid(o) * tanh(c), c};
}

struct Lstm {
  Variable wx, wh, b;
  Lstm(Index inputs, Index hidden, DType dtype)
      : wx(draw({inputs, 4 * hidden}, dtype)), wh(draw({hidden, 4 * hidden}, dtype)), b(draw({4 * hidden}, dtype)) {}
  std::pair<State, Variable> operator()(const Variable& x, const State& start, bool reverse = false) const {
    return scan(
        [&](const State& s, const Variable& x) {
          auto n = lstm_step(x, s, wx, wh, b);
          return std::pair{n, n.h};
        },
        start, x, {.reverse = reverse});
  }
};

/// The largest difference of two lists of variables, over each one's largest entry.
inline double worst(const std::vector<Variable>& a, const std::vector<Variable>& b) {
  REQUIRE(a.size() == b.size());
  double w = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    double e = max_relative_error(a[i].value(), b[i].value());
    if (!(e <= w)) w = e;
  }
  return w;
}

}  // namespace rw::test
