// Backward, gradients, and what they keep and release.
#include <rewind/autograd/custom.hpp>
#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/graph.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/parameter.hpp>
#include <rewind/autograd/scan.hpp>
#include <rewind/autograd/tape.hpp>

#include <cmath>
#include <rewind/core/storage.hpp>

#include "support.hpp"

using namespace rw;
using test::error_text;

namespace {

Parameter of(double value) { return Parameter(Tensor::full({2}, value)); }
double first(const Variable& v) { return v.value().at({0}); }

constexpr const char* released =
    "gradient: the history of a variable [2] was released by backward (detach it, or call backward(loss, {.retain = true}))";

/// The identity, counting how often it runs forward.
Variable counted(const Variable& x, int& calls) {
  return custom(
      "counted", x,
      [&calls](const Tensor& t) {
        ++calls;
        return t;
      },
      [](auto& g, auto&) { return g; });
}

}  // namespace

TEST_CASE("history: backward adds into the gradients of parameters") {
  Parameter a = of(3), b = of(4), untouched = of(5);
  backward(sum(a * b));
  CHECK(first(a.gradient()) == 4);
  CHECK(first(b.gradient()) == 3);
  CHECK(untouched.gradient().empty());
  CHECK(a.gradient().handle()->evaluated());
  backward(sum(2 * (a * a)));
  CHECK(first(a.gradient()) == 4 + 12);
  CHECK(first(b.gradient()) == 3);
}

TEST_CASE("history: the loss has one element and is floating") {
  Parameter a = of(3);
  CHECK(error_text<ShapeError>([&] { backward(a * 2); }) ==
        "backward: the loss must have one element: it is [2] (reduce it with sum or mean)");
  CHECK(error_text<ShapeError>([&] { gradients(a * 2, {a}); }) ==
        "gradients: the loss must have one element: it is [2] (reduce it with sum or mean)");
  CHECK(error_text<DTypeError>([&] { backward(argmax(a, 0)); }) == "backward: the loss must be f32 or f64: it is i64");
  Variable index = Tensor::full({2}, 1, DType::i64);
  CHECK(error_text<DTypeError>([&] { gradients(sum(a.variable()), {index}); }) ==
        "gradients: only f32 and f64 have gradients: a variable is i64");
  backward(reshape(sum(a.variable()), {1, 1}));  // any shape of one element
  CHECK(first(a.gradient()) == 1);
}

TEST_CASE("history: backward releases what it walked, values stay") {
  Parameter a = of(3);
  auto h = tanh(a.variable());
  auto loss = sum(h * h);
  backward(loss);
  CHECK(loss.item() == doctest::Approx(2 * std::tanh(3.0) * std::tanh(3.0)));
  CHECK(first(h) == doctest::Approx(std::tanh(3.0)));
  CHECK(first(h * 2) == doctest::Approx(2 * std::tanh(3.0)));  // values may be used, ...
  CHECK(error_text<TapeError>([&] { backward(sum(h * 2)); }) == released);
  CHECK(error_text<TapeError>([&] { gradients(sum(h * a), {a}); }) == released);
  CHECK(error_text<TapeError>([&] { backward(loss); }) ==
        "gradient: the history of a variable [] was released by backward (detach it, or call backward(loss, {.retain = true}))");
  a.clear_gradient();
  backward(sum(detach(h) * a));  // ... and detach makes a constant
  CHECK(first(a.gradient()) == doctest::Approx(std::tanh(3.0)));
}

TEST_CASE("history: a released state that is carried on without detach is an error that names both ways out") {
  Parameter w = of(0.5);
  Variable state = Tensor::full({2}, 1);
  state = tanh(w * state);
  backward(sum(state));
  CHECK(error_text<TapeError>([&] { backward(sum(tanh(w * state))); }) == released);
  state = detach(state);
  w.clear_gradient();
  backward(sum(tanh(w * state)));
  double s = std::tanh(0.5), y = std::tanh(0.5 * s);
  CHECK(first(w.gradient()) == doctest::Approx((1 - y * y) * s));
}

