// What is structure, part of a plan's key, and what is input.
#include <rewind/autograd/custom.hpp>
#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/parameter.hpp>
#include <rewind/autograd/scan.hpp>
#include <rewind/autograd/tape.hpp>

#include <functional>

#include "support.hpp"

using namespace rw;

namespace {

/// Plans made by f(0), f(1), .., f(times - 1).
std::uint64_t plans_of(int times, const std::function<void(int)>& f) {
  tape::clear_plans();
  auto before = tape::statistics().plans;
  for (int i = 0; i < times; ++i) f(i);
  return tape::statistics().plans - before;
}

void run(const Variable& v) { v.value(); }

}  // namespace

TEST_CASE("structure: numbers in formulas are inputs") {
  Variable x = Tensor::full({4}, 2);
  CHECK(plans_of(5, [&](int i) { CHECK((x * (i + 0.5)).value().at({0}) == 2 * (i + 0.5)); }) == 1);
  CHECK(plans_of(5, [&](int i) { CHECK((i - x).value().at({0}) == i - 2); }) == 1);
  CHECK(plans_of(5, [&](int i) { CHECK(clamp(x, 0, i).value().at({0}) == std::min(i, 2)); }) == 1);
  CHECK(plans_of(5, [&](int i) { CHECK(full({3}, i + 0.25).value().at({2}) == i + 0.25); }) == 1);
  CHECK(plans_of(5, [&](int i) { CHECK(maximum(x, 0.5 * i).value().at({2}) == std::max(2.0, 0.5 * i)); }) == 1);
  CHECK(plans_of(5, [&](int i) { CHECK(bernoulli({3}, i / 4.0).value().size() == 3); }) == 1);
}

TEST_CASE("structure: the constants of gradient rules are not inputs") {
  Variable x = Tensor::full({4}, 2);
  CHECK(plans_of(5, [&](int i) {
          auto [g] = gradients(sum(square(x) * i), {x});
          CHECK(g.value().at({0}) == 4 * i);
        }) == 1);
  CHECK(dump(gradients(sum(square(x)), {x})[0]).find("= constant() 1 ") != std::string::npos);
}

TEST_CASE("structure: tensors, starts of slices, positions and random keys are inputs") {
  seed(3);
  Variable x = Tensor::arange(20, DType::f32).reshape({10, 2});
  CHECK(plans_of(5, [&](int i) { CHECK((Variable(Tensor::full({3}, i)) + 1).value().at({0}) == i + 1); }) == 1);
  CHECK(plans_of(5, [&](int i) { CHECK((x[i] * 1).value().at({1}) == 2 * i + 1); }) == 1);
  CHECK(plans_of(5, [&](int i) { CHECK((x[-1 - i] * 1).value().at({1}) == 19 - 2 * i); }) == 1);
  CHECK(plans_of(5, [&](int i) { CHECK((slice(x, 0, i, 3) * 1).value().at({2, 0}) == 2 * i + 4); }) == 1);
  CHECK(plans_of(5, [&](int i) { CHECK((select(x, 0, i) * 1).value().at({0}) == 2 * i); }) == 1);
  std::vector<double> drawn;
  CHECK(plans_of(3, [&](int) { drawn.push_back(uniform({4}, DType::f64).value().at({0})); }) == 1);
  CHECK(drawn[0] != drawn[1]);
  CHECK(drawn[1] != drawn[2]);
  CHECK(plans_of(3, [&](int i) {
          Variable index = Tensor::full({2}, i, DType::i64);
          CHECK(gather(x, index).value().at({1, 1}) == 2 * i + 1);
        }) == 1);
}

TEST_CASE("structure: gradients of slices with other starts need no other plan") {
  Variable x = Tensor::arange(20, DType::f32).reshape({10, 2});
  CHECK(plans_of(5, [&](int i) {
          auto [g] = gradients(sum(x[i] * 3), {x});
          Tensor t = g.value();
          for (Index r = 0; r < 10; ++r) CHECK(t.at({r, 0}) == (r == i ? 3 : 0));
        }) == 1);
}

TEST_CASE("structure: closures of custom operations are inputs") {
  Variable x = Tensor::full({3}, 2);
  CHECK(plans_of(5, [&](int i) {
          auto y = custom(
              "scale", x, [i](const Tensor&) { return Tensor::full({3}, i); }, [i](auto& g, auto&) { return g * (i + 1); });
          auto [g] = gradients(sum(y), {x});
          CHECK(g.value().at({0}) == i + 1);
          CHECK(y.value().at({0}) == i);
        }) == 1);
}

TEST_CASE("structure: closures of custom operations in the body of a scan are inputs") {
  Variable x = Tensor::full({4, 3}, 2);
  CHECK(plans_of(5, [&](int i) {
          auto scale = [i](const Tensor& t) {
            Tensor y = t.copy();
            float* p = y.data<float>();
            for (Index e = 0; e < y.size(); ++e) p[e] *= static_cast<float>(i);
            return y;
          };
          auto [last, ys] = scan(
              [&](const Variable& h, const Variable& x) {
                auto y = custom("scale", x, scale, [i](auto& g, auto&) { return g * i; });
                return std::pair{h + y, y};
              },
              zeros({3}), x);
          auto [g] = gradients(sum(last), {x});
          CHECK(g.value().at({1, 0}) == i);
          CHECK(last.value().at({0}) == 8 * i);
        }) == 1);
}

