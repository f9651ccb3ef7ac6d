// Recurrence as one node: what a scan computes, captures, differentiates and refuses.
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

#include "support.hpp"

using namespace rw;
using test::doubles;
using test::error_text;

namespace {

constexpr DType f64 = DType::f64;

Variable draw(const Shape& shape, DType dtype = f64) { return random::normal(shape, 0, 0.6, dtype); }

struct State {
  Variable h, c;
};

/// An LSTM's step, as a user writes it.
State lstm_step(const Variable& x, const State& s, const Variable& wx, const Variable& wh, const Variable& b) {
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
double worst(const std::vector<Variable>& a, const std::vector<Variable>& b) {
  REQUIRE(a.size() == b.size());
  double w = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    double e = test::max_relative_error(a[i].value(), b[i].value());
    if (!(e <= w)) w = e;
  }
  return w;
}

}  // namespace

TEST_CASE("scan: runs the body over time, carry and ys") {
  Variable x = Tensor::arange(4, DType::f32);
  auto [last, ys] = scan([](const Variable& sum, const Variable& x) { return std::pair{sum + x, sum * 10}; }, Variable(Tensor::scalar(1.f)), x);
  CHECK(last.item() == 7);
  CHECK(doubles(ys.value()) == std::vector<double>{10, 10, 20, 40});
}

TEST_CASE("scan: reversed, y_t stands at t all the same") {
  Variable x = Tensor::arange(4, DType::f32);
  auto [last, ys] =
      scan([](const Variable& sum, const Variable& x) { return std::pair{sum + x, sum * 10}; }, Variable(Tensor::scalar(1.f)), x, {.reverse = true});
  CHECK(last.item() == 7);
  CHECK(doubles(ys.value()) == std::vector<double>{70, 60, 40, 10});
}

TEST_CASE("scan: zero steps return the carry, empty ys, and zero gradients of what is inside") {
  Variable h = Tensor::full({2}, 3), w = Tensor::full({2}, 5), x = Tensor(Shape{0, 2});
  for (bool reverse : {false, true}) {
    auto [last, ys] = scan([&](const Variable& h, const Variable& x) { return std::pair{h * w + x, stack({h, h})}; }, h, x, {.reverse = reverse});
    CHECK(ys.shape() == Shape{0, 2, 2});
    auto [dh, dw, dx] = gradients(sum(last) + sum(ys), {h, w, x});
    CHECK(doubles(last.value()) == std::vector<double>{3, 3});
    CHECK(ys.value().shape() == Shape{0, 2, 2});
    CHECK(doubles(dh.value()) == std::vector<double>{1, 1});
    CHECK(doubles(dw.value()) == std::vector<double>{0, 0});
    CHECK(dx.value().shape() == Shape{0, 2});
  }
}

TEST_CASE("scan: one step is the body") {
  Variable h = Tensor::full({2}, 3), x = Tensor::full({1, 2}, 4);
  auto [last, ys] = scan([&](const Variable& h, const Variable& x) { return std::pair{h * x, h + x}; }, h, x);
  auto [dh, dx] = gradients(sum(last) + sum(ys), {h, x});
  CHECK(doubles(last.value()) == std::vector<double>{12, 12});
  CHECK(doubles(ys.value()) == std::vector<double>{7, 7});
  CHECK(doubles(dh.value()) == std::vector<double>{5, 5});
  CHECK(doubles(dx.value()) == std::vector<double>{4, 4});
}

TEST_CASE("scan: without xs the number of steps is said") {
  Variable h = Tensor::full({2}, 1);
  auto doubled = [](const Variable& h, const std::vector<Variable>&) { return std::pair{h * 2, h}; };
  auto [last, ys] = scan(doubled, h, std::vector<Variable>{}, {.steps = 5});
  CHECK(last.value().at({1}) == 32);
  CHECK(ys.value().at({4, 0}) == 16);
  auto [g] = gradients(sum(last), {h});
  CHECK(g.value().at({0}) == 32);
}