TEST_CASE("history: the released part is freed, what hangs on other variables stays") {
  Parameter a = of(3), b = of(2);
  auto shared = a * 2;
  auto other = sum(b * b);
  backward(sum(shared));
  backward(other);  // its history was not walked
  CHECK(first(b.gradient()) == 4);
}

TEST_CASE("history: retain keeps it") {
  Parameter a = of(3);
  auto h = a * a;
  auto loss = sum(h);
  backward(loss, {.retain = true});
  CHECK(first(a.gradient()) == 6);
  backward(loss, {.retain = true});
  CHECK(first(a.gradient()) == 12);
  backward(sum(h * 2));
  CHECK(first(a.gradient()) == 24);
  CHECK(error_text<TapeError>([&] { backward(loss); }) == released);
  CHECK(first(a.gradient()) == 24);
}

TEST_CASE("history: gradients are Variables, zeros where there is no dependence") {
  Variable x = Tensor::full({2}, 3), y = Tensor::full({3}, 4, DType::f64);
  auto loss = sum(x * x);
  std::vector<Variable> both = detail::gradients(loss, std::vector<Variable>{x, y});
  CHECK(first(both[0]) == 6);
  CHECK(both[1].shape() == Shape{3});
  CHECK(both[1].dtype() == DType::f64);
  CHECK(first(both[1]) == 0);
  auto [self] = gradients(loss, {loss});
  CHECK(self.item() == 1);
}

TEST_CASE("history: gradients can be repeated while handles live, and of values in between") {
  Variable x = Tensor::full({2}, 3);
  auto h = x * x;
  auto loss = sum(h * h);
  auto [dx, dh] = gradients(loss, {x, h});
  CHECK(first(dx) == 4 * 27);
  CHECK(first(dh) == 18);
  auto [again] = gradients(loss, {x});
  CHECK(first(again) == 4 * 27);
  CHECK(loss.item() == 2 * 81);
  auto [after] = gradients(loss, {h});
  CHECK(first(after) == 18);
}

TEST_CASE("history: gradients nest to any order") {
  Variable x = Tensor::full({2}, 3, DType::f64);
  auto loss = sum(pow(x, 4));
  auto [g1] = gradients(loss, {x});
  auto [g2] = gradients(sum(g1), {x});
  auto [g3] = gradients(sum(g2), {x});
  auto [g4] = gradients(sum(g3), {x});
  auto [g5] = gradients(sum(g4), {x});
  CHECK(first(g1) == doctest::Approx(4 * 27));
  CHECK(first(g2) == doctest::Approx(12 * 9));
  CHECK(first(g3) == doctest::Approx(24 * 3));
  CHECK(first(g4) == doctest::Approx(24));
  CHECK(first(g5) == doctest::Approx(0));
  auto [t] = gradients(sum(tanh(x)), {x});
  auto [t2] = gradients(sum(t), {x});
  auto [t3] = gradients(sum(t2), {x});
  double y = std::tanh(3.0), d = 1 - y * y;
  CHECK(first(t3) == doctest::Approx(d * (6 * y * y - 2)).epsilon(1e-9));
}

TEST_CASE("history: a gradient penalty reaches parameters through gradients") {
  Parameter w = of(2);
  Variable x = Tensor::full({2}, 3);
  auto [dx] = gradients(sum(square(w * x)), {x});  // 2 w^2 x
  backward(sum(dx * dx));                          // 4 w^4 x^2 -> 16 w^3 x^2
  CHECK(first(w.gradient()) == 16 * 8 * 9);
}

