// Gradients of a scan: of every order, against the loop by hand and difference quotients.
#include <rewind/autograd/scan.hpp>

#include <rewind/autograd/custom.hpp>
#include <rewind/autograd/gradcheck.hpp>
#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/graph.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/parameter.hpp>
#include <rewind/autograd/tape.hpp>
#include <rewind/core/team.hpp>

#include <functional>

#include "compare.hpp"
#include "lstm.hpp"

using namespace rw;
using namespace rw::test;

TEST_CASE("scan: equals the loop by hand up to rounding, forward and reversed, values and gradients") {
  seed(4);
  const Index steps = 9, batch = 3, inputs = 4, hidden = 5;
  Variable x = draw({steps, batch, inputs}), h0 = draw({batch, hidden}), c0 = draw({batch, hidden});
  Lstm lstm(inputs, hidden, f64);
  for (bool reverse : {false, true}) {
    std::vector<Variable> in{x, h0, c0, lstm.wx, lstm.wh, lstm.b};
    auto [last, ys] = lstm(x, {h0, c0}, reverse);
    auto loss = sum(square(ys)) + sum(last.h * last.c);
    auto g = gradients(loss, in);
    State s{h0, c0};
    std::vector<Variable> list(steps);
    for (Index k = 0; k < steps; ++k) {
      Index t = reverse ? steps - 1 - k : k;
      s = lstm_step(x[t], s, lstm.wx, lstm.wh, lstm.b);
      list[t] = s.h;
    }
    auto by_hand = stack(list);
    auto loss_by_hand = sum(square(by_hand)) + sum(s.h * s.c);
    auto g_by_hand = gradients(loss_by_hand, in);
    CHECK(worst({ys, last.h, last.c, loss}, {by_hand, s.h, s.c, loss_by_hand}) <= 1e-13);
    CHECK(worst(g, g_by_hand) <= 1e-12);
  }
}

TEST_CASE("scan: an LSTM's first and second gradients against difference quotients") {
  seed(5);
  Variable x = draw({3, 2, 2}), wx = draw({2, 8}), wh = draw({2, 8}), b = draw({8});
  auto report = gradcheck(
      [](const std::vector<Variable>& v) {
        Lstm lstm(1, 1, f64);
        lstm.wx = v[1], lstm.wh = v[2], lstm.b = v[3];
        auto [last, ys] = lstm(v[0], {zeros({2, 2}, f64), zeros({2, 2}, f64)});
        return sum(square(ys)) + sum(last.c);
      },
      {x, wx, wh, b}, {.second_order = true});
  CHECK_MESSAGE(report.passed, report.message);
}

TEST_CASE("scan: third order equals the loop by hand") {
  seed(6);
  Variable x = draw({4, 2}), w = draw({2, 2}), h0 = draw({2});
  auto third = [&](auto run) {
    Variable loss = run();
    for (int order = 0; order < 3; ++order) {
      auto [dx, dw] = gradients(loss, {x, w});
      loss = sum(square(dx)) + sum(dw * dw * dw);
    }
    return loss;
  };
  auto by_scan = third([&] {
    auto [last, ys] = scan(
        [&](const Variable& h, const Variable& x) {
          auto n = tanh(matmul(h, w) + x);
          return std::pair{n, n};
        },
        h0, x);
    return sum(square(ys)) + sum(last);
  });
  auto by_hand = third([&] {
    Variable h = h0, total = Tensor::zeros({}, f64);
    for (Index t = 0; t < 4; ++t) {
      h = tanh(matmul(h, w) + x[t]);
      total = total + sum(square(h));
    }
    return total + sum(h);
  });
  CHECK(test::close(by_scan.item() / by_hand.item(), 1, 1e-10));
}

TEST_CASE("scan: gradients inside a body are allowed, and differentiated outside") {
  seed(7);
  Variable h = draw({3}), x = draw({4, 3}), w = draw({3});
  auto report = gradcheck(
      [](const std::vector<Variable>& v) {
        auto [last, ys] = scan(
            [&](const Variable& h, const Variable& x) {
              auto energy = sum(square(tanh(h * v[2]) - x));
              auto [dh, dw] = gradients(energy, {h, v[2]});
              return std::pair{h - 0.1 * dh, dw};
            },
            v[0], v[1]);
        return sum(square(last)) + sum(square(ys));
      },
      {h, x, w}, {.second_order = true});
  CHECK_MESSAGE(report.passed, report.message);
}