TEST_CASE("scan: without carries it maps") {
  Variable x = Tensor::arange(6, DType::f32).reshape({3, 2});
  struct None {};
  auto [none, ys] = scan([](const None&, const Variable& x) { return std::pair{None{}, x * x}; }, None{}, x);
  static_cast<void>(none);
  auto [g] = gradients(sum(ys), {x});
  CHECK(doubles(ys.value()) == std::vector<double>{0, 1, 4, 9, 16, 25});
  CHECK(doubles(g.value()) == std::vector<double>{0, 2, 4, 6, 8, 10});
}

TEST_CASE("scan: a y may be the carry, an x, a capture, a number, or nothing") {
  Variable h = Tensor::full({2}, 1), x = Tensor::arange(3, DType::f32), w = Tensor::full({2}, 7);
  auto [last, ys] = scan(
      [&](const Variable& h, const Variable& x) { return std::pair{h + x, std::vector<Variable>{h, x, w, 2.5, h + x, h}}; }, h, x);
  CHECK(doubles(ys[0].value()) == std::vector<double>{1, 1, 1, 1, 2, 2});
  CHECK(doubles(ys[1].value()) == std::vector<double>{0, 1, 2});
  CHECK(doubles(ys[2].value()) == std::vector<double>{7, 7, 7, 7, 7, 7});
  CHECK(doubles(ys[3].value()) == std::vector<double>{2.5, 2.5, 2.5});
  CHECK(doubles(ys[4].value()) == std::vector<double>{1, 1, 2, 2, 4, 4});
  CHECK(doubles(ys[5].value()) == doubles(ys[0].value()));
  auto [dh, dx, dw] = gradients(sum(ys[0]) + sum(ys[1]) + sum(ys[2]) + sum(ys[4]), {h, x, w});
  CHECK(doubles(dh.value()) == std::vector<double>{6, 6});
  CHECK(doubles(dx.value()) == std::vector<double>{1 + 2 * 5, 1 + 2 * 3, 1 + 2 * 1});
  CHECK(doubles(dw.value()) == std::vector<double>{3, 3});
}

TEST_CASE("scan: a carry may pass through unchanged or exchange with another") {
  Variable a = Tensor::full({2}, 1), b = Tensor::full({2}, 2);
  struct Three {
    Variable a, b, c;
  };
  auto [last, ys] = scan([](const Three& s, const std::vector<Variable>&) { return std::pair{Three{s.b, s.a, s.c}, s.a + s.c * 10}; },
                         Three{a, b, a * 3}, std::vector<Variable>{}, {.steps = 3});
  CHECK(last.a.value().at({0}) == 2);
  CHECK(last.b.value().at({0}) == 1);
  CHECK(last.c.value().at({0}) == 3);
  CHECK(doubles(ys.value()) == std::vector<double>{31, 31, 32, 32, 31, 31});
  auto [da, db] = gradients(sum(last.a * 5 + last.b) + sum(ys), {a, b});
  CHECK(da.value().at({0}) == 1 + 2 + 3 * 30);
  CHECK(db.value().at({0}) == 5 + 1);
}

TEST_CASE("scan: numbers as carries are f32 tensors inside") {
  auto [last, ys] = scan([](const Variable& n, const std::vector<Variable>&) { return std::pair{n * 2, n}; }, Variable(1.5), std::vector<Variable>{},
                         {.steps = 3});
  CHECK(last.dtype() == DType::f32);
  CHECK(last.item() == 12);
  auto [count, none] = scan([](const Variable&, const std::vector<Variable>& e) { return std::pair{Variable(4), e}; }, Variable(1.5),
                            std::vector<Variable>{}, {.steps = 3});
  CHECK(count.item() == 4);
}

TEST_CASE("scan: structs, pairs, arrays and vectors of Variables are carries, xs and ys") {
  struct Deep {
    State s;
    std::vector<Variable> more;
    std::array<Variable, 2> two;
  };
  Variable one = Tensor::full({2}, 1);
  Variable x = Tensor::arange(3, DType::f32), z = Tensor::full({3, 2}, 0.5);
  auto [last, ys] = scan(
      [](const Deep& d, const std::pair<Variable, Variable>& x) {
        return std::pair{Deep{{d.s.h + x.first, d.s.c + x.second}, {d.more[0] * 2}, {d.two[1], d.two[0]}}, State{d.s.h, d.two[0]}};
      },
      Deep{{one, one}, {one}, {one * 8, one * 9}}, std::pair{x, z});
  CHECK(last.s.h.value().at({0}) == 4);
  CHECK(last.s.c.value().at({0}) == 2.5);
  CHECK(last.more[0].value().at({0}) == 8);
  CHECK(last.two[0].value().at({0}) == 9);
  CHECK(ys.c.shape() == Shape{3, 2});
  CHECK(doubles(ys.c.value()) == std::vector<double>{8, 8, 9, 9, 8, 8});
}

