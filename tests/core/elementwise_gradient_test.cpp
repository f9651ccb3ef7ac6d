// The derivative formulas of all elementwise operations, on plain numbers.
#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <rewind/core/elementwise.hpp>
#include <string>
#include <tuple>

#include "core/elementwise_reference.hpp"

using namespace rw;
using namespace rw::test;

namespace {

/// Enough of the language of Variables, on doubles, for the derivative formulas.
struct Number {
  double v;
  Number(double x) : v(x) {}
};
Number operator+(Number a, Number b) { return a.v + b.v; }
Number operator-(Number a, Number b) { return a.v - b.v; }
Number operator-(Number a) { return -a.v; }
Number operator*(Number a, Number b) { return a.v * b.v; }
Number operator/(Number a, Number b) { return a.v / b.v; }
Number sign(Number x) { return static_cast<double>(sign_of(x.v)); }
Number reciprocal(Number x) { return 1 / x.v; }
Number exp(Number x) { return std::exp(x.v); }
Number log(Number x) { return std::log(x.v); }
Number sin(Number x) { return std::sin(x.v); }
Number cos(Number x) { return std::cos(x.v); }
Number sigmoid(Number x) { return 1 / (1 + std::exp(-x.v)); }
Number pow(Number x, Number y) { return std::pow(x.v, y.v); }
Number equal(Number x, Number y) { return x.v == y.v; }
Number less(Number x, Number y) { return x.v < y.v; }
Number less_equal(Number x, Number y) { return x.v <= y.v; }
Number greater(Number x, Number y) { return x.v > y.v; }
Number greater_equal(Number x, Number y) { return x.v >= y.v; }
Number where(Number c, Number x, Number y) { return c.v != 0 ? x : y; }

double times(Number g, Number factor) { return g.v * factor.v; }
double pulled(Number g) { return g.v; }
double pulled(op::None) { return 0; }

template <class... T>
std::tuple<T...> as_tuple(std::tuple<T...> t) {
  return t;
}
template <class T>
std::tuple<T> as_tuple(T t) {
  return {t};
}

/// What the incoming gradient g gives each operand.
template <class Op, class... X>
void gradient_entries(double g, double y, double (&out)[3], X... x) {
  int k = 0;
  auto put = [&](auto formula, auto&& entry) { std::apply([&](auto... e) { ((out[k++] = entry(e)), ...); }, as_tuple(formula)); };
  auto factor = [&](auto f) { return times(g, f); };
  if constexpr (op::has_gradient<Op>) put(Op::gradient(), factor);
  if constexpr (op::has_gradient_x<Op>) put(Op::gradient_x(Number(x)...), factor);
  if constexpr (op::has_gradient_y<Op>) put(Op::gradient_y(Number(y)), factor);
  if constexpr (op::has_gradient_xy<Op>) put(Op::gradient_xy(Number(x)..., Number(y)), factor);
  if constexpr (op::has_pull_x<Op>) put(Op::pull_x(Number(g), Number(x)...), [](auto e) { return pulled(e); });
}
template <class Op>
void gradient_entries(double g, const double (&x)[3], double (&out)[3]) {
  double y = static_cast<double>(reference(Op::name, x[0], x[1], x[2]));
  if constexpr (Op::arity == 1) gradient_entries<Op>(g, y, out, x[0]);
  if constexpr (Op::arity == 2) gradient_entries<Op>(g, y, out, x[0], x[1]);
  if constexpr (Op::arity == 3) gradient_entries<Op>(g, y, out, x[0], x[1], x[2]);
}

}  // namespace

TEST_CASE("elementwise: derivatives against central differences") {
  std::mt19937_64 bits(3);
  std::uniform_real_distribution<double> positive(0.3, 2);
  int differentiable = 0;
  op::for_each([&](auto op) {
    using Op = decltype(op);
    if constexpr (op::info_of<Op>.differentiable) {
      ++differentiable;
      for (int k = 0; k < 20; ++k) {
        double x[3] = {positive(bits), positive(bits), positive(bits) + 2}, g = 1.5, got[3] = {};
        if (std::string(Op::name) == "clamp") x[0] *= 2, x[1] *= 0.7;
        if (k % 2 && std::string(Op::name) != "power" && std::string(Op::name) != "log" && std::string(Op::name) != "sqrt" &&
            std::string(Op::name) != "rsqrt")
          x[0] = std::string(Op::name) == "log1p" ? -x[0] / 3 : -x[0];
        gradient_entries<Op>(g, x, got);
        for (int a = 0; a < Op::arity; ++a) {
          if (std::string(Op::name) == "where" && a == 0) continue;
          Real h = 1e-6L, up[3] = {x[0], x[1], x[2]}, down[3] = {x[0], x[1], x[2]};
          up[a] += h;
          down[a] -= h;
          Real slope = (reference(Op::name, up[0], up[1], up[2]) - reference(Op::name, down[0], down[1], down[2])) / (2 * h);
          double error = std::fabs(got[a] - static_cast<double>(g * slope));
          if (!(error <= 1e-8 * (1 + std::fabs(got[a]))))
            FAIL_CHECK(std::string(Op::name) << " by operand " << a << " at " << x[0] << ": " << got[a]);
        }
      }
    }
  });
  CHECK(differentiable == 26);
}

TEST_CASE("elementwise: derivatives at kinks and poles") {
  double got[3];
  gradient_entries<op::Abs>(1, {0, 0, 0}, got);
  CHECK(got[0] == 0);
  gradient_entries<op::Relu>(1, {0, 0, 0}, got);
  CHECK(got[0] == 0);
  gradient_entries<op::Maximum>(1, {2, 2, 0}, got);
  CHECK((got[0] == 1 && got[1] == 0));
  gradient_entries<op::Minimum>(1, {2, 2, 0}, got);
  CHECK((got[0] == 1 && got[1] == 0));
  for (double end : {-1.0, 1.0}) {
    gradient_entries<op::Clamp>(1, {end, -1, 1}, got);
    CHECK((got[0] == 1 && got[1] == 0 && got[2] == 0));
  }
  gradient_entries<op::Power>(1, {0, 2, 0}, got);
  CHECK((got[0] == 0 && got[1] == 0));
  gradient_entries<op::Power>(1, {0, 0, 0}, got);
  CHECK(got[0] == 0);
  gradient_entries<op::Where>(HUGE_VAL, {0, 1, 2}, got);
  CHECK((got[1] == 0 && got[2] == HUGE_VAL));
}
