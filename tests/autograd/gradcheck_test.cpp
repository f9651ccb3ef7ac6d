// The public tool that compares gradients with difference quotients: it passes what is right, and fails what is wrong.
#include <rewind/autograd/gradcheck.hpp>

#include <rewind/autograd/custom.hpp>
#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/ops.hpp>

#include "support.hpp"

using namespace rw;
using test::error_text;

namespace {

Variable wrong(const Variable& x, double factor) {
  return custom(
      "wrong", x, [](const Tensor& t) { return t; }, [factor](auto& g, auto&) { return g * factor; });
}

}  // namespace

TEST_CASE("gradcheck: a right gradient passes, of one and of several variables") {
  seed(1);
  Variable x = random::normal({3, 4}), w = random::normal({4, 2});
  auto report = gradcheck([&](const Variable& v) { return sum(tanh(matmul(v, cast(w, DType::f64)))); }, x);
  CHECK(report.passed);
  CHECK(report.message.empty());
  CHECK(report.worst <= 1e-6);
  CHECK(report.worst > 0);
  CHECK(gradcheck([](const std::vector<Variable>& v) { return sum(tanh(matmul(v[0], v[1]))); }, {x, w}, {.second_order = true}).passed);
}

TEST_CASE("gradcheck: a wrong gradient fails and says where") {
  Variable x = Tensor::of<double>({2}, {1, 2}), y = Tensor::of<double>({2}, {3, 4});
  auto report = gradcheck([](const std::vector<Variable>& v) { return sum(square(v[0])) + sum(wrong(v[1], 2)); }, {x, y});
  CHECK(!report.passed);
  CHECK(report.worst == doctest::Approx(0.5).epsilon(1e-6));
  CHECK(report.message.starts_with("gradcheck: first order, operand 1, entry 0: the gradient is 2, the difference quotient "));
}

TEST_CASE("gradcheck: a small error in one entry fails") {
  Variable x = Tensor::of<double>({3}, {1, 2, 3});
  auto slightly = [](const Variable& v) {
    Variable bump = Tensor::of<double>({3}, {1, 1 + 1e-4, 1});
    return sum(custom(
        "bump", v, [](const Tensor& t) { return t; }, [bump](auto& g, auto&) { return g * bump; }));
  };
  auto report = gradcheck(slightly, x);
  CHECK(!report.passed);
  CHECK(report.message.find("entry 1") != std::string::npos);
  CHECK(gradcheck(slightly, x, {.tolerance = 1e-3}).passed);
}

TEST_CASE("gradcheck: a NaN fails") {
  Variable x = Tensor::of<double>({2}, {-1, 4});
  auto report = gradcheck([](const Variable& v) { return sum(sqrt(v)); }, x);
  CHECK(!report.passed);
  CHECK(std::isnan(report.worst));
  CHECK(!gradcheck([](const Variable& v) { return sum(wrong(v, std::nan(""))); }, x).passed);
}

TEST_CASE("gradcheck: an error that only the second order has is found") {
  Variable x = Tensor::of<double>({2}, {1, 2});
  auto right_once = [](const Variable& v) {  // the rule's own derivative is missing: 3 x^2 with x held fixed
    auto cubed = [](const Tensor& t) {
      Tensor y = t.copy();
      double* p = y.data<double>();
      for (Index e = 0; e < y.size(); ++e) p[e] = p[e] * p[e] * p[e];
      return y;
    };
    return sum(custom("cube", v, cubed, [](auto& g, auto& x) { return 3 * g * square(detach(x)); }));
  };
  CHECK(gradcheck(right_once, x).passed);
  auto report = gradcheck(right_once, x, {.second_order = true});
  CHECK(!report.passed);
  CHECK(report.message.starts_with("gradcheck: second order, operand 0, entry 0: the gradient is 0, the difference quotient "));
}

TEST_CASE("gradcheck: f must be scalar") {
  Variable x = Tensor::of<double>({2}, {1, 2});
  CHECK(error_text<ShapeError>([&] { gradcheck([](const Variable& v) { return v * 2; }, x); }) ==
        "gradients: the loss must have one element: it is [2] (reduce it with sum or mean)");
}