TEST_CASE("scan: captures are constants of the loop, their gradients sum over time") {
  seed(2);
  Variable h = draw({2, 3}), x = draw({4, 2, 3}), w = draw({3, 3}), b = draw({3}), s = draw({});
  auto report = gradcheck(
      [](const std::vector<Variable>& v) {
        auto [last, ys] = scan(
            [&](const Variable& h, const Variable& x) {
              auto n = tanh(matmul(h, v[2]) * v[4] + x + v[3]);
              return std::pair{n, n * v[3]};
            },
            v[0], v[1]);
        return sum(square(ys)) + sum(last * v[3]);
      },
      {h, x, w, b, s}, {.second_order = true});
  CHECK_MESSAGE(report.passed, report.message);
}

TEST_CASE("scan: captures from several levels, nested scans, first and second order") {
  seed(3);
  Variable h = draw({2}), x = draw({3, 4, 2}), w = draw({2, 2}), v = draw({2});
  for (bool outer : {false, true})
    for (bool inner : {false, true}) {
      auto report = gradcheck(
          [&](const std::vector<Variable>& in) {
            auto [last, ys] = scan(
                [&](const Variable& h, const Variable& row) {
                  auto scaled = h * in[3];  // of the outer body, captured by the inner one
                  auto [end, list] = scan(
                      [&](const Variable& c, const Variable& x) {
                        auto n = tanh(matmul(c, in[2]) + x * scaled + h);
                        return std::pair{n, n * in[3]};
                      },
                      h, row, {.reverse = inner});
                  return std::pair{end, sum(list, 0) * scaled};
                },
                in[0], in[1], {.reverse = outer});
            return sum(square(ys)) + sum(last);
          },
          {h, x, w, v}, {.second_order = true});
      CHECK_MESSAGE(report.passed, report.message);
    }
}

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

TEST_CASE("scan: detach inside a body stops gradients") {
  Variable x = Tensor::full({3}, 2, f64), h = Tensor::full({}, 1, f64);
  auto [last, ys] = scan([](const Variable& h, const Variable& x) { return std::pair{detach(h) * x, h}; }, h, x);
  auto [dx, dh] = gradients(last, {x, h});
  CHECK(doubles(dx.value()) == std::vector<double>{0, 0, 4});
  CHECK(dh.item() == 0);
}

TEST_CASE("scan: each call traces the body afresh: branches and captures behave as written") {
  Variable x = Tensor::full({3, 2}, 1);
  int traced = 0;
  for (int i = 0; i < 4; ++i) {
    double factor = i;
    auto [last, ys] = scan(
        [&](const Variable& h, const Variable& x) {
          ++traced;
          Variable n = h + x * factor;
          if (i % 2) n = n + 100;
          return std::pair{n, n};
        },
        zeros({2}), x);
    CHECK(last.value().at({0}) == 3 * i + (i % 2) * 300);
  }
  CHECK(traced == 4);
}

TEST_CASE("scan: a variable of the body that escapes is an error where it is used") {
  Variable x = Tensor::full({3, 2}, 1), escaped;
  auto [last, ys] = scan(
      [&](const Variable& h, const Variable& x) {
        escaped = h + x;
        return std::pair{escaped, h};
      },
      zeros({2}), x);
  const char* text = "add: an operand belongs to the body of a scan that has ended (return it from the body as carry or y)";
  CHECK(error_text<TapeError>([&] { return escaped + 1; }) == text);
  CHECK(error_text<TapeError>([&] { return escaped.value(); }) ==
        "value: the variable belongs to the body of a scan that has ended (return it as carry or y)");
  CHECK(error_text<TapeError>([&] { return gradients(sum(last), {escaped}); }) ==
        "gradients: an operand belongs to the body of a scan that has ended (return it from the body as carry or y)");
  CHECK(error_text<TapeError>([&] {
          scan([&](const Variable& h, const Variable& x) { return std::pair{h + escaped, x}; }, zeros({2}), x);
        }) == text);
  CHECK(last.value().at({0}) == 3);
  CHECK(escaped.shape() == Shape{2});
}

