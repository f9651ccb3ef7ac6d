// Cells written as a user would, measured beside the library's: a layer-norm LSTM, and the LSTM in forms that a compiler of formulas must
// see through (the same cell under another name, gates permuted, a product a gate, a loop by hand).
#pragma once

#include <rewind/rewind.hpp>
#include <vector>

namespace rw::bench {

/// Layer-norm LSTM (Ba et al. 2016, arXiv:1607.06450, equations 20-22): norms of the x part, of the h part and of the new c.
struct NormLstmCell {
  Parameter wx, wh, b;  // [I,4H] [H,4H] [4H]
  nn::LayerNorm norm_x, norm_h, norm_c;
  struct State {
    Variable h, c;
  };
  NormLstmCell(Index inputs, Index hidden)
      : wx({inputs, 4 * hidden}),
        wh({hidden, 4 * hidden}, init::orthogonal()),
        b({4 * hidden}),
        norm_x(4 * hidden),
        norm_h(4 * hidden),
        norm_c(hidden) {}
  State operator()(const Variable& x, const State& s) const {
    auto [f, i, g, o] = split<4>(norm_x(matmul(x, wx)) + norm_h(matmul(s.h, wh)) + b);
    auto c = sigmoid(f) * s.c + sigmoid(i) * tanh(g);
    return {sigmoid(o) * tanh(norm_c(c)), c};
  }
  REWIND_FIELDS(wx, wh, b, norm_x, norm_h, norm_c)
};

/// The LSTM, with the gates in the order f i g o of the library.
struct UserLstmCell {
  Parameter wx, wh, b;  // [I,4H] [H,4H] [4H]
  struct State {
    Variable h, c;
  };
  UserLstmCell(Index inputs, Index hidden) : wx({inputs, 4 * hidden}), wh({hidden, 4 * hidden}, init::orthogonal()), b({4 * hidden}) {}
  State operator()(const Variable& x, const State& s) const {
    auto [f, i, g, o] = split<4>(matmul(x, wx) + matmul(s.h, wh) + b);
    auto c = sigmoid(f) * s.c + sigmoid(i) * tanh(g);
    return {sigmoid(o) * tanh(c), c};
  }
  REWIND_FIELDS(wx, wh, b)
};

/// The LSTM, with the gates in the order o g f i.
struct PermutedLstmCell : UserLstmCell {
  using UserLstmCell::UserLstmCell;
  State operator()(const Variable& x, const State& s) const {
    auto [o, g, f, i] = split<4>(matmul(x, wx) + matmul(s.h, wh) + b);
    auto c = sigmoid(f) * s.c + sigmoid(i) * tanh(g);
    return {sigmoid(o) * tanh(c), c};
  }
};

/// The LSTM with weights of its own for each gate: four products of x and four of h.
struct FourProductsLstmCell {
  struct Gate {
    Parameter wx, wh, b;  // [I,H] [H,H] [H]
    Gate(Index inputs, Index hidden) : wx({inputs, hidden}), wh({hidden, hidden}, init::orthogonal()), b({hidden}) {}
    Variable operator()(const Variable& x, const Variable& h) const { return matmul(x, wx) + matmul(h, wh) + b; }
    REWIND_FIELDS(wx, wh, b)
  };
  Gate forget, input, candidate, output_gate;
  struct State {
    Variable h, c;
  };
  FourProductsLstmCell(Index inputs, Index hidden)
      : forget(inputs, hidden), input(inputs, hidden), candidate(inputs, hidden), output_gate(inputs, hidden) {}
  State operator()(const Variable& x, const State& s) const {
    auto c = sigmoid(forget(x, s.h)) * s.c + sigmoid(input(x, s.h)) * tanh(candidate(x, s.h));
    return {sigmoid(output_gate(x, s.h)) * tanh(c), c};
  }
  REWIND_FIELDS(forget, input, candidate, output_gate)
};

/// The LSTM cell in a loop by hand: x [T,B,I] -> y [T,B,H] and the last state, from zeros.
struct LoopLstm {
  UserLstmCell cell;
  Index hidden;
  LoopLstm(Index inputs, Index width) : cell(inputs, width), hidden(width) {}
  std::pair<Variable, UserLstmCell::State> operator()(const Variable& x) const {
    const Index steps = x.shape()[0], batch = x.shape()[1];
    UserLstmCell::State s{zeros({batch, hidden}), zeros({batch, hidden})};
    std::vector<Variable> ys;
    for (Index t = 0; t < steps; ++t) {
      s = cell(x[t], s);
      ys.push_back(s.h);
    }
    return {stack(ys), s};
  }
  REWIND_FIELDS(cell)
};

}  // namespace rw::bench
