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

#include "lstm.hpp"

using namespace rw;
using namespace rw::test;

TEST_CASE("scan: runs the body over time, carry and ys") {
  Variable x = Tensor::arange(4, DType::f32);
  auto [last, ys] = scan(
      [](const Variable& sum, const Variable& x) {
        return std::pair{sum + x, sum * 10};
      },
      Variable(Tensor::scalar(1.f)), x);
  CHECK(last.item() == 7);
  CHECK(doubles(ys.value()) == std::vector<double>{10, 10, 20, 40});
}

TEST_CASE("scan: reversed, y_t stands at t all the same") {
  Variable x = Tensor::arange(4, DType::f32);
  auto [last, ys] = scan(
      [](const Variable& sum, const Variable& x) {
        return std::pair{sum + x, sum * 10};
      },
      Variable(Tensor::scalar(1.f)), x, {.reverse = true});
  CHECK(last.item() == 7);
  CHECK(doubles(ys.value()) == std::vector<double>{70, 60, 40, 10});
}

TEST_CASE("scan: zero steps return the carry, empty ys, and zero gradients of what is inside") {
  Variable h = Tensor::full({2}, 3), w = Tensor::full({2}, 5), x = Tensor(Shape{0, 2});
  for (bool reverse : {false, true}) {
    auto [last, ys] = scan(
        [&](const Variable& h, const Variable& x) {
          return std::pair{h * w + x, stack({h, h})};
        },
        h, x, {.reverse = reverse});
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
      [&](const Variable& h, const Variable& x) {
        return std::pair{h + x, std::vector<Variable>{h, x, w, 2.5, h + x, h}};
      },
      h, x);
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
  auto [last, ys] = scan(
      [](const Three& s, const std::vector<Variable>&) {
        return std::pair{Three{s.b, s.a, s.c}, s.a + s.c * 10};
      },
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
  auto [last, ys] = scan(
      [](const Variable& n, const std::vector<Variable>&) {
        return std::pair{n * 2, n};
      },
      Variable(1.5), std::vector<Variable>{}, {.steps = 3});
  CHECK(last.dtype() == DType::f32);
  CHECK(last.item() == 12);
  auto [count, none] = scan(
      [](const Variable&, const std::vector<Variable>& e) {
        return std::pair{Variable(4), e};
      },
      Variable(1.5), std::vector<Variable>{}, {.steps = 3});
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
  CHECK((x * 2).value().at({0, 0}) == 2);                                                          // the tape goes on
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
  CHECK(error_text<ShapeError>([&] {
          scan([](const Variable& h, const Variable& x) { return std::pair{h, x}; }, h, x, {.steps = 4});
        }) == "scan: xs have different numbers of steps: 4 and 3 (axis 0 is time, and must agree)");
  CHECK(error_text<TapeError>([&] {
          scan([](const Variable& h, const Variable& x) { return std::pair{h, x}; }, Variable(), x);
        }) == "scan: an operand is an empty Variable (give it a value first)");
  CHECK(error_text<TapeError>([&] {
          scan([](const Variable& h, const Variable&) { return std::pair{h, Variable()}; }, h, x);
        }) == "scan: an operand is an empty Variable (give it a value first)");
  CHECK(error_text<Error>([&] {
          scan(
              [](const Variable& h, const Variable& x) -> std::pair<Variable, Variable> {
                auto [last, ys] =
                    scan([](const Variable&, const Variable&) -> std::pair<Variable, Variable> { throw Error("deep inside"); }, h,
                         stack({x, x}));
                return {last, ys};
              },
              h, x);
        }) == "deep inside");
  CHECK(tape::statistics().records - before < 10);  // no scan was recorded
  CHECK((h + 1).value().at({0}) == 2);
}