TEST_CASE("history: a value asked for early keeps what the first gradient needs: no forward pass runs twice") {
  int calls = 0;
  Parameter a = of(0.5);
  auto loss = sum(square(counted(tanh(a.variable()), calls)));
  loss.item();
  CHECK(calls == 1);
  backward(loss);
  CHECK(calls == 1);
  CHECK(first(a.gradient()) == doctest::Approx(2 * std::tanh(0.5) * (1 - std::tanh(0.5) * std::tanh(0.5))));

  auto again = sum(square(counted(tanh(a.variable()), calls)));
  backward(again);
  CHECK(calls == 2);
  CHECK(again.item() == loss.item());
  CHECK(calls == 2);
}

TEST_CASE("history: of a view that a gradient will read, what it shows is kept") {
  constexpr Index n = 256, bytes = n * n * 4;
  Variable a(Tensor::full({n, n}, 0.5)), w(Tensor::full({n, n}, 0.25));
  const auto before = pool_statistics().bytes_in_use;
  auto e = exp(a);
  auto y = matmul(transpose(e), w) * broadcast_to(sum(w, {1}, true), {n, n});
  e = {};
  y.value();
  const auto held = pool_statistics().bytes_in_use - before;  // e for the gradients of w and a, the product for that of the sum, y
  CHECK(held >= 3 * bytes);
  CHECK(held < 3.5 * bytes);
  auto [da, dw] = gradients(sum(y), {a, w});
  // y_rc = p_rc s_r, p = 64 e, s = 64: dL/da = e (sum over columns of w s), dL/dw = e^T s summed over rows, and p summed over the row
  const double e_value = std::exp(0.5);
  CHECK(test::close(da.value().at({3, 5}), e_value * n * 0.25 * 64, 1e-5));
  CHECK(test::close(dw.value().at({3, 5}), e_value * n * 64 + n * 64 * e_value, 1e-5));
}

TEST_CASE("history: what detach cuts off keeps nothing for a gradient, nor does what leads to it") {
  constexpr Index n = 256, bytes = n * n * 4;
  const Variable a(random::normal({n, n}));
  a.value();
  const auto before = pool_statistics().bytes_in_use;
  auto held = [&](const Variable& y) {
    y.value();
    return pool_statistics().bytes_in_use - before;
  };
  auto largest = [&] { return max(exp(a), -1, true); };  // its gradient reads exp(a)
  auto last = [&] { return scan([&](const Variable& h, const Variable& x) { return std::pair{tanh(h + x), x}; }, zeros({n}), a).first; };
  Variable y = sum(largest());
  CHECK(held(y) >= bytes);
  y = sum(last());  // reads each tanh
  CHECK(held(y) >= bytes);
  y = detach(largest());
  y = sum(y);
  CHECK(held(y) < bytes / 2);
  y = detach(last());
  y = sum(y);
  CHECK(held(y) < bytes / 2);
  y = detach(last());
  y = sum(largest() - y);
  CHECK(held(y) >= bytes);
  CHECK(held(y) < 1.5 * bytes);
  auto [da] = gradients(y, {a});
  CHECK(sum(da).item() == doctest::Approx(n * sum(largest()).item()));
}

TEST_CASE("history: an early value of part of the model, and of several losses, runs nothing twice") {
  int trunk = 0, head = 0;
  Parameter a = of(0.5), b = of(0.25);
  auto h = counted(exp(a.variable()), trunk);
  h.value();
  auto loss = sum(counted(h * b, head) * h);
  loss.item();
  backward(loss);
  CHECK(trunk == 1);
  CHECK(head == 1);
  CHECK(first(b.gradient()) == doctest::Approx(std::exp(1.0)));
  CHECK(first(a.gradient()) == doctest::Approx(2 * 0.25 * std::exp(1.0)));

  trunk = head = 0;
  auto one = sum(square(counted(tanh(a.variable()), trunk))), two = sum(square(counted(tanh(b.variable()), head)));
  backward(one);  // evaluates two as well, for it is held
  CHECK(head == 1);
  backward(two);
  CHECK(trunk == 1);
  CHECK(head == 1);
}