TEST_CASE("scan: item, value and backward inside a body are errors, of what the body records") {
  Variable x = Tensor::full({3, 2}, 1), known = Tensor::full({}, 5);
  Parameter p(Tensor::full({2}, 1));
  auto with = [&](auto f) {
    return error_text<TapeError>([&] {
      scan(
          [&](const Variable& h, const Variable& x) {
            f(h, x);
            return std::pair{h, x};
          },
          zeros({2}), x);
    });
  };
  CHECK(with([](const Variable& h, const Variable&) { h.value(); }) ==
        "value: a value is needed inside the body of a scan, where there is none yet (return it as y)");
  CHECK(with([](const Variable& h, const Variable&) { sum(h).item(); }) ==
        "item: a value is needed inside the body of a scan, where there is none yet (return it as y)");
  CHECK(with([](const Variable& h, const Variable& x) { evaluate(std::vector<Variable>{h + x}); }) ==
        "evaluate: a value is needed inside the body of a scan, where there is none yet (return it as y)");
  CHECK(with([&](const Variable& h, const Variable&) { backward(sum(h * p)); }) ==
        "backward: called inside the body of a scan (use gradients, or call it outside)");
  CHECK(with([&](const Variable&, const Variable&) { known.item(); }) == "(nothing was thrown)");  // a number that is there
  CHECK((x * 2).value().at({0, 0}) == 2);  // the tape goes on
}

TEST_CASE("scan: wrong carries and xs are errors at the call, and the tape goes on") {
  Variable x = Tensor::full({3, 2}, 1), y = Tensor::full({4, 2}, 1), h = Tensor::full({2}, 1);
  auto before = tape::statistics().records;
  CHECK(error_text<ShapeError>([&] {
          scan([](const Variable& h, const Variable& x) { return std::pair{stack({h, h}), x}; }, h, x);
        }) == "scan: carry 0 changes its shape: [2] becomes [2, 2] (every step must give what it takes)");
  CHECK(error_text<DTypeError>([&] {
          scan([](const Variable& h, const Variable& x) { return std::pair{cast(h, f64), x}; }, h, x);
        }) == "scan: carry 0 changes its dtype: f32 becomes f64 (every step must give what it takes)");
  CHECK(error_text<ShapeError>([&] {
          scan([](const Variable& h, const std::pair<Variable, Variable>& x) { return std::pair{h, x.first}; }, h, std::pair{x, y});
        }) == "scan: xs have different numbers of steps: 3 and 4 (axis 0 is time, and must agree)");
  CHECK(error_text<ShapeError>([&] {
          scan([](const Variable& h, const Variable& x) { return std::pair{h, x}; }, h, Variable(Tensor::scalar(1.f)));
        }) == "scan: xs need a time axis: one is a scalar (stack the steps along axis 0)");
  auto nothing = [](const Variable& h, const std::vector<Variable>& x) { return std::pair{h, x}; };
  CHECK(error_text<ValueError>([&] { scan(nothing, h, std::vector<Variable>{}); }) ==
        "scan: there are no xs, so the number of steps is not known (give it in the options: .steps)");
  CHECK(error_text<ValueError>([&] { scan(nothing, h, std::vector<Variable>{}, {.steps = -2}); }) == "scan: steps must be >= 0: got -2");
  CHECK(error_text<ShapeError>([&] { scan([](const Variable& h, const Variable& x) { return std::pair{h, x}; }, h, x, {.steps = 4}); }) ==
        "scan: xs have different numbers of steps: 4 and 3 (axis 0 is time, and must agree)");
  CHECK(error_text<TapeError>([&] { scan([](const Variable& h, const Variable& x) { return std::pair{h, x}; }, Variable(), x); }) ==
        "scan: an operand is an empty Variable (give it a value first)");
  CHECK(error_text<TapeError>([&] { scan([](const Variable& h, const Variable&) { return std::pair{h, Variable()}; }, h, x); }) ==
        "scan: an operand is an empty Variable (give it a value first)");
  CHECK(error_text<Error>([&] {
          scan([](const Variable& h, const Variable& x) -> std::pair<Variable, Variable> {
            auto [last, ys] = scan([](const Variable&, const Variable&) -> std::pair<Variable, Variable> { throw Error("deep inside"); }, h, stack({x, x}));
            return {last, ys};
          }, h, x);
        }) == "deep inside");
  CHECK(tape::statistics().records - before < 10);  // no scan was recorded
  CHECK((h + 1).value().at({0}) == 2);
}

