// Operations of a user's own: forward on tensors, gradient as a formula.
#include <rewind/autograd/custom.hpp>

#include <rewind/autograd/evaluate.hpp>
#include <rewind/autograd/gradcheck.hpp>
#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/parameter.hpp>
#include <rewind/autograd/reference.hpp>
#include <rewind/autograd/scan.hpp>
#include <rewind/autograd/tape.hpp>

#include <memory>

#include "support.hpp"

using namespace rw;
using test::error_text;

namespace {

Tensor same(const Tensor& t) { return t; }

Tensor cubed(const Tensor& t) {
  Tensor y = t.copy();
  double* p = y.data<double>();
  for (Index e = 0; e < y.size(); ++e) p[e] = p[e] * p[e] * p[e];
  return y;
}

Variable cube(const Variable& x) {
  return custom("cube", x, cubed, [](auto& g, auto& x) { return 3 * g * square(x); });
}

}  // namespace

TEST_CASE("custom: forward makes the value, backward the gradient") {
  Parameter p(Tensor::of<float>({3}, {1, 2, 3}));
  auto y = custom("clipped_identity", p, same, [](auto& g, auto&) { return clamp(g, -1, 1); });
  CHECK(test::doubles(y.value()) == std::vector<double>{1, 2, 3});
  backward(sum(y * Variable(Tensor::of<float>({3}, {5, 0.5, -7}))));
  CHECK(test::doubles(p.gradient().value()) == std::vector<double>{1, 0.5, -1});
}

TEST_CASE("custom: its rule is a formula, so every order follows") {
  seed(1);
  Variable x = random::normal({4}, 0, 1, DType::f64);
  auto report = gradcheck([](const Variable& x) { return sum(square(cube(x))); }, x, {.second_order = true});
  CHECK_MESSAGE(report.passed, report.message);
  auto [g1] = gradients(sum(cube(x)), {x});
  auto [g2] = gradients(sum(g1), {x});
  auto [g3] = gradients(sum(g2), {x});
  CHECK(test::close(g3.value(), Tensor::full({4}, 6, DType::f64), 1e-12));
}

TEST_CASE("custom: forward sees a tensor of its own, of strided and broadcast operands too") {
  Variable x = Tensor::arange(6, DType::f32).reshape({2, 3});
  bool dense = true;
  auto scribble = [&](const Tensor& t) {
    dense = dense && t.is_contiguous();
    Tensor mine = t;
    mine.data<float>()[0] = -1;  // a copy on write
    return t;
  };
  auto rule = [](auto& g, auto&) { return g; };
  CHECK(test::doubles(custom("scribble", transpose(x), scribble, rule).value()) == std::vector<double>{0, 3, 1, 4, 2, 5});
  CHECK(test::doubles(custom("scribble", broadcast_to(slice(x, 0, 1, 1), {2, 3}), scribble, rule).value()) ==
        std::vector<double>{3, 4, 5, 3, 4, 5});
  CHECK(x.value().at({0, 0}) == 0);
  CHECK(dense);
}

TEST_CASE("custom: it owns its closures") {
  auto factor = std::make_shared<double>(3);
  std::weak_ptr<double> watch = factor;
  Variable x = Tensor::full({2}, 2), y;
  {
    auto rule = [factor](const Variable& g, const Variable&) { return g * *factor; };
    y = custom("scaled", x, same, rule);
  }
  factor.reset();
  CHECK(!watch.expired());
  auto [g] = gradients(sum(y), {x});
  CHECK(g.value().at({0}) == 3);
  y = 0;
  g = 0;
  CHECK(watch.expired());
}

TEST_CASE("custom: two operations of one name and shape are not taken for one") {
  Variable x = Tensor::full({2}, 2, DType::f64);
  auto rule = [](auto& g, auto&) { return g; };
  auto a = custom("op", x, cubed, rule), b = custom("op", x, same, rule);
  CHECK(sum(a - b).item() == 12);
}

TEST_CASE("custom: a rule of the wrong shape is an error") {
  Variable x = Tensor::full({2}, 2);
  auto y = custom("bad", x, same, [](auto& g, auto&) { return stack({g, g}); });
  CHECK(error_text<ShapeError>([&] { gradients(sum(y), {x}); }) == "bad: backward gave [2, 2] for x of [2] (the gradient has x's shape)");
  y = custom("none", x, same, [](auto&, auto&) { return Variable(); });
  CHECK(error_text<TapeError>([&] { gradients(sum(y), {x}); }) ==
        "none: backward gave an empty Variable (zeros(x.shape()) if there is no gradient)");
  y = custom("narrow", x, same, [](auto& g, auto&) { return sum(g, 0, true); });
  CHECK(error_text<ShapeError>([&] { gradients(sum(y), {x}); }) == "narrow: backward gave [1] for x of [2] (the gradient has x's shape)");
}

TEST_CASE("custom: nested loops find their closures, the interpreter too") {
  Variable x = Tensor::full({2, 3, 2}, 1, DType::f64);
  auto times = [](double factor) {
    return [factor](const Tensor& t) {
      Tensor y = t.copy();
      double* p = y.data<double>();
      for (Index e = 0; e < y.size(); ++e) p[e] *= factor;
      return y;
    };
  };
  auto scaled = [&](const Variable& x, double factor) {
    return custom("times", x, times(factor), [factor](auto& g, auto&) { return g * factor; });
  };
  auto before = scaled(x, 2);
  auto [last, ys] = scan(
      [&](const Variable& h, const Variable& row) {
        auto first = scaled(h, 3);
        auto [end, list] = scan(
            [&](const Variable& c, const Variable& x) {
              return std::pair{c + scaled(x, 5), scaled(scaled(c, 7), 11)};
            },
            first, row);
        return std::pair{scaled(end, 13), sum(list, 0)};
      },
      zeros({2}, DType::f64), before);
  auto loss = sum(last) + sum(ys) + sum(scaled(before, 17));
  auto [dx] = gradients(loss, {x});
  std::vector<Variable> all{loss, dx};
  std::vector<detail::Value*> roots{loss.handle(), dx.handle()};
  auto pending = detail::pending_program(roots, true);
  std::vector<detail::Array> inputs;
  for (auto* v : pending.inputs) inputs.push_back(v->number_set ? detail::Array{Shape{}, {v->number}} : detail::to_array(v->tensor()));
  auto reference = detail::interpret(pending.program, inputs);
  // Row 0: c = 0, 10, 20 -> 30 -> h 390; row 1: c = 1170, 1180, 1190 -> 1200 -> 15600.
  double expected = 2 * (15600 + 77.0 * (0 + 10 + 20 + 1170 + 1180 + 1190)) + 17.0 * 2 * 12;
  CHECK(reference[0].data[0] == doctest::Approx(expected));
  CHECK(loss.item() == doctest::Approx(expected));
  CHECK(test::close(test::doubles(dx.value()), reference[1].data, 1e-12));
  CHECK(test::close(sum(dx).item(), expected, 1e-12));  // the loss is linear in x
}