TEST_CASE("history: an early value of a scan keeps what its gradient needs") {
  int calls = 0;
  Parameter w(Tensor::full({3, 3}, 0.1)), unused(Tensor::full({3}, 1));
  auto model = [&](bool last_only) {
    Variable x = Tensor::full({5, 2, 3}, 0.5);
    auto [last, ys] = scan(
        [&](const Variable& h, const Variable& x) {
          auto n = counted(tanh(matmul(h, w) + x), calls);
          return std::pair{n, n * sigmoid(n)};
        },
        zeros({2, 3}), x);
    return last_only ? sum(square(last)) : sum(ys) + sum(last);
  };
  for (bool last_only : {false, true}) {
    w.clear_gradient();
    calls = 0;
    auto loss = model(last_only);
    backward(loss);
    Tensor at_once = w.gradient().value();
    CHECK(calls == 5);
    w.clear_gradient();
    calls = 0;
    loss = model(last_only);
    loss.item();
    CHECK(calls == 5);
    backward(loss);
    CHECK(calls == 5);
    CHECK(identical(w.gradient().value(), at_once));
  }
}

TEST_CASE("history: under NoGrad an early value keeps nothing, and what is computed has no history") {
  Parameter a = of(3);
  Variable h;
  {
    NoGrad guard;
    h = a * a;
    CHECK(first(h) == 9);
    { NoGrad inner; }
    h = h + a;
    CHECK(h.handle()->node != nullptr);  // pending
    h.value();
    CHECK(h.handle()->node == nullptr);
  }
  backward(sum(h * a));
  CHECK(first(a.gradient()) == 12);  // h is a constant
  auto recorded = sum(a * a);
  a.clear_gradient();
  {
    NoGrad guard;
    backward(recorded);  // recorded outside: it has a history
  }
  CHECK(first(a.gradient()) == 6);
}

TEST_CASE("history: gradients of what was computed under NoGrad are zeros") {
  Variable x = Tensor::full({2}, 3);
  Variable loss;
  {
    NoGrad guard;
    loss = sum(x * x);
  }
  auto [g] = gradients(loss, {x});
  CHECK(first(g) == 0);
  {
    NoGrad guard;
    loss = sum(x * x);
    auto [inside] = gradients(loss, {x});
    CHECK(first(inside) == 0);
  }
}

TEST_CASE("history: Evaluation switches training and gradients off until the end of the block") {
  Parameter a = of(3);
  CHECK(training());
  {
    Evaluation guard;
    CHECK(!training());
    auto h = a * a;
    h.value();
    CHECK(h.handle()->node == nullptr);
    { Evaluation inner; }
    CHECK(!training());
  }
  CHECK(training());
  backward(sum(a * a));
  CHECK(first(a.gradient()) == 6);
}

TEST_CASE("history: detach makes a constant, pending or evaluated") {
  Parameter a = of(3);
  auto h = a * a;
  auto pending = detach(h);
  backward(sum(pending * a));
  CHECK(first(a.gradient()) == 9);
  a.clear_gradient();
  h = a * a;
  h.value();
  backward(sum(detach(h) * a));
  CHECK(first(a.gradient()) == 9);
  auto [g] = gradients(sum(detach(h) * 2), {h});
  CHECK(first(g) == 0);
}

TEST_CASE("history: frozen parameters get no gradient, and gradients flow through them") {
  Parameter a = of(3), b = of(4);
  a.freeze();
  backward(sum(a * b));
  CHECK(a.gradient().empty());
  CHECK(first(b.gradient()) == 3);
  auto [explicitly] = gradients(sum(a * b), {a});  // asked for by name
  CHECK(first(explicitly) == 4);
}

TEST_CASE("history: a loss without parameters changes nothing") {
  Variable x = Tensor::full({2}, 3);
  auto loss = sum(x);
  backward(loss);
  CHECK(loss.item() == 6);
  backward(Variable(2.0));
}