TEST_CASE("scan: random nodes of a body differ from step to step and coincide between forward and backward") {
  seed(8);
  Variable x = Tensor::full({50, 4}, 1, f64), w = Tensor::full({4}, 2, f64);
  for (bool reverse : {false, true})
    for (bool early : {false, true}) {
      auto [last, ys] = scan(
          [&](const Variable& h, const Variable& x) {
            auto masked = x * w * bernoulli({4}, 0.5, f64);
            return std::pair{h + masked, masked};
          },
          zeros({4}, f64), x, {.reverse = reverse});
      if (early) last.value();
      auto [dx, dw] = gradients(sum(last), {x, w});
      Tensor y = ys.value(), g = dx.value();
      int ones = 0, changes = 0;
      for (Index t = 0; t < 50; ++t)
        for (Index e = 0; e < 4; ++e) {
          CHECK(y.at({t, e}) == g.at({t, e}));  // x = 1: both are w where the mask is 1
          ones += y.at({t, e}) != 0;
          if (t > 0) changes += y.at({t, e}) != y.at({t - 1, e});
        }
      CHECK(ones > 60);
      CHECK(ones < 140);
      CHECK(changes > 50);
      CHECK(test::close(sum(dw).item(), ones, 1e-12));
    }
}

TEST_CASE("scan: random nodes of nested bodies count the steps of all loops") {
  seed(9);
  Variable x = Tensor::full({5, 6, 2}, 1, f64), w = Tensor::full({2}, 1, f64);
  auto [last, ys] = scan(
      [&](const Variable& h, const Variable& row) {
        auto [end, list] = scan(
            [&](const Variable& c, const Variable& x) {
              auto n = x * w * uniform({2}, f64);
              return std::pair{c + n, n};
            },
            h, row);
        return std::pair{end, list};
      },
      zeros({2}, f64), x);
  auto [dx] = gradients(sum(last), {x});
  CHECK(identical(dx.value(), ys.value()));
  auto all = doubles(ys.value());
  std::sort(all.begin(), all.end());
  CHECK(std::adjacent_find(all.begin(), all.end()) == all.end());  // sixty different numbers
}

TEST_CASE("scan: closures of custom operations run in bodies, capture variables, and differentiate twice") {
  seed(10);
  Variable x = draw({3, 2}), w = draw({2});
  auto report = gradcheck(
      [](const std::vector<Variable>& v) {
        auto cubed = [](const Tensor& t) {
          Tensor y = t.copy();
          double* p = y.data<double>();
          for (Index e = 0; e < y.size(); ++e) p[e] = p[e] * p[e] * p[e];
          return y;
        };
        Variable one = v[1] / v[1];  // recorded outside, read by the rule
        auto [last, ys] = scan(
            [&](const Variable& h, const Variable& x) {
              auto n = custom("cube", h * v[1] + x, cubed, [one](auto& g, auto& x) { return 3 * g * x * x * one; });
              return std::pair{0.5 * n, n};
            },
            zeros({2}, f64), v[0]);
        return sum(ys) + sum(square(last));
      },
      {x, w}, {.second_order = true});
  CHECK_MESSAGE(report.passed, report.message);
}

