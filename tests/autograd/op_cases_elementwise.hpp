// The table of operations, elementwise ones.
#pragma once

#include <rewind/autograd/custom.hpp>

#include "op_case.hpp"

namespace rw::test::cases {

inline void elementwise(std::vector<OpCase>& list) {
  REWIND_CASE(operator-, ([](auto x) { return -x; }), one);
  list.back().name = "negate";
  REWIND_CASE(abs, ([](auto x) { return fabs(x); }), one, -2, 2, {0});
  REWIND_CASE(sign, ([](auto x) {
                return x > 0 ? decltype(x)(1) : x < 0 ? decltype(x)(-1) : isnan(x) ? x : decltype(x)(0);
              }),
              one, -2, 2, {0}, false);
  REWIND_CASE(exp, ([](auto x) { return exp(x); }), one, -3, 3);
  REWIND_CASE(expm1, ([](auto x) { return expm1(x); }), one);
  REWIND_CASE(log, ([](auto x) { return log(x); }), one, 0.1, 4);
  REWIND_CASE(log1p, ([](auto x) { return log1p(x); }), one, -0.8, 3);
  REWIND_CASE(sqrt, ([](auto x) { return sqrt(x); }), one, 0.1, 4);
  REWIND_CASE(rsqrt, ([](auto x) { return decltype(x)(1) / sqrt(x); }), one, 0.1, 4);
  REWIND_CASE(square, ([](auto x) { return x * x; }), one);
  REWIND_CASE(reciprocal, ([](auto x) { return decltype(x)(1) / x; }), one, 0.2, 3);
  REWIND_CASE(sin, ([](auto x) { return sin(x); }), one, -7, 7);
  REWIND_CASE(cos, ([](auto x) { return cos(x); }), one, -7, 7);
  REWIND_CASE(tanh, ([](auto x) { return tanh(x); }), one);
  REWIND_CASE(sigmoid, ([](auto x) { return decltype(x)(1) / (decltype(x)(1) + exp(-x)); }), one, -5, 5);
  REWIND_CASE(relu, ([](auto x) { return x <= decltype(x)(0) ? decltype(x)(0) : x; }), one, -2, 2, {0});
  REWIND_CASE(softplus, ([](auto x) { return x > decltype(x)(0) ? x + log1p(exp(-x)) : log1p(exp(x)); }), one, -5, 5);
  REWIND_CASE(erf, ([](auto x) { return erf(x); }), one);
  REWIND_CASE(operator+, ([](auto x, auto y) { return x + y; }), two);
  list.back().name = "add";
  list.push_back({"subtract", [](const Operands& x) { return x[0] - x[1]; }, each([](auto x, auto y) { return x - y; }), two});
  REWIND_CASE(operator*, ([](auto x, auto y) { return x * y; }), two);
  list.back().name = "multiply";
  REWIND_CASE(operator/, ([](auto x, auto y) { return x / y; }), two, 0.3, 3);
  list.back().name = "divide";
  REWIND_CASE(pow, ([](auto x, auto y) { return pow(x, y); }), two, 0.2, 3);
  REWIND_CASE(maximum, ([](auto x, auto y) { return x >= y || isnan(x) ? x : y; }), two);
  REWIND_CASE(minimum, ([](auto x, auto y) { return x <= y || isnan(x) ? x : y; }), two);
  REWIND_CASE(where, ([](auto c, auto x, auto y) { return c == decltype(c)(0) ? y : x; }), three, -2, 2, {0});
  REWIND_CASE(clamp, ([](auto x, auto low, auto high) { return x < low ? low : x > high ? high : x; }), three);

  list.push_back({"x * x", [](const Operands& x) { return x[0] * x[0]; }, each([](auto x) { return x * x; }), one});
  list.push_back({"x / x of two roads", [](const Operands& x) { return exp(x[0]) / (x[0] + 3); },
                  each([](auto x) { return exp(x) / (x + decltype(x)(3)); }), one});
  list.push_back({"numbers on both sides", [](const Operands& x) { return 2 - (1.5 * x[0] - 0.25) / 4; }, each([](auto x) {
                    using S = decltype(x);
                    return S(2) - (S(1.5) * x - S(0.25)) / S(4);
                  }),
                  one});
  list.push_back({"divide by a number", [](const Operands& x) { return x[0] / 3; }, each([](auto x) { return x / decltype(x)(3); }), one});
  list.push_back(
      {"a number divided", [](const Operands& x) { return 1.7 / x[0]; }, each([](auto x) { return decltype(x)(1.7) / x; }), one, 0.3, 3});
  list.push_back({"pow by a broken number", [](const Operands& x) { return pow(x[0], 0.3); },
                  each([](auto x) { return pow(x, decltype(x)(0.3)); }), one, 0.2, 3});
  list.push_back(
      {"pow by a number", [](const Operands& x) { return pow(x[0], 3); }, each([](auto x) { return x * x * x; }), one, -2, 2, {0}});
  list.push_back(
      {"a number to the power", [](const Operands& x) { return pow(2, x[0]); }, each([](auto x) { return pow(decltype(x)(2), x); }), one});
  list.push_back({"clamp between numbers",
                  [](const Operands& x) { return clamp(x[0], -0.5, 1); },
                  each([](auto x) {
                    using S = decltype(x);
                    return x < S(-0.5) ? S(-0.5) : x > S(1) ? S(1) : x;
                  }),
                  one,
                  -2,
                  2,
                  {-0.5, 1}});
  list.push_back({"assigning operators",
                  [](const Operands& x) {
                    Variable y = x[0];
                    y += x[1];
                    y *= x[0];
                    y -= 2;
                    y /= 4;
                    return y;
                  },
                  each([](auto x, auto y) {
                    using S = decltype(x);
                    return ((x + y) * x - S(2)) / S(4);
                  }),
                  {{{3, 5}, {5}}, {{2}, {2}}}});
  list.push_back({"custom",
                  [](const Operands& x) {
                    return custom(
                        "cube", x[0],
                        [](const Tensor& t) {
                          Tensor y = t.cast(DType::f64).copy();
                          for (Index i = 0; i < y.size(); ++i) y.data<double>()[i] *= y.data<double>()[i] * y.data<double>()[i];
                          return y.cast(t.dtype());
                        },
                        [](const Variable& g, const Variable& v) { return g * 3 * square(v); });
                  },
                  each([](auto x) { return x * x * x; }), one});
}

inline void truths(std::vector<OpCase>& list) {
  auto add = [&](const char* name, auto f, auto reference, const auto& shapes) {
    auto whole = [&] {
      if constexpr (std::is_invocable_v<decltype(reference), Real>)
        return Reference(each([reference](auto x) { return decltype(x)(static_cast<Real>(reference(part(x)))); }));
      else
        return Reference(each([reference](auto x, auto y) { return decltype(x)(static_cast<Real>(reference(part(x), part(y)))); }));
    };
    list.push_back(OpCase{name, function(f), whole(), shapes, -2, 2, {}, false});
  };
  add(
      "less", REWIND_LIFT(less), [](Real x, Real y) { return x < y; }, two);
  add(
      "less_equal", REWIND_LIFT(less_equal), [](Real x, Real y) { return x <= y; }, two);
  add(
      "greater", REWIND_LIFT(greater), [](Real x, Real y) { return x > y; }, two);
  add(
      "greater_equal", REWIND_LIFT(greater_equal), [](Real x, Real y) { return x >= y; }, two);
  add(
      "equal", REWIND_LIFT(equal), [](Real x, Real y) { return x == y; }, two);
  add(
      "not_equal", REWIND_LIFT(not_equal), [](Real x, Real y) { return x != y; }, two);
  add(
      "operator<", REWIND_LIFT(operator<), [](Real x, Real y) { return x < y; }, two);
  add(
      "operator<=", REWIND_LIFT(operator<=), [](Real x, Real y) { return x <= y; }, two);
  add(
      "operator>", REWIND_LIFT(operator>), [](Real x, Real y) { return x > y; }, two);
  add(
      "operator>=", REWIND_LIFT(operator>=), [](Real x, Real y) { return x >= y; }, two);
  add(
      "logical_and", [](const Variable& x, const Variable& y) { return logical_and(x > 0, y); },
      [](Real x, Real y) { return x > 0 && y != 0; }, two);
  add(
      "logical_or", [](const Variable& x, const Variable& y) { return logical_or(x > 0, y < 0); },
      [](Real x, Real y) { return x > 0 || y < 0; }, two);
  add(
      "logical_not", [](const Variable& x) { return logical_not(x > 0); }, [](Real x) { return !(x > 0); }, one);
  add(
      "is_finite", REWIND_LIFT(is_finite), [](Real x) { return isfinite(x); }, one);
}

}  // namespace rw::test::cases
