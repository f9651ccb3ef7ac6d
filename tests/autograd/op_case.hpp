// A row of the table of operations: what it is called, how it is written, what it must give (in plain loops), for which shapes and values.
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
  double tolerance = 1e-14;  ///< of values in f64, of the largest
};

namespace cases {

inline const std::vector<std::vector<Shape>> one = {{{3, 5}}, {{}}, {{1}}, {{0}}, {{37}}, {{2, 0, 3}}, {{2, 1, 4}}};
inline const std::vector<std::vector<Shape>> two = {{{3, 5}, {3, 5}}, {{3, 5}, {5}},    {{3, 1}, {1, 5}}, {{}, {2, 3}},        {{2, 3}, {}},
                                                    {{0, 3}, {3}},    {{0, 3}, {1, 3}}, {{}, {}},         {{2, 1, 3}, {4, 1}}, {{1}, {35}}};
inline const std::vector<std::vector<Shape>> three = {
    {{3, 5}, {3, 5}, {3, 5}}, {{}, {3, 5}, {5}}, {{3, 1}, {5}, {}}, {{0, 2}, {2}, {1}}, {{4, 1}, {1}, {2, 1, 3}}};

template <class F>
auto function(F f) {
  return [f](const Operands& x) -> Variable {
    if constexpr (requires { f(x[0]); })
      return f(x[0]);
    else if constexpr (requires { f(x[0], x[0]); })
      return f(x[0], x[1]);
    else
      return f(x[0], x[1], x[2]);
  };
}

#define REWIND_LIFT(name) [](const auto&... x) -> decltype(rw::name(x...)) { return rw::name(x...); }
#define REWIND_CASE(name, formula, ...) list.push_back(OpCase{#name, function(REWIND_LIFT(name)), each formula, __VA_ARGS__})

}  // namespace cases

}  // namespace rw::test
