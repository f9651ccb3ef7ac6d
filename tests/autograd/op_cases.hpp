// The table of operations: what each is called, how it is written, what it must give (in plain loops), for which shapes and values.
// op_cases_test.cpp runs every case in every mode.
#pragma once

#include <rewind/autograd/custom.hpp>
#include <rewind/autograd/ops.hpp>

#include <algorithm>
#include <string>

#include "dual.hpp"

namespace rw::test {

using Operands = std::vector<Variable>;

struct OpCase {
  std::string name;
  std::function<Variable(const Operands&)> function;
  Reference reference;
  std::vector<std::vector<Shape>> shapes;  ///< sets of the operands' shapes
  double low = -2, high = 2;               ///< the domain
  std::vector<double> kinks = {};          ///< points without a derivative, which values avoid
  bool differentiable = true;
  double tolerance = 1e-14;                ///< of values in f64, of the largest
};

namespace cases {

inline const std::vector<std::vector<Shape>> one = {{{3, 5}}, {{}}, {{1}}, {{0}}, {{37}}, {{2, 0, 3}}, {{2, 1, 4}}};
inline const std::vector<std::vector<Shape>> two = {{{3, 5}, {3, 5}}, {{3, 5}, {5}},    {{3, 1}, {1, 5}}, {{}, {2, 3}},       {{2, 3}, {}},
                                                    {{0, 3}, {3}},    {{0, 3}, {1, 3}}, {{}, {}},         {{2, 1, 3}, {4, 1}}, {{1}, {35}}};
inline const std::vector<std::vector<Shape>> three = {{{3, 5}, {3, 5}, {3, 5}}, {{}, {3, 5}, {5}}, {{3, 1}, {5}, {}}, {{0, 2}, {2}, {1}}, {{4, 1}, {1}, {2, 1, 3}}};

template <class F>
auto function(F f) {
  return [f](const Operands& x) -> Variable {
    if constexpr (requires { f(x[0]); }) return f(x[0]);
    else if constexpr (requires { f(x[0], x[0]); }) return f(x[0], x[1]);
    else return f(x[0], x[1], x[2]);
  };
}

#define REWIND_LIFT(name) [](const auto&... x) -> decltype(rw::name(x...)) { return rw::name(x...); }
#define REWIND_CASE(name, formula, ...) \
  list.push_back(OpCase{#name, function(REWIND_LIFT(name)), each formula, __VA_ARGS__})

inline void elementwise(std::vector<OpCase>& list) {
  REWIND_CASE(operator-, ([](auto x) { return -x; }), one);
  list.back().name = "negate";
  REWIND_CASE(abs, ([](auto x) { return fabs(x); }), one, -2, 2, {0});
  REWIND_CASE(sign, ([](auto x) { return x > 0 ? decltype(x)(1) : x < 0 ? decltype(x)(-1) : isnan(x) ? x : decltype(x)(0); }), one, -2, 2, {0}, false);
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
  list.push_back({"numbers on both sides", [](const Operands& x) { return 2 - (1.5 * x[0] - 0.25) / 4; },
                  each([](auto x) { using S = decltype(x); return S(2) - (S(1.5) * x - S(0.25)) / S(4); }), one});
  list.push_back({"divide by a number", [](const Operands& x) { return x[0] / 3; }, each([](auto x) { return x / decltype(x)(3); }), one});
  list.push_back({"a number divided", [](const Operands& x) { return 1.7 / x[0]; }, each([](auto x) { return decltype(x)(1.7) / x; }), one, 0.3, 3});
  list.push_back({"pow by a broken number", [](const Operands& x) { return pow(x[0], 0.3); }, each([](auto x) { return pow(x, decltype(x)(0.3)); }), one, 0.2, 3});
  list.push_back({"pow by a number", [](const Operands& x) { return pow(x[0], 3); }, each([](auto x) { return x * x * x; }), one, -2, 2, {0}});
  list.push_back({"a number to the power", [](const Operands& x) { return pow(2, x[0]); }, each([](auto x) { return pow(decltype(x)(2), x); }), one});
  list.push_back({"clamp between numbers", [](const Operands& x) { return clamp(x[0], -0.5, 1); },
                  each([](auto x) { using S = decltype(x); return x < S(-0.5) ? S(-0.5) : x > S(1) ? S(1) : x; }), one, -2, 2, {-0.5, 1}});
  list.push_back({"assigning operators", [](const Operands& x) { Variable y = x[0]; y += x[1]; y *= x[0]; y -= 2; y /= 4; return y; },
                  each([](auto x, auto y) { using S = decltype(x); return ((x + y) * x - S(2)) / S(4); }), {{{3, 5}, {5}}, {{2}, {2}}}});
  list.push_back({"custom", [](const Operands& x) {
                    return custom("cube", x[0], [](const Tensor& t) {
                        Tensor y = t.cast(DType::f64).copy();
                        for (Index i = 0; i < y.size(); ++i) y.data<double>()[i] *= y.data<double>()[i] * y.data<double>()[i];
                        return y.cast(t.dtype());
                      }, [](const Variable& g, const Variable& v) { return g * 3 * square(v); });
                  }, each([](auto x) { return x * x * x; }), one});
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
  add("less", REWIND_LIFT(less), [](Real x, Real y) { return x < y; }, two);
  add("less_equal", REWIND_LIFT(less_equal), [](Real x, Real y) { return x <= y; }, two);
  add("greater", REWIND_LIFT(greater), [](Real x, Real y) { return x > y; }, two);
  add("greater_equal", REWIND_LIFT(greater_equal), [](Real x, Real y) { return x >= y; }, two);
  add("equal", REWIND_LIFT(equal), [](Real x, Real y) { return x == y; }, two);
  add("not_equal", REWIND_LIFT(not_equal), [](Real x, Real y) { return x != y; }, two);
  add("operator<", REWIND_LIFT(operator<), [](Real x, Real y) { return x < y; }, two);
  add("operator<=", REWIND_LIFT(operator<=), [](Real x, Real y) { return x <= y; }, two);
  add("operator>", REWIND_LIFT(operator>), [](Real x, Real y) { return x > y; }, two);
  add("operator>=", REWIND_LIFT(operator>=), [](Real x, Real y) { return x >= y; }, two);
  add("logical_and", [](const Variable& x, const Variable& y) { return logical_and(x > 0, y); }, [](Real x, Real y) { return x > 0 && y != 0; }, two);
  add("logical_or", [](const Variable& x, const Variable& y) { return logical_or(x > 0, y < 0); }, [](Real x, Real y) { return x > 0 || y < 0; }, two);
  add("logical_not", [](const Variable& x) { return logical_not(x > 0); }, [](Real x) { return !(x > 0); }, one);
  add("is_finite", REWIND_LIFT(is_finite), [](Real x) { return isfinite(x); }, one);
}

// ---- reductions ------------------------------------------------------------------------------------------------------------------------

template <class S>
S total(const std::vector<S>& x) {
  S s(0);
  for (const S& v : x) s += v;
  return s;
}
template <class S>
S average(const std::vector<S>& x) {
  return total(x) / S(static_cast<Real>(x.size()));
}
template <class S>
S largest(const std::vector<S>& x) {
  S best = x[0];
  for (const S& v : x)
    if (v > best || isnan(v)) best = v;
  return best;
}
template <class S>
S spread(const std::vector<S>& x) {
  S mean = average(x), s(0);
  for (const S& v : x) s += (v - mean) * (v - mean);
  return s / S(static_cast<Real>(x.size()));
}
template <class S>
S length(const std::vector<S>& x) {
  S s(0);
  for (const S& v : x) s += v * v;
  return s == S(0) ? S(0) : sqrt(s);
}
template <class S>
S log_of_sum(const std::vector<S>& x) {
  S top(part(largest(x))), s(0);
  if (!isfinite(top)) top = S(0);
  for (const S& v : x) s += exp(v - top);
  return log(s) + top;
}

inline void reductions(std::vector<OpCase>& list) {
  struct Choice {
    std::vector<Shape> shapes;
    Dims axes;
    unsigned mask;
  };
  auto dims = [](std::initializer_list<Index> axes) {
    Dims d;
    for (Index a : axes) d.push_back(a);
    return d;
  };
  const Choice choices[] = {{{{3, 5}, {1, 4}, {4, 1}, {2, 37}}, dims({1}), 2}, {{{3, 5}, {1, 1}, {33, 3}}, dims({-2}), 1}, {{{3, 5}, {1, 1}}, dims({0, 1}), 3},
                            {{{2, 3, 4}, {2, 1, 5}}, dims({0, -1}), 5}, {{{2, 3, 4}}, dims({1}), 2}, {{{7}, {1}}, dims({0}), 1}};
  const Choice with_nothing[] = {{{{0, 3}}, dims({1}), 2}, {{{3, 0}, {0, 3}, {0, 0}}, dims({1}), 2}, {{{2, 0, 3}}, dims({0}), 1}};
  auto add = [&](const char* name, auto f, auto reference, const Choice& c, bool differentiable = true) {
    for (bool keep : {false, true})
      for (const Shape& s : c.shapes)
        list.push_back({std::string(name) + " over " + to_string(c.axes) + (keep ? ", kept" : ""),
                        [f, axes = Axes(c.axes), keep](const Operands& x) { return f(x[0], axes, keep); }, over(c.mask, keep, reference), {{s}}, -2, 2, {},
                        differentiable});
  };
  for (const auto& c : choices) {
    add("sum", [](auto& x, auto& a, bool k) { return sum(x, a, k); }, [](const auto& x) { return total(x); }, c);
    add("mean", [](auto& x, auto& a, bool k) { return mean(x, a, k); }, [](const auto& x) { return average(x); }, c);
    add("max", [](auto& x, auto& a, bool k) { return max(x, a, k); }, [](const auto& x) { return largest(x); }, c);
    add("min", [](auto& x, auto& a, bool k) { return min(x, a, k); },
        [](auto x) {
          for (auto& v : x) v = -v;
          return -largest(x);
        },
        c);
    add("variance", [](auto& x, auto& a, bool k) { return variance(x, a, k); }, [](const auto& x) { return spread(x); }, c);
    add("norm", [](auto& x, auto& a, bool k) { return norm(x, a, k); }, [](const auto& x) { return length(x); }, c);
    add("logsumexp", [](auto& x, auto& a, bool k) { return logsumexp(x, a, k); }, [](const auto& x) { return log_of_sum(x); }, c);
  }
  for (const auto& c : with_nothing) add("sum", [](auto& x, auto& a, bool k) { return sum(x, a, k); }, [](const auto& x) { return total(x); }, c);
  auto whole = [&](const char* name, auto f, auto reference) {
    list.push_back({name, function(f), over(7, false, reference), {{{2, 3, 4}}, {{5}}, {{}}, {{1, 1}}}});
  };
  whole("sum of all", REWIND_LIFT(sum), [](const auto& x) { return total(x); });
  whole("mean of all", REWIND_LIFT(mean), [](const auto& x) { return average(x); });
  whole("max of all", REWIND_LIFT(max), [](const auto& x) { return largest(x); });
  whole("variance of all", REWIND_LIFT(variance), [](const auto& x) { return spread(x); });
  whole("norm of all", REWIND_LIFT(norm), [](const auto& x) { return length(x); });
  for (bool smallest : {false, true}) {
    for (int axis : {0, 1})
      list.push_back({smallest ? "argmin" : "argmax", [=](const Operands& x) { return smallest ? argmin(x[0], axis) : argmax(x[0], axis - 2); },
                      over(axis ? 2u : 1u, false,
                           [=](const auto& x) {
                             std::size_t best = 0;
                             for (std::size_t i = 1; i < x.size(); ++i)
                               if (!isnan(x[best]) && (isnan(x[i]) || (smallest ? x[i] < x[best] : x[i] > x[best]))) best = i;
                             return std::remove_cvref_t<decltype(x[0])>(static_cast<Real>(best));
                           }),
                      {{{3, 5}}, {{1, 4}}, {{4, 1}}, {{17, 33}}}, -2, 2, {}, false});
  }
  auto lines = [&](const char* name, auto f, auto reference) {
    for (int axis : {0, 1, 2})
      list.push_back({std::string(name) + " along " + std::to_string(axis), [=](const Operands& x) { return f(x[0], axis); }, along(axis, reference),
                      {{{3, 5, 4}}, {{1, 2, 1}}, {{2, 1, 3}}}});
  };
  lines("softmax", [](auto& x, Index a) { return softmax(x, a); }, [](auto x) {
    auto top = part(largest(x));
    for (auto& v : x) v = exp(v - std::remove_cvref_t<decltype(v)>(top));
    auto s = total(x);
    for (auto& v : x) v = v / s;
    return x;
  });
  lines("log_softmax", [](auto& x, Index a) { return log_softmax(x, a - 3); }, [](auto x) {
    auto s = log_of_sum(x);
    for (auto& v : x) v = v - s;
    return x;
  });
  lines("cumsum", [](auto& x, Index a) { return cumsum(x, a); }, [](auto x) {
    for (std::size_t i = 1; i < x.size(); ++i) x[i] += x[i - 1];
    return x;
  });
}

// ---- products and parts ----------------------------------------------------------------------------------------------------------------

inline void products(std::vector<OpCase>& list) {
  struct Ranks {
    Shape a, b, y;
    Index B, M, K, N;
    bool batched;
  };
  for (const Ranks& r : std::initializer_list<Ranks>{{{3, 5}, {5, 4}, {3, 4}, 1, 3, 5, 4, false},
                                                     {{1, 1}, {1, 1}, {1, 1}, 1, 1, 1, 1, false},
                                                     {{13, 7}, {7, 33}, {13, 33}, 1, 13, 7, 33, false},
                                                     {{2, 3, 5}, {5, 4}, {2, 3, 4}, 1, 6, 5, 4, false},
                                                     {{2, 2, 3, 2}, {2, 4}, {2, 2, 3, 4}, 1, 12, 2, 4, false},
                                                     {{2, 3, 5}, {2, 5, 4}, {2, 3, 4}, 2, 3, 5, 4, true},
                                                     {{2, 1, 3, 2}, {2, 1, 2, 4}, {2, 1, 3, 4}, 2, 3, 2, 4, true},
                                                     {{5}, {5, 4}, {4}, 1, 1, 5, 4, false},
                                                     {{3, 5}, {5}, {3}, 1, 3, 5, 1, false},
                                                     {{2, 3, 5}, {5}, {2, 3}, 1, 6, 5, 1, false},
                                                     {{5}, {5}, {}, 1, 1, 5, 1, false},
                                                     {{3, 0}, {0, 4}, {3, 4}, 1, 3, 0, 4, false},
                                                     {{2, 3, 0}, {0, 4}, {2, 3, 4}, 1, 6, 0, 4, false},
                                                     {{0, 5}, {5, 4}, {0, 4}, 1, 0, 5, 4, false},
                                                     {{0, 2, 5}, {5, 4}, {0, 2, 4}, 1, 0, 5, 4, false},
                                                     {{0, 2, 5}, {0, 5, 4}, {0, 2, 4}, 0, 2, 5, 4, true},
                                                     {{3, 5}, {5, 0}, {3, 0}, 1, 3, 5, 0, false}})
    list.push_back({"matmul " + to_string(r.a) + " " + to_string(r.b), function(REWIND_LIFT(matmul)), product(r.y, r.B, r.M, r.K, r.N, r.batched),
                    {{r.a, r.b}}});
  list.push_back({"a product with itself", [](const Operands& x) { return matmul(x[0], x[0]); },
                  [](const auto& in) { return product({3, 3}, 1, 3, 3, 3, false)(std::vector{in[0], in[0]}); }, {{{3, 3}}}});
}

inline void parts(std::vector<OpCase>& list) {
  using std::pair;
  auto from = [](auto f) { return [f](Index i) { return pair<int, Index>(0, f(i)); }; };
  auto add = [&](const char* name, auto f, auto reference, std::vector<Shape> shapes) {
    list.push_back({name, [f](const Operands& x) { return f(x); }, reference, {shapes}});
  };
  auto same = from([](Index i) { return i; });
  add("reshape", [](auto& x) { return reshape(x[0], {2, -1}); }, picked({2, 6}, same), {{3, 4}});
  add("reshape to a scalar", [](auto& x) { return reshape(x[0], {}); }, picked({}, same), {{1, 1}});
  add("reshape of nothing", [](auto& x) { return reshape(x[0], {0, 7}); }, picked({0, 7}, same), {{3, 0}});
  add("reshape of a transposition", [](auto& x) { return reshape(transpose(x[0]), {12}); }, picked({12}, from([](Index i) { return i % 3 * 4 + i / 3; })), {{3, 4}});
  add("newaxis", [](auto& x) { return newaxis(x[0], 1); }, picked({3, 1, 4}, same), {{3, 4}});
  add("newaxis at the end", [](auto& x) { return newaxis(x[0], -1); }, picked({3, 4, 1}, same), {{3, 4}});
  add("transpose", [](auto& x) { return transpose(x[0]); }, picked({2, 4, 3}, from([](Index i) { return i / 12 * 12 + i % 3 * 4 + i / 3 % 4; })), {{2, 3, 4}});
  add("transpose of axes", [](auto& x) { Dims d; for (Index a : {2, 0, 1}) d.push_back(a); return transpose(x[0], d); },
      picked({4, 2, 3}, from([](Index i) { return i % 6 * 4 + i / 6; })), {{2, 3, 4}});
  add("broadcast_to", [](auto& x) { return broadcast_to(x[0], {2, 3, 4}); }, picked({2, 3, 4}, from([](Index i) { return i / 4 % 3; })), {{3, 1}});
  add("broadcast_to nothing", [](auto& x) { return broadcast_to(x[0], {0, 3}); }, picked({0, 3}, same), {{1, 3}});
  add("flip", [](auto& x) { return flip(x[0], {0, -1}); }, picked({3, 4}, from([](Index i) { return 11 - i; })), {{3, 4}});
  add("flip of one axis", [](auto& x) { return flip(x[0], 1); }, picked({3, 4}, from([](Index i) { return i / 4 * 4 + 3 - i % 4; })), {{3, 4}});
  add("slice", [](auto& x) { return slice(x[0], 1, 1, 2); }, picked({3, 2}, from([](Index i) { return i / 2 * 4 + i % 2 + 1; })), {{3, 4}});
  add("slice of rows", [](auto& x) { return slice(x[0], 0, 2, 1); }, picked({1, 4}, from([](Index i) { return i + 8; })), {{3, 4}});
  add("slice of nothing", [](auto& x) { return slice(x[0], 0, 3, 0); }, picked({0, 4}, same), {{3, 4}});
  add("select", [](auto& x) { return select(x[0], 1, -1); }, picked({3}, from([](Index i) { return i * 4 + 3; })), {{3, 4}});
  add("operator[]", [](auto& x) { return x[0][1]; }, picked({4}, from([](Index i) { return i + 4; })), {{3, 4}});
  add("overlapping slices", [](auto& x) { return slice(x[0], 0, 0, 2) * slice(x[0], 0, 1, 2); },
      [](const auto& in) { auto y = in[0]; y.shape = Shape{2}; y.data = {in[0][0] * in[0][1], in[0][1] * in[0][2]}; return y; }, {{3}});
  add("pad", [](auto& x) { return pad(x[0], 0, 1, 2, 0.5); }, picked({5, 2}, from([](Index i) { return i < 2 || i >= 6 ? -1 : i - 2; }), 0.5), {{2, 2}});
  add("pad of the last axis", [](auto& x) { return pad(x[0], -1, 0, 1); }, picked({2, 3}, from([](Index i) { return i % 3 == 2 ? -1 : i / 3 * 2 + i % 3; })), {{2, 2}});
  add("concatenate", [](auto& x) { return concatenate({x[0], x[1], x[0]}); },
      picked({2, 5}, [](Index i) { Index r = i / 5, c = i % 5; return c == 2 ? pair<int, Index>(1, r) : pair<int, Index>(0, r * 2 + (c < 2 ? c : c - 3)); }), {{2, 2}, {2, 1}});
  add("concatenate rows, one empty", [](auto& x) { return concatenate({x[0], x[1]}, 0); }, picked({2, 2}, same), {{2, 2}, {0, 2}});
  add("stack", [](auto& x) { return stack({x[0], x[1]}, 1); }, picked({3, 2}, [](Index i) { return pair<int, Index>(static_cast<int>(i % 2), i / 2); }), {{3}, {3}});
  add("split", [](auto& x) { auto [a, b, c] = split<3>(x[0]); return a * c + b; },
      [](const auto& in) {
        std::remove_cvref_t<decltype(in[0])> y(Shape{2, 2});
        for (Index i = 0; i < 4; ++i) y[i] = in[0][i / 2 * 6 + i % 2] * in[0][i / 2 * 6 + i % 2 + 4] + in[0][i / 2 * 6 + i % 2 + 2];
        return y;
      }, {{2, 6}});
  add("split of axis 0, parts in another order", [](auto& x) { auto p = split(x[0], 2, 0); return concatenate({tanh(p[1]), p[0]}, 0); },
      [](const auto& in) { auto y = in[0]; for (Index i = 0; i < 8; ++i) y[i] = i < 4 ? tanh(in[0][i + 4]) : in[0][i - 4]; return y; }, {{4, 2}});
  static const Tensor index = Tensor::of<std::int64_t>({2, 3}, {2, 0, 2, 1, 1, 2}), narrow = Tensor::of<std::int32_t>({3}, {3, 0, 3});
  add("gather", [](auto& x) { return gather(x[0], index); }, picked({2, 3, 2}, from([](Index i) { const Index at[] = {2, 0, 2, 1, 1, 2}; return at[i / 2] * 2 + i % 2; })), {{4, 2}});
  add("gather of a vector", [](auto& x) { return gather(x[0], narrow); }, picked({3}, from([](Index i) { return i == 1 ? 0 : 3; })), {{4}});
  add("gather by one number", [](auto& x) { return gather(x[0], Tensor::scalar(std::int64_t{1})); }, picked({2}, from([](Index i) { return i + 2; })), {{4, 2}});
  add("scatter_add", [](auto& x) { return scatter_add(x[0], narrow, 5); },
      [](const auto& in) {
        std::remove_cvref_t<decltype(in[0])> y(Shape{5, 2});
        for (Index i = 0; i < 6; ++i) y[(i / 2 == 1 ? 0 : 3) * 2 + i % 2] += in[0][i];
        return y;
      }, {{3, 2}});
  add("full of a computed value", [](auto& x) { return full({2, 3}, sum(x[0]), x[0].dtype()); },
      [](const auto& in) { return std::remove_cvref_t<decltype(in[0])>(Shape{2, 3}, total(in[0].data)); }, {{3}});
  add("through reshape, transpose, slice and back", [](auto& x) { return reshape(slice(transpose(reshape(x[0], {3, 4})), 0, 1, 2), {6}) * 2; },
      [](const auto& in) {
        std::remove_cvref_t<decltype(in[0])> y(Shape{6});
        for (Index i = 0; i < 6; ++i) y[i] = in[0][i % 3 * 4 + i / 3 + 1] + in[0][i % 3 * 4 + i / 3 + 1];
        return y;
      }, {{12}});
}
#undef REWIND_CASE
#undef REWIND_LIFT

}  // namespace cases

inline const std::vector<OpCase>& op_cases() {
  static const std::vector<OpCase> all = [] {
    std::vector<OpCase> list;
    cases::elementwise(list);
    cases::truths(list);
    cases::reductions(list);
    cases::products(list);
    cases::parts(list);
    return list;
  }();
  return all;
}

}  // namespace rw::test
