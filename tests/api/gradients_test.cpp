// A user's third program: gradients of anything.
#include <doctest/doctest.h>
#include <rewind/rewind.hpp>
using namespace rw;

TEST_CASE("api: gradients of variables, of structs, and of gradients") {
  seed(4);
  nn::Lstm lstm(4, 6);
  Variable x = random::normal({3, 2, 4}), w = random::normal({6, 1});
  auto [start, state] = lstm(x);
  auto [y, last] = lstm(x, state);
  auto loss = mean(square(matmul(y, w)));

  auto [dx, dw] = gradients(loss, {x, w});              // Variables again, so they can be differentiated once more
  auto dstate = gradients(loss, state);                 // any struct of Variables comes back as the same struct
  auto penalty = sum(square(gradients(loss, {x})[0]));  // a gradient penalty through an LSTM, any order
  CHECK(dx.shape() == x.shape());
  CHECK(dw.shape() == w.shape());
  REQUIRE(dstate.cells.size() == 1);
  CHECK(dstate.cells[0].c.shape() == Shape{2, 6});
  CHECK(sum(abs(dstate.cells[0].c)).item() > 0);
  CHECK(penalty.item() == doctest::Approx(sum(square(dx)).item()).epsilon(1e-5));
  backward(penalty);
  CHECK(sum(abs(lstm.cell(0).wh.gradient())).item() > 0);
}

TEST_CASE("api: gradcheck, NoGrad, custom") {
  seed(5);
  Variable v = random::normal({3, 4}, 0, 1, DType::f64), w = random::normal({4, 2}, 0, 1, DType::f64);
  auto report = gradcheck([&](const Variable& v) { return sum(tanh(matmul(v, w))); }, v);
  CHECK_MESSAGE(report.passed, report.message);

  Parameter p({3, 4});
  {
    NoGrad guard;
    auto y = sum(square(p.variable()));
    CHECK(y.item() > 0);
  }
  auto forward = [](const Tensor& t) { return t; };
  auto y = custom("clipped_identity", p, forward, [](auto& g, auto&) { return clamp(g, -1, 1); });
  backward(sum(3 * y));
  CHECK(max(p.gradient()).item() == 1);
  CHECK(min(p.gradient()).item() == 1);
}