TEST_CASE("scan: a forward that throws inside a loop leaves the tape usable") {
  Variable x = Tensor::full({3, 2}, 1);
  int calls = 0;
  auto [last, ys] = scan(
      [&](const Variable& h, const Variable& x) {
        auto n = custom(
            "fragile", h + x,
            [&](const Tensor& t) -> Tensor {
              if (++calls == 2) throw ValueError("fragile: second call");
              return t;
            },
            [](auto& g, auto&) { return g; });
        return std::pair{n, n};
      },
      zeros({2}), x);
  CHECK(error_text<ValueError>([&] { return last.value(); }) == "fragile: second call");
  CHECK((x + 1).value().at({0, 0}) == 2);
  CHECK(last.value().at({0}) == 3);  // asked for again, it runs again
}

TEST_CASE("scan: an LSTM has the same bits for any number of threads, forward and gradients") {
  seed(11);
  const Index steps = 12, inputs = 16, hidden = 32;
  int before = threads();
  for (Index batch : {1, 2, 5, 32}) {
    CAPTURE(batch);
    Variable x = draw({steps, batch, inputs}, DType::f32);
    Lstm lstm(inputs, hidden, DType::f32);
    std::vector<Tensor> reference;
    for (int team : {1, 2, 3, 5}) {
      CAPTURE(team);
      set_threads(team);
      seed(1);
      auto [last, ys] = lstm(x * bernoulli(x.shape(), 0.9), {zeros({batch, hidden}), zeros({batch, hidden})});
      std::vector<Variable> all = detail::gradients(sum(square(ys)) + sum(last.c), std::vector<Variable>{x, lstm.wx, lstm.wh, lstm.b});
      all.push_back(ys), all.push_back(last.h), all.push_back(last.c);
      evaluate(all);
      for (std::size_t i = 0; i < all.size(); ++i) {
        if (team == 1) {
          reference.push_back(all[i].value());
        } else {
          CHECK(identical(all[i].value(), reference[i]));
        }
      }
    }
  }
  set_threads(before);
}

TEST_CASE("scan: random nodes of a divided batch have the same bits for any number of threads") {
  const Index steps = 40, batch = 7, width = 64;
  int before = threads();
  Variable x = draw({steps, batch, width}, DType::f32), w = draw({width, width}, DType::f32);
  std::vector<Tensor> reference;
  for (int team : {1, 2, 3, 5}) {
    set_threads(team);
    seed(12);
    auto [last, ys] = scan(
        [&](const Variable& h, const Variable& x) {
          auto n = tanh(matmul(h, w) + x) * bernoulli({batch, width}, 0.8) + 0.01 * normal({batch, width});
          return std::pair{n, n};
        },
        zeros({batch, width}), x);
    auto [dx, dw] = gradients(sum(square(ys)), {x, w});
    std::vector<Tensor> got{last.value(), ys.value(), dx.value(), dw.value()};
    if (team == 1) reference = got;
    for (std::size_t i = 0; i < got.size(); ++i) CHECK(identical(got[i], reference[i]));
  }
  set_threads(before);
}

TEST_CASE("scan: same bits whatever else is held or read early") {
  seed(13);
  const Index steps = 6, batch = 4, hidden = 8;
  Variable x = draw({steps, batch, 5}, DType::f32);
  Lstm lstm(5, hidden, DType::f32);
  auto run = [&](bool hold, bool early) {
    auto [last, ys] = lstm(x, {zeros({batch, hidden}), zeros({batch, hidden})});
    auto h = ys * 2;
    auto loss = sum(square(h)) + sum(last.c);
    Variable held = hold ? h : Variable(0);
    h = 0;
    if (early) loss.item();
    auto g = detail::gradients(loss, std::vector<Variable>{x, lstm.wx, lstm.wh, lstm.b});
    g.push_back(loss);
    std::vector<Tensor> values;
    for (auto& v : g) values.push_back(v.value());
    return values;
  };
  auto reference = run(false, false);
  for (int k = 1; k < 4; ++k) {
    auto other = run(k & 1, k & 2);
    for (std::size_t i = 0; i < other.size(); ++i) {
      CAPTURE(k);
      CAPTURE(i);
      CHECK(identical(other[i], reference[i]));
    }
  }
}
