// Limits that are not there: lengths of tapes, and what grows with them.
#include <rewind/autograd/evaluate.hpp>
#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/parameter.hpp>
#include <rewind/autograd/plan.hpp>
#include <rewind/autograd/scan.hpp>
#include <rewind/autograd/tape.hpp>

#include <algorithm>

#include "support.hpp"

using namespace rw;

namespace {

struct Size {
  double code, steps, arena;
};

/// What a loop over x[t] and its gradient come to, recorded and planned.
Size size_of_loop(Index steps) {
  Variable x = Tensor::full({steps, 4}, 0.01), w = Tensor::full({4}, 0.5);
  Variable h = zeros({4});
  for (Index t = 0; t < steps; ++t) h = tanh(h * w + x[t]);
  auto [dx, dw] = gradients(sum(h), {x, w});
  detail::Value* roots[] = {dx.handle(), dw.handle()};
  auto program = detail::pending_program(roots, true).program;
  auto code = static_cast<double>(program.code.size());
  auto plan = detail::make_plan(std::move(program));
  return {code, static_cast<double>(plan->steps.size()), static_cast<double>(plan->arena_bytes)};
}

}  // namespace

TEST_CASE("limits: a hundred thousand steps by hand are recorded, differentiated, run and freed") {
  const int steps = 100'000;
  Parameter a(Tensor::full({}, 0.9)), b(Tensor::full({}, 0.05));
  {
    Variable h = zeros({});
    for (int t = 0; t < steps; ++t) h = tanh(a * h + b);
    backward(h);
    double value = 0;
    for (int t = 0; t < steps; ++t) value = std::tanh(static_cast<double>(0.9f) * value + static_cast<double>(0.05f));
    CHECK(h.item() == doctest::Approx(value).epsilon(1e-5));
    double slope = 1 - value * value;  // the loop has settled: a geometric series
    CHECK(b.gradient().item() == doctest::Approx(slope / (1 - static_cast<double>(0.9f) * slope)).epsilon(1e-4));
    CHECK(a.gradient().item() == doctest::Approx(value * slope / (1 - static_cast<double>(0.9f) * slope)).epsilon(1e-4));
  }
  tape::clear_plans();
}

TEST_CASE("limits: a result that is reshaped is written where it will lie") {
  Variable x = Tensor::full({4, 6}, 0.5), y = reshape(tanh(x), Shape{2, 12});
  detail::Value* roots[] = {y.handle()};
  auto plan = detail::make_plan(detail::pending_program(roots, true).program);
  CHECK(plan->steps.size() == 1);
  CHECK(plan->arena_bytes == 0);
  CHECK(y.value().shape() == Shape{2, 12});
}

TEST_CASE("limits: a region writes over an operand that ends there, if it reads it at the same points alone") {
  constexpr Index n = 16, bytes = n * n * 4;
  const Variable a = Tensor::full({n, n}, 0.5), b = Tensor::full({n, n}, 0.01), row = Tensor::full({1, n}, 0.25);
  auto arena = [&](auto f) {
    Variable p = matmul(a, b), y = matmul(f(p), b);  // p is 0.08 everywhere
    const Tensor value = y.value();
    y = matmul(f(matmul(a, b)), b);
    detail::Value* roots[] = {y.handle()};
    const auto plan = detail::make_plan(detail::pending_program(roots, true).program);
    return std::pair{plan->arena_bytes, static_cast<double>(value.at({3, 4}))};
  };
  const double p = 0.08;
  auto [in_place, one] = arena([](const Variable& p) { return exp(p) * p; });
  CHECK(in_place == bytes);
  CHECK(one == doctest::Approx(n * 0.01 * std::exp(p) * p));
  auto [turned, two] = arena([](const Variable& p) { return exp(p) * transpose(p); });
  CHECK(turned == 2 * bytes);
  CHECK(two == doctest::Approx(n * 0.01 * std::exp(p) * p));
  auto [later, three] = arena([](const Variable& p) { return matmul(exp(p), p); });
  CHECK(later == 3 * bytes);
  CHECK(three == doctest::Approx(n * 0.01 * n * std::exp(p) * p));
  auto [normed, four] = arena([](const Variable& p) { return softmax(p, -1) + p; });
  CHECK(normed == bytes);
  CHECK(four == doctest::Approx(n * 0.01 * (1.0 / n + p)));
}

TEST_CASE("limits: a long chain that is never evaluated is freed without recursion") {
  Variable h = zeros({2});
  for (int t = 0; t < 300'000; ++t) h = h + 1;
  h = 0;
}

TEST_CASE("limits: a loop over x[t] and its gradient are linear in T") {
  auto short_loop = size_of_loop(1000), long_loop = size_of_loop(4000);
  CHECK(long_loop.code <= 4.1 * short_loop.code);
  CHECK(long_loop.steps <= 4.1 * short_loop.steps);
  CHECK(long_loop.arena <= 4.5 * short_loop.arena);  // no buffer of x's size a step
  CHECK(short_loop.code <= 20 * 1000);
}

TEST_CASE("limits: the program of a two-layer LSTM and its gradient does not grow with T") {
  const Index batch = 2, hidden = 4;
  auto text = [&](Index steps) {
    struct State {
      Variable h, c;
    };
    Variable x = Tensor::full({steps, batch, hidden}, 0.1);
    std::vector<Parameter> p;
    auto y = x;
    for (int layer = 0; layer < 2; ++layer) {
      p.emplace_back(Shape{hidden, 4 * hidden});
      p.emplace_back(Shape{hidden, 4 * hidden});
      p.emplace_back(Shape{4 * hidden});
      const auto *wx = &p[p.size() - 3], *wh = wx + 1, *b = wx + 2;
      auto [last, ys] = scan(
          [&](const State& s, const Variable& x) {
            auto [f, i, o, g] = split<4>(matmul(x, *wx) + matmul(s.h, *wh) + *b);
            auto c = sigmoid(f) * s.c + sigmoid(i) * tanh(g);
            auto h = sigmoid(o) * tanh(c);
            return std::pair{State{h, c}, h};
          },
          State{zeros({batch, hidden}), zeros({batch, hidden})}, y);
      y = ys;
    }
    std::vector<Variable> ws(p.begin(), p.end());
    auto loss = sum(square(y));
    auto all = detail::gradients(loss, ws);
    all.push_back(loss);
    return dump(all);
  };
  auto nodes = [](const std::string& s) { return std::count(s.begin(), s.end(), '='); };
  auto of_thousand = text(1000);
  CHECK(nodes(of_thousand) < 200);
  CHECK(nodes(text(10)) == nodes(of_thousand));
  MESSAGE("lines with a value in the dump of a two-layer LSTM with its gradient: " << nodes(of_thousand));
}

TEST_CASE("limits: freed values give their memory back at once") {
  Variable x = Tensor::full({1000, 1000}, 1);
  trim_pool();
  auto before = pool_statistics().bytes_in_use;
  for (int i = 0; i < 10; ++i) {
    NoGrad guard;
    Variable h = x;
    for (int k = 0; k < 5; ++k) h = exp(sum(h, 0, true) * 1e-3) - h;
    h.value();
    CHECK(pool_statistics().bytes_in_use - before < 6'000'000);
  }
  CHECK(pool_statistics().bytes_in_use - before < 100'000);
}
