// The values of all elementwise operations once more, in long double by the C library.
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>

namespace rw::test {

using Real = long double;

inline Real sign_of(Real x) { return x > 0 ? 1 : x < 0 ? -1 : x; }

/// The reference values, written apart from the operations.
inline Real reference(const std::string& op, Real x, Real y, Real z) {
  if (op == "negate") return -x;
  if (op == "abs") return std::fabs(x);
  if (op == "sign") return sign_of(x);
  if (op == "add") return x + y;
  if (op == "subtract") return x - y;
  if (op == "multiply") return x * y;
  if (op == "divide") return x / y;
  if (op == "square") return x * x;
  if (op == "reciprocal") return 1 / x;
  if (op == "sqrt") return std::sqrt(x);
  if (op == "rsqrt") return 1 / std::sqrt(x);
  if (op == "exp") return std::exp(x);
  if (op == "expm1") return std::expm1(x);
  if (op == "log") return std::log(x);
  if (op == "log1p") return std::log1p(x);
  if (op == "power") return std::pow(x, y);
  if (op == "sin") return std::sin(x);
  if (op == "cos") return std::cos(x);
  if (op == "erf") return std::erf(x);
  if (op == "tanh") return std::tanh(x);
  if (op == "sigmoid") return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x));
  if (op == "relu") return std::isnan(x) ? x : x > 0 ? x : 0;
  if (op == "softplus") return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x));
  if (op == "maximum") return std::isnan(x) || std::isnan(y) ? std::numeric_limits<Real>::quiet_NaN() : x >= y ? x : y;
  if (op == "minimum") return std::isnan(x) || std::isnan(y) ? std::numeric_limits<Real>::quiet_NaN() : x <= y ? x : y;
  if (op == "where") return x != 0 ? y : z;
  if (op == "clamp") return x < y ? y : x > z ? z : x;
  if (op == "equal") return x == y;
  if (op == "not_equal") return x != y;
  if (op == "less") return x < y;
  if (op == "less_equal") return x <= y;
  if (op == "greater") return x > y;
  if (op == "greater_equal") return x >= y;
  if (op == "logical_and") return x != 0 && y != 0;
  if (op == "logical_or") return x != 0 || y != 0;
  if (op == "logical_not") return x == 0;
  if (op == "is_finite") return std::isfinite(x);
  FAIL("no reference for " << op);
  return 0;
}

}  // namespace rw::test