TEST_CASE("scan: gradients inside a body of what was recorded further out") {
  Variable x = Tensor::full({2}, 3, f64), steps = Tensor::zeros({3, 2}, f64);
  auto loss = sum(x * x * x);
  auto [last, ys] = scan(
      [&](const Variable& h, const Variable& z) {
        auto [g] = gradients(loss, {x});
        return std::pair{h + g + z, g};
      },
      zeros({2}, f64), steps);
  CHECK(last.value().at({0}) == 81);
  auto [second] = gradients(sum(last), {x});
  CHECK(second.value().at({0}) == 3 * 18);
}

TEST_CASE("scan: a scan of ys only, whose carry is not differentiated") {
  Variable x = Tensor::full({4, 2}, 3, f64), count = Tensor::full({2}, 1, DType::i64), w = Tensor::full({2}, 2, f64);
  auto [last, ys] = scan([&](const Variable& n, const Variable& x) { return std::pair{n + n, x * w * cast(n, f64)}; }, count, x);
  CHECK(last.dtype() == DType::i64);
  CHECK(doubles(last.value()) == std::vector<double>{16, 16});
  auto [dx, dw] = gradients(sum(ys), {x, w});
  CHECK(doubles(dx.value()) == std::vector<double>{2, 2, 4, 4, 8, 8, 16, 16});
  CHECK(doubles(dw.value()) == std::vector<double>{45, 45});
}

TEST_CASE("scan: NoGrad holds as it was at recording") {
  Variable x = Tensor::full({4, 2}, 3, f64), w = Tensor::full({2}, 0.5, f64), h = Tensor::full({2}, 1, f64);
  auto inside = [&] {
    return scan(
        [&](const Variable& h, const Variable& x) {
          Variable fixed;
          {
            NoGrad guard;
            fixed = h * w;
          }
          auto n = fixed * x;
          return std::pair{h + n, n};
        },
        h, x);
  };
  auto [last, ys] = inside();
  auto [dx, dw, dh] = gradients(sum(last), {x, w, h});  // last = h + sum of fixed x_t, with fixed a constant
  CHECK(doubles(dw.value()) == std::vector<double>{0, 0});
  CHECK(doubles(dh.value()) == std::vector<double>{1, 1});
  double carry = 1;
  for (Index t = 0; t < 4; ++t) {
    CHECK(dx.value().at({t, 0}) == doctest::Approx(carry * 0.5));
    carry += carry * 0.5 * 3;
  }
  Variable loss;
  {
    NoGrad guard;
    auto [last, ys] = inside();
    loss = sum(last);
  }
  auto [none] = gradients(loss, {x});
  CHECK(sum(abs(none)).item() == 0);
}

TEST_CASE("scan: gradients of a loop that was recorded long ago, among thousands of others") {
  const Variable x = draw({3, 2}), c = draw({2});
  auto inner = [](const Variable& start, const Variable& v) {
    return scan(
               [&](const Variable& h, const std::vector<Variable>&) {
                 return std::pair{sin(h * v), h};
               },
               start, std::vector<Variable>{}, {.steps = 2})
        .first;
  };
  auto [last, ys] = scan([&](const Variable& h, const Variable& v) { return std::pair{tanh(inner(h, v)), h}; }, c, x);
  const Variable loss = sum(ys) + sum(last);
  auto time_passes = [&](int steps) {
    for (int k = 0; k < steps; ++k) static_cast<void>(gradients(sum(c), {c}));
  };
  time_passes(40'000);
  for (Index k = 1; k < 3000; ++k) {
    const Variable start = zeros({k}, f64);
    static_cast<void>(scan(
        [](const Variable& h, const std::vector<Variable>&) {
          return std::pair{h + 1, h};
        },
        start, std::vector<Variable>{}, {.steps = 2}));
  }
  time_passes(2'000);
  auto g = gradients(loss, {x, c});
  CHECK(against_reference({g[0], g[1]}, 1e-12) == "");
}
