// A user's first program: a cell of one's own.
#include <doctest/doctest.h>
#include <rewind/rewind.hpp>
using namespace rw;

namespace {

/// Coupled-gate LSTM with layer norm inside: nothing of it is in the library, and it still trains at full speed.
struct MyCell {
  Parameter wx, wh, b;  // [I,3H] [H,3H] [3H]
  nn::LayerNorm norm;   // H
  struct State {
    Variable h, c;
  };  // any struct of Variables is a carry; the first is the output y

  MyCell(Index inputs, Index hidden)
      : wx({inputs, 3 * hidden}), wh({hidden, 3 * hidden}, init::orthogonal()), b({3 * hidden}), norm(hidden) {}

  State operator()(const Variable& x, const State& s) const {
    auto [f, g, o] = split<3>(matmul(x, wx) + matmul(s.h, wh) + b);
    auto c = sigmoid(f) * s.c + (1 - sigmoid(f)) * tanh(g);
    return {sigmoid(o) * tanh(norm(c)), c};
  }
  REWIND_FIELDS(wx, wh, b, norm)  // the one list: names, counting, saving, copying
};

}  // namespace

TEST_CASE("api: a cell of one's own runs in a network of layers, and gets its gradients") {
  seed(1);
  nn::Recurrent<MyCell> rnn(65, 24, {.layers = 2, .bidirectional = false, .dropout = 0.2});
  Variable x = random::normal({7, 3, 65});
  auto [y, last] = rnn(x);       // x [T,B,I] -> y [T,B,H]
  auto [z, end] = rnn(x, last);  // an empty State means "start here"; the batch size is never said twice
  CHECK(y.shape() == Shape{7, 3, 24});
  CHECK(z.shape() == Shape{7, 3, 24});
  CHECK(end.cells.size() == 2);
  CHECK(end.cells[1].c.shape() == Shape{3, 24});

  backward(sum(square(z)));
  auto list = parameters(rnn);
  REQUIRE(list.size() == 10);
  CHECK(list[0].name == "0.wx");
  CHECK(list[9].name == "1.norm.bias");
  for (const auto& p : list) {
    CAPTURE(p.name);
    REQUIRE(!p.place.gradient().empty());
    CHECK(sum(abs(p.place.gradient())).item() > 0);
  }
}

TEST_CASE("api: carried on from its state, a network continues as one that was never stopped") {
  seed(2);
  nn::Recurrent<MyCell> rnn(5, 8, {.layers = 2});
  Variable x = random::normal({6, 2, 5});
  auto [whole, end] = rnn(x);
  auto [first, middle] = rnn(slice(x, 0, 0, 4));
  auto [second, last] = rnn(slice(x, 0, 4, 2), detach(middle));
  CHECK(max(abs(concatenate({first, second}, 0) - whole)).item() <= 1e-6);
  CHECK(max(abs(last.cells[1].c - end.cells[1].c)).item() <= 1e-6);
}