TEST_CASE("structure: shapes, dtypes, axes, extents, operations and integer exponents are structure") {
  Variable x = Tensor::full({4, 6}, 2), wide = Tensor::full({4, 6}, 2, DType::f64);
  CHECK(plans_of(3, [&](int i) { run(Variable(Tensor::full({i + 1}, 1)) + 1); }) == 3);
  CHECK(plans_of(2, [&](int i) { run((i ? x : wide) + 1); }) == 2);
  CHECK(plans_of(2, [&](int i) { run(sum(x, i)); }) == 2);
  CHECK(plans_of(2, [&](int i) { run(sum(x, 0, i)); }) == 2);
  CHECK(plans_of(3, [&](int i) { run(slice(x, 0, 0, i + 1) + 1); }) == 3);
  CHECK(plans_of(2, [&](int i) { run(i ? tanh(x) : exp(x)); }) == 2);
  CHECK(plans_of(3, [&](int i) { run(split(x, i + 1, 1)[0] + 1); }) == 3);
  CHECK(plans_of(2, [&](int i) { run(x - (i ? x : Variable(Tensor::full({4, 6}, 1)))); }) == 2);  // wiring
}

TEST_CASE("structure: a scan is planned again for another T, B or body, and for nothing else") {
  auto model = [](Index steps, Index batch, double factor, bool other) {
    Variable x = Tensor::full({steps, batch, 3}, 0.5), w = Tensor::full({3, 3}, 0.1);
    auto [last, ys] = scan(
        [&](const Variable& h, const Variable& x) {
          auto n = tanh(matmul(h, w) * factor + x);
          if (other) n = n * n;
          return std::pair{n, n};
        },
        zeros({batch, 3}), x);
    return gradients(sum(ys) + sum(last), {w})[0].value();
  };
  CHECK(plans_of(5, [&](int i) { model(4, 2, 0.1 * i, false); }) == 1);
  CHECK(plans_of(3, [&](int i) { model(4 + i, 2, 1, false); }) == 3);
  CHECK(plans_of(3, [&](int i) { model(4, 2 + i, 1, false); }) == 3);
  CHECK(plans_of(4, [&](int i) { model(4, 2, 1, i % 2); }) == 2);
}

namespace {

/// Adam as a user writes it; the number of the step and the rate change at each.
struct Trainer {
  std::vector<PlaceRef> places;
  std::vector<Variable> m, v;
  void step(int number, double rate) {
    NoGrad guard;
    if (m.empty())
      for (const auto& p : places) m.push_back(zeros(p.value().shape())), v.push_back(zeros(p.value().shape()));
    std::vector<Variable> next;
    for (std::size_t i = 0; i < places.size(); ++i) {
      const auto& g = places[i].gradient();
      m[i] = 0.9 * m[i] + 0.1 * g;
      v[i] = 0.99 * v[i] + 0.01 * square(g);
      auto m_hat = m[i] / (1 - std::pow(0.9, number)), v_hat = v[i] / (1 - std::pow(0.99, number));
      next.push_back(places[i].value() - rate * m_hat / (sqrt(v_hat) + 1e-8));
    }
    evaluate(next);
    for (std::size_t i = 0; i < places.size(); ++i) {
      places[i].set_value(next[i].value());
      places[i].set_gradient({});
    }
  }
};

}  // namespace

TEST_CASE("structure: a training loop of 100 steps with a schedule makes at most four plans, none after the second step") {
  seed(5);
  const Index batch = 4, hidden = 8, inputs = 6, steps = 5;
  Parameter wx({inputs, 4 * hidden}), wh({hidden, 4 * hidden}), b({4 * hidden}), head({hidden, inputs});
  Trainer trainer{{wx.place(), wh.place(), b.place(), head.place()}, {}, {}};
  struct State {
    Variable h, c;
  };
  State state{zeros({batch, hidden}), zeros({batch, hidden})};
  tape::clear_plans();
  auto start = tape::statistics().plans;
  std::uint64_t after_second = 0, allocations = 0;
  double first = 0, loss_now = 0;
  for (int k = 1; k <= 100; ++k) {
    Variable x = random::normal({steps, batch, inputs});
    auto cell = [&](const State& s, const Variable& x) {
      auto [f, i, o, g] = split<4>(matmul(x, wx) + matmul(s.h, wh) + b);
      auto c = sigmoid(f + 1) * s.c + sigmoid(i) * tanh(g);
      auto h = sigmoid(o) * tanh(c);
      return std::pair{State{h, c}, h};
    };
    auto [last, ys] = scan(cell, state, x);
    auto loss = mean(square(matmul(ys, head) - x));
    backward(loss);
    trainer.step(k, 1e-2 * std::min(1.0, k / 10.0));
    state = detach(last);
    loss_now = loss.item();
    if (k == 1) first = loss_now;
    if (k == 2) after_second = tape::statistics().plans;
    if (k == 3) allocations = pool_statistics().allocations;
  }
  CHECK(tape::statistics().plans - start <= 4);
  CHECK(tape::statistics().plans == after_second);
  CHECK(pool_statistics().allocations == allocations);  // after the second iteration a step allocates nothing
  CHECK(loss_now < first);
}
